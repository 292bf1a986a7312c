"""django-jobqueue as a site runs it: ``manage.py jobqueue_worker``, every setting at its default."""

import body
import django
from django.conf import settings
from django.core.management import execute_from_command_line

settings.configure(
    INSTALLED_APPS=["django_jobqueue"],
    USE_TZ=True,
    CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": body.URL}},
)
django.setup()

from django_jobqueue import job  # noqa: E402 - needs the settings

work = job(name="work")(body.work)


def worker():
    execute_from_command_line(["manage.py", "jobqueue_worker", "--concurrency", str(body.CONCURRENCY)])


if __name__ == "__main__":
    body.main(worker, work.enqueue, work.enqueue_and_wait)
