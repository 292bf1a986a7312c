"""Workers of the test's queue."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_jobqueue.queue import Queue
from django_jobqueue.worker import Worker


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
