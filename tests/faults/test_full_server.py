"""A server at ``maxmemory`` with ``noeviction``: producers are told, workers drain, all goes on."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_jobqueue import queues
from django_jobqueue.exceptions import StorageFullError
from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from django_jobqueue.worker import Worker
from tests.servers import Server, wait_until

pytestmark = pytest.mark.faults


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


@pytest.fixture(params=["redis", "valkey"])
def full(
    request: pytest.FixtureRequest, make_server: Callable[..., Server], settings: Any
) -> Iterator[tuple[Queue, int]]:
    """A queue whose server has no memory left, and the number of jobs in it."""
    server = make_server(request.param)
    settings.JOBQUEUE = {"default": {"URL": server.url(), "CACHE": None, "BLOCK_TIMEOUT": 1}}
    queue = queues["default"]
    # The scripts take memory too; loaded before, they leave the rest to the jobs.
    queue.enqueue("before", "x")
    Worker(queue, handler=lambda job: "done").run_until_empty()
    queue.delete("before")
    queue.enqueue("first", "x")
    queue.enqueue("due", "x", delay=0.05)
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 600_000)
    accepted = 2
    with pytest.raises(StorageFullError, match="no memory left"):
        while True:
            queue.enqueue(f"job-{accepted}", "x" * 20_000)
            accepted += 1
    yield queue, accepted
    queues.close()


def test_a_refused_job_leaves_nothing_behind(full: tuple[Queue, int]) -> None:
    queue, accepted = full

    with pytest.raises(StorageFullError):
        queue.enqueue("refused", "x" * 20_000)
    with pytest.raises(StorageFullError):
        queue.enqueue("refused", "x" * 20_000, delay=60)

    assert queue.get_job_state("refused") is None
    stats = queue.stats()
    assert stats.queued + stats.scheduled == accepted


def test_workers_drain_a_full_server_and_then_everything_is_accepted_again(full: tuple[Queue, int]) -> None:
    queue, accepted = full
    worker = Worker(queue, handler=lambda job: "done", concurrency=4)
    worker.start()

    wait_until(lambda: queue.stats().completed == accepted, 60, never)

    state = queue.get_job_state("due")
    assert state is not None and state.status is Status.COMPLETED

    def accepted_again() -> bool:
        try:
            return bool(queue.enqueue_and_wait("again", "x" * 20_000) == "done")
        except StorageFullError:
            return False  # buffers of clients count too, and are freed a little later

    wait_until(accepted_again, 30, never)
    worker.stop()


def test_a_job_can_fail_be_retried_and_be_given_back_on_a_full_server(full: tuple[Queue, int]) -> None:
    queue, _ = full

    def handler(job: Any) -> str:
        raise ValueError("x" * 100)

    worker = Worker(queue, handler=handler, concurrency=1, max_jobs=1)
    worker.run()

    status = queue.get_status("first")
    assert status is not None
    assert (status.state, status.attempts) == (Status.FAILING, 1)
