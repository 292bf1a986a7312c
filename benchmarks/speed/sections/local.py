"""The storages that need no server: in a file, and in memory."""

from __future__ import annotations

import sqlite3
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django_jobqueue.queue import Queue, queues
from django_jobqueue.worker import Worker

from ..bench import Bench, rate
from ..figures import Row, done_rate, interleave
from ..jobs import call
from ..processes import WorkerProcesses
from .throughput import enqueue

#: Jobs of the first run, which does not count.
FIRST_COUNT = 200

CONCURRENCY = 10

#: Seconds between looks at how many are done; each is a transaction of its own.
LOOK_INTERVAL = 0.02

PAYLOAD = call("nothing", 1, 2)

ONE_INSERT = "one INSERT a transaction of sqlite3, with the same pragmas"
ONE_BATCH = f"for {CONCURRENCY} jobs one transaction of sqlite3 with two UPDATEs each, with the same pragmas"


def rows(bench: Bench) -> Iterator[Row]:
    """Jobs a second."""
    for alias, storage in (("file", "FileStorage"), ("memory", "MemoryStorage")):
        queue = queues[alias]
        run = FileRun(bench, queue) if alias == "file" else MemoryRun(bench, queue)
        enqueueing = _enqueueing(bench, queue)
        if alias == "memory":
            found = interleave({"enqueue": enqueueing, "jobs": run}, bench.repetitions)
            yield Row(f"{storage}, enqueue", "jobs/s", found["enqueue"])
            yield Row(f"{storage}, no-op, concurrency {CONCURRENCY}", "jobs/s", found["jobs"])
        else:
            with _table() as table:
                inserts, updates = _inserts(bench, table), _updates(bench, table)
                yield bench.compare(f"{storage}, enqueue", "jobs/s", enqueueing, inserts, floor_is=ONE_INSERT)
                name = f"{storage}, no-op, concurrency {CONCURRENCY}"
                yield bench.compare(name, "jobs/s", run, updates, slices=1, floor_is=ONE_BATCH)
        queue.clear()


def _enqueueing(bench: Bench, queue: Queue) -> Callable[[], float]:
    def one() -> int:
        queue.enqueue(str(uuid.uuid4()), PAYLOAD)
        return 1

    def enqueueing() -> float:
        queue.clear()
        return rate(one, bench.slice_seconds)

    return enqueueing


class Run(ABC):
    """No-op jobs a second of a worker on a queue that is filled before."""

    def __init__(self, bench: Bench, queue: Queue) -> None:
        self._bench = bench
        self._queue = queue
        self._count = FIRST_COUNT

    def __call__(self) -> float:
        """One run."""
        self._queue.clear()
        enqueue(self._queue, PAYLOAD, self._count)
        found = self._rate(self._count)
        self._count = max(FIRST_COUNT, int(found * self._bench.seconds))
        return found

    @abstractmethod
    def _rate(self, count: int) -> float:
        """How many of that many jobs are done in a second."""


class FileRun(Run):
    """In a process that starts when the file is full.

    It cannot be halted in between, as on a server: it might hold the lock of the file.
    """

    def _rate(self, count: int) -> float:
        with WorkerProcesses(self._queue.alias, CONCURRENCY, must_wait=False):
            return done_rate(self._looks(), count)

    def _looks(self) -> Iterator[tuple[float, int]]:
        while True:
            yield time.monotonic(), self._queue.storage.counts().completed
            time.sleep(LOOK_INTERVAL)


class MemoryRun(Run):
    """In this process, where nobody disturbs."""

    def _rate(self, count: int) -> float:
        began = time.perf_counter()
        Worker(self._queue, concurrency=CONCURRENCY, reaper=False).run_until_empty()
        return count / (time.perf_counter() - began)


@contextmanager
def _table() -> Iterator[sqlite3.Connection]:
    """A bare table with as many columns as matter, in a file of its own beside the library's."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-bench-") as folder:
        connection = sqlite3.connect(Path(folder) / "bare.sqlite3", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE jobs (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, state TEXT, message BLOB)")
        yield connection
        connection.close()


def _inserts(bench: Bench, table: sqlite3.Connection) -> Callable[[], float]:
    message = queues["file"].dump(PAYLOAD, "the payload")

    def one() -> int:
        table.execute("BEGIN IMMEDIATE")
        table.execute("INSERT INTO jobs (id, state, message) VALUES (?, 'queued', ?)", (str(uuid.uuid4()), message))
        table.execute("COMMIT")
        return 1

    return lambda: rate(one, bench.slice_seconds)


def _updates(bench: Bench, table: sqlite3.Connection) -> Callable[[], float]:
    (last,) = table.execute("SELECT COALESCE(MAX(seq), 0) FROM jobs").fetchone()
    for seq in range(last + 1, last + 1 + CONCURRENCY):
        table.execute("INSERT INTO jobs (id, state) VALUES (?, 'queued')", (f"job-{seq}",))

    def batch() -> int:
        table.execute("BEGIN IMMEDIATE")
        for state in ("completed", "processing"):
            for seq in range(last + 1, last + 1 + CONCURRENCY):
                table.execute("UPDATE jobs SET state = ? WHERE seq = ?", (state, seq))
        table.execute("COMMIT")
        return CONCURRENCY

    return lambda: rate(batch, bench.seconds)
