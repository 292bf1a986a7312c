"""What a queue should do, as plain Python: the model that the storages are compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django_jobqueue.message import JobMessage, Status

#: Attempts that each job of the model may use.
MAX_ATTEMPTS = 3


@dataclass(eq=False, slots=True)
class Entry:
    """One message: the same bytes are the same entry, wherever they lie.

    Attributes:
        raw: its form on each storage; a retry of a failed job gets its time from the storage.
        holder: the worker that has it.
        started: whether the holder has started it.
        cancelled: whether its job was cancelled meanwhile.
    """

    job_id: str
    payload: Any
    attempts: int = 0
    raw: dict[str, JobMessage] = field(default_factory=dict)
    holder: str | None = None
    started: bool = False
    cancelled: bool = False

    @property
    def is_last(self) -> bool:
        """Whether no attempt is left after this one."""
        return self.attempts + 1 >= MAX_ATTEMPTS

    def following(self) -> Entry:
        """The message of the next attempt."""
        raw = {name: message.with_attempts(self.attempts + 1) for name, message in self.raw.items()}
        return Entry(self.job_id, self.payload, self.attempts + 1, raw)


@dataclass(slots=True)
class Job:
    """One job that is known; ``payload`` is its result or error."""

    entry: Entry
    status: Status
    attempts: int | None = None
    worker_id: str | None = None
    payload: bytes | None = None
    kept: bool = True

    def text(self) -> str:
        """Its state without the time."""
        detail = self.attempts if self.status is Status.FAILING else self.worker_id
        return self.status if detail is None else f"{self.status}:{detail}"


class Model:
    """The whole queue. Its methods are the transitions; each returns what a storage must return."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.queue: list[Entry] = []
        self.soon: list[Entry] = []
        self.late: list[Entry] = []
        self.held: list[Entry] = []

    def text(self, job_id: str) -> str | None:
        """The state of a job without its time."""
        return self.jobs[job_id].text() if job_id in self.jobs else None

    # Producers

    def enqueue(self, entry: Entry, when: str) -> str | None:
        """``when``: now, soon or late; returns the state in the way."""
        if entry.job_id in self.jobs:
            return self.jobs[entry.job_id].status
        {"now": self.queue, "soon": self.soon, "late": self.late}[when].append(entry)
        self.jobs[entry.job_id] = Job(entry, Status.QUEUED if when == "now" else Status.SCHEDULED)
        return None

    def cancel(self, job_id: str) -> str:
        job = self.jobs.get(job_id)
        if job is None:
            return "not_found"
        if job.status.is_terminal or job.status is Status.PROCESSING:
            return job.status
        if job.entry.holder is not None:
            if job.status is Status.FAILING:
                return "processing"  # taken for its next attempt: too late
            job.entry.cancelled = True
        self._take_out(job.entry)
        del self.jobs[job_id]
        return "cancelled"

    def retry_dead(self, job_id: str) -> Entry | None:
        """The fresh message."""
        job = self.jobs.get(job_id)
        if job is None or job.status is not Status.FAILED:
            return None
        entry = Entry(job_id, job.entry.payload)
        self.queue.append(entry)
        self.jobs[job_id] = Job(entry, Status.QUEUED)
        return entry

    def delete(self, job_id: str) -> str:
        job = self.jobs.get(job_id)
        if job is None:
            return "not_found"
        if not job.status.is_terminal:
            return job.status
        del self.jobs[job_id]
        return "deleted"

    def update_ttl(self, job_id: str, short: bool) -> str:
        job = self.jobs.get(job_id)
        if job is None:
            return "not_found"
        if not job.status.is_terminal:
            return "not_terminal"
        if short:
            del self.jobs[job_id]
        return "updated"

    # Workers

    def take(self, worker_id: str) -> Entry | None:
        if not self.queue:
            return None
        entry = self.queue.pop(0)
        entry.holder, entry.started = worker_id, False
        self.held.append(entry)
        return entry

    def start(self, worker_id: str, entry: Entry) -> str:
        if entry.holder != worker_id:
            return "lost"
        if entry.cancelled:
            self._let_go(entry)
            return "dropped"
        entry.started = True
        self.jobs[entry.job_id] = Job(entry, Status.PROCESSING, worker_id=worker_id)
        return "started"

    def finish(self, worker_id: str, entry: Entry, status: Status, payload: bytes, short: bool) -> bool:
        if entry.holder != worker_id:
            return False
        self._end(entry, status, payload, short)
        return True

    def retry(self, worker_id: str, entry: Entry, following: Entry, when: str) -> bool:
        if entry.holder != worker_id:
            return False
        self._let_go(entry)
        if when == "now":
            self.queue.insert(0, following)
        else:
            {"soon": self.soon, "late": self.late}[when].append(following)
        self.jobs[entry.job_id] = Job(following, Status.FAILING, attempts=following.attempts)
        return True

    def release(self, worker_id: str, entry: Entry) -> bool:
        if entry.holder != worker_id:
            return False
        self._let_go(entry)
        if not entry.cancelled:
            self._back(entry)
        return True

    # The reaper

    def settle(self, entry: Entry) -> Entry | None:
        """The worker of a held message is dead; returns the message that runs again."""
        self._let_go(entry)
        if entry.cancelled:
            return None
        if not entry.started:
            self.queue.insert(0, entry)
            return entry
        if entry.is_last:
            self.jobs[entry.job_id] = Job(entry, Status.FAILED, payload=b'"stalled"')
            return None
        following = entry.following()
        self.queue.insert(0, following)
        self.jobs[entry.job_id] = Job(following, Status.FAILING, attempts=following.attempts)
        return following

    def promote(self) -> int:
        due, self.soon = self.soon, []
        for entry in due:
            if self.jobs[entry.job_id].status is Status.SCHEDULED:
                self.queue.append(entry)
                self.jobs[entry.job_id] = Job(entry, Status.QUEUED)
            else:
                self.queue.insert(0, entry)
        return len(due)

    # Inside

    def _take_out(self, entry: Entry) -> None:
        for place in (self.queue, self.soon, self.late):
            if entry in place:
                place.remove(entry)

    def _let_go(self, entry: Entry) -> None:
        self.held.remove(entry)
        entry.holder = None

    def _end(self, entry: Entry, status: Status, payload: bytes, short: bool) -> None:
        self._let_go(entry)
        if short:
            del self.jobs[entry.job_id]
        else:
            self.jobs[entry.job_id] = Job(entry, status, payload=payload)

    def _back(self, entry: Entry) -> None:
        self.queue.insert(0, entry)
        if entry.started:
            failing = entry.attempts > 0
            self.jobs[entry.job_id] = Job(
                entry, Status.FAILING if failing else Status.QUEUED, attempts=entry.attempts if failing else None
            )
