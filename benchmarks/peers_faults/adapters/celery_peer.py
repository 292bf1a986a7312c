"""Celery with Redis as its broker and result store.

Row "tuned": what the documentation names for jobs that must survive their worker (late acknowledgement, back to
the queue when the process is lost), and a visibility timeout of seconds that is looked at every second.
"""

import body
from celery import Celery

app = Celery("celery_peer", broker=body.URL, backend=body.URL)
app.conf.worker_hijack_root_logger = False
if body.ROW == "tuned":
    app.conf.task_acks_late = True
    app.conf.task_reject_on_worker_lost = True
    app.conf.broker_transport_options = {
        "visibility_timeout": 5,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }

KINDS = {kind: app.task(name=kind)(getattr(body, kind)) for kind in ("sleep", "poison")}


def worker():
    app.worker_main(["worker", "--concurrency", "1", "--loglevel", "INFO"])


def enqueue(kind, job_id, seconds):
    KINDS[kind].apply_async((job_id, seconds), task_id=job_id)


def result(job_id):
    return app.AsyncResult(job_id).result


if __name__ == "__main__":
    body.main(worker, enqueue, result)
