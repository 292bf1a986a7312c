"""Celery with Redis as its broker and result store. Modes: its pools "prefork" and "threads"."""

import body
from celery import Celery

app = Celery("celery_peer", broker=body.URL, backend=body.URL)
app.conf.task_acks_late = True
app.conf.task_reject_on_worker_lost = True
app.conf.worker_prefetch_multiplier = 64

work = app.task(name="work")(body.work)


def worker():
    app.worker_main(["worker", "--pool", body.MODE, "--concurrency", str(body.CONCURRENCY)])


def enqueue(*arguments):
    return work.delay(*arguments)


def ask(*arguments):
    return enqueue(*arguments).get(timeout=body.PATIENCE)


if __name__ == "__main__":
    body.main(worker, enqueue, ask)
