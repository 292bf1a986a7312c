"""Jobs on servers as their makers ship them: released images in a container engine."""

from collections.abc import Callable
from typing import Any

import pytest

from django_jobqueue.queue import queues
from django_jobqueue.worker import Worker
from tests.app import jobs
from tests.servers import ExternalServer, wait_until

pytestmark = pytest.mark.docker


def never() -> AssertionError:
    return AssertionError("it did not happen")


def test_a_released_image_runs_jobs(
    container_server: ExternalServer, key_prefix: str, settings: Any, make_worker: Callable[..., Worker]
) -> None:
    settings.JOBQUEUE = {"default": {"URL": container_server.url(), "CACHE": None, "KEY_PREFIX": key_prefix}}
    queue = queues["default"]
    worker = make_worker(queue, concurrency=4)

    assert jobs.add.enqueue_and_wait(1, 2) == 3
    assert jobs.fail_until.enqueue_and_wait(3) == 3
    assert jobs.add.using(delay=0.1).enqueue_and_wait(3, 4) == 7
    queue.enqueue_many([(f"job-{n}", jobs.add.payload((n, 1), {})) for n in range(200)])

    wait_until(lambda: queue.stats().completed == 203, 30, never)
    worker.stop()
    assert queue.stats().workers == 0
    queues.close()
