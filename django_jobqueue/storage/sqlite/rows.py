"""The rows of one queue within one transaction: the words in which the transitions are written."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ...message import JobState, Status


class Place(StrEnum):
    """Where a job is; see the ``jobs`` table."""

    QUEUE = "queue"
    SCHEDULED = "scheduled"
    HELD = "held"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of ``jobs``, without its large columns. Named like them; see there."""

    seq: int
    id: str
    place: Place
    rank: int
    state: str | None

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended, so that its rank is its expiry."""
        return self.place in (Place.COMPLETED, Place.FAILED)

    @property
    def status(self) -> Status | None:
        """The first word of its state; ``None`` for a cancelled message."""
        return None if self.state is None else JobState.read(self.state).status


_ROW = "seq, id, place, rank, state"


class Rows:
    """One queue's rows, in one transaction, at one time by the clock of this machine."""

    def __init__(self, connection: sqlite3.Connection, queue: str) -> None:
        self._execute = connection.execute
        self._queue = queue
        self.now = int(time.time() * 1000)

    # Looking

    def job(self, job_id: str, columns: str = "") -> tuple[Row, tuple[Any, ...]] | None:
        """The job of an id, and further columns of it; ``None`` also when its TTL is over."""
        found = self._execute(
            f"SELECT {_ROW}{columns} FROM jobs WHERE queue = ? AND id = ? AND state IS NOT NULL",
            (self._queue, job_id),
        ).fetchone()
        if found is None:
            return None
        row = _row(found)
        return None if row.is_finished and row.rank <= self.now else (row, found[5:])

    def held(self, worker_id: str, job_id: str, message: bytes) -> list[Row]:
        """The messages of exactly these bytes in a worker's hands: none when its lease is lost.

        Hardly ever two: one that was cancelled, and comes first, and one that was enqueued anew
        within the same millisecond.
        """
        return self._rows("worker = ? AND id = ? AND message = ? ORDER BY state", worker_id, job_id, message)

    def held_by(self, worker_id: str, message: bytes) -> Row | None:
        """The same for a message whose id is not known."""
        found = self._rows("worker = ? AND message = ? ORDER BY state DESC LIMIT 1", worker_id, message)
        return found[0] if found else None

    def first(self, place: Place, limit: int, until: int | None = None) -> list[Row]:
        """The jobs of a place in the order of their rank, perhaps only those up to a rank."""
        if until is None:
            return self._rows("place = ? ORDER BY rank LIMIT ?", place, limit)
        return self._rows("place = ? AND rank <= ? ORDER BY rank LIMIT ?", place, until, limit)

    def message(self, row: Row) -> bytes:
        """The message of a job that has one."""
        (message,) = self._execute("SELECT message FROM jobs WHERE seq = ?", (row.seq,)).fetchone()
        return bytes(message)

    def sizes(self) -> dict[str, int]:
        """How many jobs are in each place."""
        return dict(self._execute("SELECT place, jobs FROM sizes WHERE queue = ?", (self._queue,)))

    @property
    def backlog(self) -> int:
        """How many jobs are queued."""
        return self.sizes().get(Place.QUEUE, 0)

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query whose first parameter is the queue."""
        return self._execute(sql, (self._queue, *parameters)).fetchall()

    def _rows(self, condition: str, *parameters: object) -> list[Row]:
        return [
            _row(one) for one in self.query(f"SELECT {_ROW} FROM jobs WHERE queue = ? AND {condition}", *parameters)
        ]

    # Changing

    def add(self, job_id: str, place: Place, rank: int, state: str, message: bytes) -> None:
        """A new job. One of this id whose TTL is over makes room."""
        self._execute(
            "DELETE FROM jobs WHERE queue = ? AND id = ? AND state IS NOT NULL AND rank <= ? AND place IN (?, ?)",
            (self._queue, job_id, self.now, Place.COMPLETED, Place.FAILED),
        )
        self._execute(
            "INSERT INTO jobs (queue, id, place, rank, state, message) VALUES (?, ?, ?, ?, ?, ?)",
            (self._queue, job_id, place, rank, state, message),
        )

    def change(self, row: Row, **columns: object) -> None:
        """Set columns of a job."""
        names = ", ".join(f"{name} = ?" for name in columns)
        self._execute(f"UPDATE jobs SET {names} WHERE seq = ?", (*columns.values(), row.seq))

    def remove(self, rows: Iterable[Row]) -> None:
        """Forget jobs with all they left."""
        for row in rows:
            self._execute("DELETE FROM jobs WHERE seq = ?", (row.seq,))

    def write(self, sql: str, *parameters: object) -> int:
        """Execute a statement whose first parameter is the queue; how many rows it changed."""
        return self._execute(sql, (self._queue, *parameters)).rowcount

    def publish(self, job_id: str, event: str) -> None:
        """Tell the listeners, once this transaction is committed."""
        self.write("INSERT INTO events (queue, job, event) VALUES (?, ?, ?)", job_id, event)

    @property
    def head(self) -> int:
        """The rank in front of all queued jobs."""
        return self._end("MIN") - 1

    @property
    def tail(self) -> int:
        """The rank behind all queued jobs."""
        return self._end("MAX") + 1

    def _end(self, which: str) -> int:
        ((rank,),) = self.query(f"SELECT {which}(rank) FROM jobs WHERE queue = ? AND place = ?", Place.QUEUE)
        return int(rank or 0)


def _row(found: tuple[Any, ...]) -> Row:
    seq, job_id, place, rank, state = found[:5]
    return Row(seq, job_id, Place(place), rank, state)
