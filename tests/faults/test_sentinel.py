"""A primary that is lost, or retired, while producers, workers and waiters use it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from django_jobqueue.exceptions import StorageError
from django_jobqueue.message import Status
from django_jobqueue.queue import Queue, queues
from tests.app import jobs
from tests.faults.auditor import Auditor
from tests.faults.conftest import noted
from tests.faults.processes import CommandProcess
from tests.integration.sentinel_cache import sentinel_cache
from tests.servers import SentinelTrio, Server, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

#: Seconds.
VISIBILITY = 4.0

MakeQueue = Callable[..., Queue]


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


class Load:
    """Producers that enqueue one small job after the other, each until the queue has accepted it."""

    def __init__(self, journal: Path, producers: int = 2) -> None:
        self.accepted: list[str] = []
        self.refusals: list[StorageError] = []
        self._journal = journal
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._produce, args=(n,)) for n in range(producers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more jobs are accepted."""
        target = len(self.accepted) + count
        wait_until(lambda: len(self.accepted) >= target, 60, lambda: AssertionError(str(self.refusals[-3:])))

    def _produce(self, number: int) -> None:
        made = 0
        while not self._ending.is_set():
            job_id = f"load-{number}-{made}"
            try:
                jobs.append_line.using(id=job_id).enqueue(str(self._journal), job_id, 0.01)
            except StorageError as error:
                self.refusals.append(error)
            else:
                self.accepted.append(job_id)
                made += 1
            # Not faster than the workers.
            time.sleep(0.02)


@pytest.fixture
def make_queue(sentinel: SentinelTrio, key_prefix: str, settings: Any) -> Iterator[MakeQueue]:
    """The default queue through the sentinels: ``make_queue(MIN_REPLICAS=1)``."""

    def make(**changed: Any) -> Queue:
        settings.CACHES = {"default": sentinel_cache(location(sentinel), addresses(sentinel))}
        alias = {"CACHE": "default", "KEY_PREFIX": key_prefix, "VISIBILITY_TIMEOUT": VISIBILITY, **changed}
        settings.JOBQUEUE = {"default": {"BLOCK_TIMEOUT": 1, **alias}}
        return queues["default"]

    yield make
    queues.close()


@pytest.fixture
def workers(sentinel: SentinelTrio, key_prefix: str) -> Iterator[list[CommandProcess]]:
    """Two worker processes that run."""
    environment = {
        "JOBQUEUE_PROCESS_SENTINELS": ",".join(addresses(sentinel)),
        "JOBQUEUE_PROCESS_VISIBILITY": str(VISIBILITY),
        "JOBQUEUE_PROCESS_BLOCK": "1",
    }
    command = ("jobqueue_worker", "--concurrency", "8")
    running = [CommandProcess(location(sentinel), key_prefix, *command, **environment) for _ in range(2)]
    for worker in running:
        worker.wait_for("Stop with Ctrl-C")
    yield running
    for worker in running:
        worker.close()


def location(sentinel: SentinelTrio) -> str:
    return f"redis://{sentinel.service_name}/0"


def addresses(sentinel: SentinelTrio) -> list[str]:
    return [f"{host}:{port}" for host, port in sentinel.sentinels]


def all_completed(queue: Queue, ids: list[str]) -> bool:
    try:
        states = queue.get_job_states(ids).values()
    except StorageError:
        return False
    return all(state is not None and state.status is Status.COMPLETED for state in states)


def begin_waiting(pool: ThreadPoolExecutor, journal: Path, count: int) -> dict[str, Future[Any]]:
    """Jobs that outlast the failover, each with somebody who waits for it."""
    waits = {
        f"waited-{n}": pool.submit(
            jobs.append_line.using(id=f"waited-{n}", wait_timeout=90).enqueue_and_wait, str(journal), f"waited-{n}", 5
        )
        for n in range(count)
    }
    wait_until(lambda: {f"waited-{n}" for n in range(count)} <= set(noted(journal, "begin")), 30, never)
    return waits


def end_well(queue: Queue, workers: list[CommandProcess], accepted: list[str], primary: Server) -> None:
    """All jobs end, the workers stop when told, and nothing is left or missing."""
    wait_until(lambda: all_completed(queue, accepted), 60, never)
    for worker in workers:
        worker.signal(signal.SIGTERM)
    for worker in workers:
        assert worker.wait() == 0, worker.output()
    with primary.client() as client:
        Auditor(client, queue.config.key_prefix).check(accepted, drained=True)


def is_replica_in_step(node: Server, primary: Server, key: str) -> bool:
    with node.client() as client, primary.client() as leading:
        return client.role()[0] == b"slave" and client.hgetall(key) == leading.hgetall(key) != {}


def test_a_primary_killed_under_load_loses_nothing_that_a_replica_confirmed(
    sentinel: SentinelTrio, make_queue: MakeQueue, workers: list[CommandProcess], journal: Path
) -> None:
    queue = make_queue(MIN_REPLICAS=1)
    with ThreadPoolExecutor(10) as pool, Load(journal) as load:
        waits = begin_waiting(pool, journal, 10)
        load.wait_for_more(50)

        old = sentinel.kill_primary()
        new = sentinel.wait_for_new_primary(old)

        load.wait_for_more(100)
        assert {job_id: wait.result(90) for job_id, wait in waits.items()} == {one: one for one in waits}
    end_well(queue, workers, [*load.accepted, *waits], new)
    # It comes back as a replica of the new one, with all that the new one has.
    sentinel.restore()
    wait_until(lambda: is_replica_in_step(old, new, f"{queue.config.key_prefix}jobs"), 30, never)


def test_a_planned_failover_under_load_loses_nothing_that_all_replicas_confirmed(
    sentinel: SentinelTrio, make_queue: MakeQueue, workers: list[CommandProcess], journal: Path
) -> None:
    queue = make_queue(MIN_REPLICAS=2)
    with ThreadPoolExecutor(10) as pool, Load(journal) as load:
        waits = begin_waiting(pool, journal, 10)
        load.wait_for_more(50)

        new = sentinel.wait_for_new_primary(sentinel.fail_over())

        load.wait_for_more(100)
        assert {job_id: wait.result(90) for job_id, wait in waits.items()} == {one: one for one in waits}
    end_well(queue, workers, [*load.accepted, *waits], new)
