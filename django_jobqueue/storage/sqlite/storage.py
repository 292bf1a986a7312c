"""The ``Storage`` in SQL: every transition is one transaction."""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from ...conf import QueueConfig
from ...listing import JobPage, Part
from ...message import JobMessage, JobState
from ..base import (
    Accepted,
    Claim,
    Counts,
    Details,
    Fail,
    Heartbeat,
    Listening,
    NewJob,
    Outcome,
    Record,
    Storage,
    Suspect,
    Verdict,
    WorkerRecord,
)
from . import pages, transitions
from .database import Database
from .feed import Feed, Listener
from .rows import Place, Rows

#: Jobs in one transaction, so that others get their turn between.
BATCH = 500

#: The event, of no job, with which a leader says that it gave up the lock.
LOCK_RELEASED = "released"

#: What waiters of a job are told of, by the event.
_NOTIFICATIONS = {
    "completed": "completed",
    "failed": "failed",
    "failing": "failing",
    "stalled": "failing",
    "cancelled": "cancelled",
}

#: Events after which there may be something to take.
_ARRIVALS = frozenset({"queued", "failing", "stalled"})

_JOB_EVENTS = frozenset({*_NOTIFICATIONS, "queued", "processing"})

_storages: weakref.WeakSet[SQLiteStorage] = weakref.WeakSet()


class SQLiteStorage(Storage):
    """Jobs in an SQLite database. Subclasses say in which."""

    def __init__(self, config: QueueConfig) -> None:
        super().__init__(config)
        self._visibility_ms = int(config.visibility_timeout * 1000)
        self._reset()
        _storages.add(self)

    @abstractmethod
    def _connect(self) -> Database:
        """The database; called again in a forked child."""

    def _reset(self) -> None:
        self._database = self._connect()
        self._feed = Feed(self._database, self.config.key_prefix)
        self._lock = threading.Lock()
        # One bell a waiting thread; true: there may be a job, false: wait no longer. Guarded by _lock.
        self._bells: set[queue.SimpleQueue[bool]] = set()

    @contextmanager
    def _reading(self, what: str) -> Iterator[Rows]:
        with self._database.reading(what) as connection:
            yield Rows(connection, self.config.key_prefix)

    @contextmanager
    def _writing(self, what: str) -> Iterator[Rows]:
        with self._database.writing(what) as connection:
            yield Rows(connection, self.config.key_prefix)

    # Producers

    def enqueue(self, jobs: Sequence[NewJob]) -> list[Accepted]:
        accepted: list[Accepted] = []
        for start in range(0, len(jobs), BATCH):
            with self._writing("enqueueing") as rows:
                accepted += [transitions.enqueue(rows, job) for job in jobs[start : start + BATCH]]
        return accepted

    def cancel(self, job_id: str) -> str:
        with self._writing(f"cancelling job {job_id!r}") as rows:
            return transitions.cancel(rows, job_id)

    def retry_dead(self, job_id: str) -> bool:
        with self._writing(f"retrying job {job_id!r}") as rows:
            return transitions.retry_dead(rows, job_id)

    def update_ttl(self, job_id: str, ttl_ms: int) -> str:
        with self._writing(f"updating the TTL of job {job_id!r}") as rows:
            found = rows.job(job_id, ", payload IS NOT NULL")
            if found is None:
                return "not_found"
            row, (has_payload,) = found
            if not row.is_finished:
                return "not_terminal"
            if not has_payload:
                return "missing_payload"
            rows.change(row, rank=rows.now + ttl_ms)
            return "updated"

    def delete(self, job_id: str) -> str:
        with self._writing(f"deleting job {job_id!r}") as rows:
            found = rows.job(job_id)
            if found is None:
                return "not_found"
            row, _ = found
            if not row.is_finished:
                return str(row.status)
            rows.remove([row])
            return "deleted"

    # Observers

    def page(self, part: Part, offset: int, limit: int) -> JobPage:
        with self._reading(f"listing {part} jobs") as rows:
            return pages.page(rows, part, offset, limit)

    def details(self, job_id: str, worker_id: str | None) -> Details:
        with self._reading(f"reading job {job_id!r}") as rows:
            return pages.details(rows, job_id)

    def oldest_queued(self) -> int | None:
        with self._reading("looking for the oldest job") as rows:
            return pages.oldest_queued(rows)

    def lookup(self, job_ids: Sequence[str]) -> list[Record | None]:
        with self._reading("looking up jobs") as rows:
            return [transitions.record(rows, job_id) for job_id in job_ids]

    def states(self, job_ids: Sequence[str]) -> list[JobState | None]:
        with self._reading("reading job states") as rows:
            found = [rows.job(job_id) for job_id in job_ids]
        return [None if one is None else transitions.state_of(one[0]) for one in found]

    def counts(self) -> Counts:
        with self._reading("reading the counts") as rows:
            sizes = rows.sizes()
            ((malformed,),) = rows.query("SELECT COUNT(*) FROM malformed WHERE queue = ?")
            leader = rows.query("SELECT owner FROM locks WHERE queue = ? AND expires_at > ?", rows.now)
        return Counts(
            queued=sizes.get(Place.QUEUE, 0),
            scheduled=sizes.get(Place.SCHEDULED, 0),
            completed=sizes.get(Place.COMPLETED, 0),
            failed=sizes.get(Place.FAILED, 0),
            malformed=malformed,
            leader=leader[0][0] if leader else None,
        )

    def workers(self) -> list[WorkerRecord]:
        with self._reading("reading the workers") as rows:
            listed = rows.query("SELECT id, heartbeat, info FROM workers WHERE queue = ? ORDER BY id")
            holding = dict(
                rows.query("SELECT worker, COUNT(*) FROM jobs WHERE queue = ? AND worker IS NOT NULL GROUP BY worker")
            )
        return [
            WorkerRecord(Heartbeat(worker_id, at, rows.now - at), holding.get(worker_id, 0), bytes(info))
            for worker_id, at, info in listed
        ]

    def listen_job(self, job_id: str, on_event: Callable[[str], None], resynced: Callable[[], None]) -> Listening:
        def on_job_event(_: str, event: str) -> None:
            on_event(_NOTIFICATIONS[event])

        end = self._feed.listen(Listener(on_job_event, frozenset(_NOTIFICATIONS), job_id, resynced))
        return Listening(lambda: True, end)

    def listen_events(self, on_event: Callable[[str, str], None]) -> Callable[[], None]:
        return self._feed.listen(Listener(on_event, _JOB_EVENTS))

    def listen_schedule(self, on_first: Callable[[], None]) -> Callable[[], None]:
        return self._feed.listen(Listener(lambda *_: on_first(), frozenset({transitions.FIRST}), on_gap=on_first))

    def listen_lock(self, on_release: Callable[[], None]) -> Callable[[], None]:
        return self._feed.listen(Listener(lambda *_: on_release(), frozenset({LOCK_RELEASED}), on_gap=on_release))

    # Workers

    def claim(self, worker_id: str, limit: int) -> Claim:
        return self.commit(worker_id, (), limit)[1]

    def wait_and_take(self, worker_id: str, timeout: float) -> bytes | None:
        deadline = time.monotonic() + timeout
        bell: queue.SimpleQueue[bool] = queue.SimpleQueue()
        with self._lock:
            self._bells.add(bell)
        end = None
        try:
            end = self._feed.listen(Listener(lambda *_: bell.put(True), _ARRIVALS, on_gap=lambda: bell.put(True)))
            while (raw := self._take(worker_id)) is None:
                if not bell.get(timeout=max(0.0, deadline - time.monotonic())):
                    return None
            return raw
        except queue.Empty:
            return None
        finally:
            if end is not None:
                end()
            with self._lock:
                self._bells.discard(bell)

    def wake(self) -> None:
        with self._lock:
            for bell in self._bells:
                bell.put(False)

    def _take(self, worker_id: str) -> bytes | None:
        # Many may wake for one job; only who sees one asks for the right to write.
        with self._reading("looking for a job") as rows:
            if not rows.first(Place.QUEUE, 1):
                return None
        with self._writing("taking a job") as rows:
            for row in rows.first(Place.QUEUE, 1):
                rows.change(row, place=Place.HELD, rank=rows.now, worker=worker_id)
                return rows.message(row)
            return None

    def start(self, worker_id: str, message: JobMessage) -> tuple[Verdict, int]:
        with self._writing(f"starting job {message.id!r}") as rows:
            held = rows.held(worker_id, message.id, message.raw)
            if not held:
                return Verdict.LOST, rows.backlog
            if held[0].state is None:
                rows.remove(held[:1])
                return Verdict.DROPPED, rows.backlog
            transitions.start(rows, held[0], worker_id)
            return Verdict.STARTED, rows.backlog

    def commit(
        self, worker_id: str, outcomes: Sequence[Outcome], limit: int = 0, ahead: int = 0
    ) -> tuple[list[bool], Claim]:
        with self._writing("committing jobs and claiming the next") as rows:
            applied = [transitions.apply(rows, worker_id, outcome) for outcome in outcomes]
            claimed = rows.first(Place.QUEUE, limit) if limit else []
            for row in claimed:
                transitions.start(rows, row, worker_id)
            return applied, Claim([rows.message(row) for row in claimed], [], rows.backlog if limit else 0)

    def held_ready(self, worker_id: str) -> set[str]:
        return set()

    def begin(self, worker_id: str, job_id: str) -> None:
        """Nothing: a claim gives no jobs to be held ready, as there is no round trip to hide."""

    def renew(
        self, worker_id: str, info: bytes, begun: Sequence[JobMessage], ready: Sequence[JobMessage] = ()
    ) -> set[bytes]:
        with self._writing("renewing leases") as rows:
            rows.write("INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?)", worker_id, rows.now, info)
            return {one.raw for one in (*begun, *ready) if not transitions.renew(rows, worker_id, one)}

    def held(self, worker_id: str) -> list[bytes]:
        with self._reading("reading what a worker holds") as rows:
            found = rows.query(
                "SELECT message FROM jobs WHERE queue = ? AND worker = ? ORDER BY rank, seq", worker_id
            )
        return [bytes(raw) for (raw,) in found]

    def quarantine(self, worker_id: str, raw: bytes, error: bytes) -> None:
        with self._writing("quarantining a message") as rows:
            row = rows.held_by(worker_id, raw)
            if row is not None:
                transitions.quarantine(rows, row, raw, error, int(self.config.result_ttl * 1000))

    def unregister(self, worker_id: str, heartbeat_ms: int | None = None) -> bool:
        with self._writing(f"unregistering worker {worker_id!r}") as rows:
            if rows.query("SELECT 1 FROM jobs WHERE queue = ? AND worker = ? LIMIT 1", worker_id):
                return False
            beat = rows.query("SELECT heartbeat FROM workers WHERE queue = ? AND id = ?", worker_id)
            if heartbeat_ms is not None and beat != [(heartbeat_ms,)]:
                return False
            rows.write("DELETE FROM workers WHERE queue = ? AND id = ?", worker_id)
            return True

    def set_progress(self, job_id: str, progress: bytes | None) -> None:
        with self._writing(f"reporting progress of job {job_id!r}") as rows:
            found = rows.job(job_id)
            if found is not None:
                rows.change(found[0], progress=progress)

    # Reaper

    def heartbeats(self) -> list[Heartbeat]:
        with self._reading("reading the heartbeats") as rows:
            listed = rows.query("SELECT id, heartbeat FROM workers WHERE queue = ? ORDER BY id")
        return [Heartbeat(worker_id, at, rows.now - at) for worker_id, at in listed]

    def suspects(self, worker_ids: Iterable[str]) -> list[Suspect]:
        with self._reading("looking for abandoned jobs") as rows:
            oldest = rows.now - self._visibility_ms
            return [suspect for worker_id in worker_ids for suspect in transitions.suspects(rows, worker_id, oldest)]

    def recover(self, suspect: Suspect, message: JobMessage, following: JobMessage) -> bool:
        with self._writing(f"recovering job {message.id!r}") as rows:
            return transitions.recover(rows, suspect, message, following)

    def discard(self, suspect: Suspect, message: JobMessage) -> bool:
        with self._writing(f"discarding a message of job {message.id!r}") as rows:
            held = rows.held(suspect.worker_id, message.id, suspect.raw)
            if not held or held[0].state is not None:
                return False
            rows.remove(held[:1])
            return True

    def fail_stalled(self, suspect: Suspect, outcome: Fail) -> bool:
        (applied,), _ = self.commit(suspect.worker_id, [outcome])
        return applied

    def promote(self, limit: int) -> tuple[int, float | None]:
        moved = 0
        if self._is_due(Place.SCHEDULED):
            with self._writing("promoting due jobs") as rows:
                due = rows.first(Place.SCHEDULED, limit, until=rows.now)
                for row in due:
                    transitions.promote(rows, row)
                moved = len(due)
        with self._reading("reading the schedule") as rows:
            following = rows.first(Place.SCHEDULED, 1)
        return moved, max(0, following[0].rank - rows.now) / 1000 if following else None

    def expire(self, limit: int) -> int:
        if not (self._is_due(Place.COMPLETED) or self._is_due(Place.FAILED)):
            return 0
        with self._writing("expiring finished jobs") as rows:
            due = [rows.first(place, limit, until=rows.now) for place in (Place.COMPLETED, Place.FAILED)]
            for part in due:
                rows.remove(part)
            return max(map(len, due))

    def _is_due(self, place: Place) -> bool:
        # The reaper asks about once a second: it must not disturb the writers each time.
        with self._reading("looking for what is due") as rows:
            return bool(rows.first(place, 1, until=rows.now))

    def sweep(self) -> None:
        """Nothing: no other library writes here."""

    def vanished_workers(self, known: Collection[str]) -> set[str]:
        with self._reading("looking for lost messages") as rows:
            found = rows.query("SELECT DISTINCT worker FROM jobs WHERE queue = ? AND worker IS NOT NULL")
        return {worker_id for (worker_id,) in found}.difference(known)

    def acquire_lock(self, owner: str, ttl: float) -> bool:
        with self._writing("acquiring the leader lock") as rows:
            return (
                rows.write(
                    "INSERT INTO locks VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET owner = excluded.owner, "
                    "expires_at = excluded.expires_at WHERE owner = excluded.owner OR expires_at <= ?",
                    owner,
                    rows.now + int(ttl * 1000),
                    rows.now,
                )
                == 1
            )

    def renew_lock(self, owner: str, ttl: float) -> bool:
        with self._writing("renewing the leader lock") as rows:
            condition = "queue = ?1 AND owner = ?2 AND expires_at > ?3"
            return (
                rows.write(
                    f"UPDATE locks SET expires_at = ?4 WHERE {condition}", owner, rows.now, rows.now + int(ttl * 1000)
                )
                == 1
            )

    def release_lock(self, owner: str) -> bool:
        with self._writing("releasing the leader lock") as rows:
            if not rows.write("DELETE FROM locks WHERE queue = ? AND owner = ?", owner):
                return False
            rows.publish("", LOCK_RELEASED)
            return True

    # Life cycle

    def clear(self) -> int:
        removed = 0
        while part := self._clear_part():
            removed += part
        return removed

    def _clear_part(self) -> int:
        with self._writing("clearing the queue") as rows:
            jobs = "DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs WHERE queue = ? LIMIT ?)"
            removed = rows.write(jobs, 10 * BATCH)
            if not removed:
                tables = ("workers", "locks", "malformed", "sizes")
                removed = sum(rows.write(f"DELETE FROM {table} WHERE queue = ?") for table in tables)
            return removed

    def close(self) -> None:
        self._feed.close()
        self._database.close()


def _reset_after_fork() -> None:
    for storage in list(_storages):
        storage._reset()


os.register_at_fork(after_in_child=_reset_after_fork)
