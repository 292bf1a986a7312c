"""django-jobqueue. Row "tuned": a visibility timeout of 3 s, and retries at once."""

import body
import django
from django.conf import settings

TUNED = {"VISIBILITY_TIMEOUT": 3, "RETRY_BACKOFF": 0} if body.ROW == "tuned" else {}
settings.configure(
    INSTALLED_APPS=["django_jobqueue"],
    USE_TZ=True,
    JOBQUEUE={"default": {"CACHE": None, "URL": body.URL, **TUNED}},
)
django.setup()

from django.core.management import call_command  # noqa: E402 - needs the settings

from django_jobqueue import job, queues  # noqa: E402 - as above

KINDS = {kind: job(name=kind)(getattr(body, kind)) for kind in ("sleep", "poison")}


def worker():
    call_command("jobqueue_worker", concurrency=1)


def enqueue(kind, job_id, seconds):
    KINDS[kind].using(id=job_id).enqueue(job_id, seconds)


def result(job_id):
    return queues["default"].get_result(job_id)


if __name__ == "__main__":
    body.main(worker, enqueue, result)
