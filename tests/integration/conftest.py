"""A queue on a real server, and workers of it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_jobqueue.queue import Queue, queues
from django_jobqueue.worker import Worker


@pytest.fixture
def configure(jobqueue_settings: dict[str, Any], settings: Any) -> Callable[..., Queue]:
    """Change settings of the default queue, and return the queue: ``configure(RETRY_BACKOFF=0)``."""

    def change(**changed: Any) -> Queue:
        settings.JOBQUEUE = {"default": {**jobqueue_settings, **changed}}
        return queues["default"]

    return change


@pytest.fixture
def queue(configure: Callable[..., Queue]) -> Iterator[Queue]:
    """The default queue, empty."""
    yield configure()
    queues.close()


@pytest.fixture
def make_worker() -> Iterator[Callable[..., Worker]]:
    """A factory of started workers, stopped at the end of the test."""
    made: list[Worker] = []

    def make(queue: Queue, **options: Any) -> Worker:
        worker = Worker(queue, **options)
        made.append(worker)
        worker.start()
        return worker

    yield make

    for worker in made:
        worker.stop(timeout=0)


@pytest.fixture
def worker(queue: Queue, make_worker: Callable[..., Worker]) -> Worker:
    """A worker of the default queue."""
    return make_worker(queue, concurrency=4)
