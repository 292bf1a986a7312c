"""Producers and workers on a file, killed again and again at any instant."""

import multiprocessing
import os
import random
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_jobqueue.conf import FILE_STORAGE, QueueConfig
from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from django_jobqueue.worker import Worker
from tests.servers import wait_until

KILLS = 200

#: Seconds that a process lives at least and at most, once it works.
LIFE = (0.0, 0.06)


def produce(config: QueueConfig, name: str, journal: Path) -> None:
    """Enqueue for ever, and note each id that was accepted, in one write."""
    queue = Queue(config)
    number = 0
    with journal.open("ab", buffering=0) as file:
        while True:
            job_id = f"{name}-{number}"
            queue.enqueue(job_id, job_id, max_attempts=1000)
            file.write(f"{job_id}\n".encode())
            number += 1


def work(config: QueueConfig, name: str, _: Path) -> None:
    """Work for ever, with a reaper; some jobs take a moment, so that a kill finds them running."""

    def handler(job: Any) -> str:
        time.sleep(0.005 if hash(job.id) % 7 == 0 else 0)
        return str(job.payload)

    worker = Worker(Queue(config), handler=handler, concurrency=2, worker_id=name)
    worker.run()


class Fleet:
    """Forked processes, so that starting one takes no time; ended by their pid."""

    def __init__(self, config: QueueConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._context = multiprocessing.get_context("fork")
        self._running: list[tuple[Callable[..., None], Any]] = []
        self._started = 0

    def start(self, role: Callable[..., None]) -> None:
        name = f"{role.__name__}-{self._started}"
        self._started += 1
        process = self._context.Process(target=role, args=(self._config, name, self._folder / name), daemon=True)
        with warnings.catch_warnings():
            # Newer Pythons warn that the threads of the test runner do not go along.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        self._running.append((role, process))

    def kill_one_and_replace_it(self, number: int) -> None:
        role, process = self._running.pop(number % len(self._running))
        time.sleep(random.uniform(*LIFE))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        self.start(role)

    def accepted(self) -> list[str]:
        # A kill may have cut the last line off.
        journals = [path.read_text() for path in self._folder.glob("produce-*")]
        return [line for text in journals for line in text.splitlines()[: text.count("\n")]]

    def kill_all(self) -> None:
        for _, process in self._running:
            process.kill()
            process.join()


@pytest.mark.faults
def test_two_hundred_kills_of_producers_and_workers_lose_no_job(tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    journals.mkdir()
    config = QueueConfig(
        storage=FILE_STORAGE, path=str(tmp_path / "jobqueue.sqlite3"), visibility_timeout=0.6, block_timeout=1
    )
    queue, fleet = Queue(config), Fleet(config, journals)
    try:
        for role in (produce, work, work):
            fleet.start(role)
        for number in range(KILLS):
            fleet.kill_one_and_replace_it(number)
            if number % 10 == 0:
                ids = fleet.accepted()
                assert None not in queue.storage.states(ids)
    finally:
        fleet.kill_all()

    ids = fleet.accepted()
    assert len(ids) > KILLS
    survivor = Worker(queue, handler=lambda job: job.payload, concurrency=4)
    survivor.start()
    wait_until(lambda: _unfinished(queue) == 0, 60, lambda: AssertionError(str(queue.stats())))
    survivor.stop()

    states = queue.get_job_states(ids)
    assert {state.status for state in states.values() if state} == {Status.COMPLETED}
    assert [queue.get_result(job_id) for job_id in ids] == ids
    _assert_sound(queue)
    queue.close()


def _unfinished(queue: Queue) -> int:
    stats = queue.stats()
    return stats.queued + stats.scheduled + stats.processing


def _assert_sound(queue: Queue) -> None:
    """The file is whole, and what is counted is what is there."""
    with queue.storage._database.reading("checking") as connection:  # type: ignore[attr-defined]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        there = dict(connection.execute("SELECT place, COUNT(*) FROM jobs GROUP BY place"))
        counted = dict(connection.execute("SELECT place, jobs FROM sizes WHERE jobs > 0"))
    assert there == counted
