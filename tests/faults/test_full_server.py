"""A server at ``maxmemory`` with ``noeviction``: producers are told, workers drain, all goes on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from django_jobqueue import queues
from django_jobqueue.context import JobContext
from django_jobqueue.exceptions import StorageFullError
from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from django_jobqueue.reaper import Reaper
from django_jobqueue.worker import Worker
from tests.faults.auditor import Auditor
from tests.servers import Server, wait_until

pytestmark = pytest.mark.faults

#: Bytes that jobs may take; buffers of connections that send large jobs take some hundred thousand, too.
ROOM = 3_000_000


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


@pytest.fixture(params=["redis", "valkey"])
def small(
    request: pytest.FixtureRequest, make_server: Callable[..., Server], settings: Any
) -> Iterator[tuple[Queue, Server]]:
    """A queue on a server of its own, which ``fill`` makes full."""
    server = make_server(request.param)
    settings.JOBQUEUE = {
        "default": {"URL": server.url(), "CACHE": None, "BLOCK_TIMEOUT": 1, "REAPER": {"ACQUIRE_INTERVAL": 0.2}}
    }
    queue = queues["default"]
    # The scripts take memory too; loaded before, they leave the rest to the jobs.
    queue.enqueue("before", "x")
    Worker(queue, handler=lambda job: "done").run_until_empty()
    queue.delete("before")
    yield queue, server
    queues.close()


def fill(queue: Queue, server: Server) -> int:
    """Leave the server without memory; returns how many jobs it accepted until then."""
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", client.info("memory")["used_memory"] + ROOM)
        accepted = 0
        with pytest.raises(StorageFullError, match="no memory left"):
            while True:
                queue.enqueue(f"job-{accepted}", "x" * 20_000)
                accepted += 1
        # Until here a small command would still have been accepted.
        client.config_set("maxmemory", client.info("memory")["used_memory"] - 300_000)
    return accepted


@contextmanager
def working(worker: Worker) -> Iterator[None]:
    """Let a worker run for the body."""
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def accepts(queue: Queue, job_id: str) -> bool:
    """Whether the server takes a large job (again)."""
    try:
        queue.enqueue(job_id, "x" * 20_000)
    except StorageFullError:
        return False  # buffers of clients count too, and are freed a little later
    return True


@pytest.fixture
def full(small: tuple[Queue, Server]) -> tuple[Queue, int]:
    """A queue whose server has no memory left, and the number of jobs in it."""
    queue, server = small
    queue.enqueue("first", "x")
    queue.enqueue("due", "x", delay=0.05)
    return queue, 2 + fill(queue, server)


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


def test_a_reaper_can_begin_to_lead_a_full_server_and_makes_room(small: tuple[Queue, Server]) -> None:
    queue, server = small
    queue.enqueue_many([(f"ended-{n}", None) for n in range(100)], result_ttl=1)
    Worker(queue, handler=lambda job: "x" * 20_000, concurrency=1, reaper=False).run_until_empty()
    fill(queue, server)
    reaper = Reaper(queue)
    with server.client() as client, pytest.raises(redis.OutOfMemoryError):
        client.set("probe", "x")

    reaper.start()

    wait_until(lambda: reaper.is_leader, 30, never)
    wait_until(lambda: accepts(queue, "again"), 30, never)
    reaper.stop()


def test_delayed_jobs_and_retries_wait_for_room_and_come(
    small: tuple[Queue, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, server = small
    # Not at random: a pause of no millisecond is none.
    monkeypatch.setattr("django_jobqueue.runner.retry_delay", lambda *_: 0.1)
    runs: list[tuple[str, int]] = []
    gate = threading.Event()

    def handler(job: JobContext) -> None:
        gate.wait(30)
        runs.append((job.id, job.attempts))
        if job.id == "flaky" and job.attempts == 1:
            raise ValueError("once")

    queue.enqueue("delayed", "x" * 20_000, delay=0.1)
    queue.enqueue("flaky", "x" * 20_000)
    flaky = Worker(queue, handler=handler, concurrency=1, max_jobs=1, reaper=False)
    flaky.start()
    wait_until(lambda: queue.stats().processing == 1, 30, never)
    jobs = fill(queue, server)
    gate.set()
    flaky.join()
    reaper = Reaper(queue)
    reaper.start()
    wait_until(lambda: reaper.is_leader, 30, never)
    reaper.stop()

    waiting = queue.stats()
    with working(Worker(queue, handler=handler, concurrency=4)):
        wait_until(lambda: queue.stats().completed == jobs + 2, 60, never)

    assert waiting.scheduled == 2
    assert ("delayed", 1) in runs
    assert [run for run in runs if run[0] == "flaky"] == [("flaky", 1), ("flaky", 2)]
    assert len(runs) == jobs + 3


def test_producers_are_told_and_may_try_again_until_workers_have_made_room(small: tuple[Queue, Server]) -> None:
    queue, server = small
    accepted = fill(queue, server)
    told: list[int] = []

    def produce(name: int) -> None:
        for n in range(20):
            job_id = f"more-{name}-{n}"
            while not accepts(queue, job_id):
                told.append(name)
                time.sleep(0.02)

    producers = [threading.Thread(target=produce, args=(n,), daemon=True) for n in range(3)]
    for producer in producers:
        producer.start()
    wait_until(lambda: set(told) == {0, 1, 2}, 30, never)

    with working(Worker(queue, handler=lambda job: None, concurrency=4)):
        for producer in producers:
            producer.join(60)
        wait_until(lambda: queue.stats().completed == accepted + 60, 60, never)

    ids = [f"job-{n}" for n in range(accepted)] + [f"more-{name}-{n}" for name in range(3) for n in range(20)]
    with server.client() as client:
        Auditor(client, queue.config.key_prefix).check(ids, drained=True)
