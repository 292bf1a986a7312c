"""The storage contract: one method a transition, each atomic, and the data they speak of.

Policy (attempts, back-off, TTLs) is decided by the caller; a storage only moves jobs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ..conf import QueueConfig
from ..listing import JobPage, Part
from ..message import JobMessage, JobState


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to enqueue; with a delay it is scheduled."""

    message: JobMessage
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a ``NewJob``.

    Attributes:
        standing: the state of the job that already has the id; ``None`` when the new one was taken.
    """

    standing: JobState | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Messages taken from the head of the queue.

    Attributes:
        messages: raw messages, already marked as started.
        unread: raw messages that were only taken, since the storage could not read them: the caller
            starts or quarantines them.
        backlog: how many messages were left in the queue at that moment.
        ready: raw messages to be held ready; they count as started when ``begin`` is called for them.
    """

    messages: list[bytes] = field(default_factory=list)
    unread: list[bytes] = field(default_factory=list)
    backlog: int = 0
    ready: list[bytes] = field(default_factory=list)


class Verdict(StrEnum):
    """What ``start`` found."""

    STARTED = "started"
    #: The job was cancelled or is over; the message is gone.
    DROPPED = "dropped"
    #: Another took the message back; nothing changed.
    LOST = "lost"


# ``resent`` says that the reply to an earlier commit of the same outcome was lost. Only then does
# finding it done mean that it was we who did it, and not the worker that took the job over.


@dataclass(frozen=True, slots=True)
class Complete:
    """The job ended well."""

    message: JobMessage
    result: bytes
    ttl_ms: int
    resent: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """The job failed for good.

    Attributes:
        error: JSON with message, code, stack, type.
        expected: the state it must still have; set by the reaper, which holds no lease.
    """

    message: JobMessage
    error: bytes
    ttl_ms: int
    expected: str = ""
    resent: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt failed; ``following`` is the message of the next one."""

    message: JobMessage
    following: JobMessage
    delay_ms: int
    resent: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """The job goes back to the head, as if it had never been taken."""

    message: JobMessage
    resent: bool = False


Outcome = Complete | Fail | Retry | Release


class SuspectKind(StrEnum):
    """Why a held message looks abandoned."""

    #: Started, and its lease ran out.
    STALLED = "stalled"
    #: Held ready or taken but not begun, by a worker whose lease ran out or whose heartbeat is overdue.
    UNSTARTED = "unstarted"
    #: Its job is over or was cancelled.
    OUTDATED = "outdated"
    #: The storage could not read it; perhaps nobody can.
    UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A message that a worker holds without being seen to work on it."""

    worker_id: str
    kind: SuspectKind
    raw: bytes
    state: str


@dataclass(frozen=True, slots=True)
class Record:
    """What is known about one job, in one consistent view.

    Attributes:
        payload: the result of a completed job or the error of a failed one, without envelope.
        message: the kept message of a failed job.
        progress: the JSON of its last ``progress()`` call.
    """

    state: JobState
    payload: bytes | None = None
    message: bytes | None = None
    progress: bytes | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """What is kept of one job besides its record.

    Attributes:
        message: its message; ``None`` when there is none any more or it was not found.
        due_ms: when a delayed job may start.
        expires_ms: when a finished job is forgotten.
    """

    message: bytes | None = None
    due_ms: int | None = None
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A worker's last sign of life: when, and how long ago by the server's clock."""

    worker_id: str
    at_ms: int
    age_ms: int


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A registered worker, as shown to people.

    Attributes:
        heartbeat: its last sign of life.
        processing: messages it holds.
        info: its JSON description; empty for a worker of the Node library.
    """

    heartbeat: Heartbeat
    processing: int
    info: bytes = b""


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of a queue's parts; each is read in constant time."""

    queued: int
    scheduled: int
    completed: int
    failed: int
    malformed: int
    leader: str | None


@dataclass(frozen=True, slots=True)
class Listening:
    """A subscription to the notifications of a job.

    Attributes:
        stands: whether it stands by now: no notification from now on is missed.
        end: ends it; may be called more than once.
    """

    stands: Callable[[], bool]
    end: Callable[[], None]


class Storage(ABC):
    """Where a queue's jobs live.

    Every method is atomic and may be called again after a ``StorageError``: the second call
    reports what the first one did. Only what takes messages (``claim``, ``commit`` with a limit,
    ``wait_and_take``) may have taken some that the caller does not know; ``held`` tells.

    All raise ``StorageError`` when the server cannot be reached and ``StorageFullError`` when it has
    no memory left.
    """

    #: Whether a claim gives jobs to be held ready; where there is no round trip to hide it need not.
    gives_ready = False

    def __init__(self, config: QueueConfig) -> None:
        self.config = config

    # Producers

    @abstractmethod
    def enqueue(self, jobs: Sequence[NewJob]) -> list[Accepted]:
        """Put new jobs at the tail, or aside when delayed, unless their id is taken."""

    @abstractmethod
    def cancel(self, job_id: str) -> str:
        """Cancel a job that has not started.

        Returns:
            ``cancelled``, ``not_found``, ``processing``, ``completed`` or ``failed``.
        """

    @abstractmethod
    def retry_dead(self, job_id: str) -> bool:
        """Give a failed job a fresh start from its kept message; whether there was one."""

    @abstractmethod
    def update_ttl(self, job_id: str, ttl_ms: int) -> str:
        """Move the time at which a finished job is forgotten.

        Returns:
            ``updated``, ``not_found``, ``not_terminal`` or ``missing_payload``.
        """

    @abstractmethod
    def delete(self, job_id: str) -> str:
        """Forget a finished job, with all that is kept of it.

        Returns:
            ``deleted``, ``not_found``, or ``queued``, ``scheduled``, ``failing`` or ``processing``
            when it is not finished; then nothing changed.
        """

    # Observers

    @abstractmethod
    def lookup(self, job_ids: Sequence[str]) -> list[Record | None]:
        """What is known about jobs; ``None`` for an unknown one."""

    @abstractmethod
    def states(self, job_ids: Sequence[str]) -> list[JobState | None]:
        """The states alone, in one round trip."""

    @abstractmethod
    def page(self, part: Part, offset: int, limit: int) -> JobPage:
        """Up to ``limit`` jobs of a part; the cost does not grow with the number of jobs.

        Finished jobs whose TTL is over may still be listed until they are forgotten, and cancelled
        messages until a worker meets them: ``states`` tells.
        """

    @abstractmethod
    def details(self, job_id: str, worker_id: str | None) -> Details:
        """What is kept of one job; in a long queue its message is looked for near both ends only.

        Args:
            job_id: the job.
            worker_id: who runs it, by its state; ``None`` when nobody does.
        """

    @abstractmethod
    def counts(self) -> Counts:
        """Sizes of the queue's parts."""

    @abstractmethod
    def oldest_queued(self) -> int | None:
        """How long ago the job at the head of the queue was enqueued, in ms by the server's clock.

        A retried or delayed job counts from when it was first enqueued. ``None`` when nothing is
        queued, or when the message at the head cannot be read.
        """

    @abstractmethod
    def workers(self) -> list[WorkerRecord]:
        """The registered workers."""

    @abstractmethod
    def listen_job(self, job_id: str, on_event: Callable[[str], None], resynced: Callable[[], None]) -> Listening:
        """Call back on each notification of a job.

        Returns when the subscription stands, or, over a link that has been found to work, when it is sent.

        Args:
            job_id: the job.
            on_event: gets ``completed``, ``failed``, ``failing`` or ``cancelled``.
            resynced: called after the subscription was lost and restored; events may be missing.
        """

    @abstractmethod
    def listen_events(self, on_event: Callable[[str, str], None]) -> Callable[[], None]:
        """Call back with (id, event) on each event of the queue; returns a callable that ends it."""

    # Workers

    @abstractmethod
    def claim(self, worker_id: str, limit: int) -> Claim:
        """Take up to ``limit`` jobs and mark them started."""

    @abstractmethod
    def wait_and_take(self, worker_id: str, timeout: float) -> bytes | None:
        """Wait up to ``timeout`` seconds for a message and take it, not yet started.

        Returns ``None`` at the end of the time or after ``wake``.
        """

    def wait_and_claim(self, worker_id: str, timeout: float) -> Claim:
        """As ``wait_and_take``, and start the message or hold it ready on the way where that saves a round trip.

        Returns:
            A message that is only taken is ``unread``; without it, the backlog is not known either.
        """
        raw = self.wait_and_take(worker_id, timeout)
        return Claim() if raw is None else Claim(unread=[raw])

    @abstractmethod
    def wake(self) -> None:
        """End a ``wait_and_take`` of this process early."""

    @abstractmethod
    def start(self, worker_id: str, message: JobMessage) -> tuple[Verdict, int]:
        """Mark a taken message as started; also returns the backlog."""

    @abstractmethod
    def commit(
        self, worker_id: str, outcomes: Sequence[Outcome], limit: int = 0, ahead: int = 0
    ) -> tuple[list[bool], Claim]:
        """Store how jobs ended and claim the next ones, in one round trip.

        Args:
            worker_id: the holder.
            outcomes: how jobs ended.
            limit: most jobs to claim and mark as started.
            ahead: most jobs to claim beyond those and hold ready, where the storage ``gives_ready``.

        Returns:
            For each outcome whether it counted (false: the lease was lost), and the claim.
        """

    def begin_commit(
        self, worker_id: str, outcomes: Sequence[Outcome], limit: int = 0, ahead: int = 0
    ) -> Callable[[], tuple[list[bool], Claim]]:
        """As ``commit``, but return when it is sent, where there is a way to go.

        Returns:
            What waits for the answer, and returns or raises what ``commit`` does. It must be called once, by any
            thread.
        """
        answer = self.commit(worker_id, outcomes, limit, ahead)
        return lambda: answer

    @abstractmethod
    def held_ready(self, worker_id: str) -> set[str]:
        """The ids of the jobs that a worker holds ready and has not begun."""

    @abstractmethod
    def begin(self, worker_id: str, job_id: str) -> None:
        """Say that a job which was held ready is about to run. Does not wait for an answer, and never raises."""

    @abstractmethod
    def renew(
        self, worker_id: str, info: bytes, begun: Sequence[JobMessage], ready: Sequence[JobMessage] = ()
    ) -> set[bytes]:
        """Heartbeat of a worker and renewal of its leases, of jobs that have begun and of those held ready.

        A lease lasts one visibility timeout from the last renewal, by the server's clock.

        Returns:
            The raw messages whose lease is lost.
        """

    @abstractmethod
    def held(self, worker_id: str) -> list[bytes]:
        """The messages in a worker's processing list."""

    @abstractmethod
    def quarantine(self, worker_id: str, raw: bytes, error: bytes) -> None:
        """Move an unreadable message out of the way; its job, where that can be told, fails with ``error``."""

    @abstractmethod
    def unregister(self, worker_id: str, heartbeat_ms: int | None = None) -> bool:
        """Take a worker that holds nothing off the list; with a heartbeat, only if it is still that."""

    @abstractmethod
    def set_progress(self, job_id: str, progress: bytes | None) -> None:
        """Keep a job's progress report; ``None`` removes it."""

    # Reaper

    @abstractmethod
    def heartbeats(self) -> list[Heartbeat]:
        """The last sign of life of each registered worker."""

    @abstractmethod
    def suspects(self, worker_ids: Iterable[str]) -> list[Suspect]:
        """Messages that these workers hold without being seen to work on them."""

    @abstractmethod
    def recover(self, suspect: Suspect, message: JobMessage, following: JobMessage) -> bool:
        """Put a suspect's job back at the head as ``following``; false when its worker moved on."""

    @abstractmethod
    def discard(self, suspect: Suspect, message: JobMessage) -> bool:
        """Drop an outdated message; false when its job's state has changed."""

    @abstractmethod
    def fail_stalled(self, suspect: Suspect, outcome: Fail) -> bool:
        """Fail a stalled job that has no attempts left; false when its worker moved on."""

    @abstractmethod
    def promote(self, limit: int) -> tuple[int, float | None]:
        """Queue the jobs whose time has come.

        Returns:
            How many, and the seconds until the next is due (``None``: nothing waits).
        """

    @abstractmethod
    def listen_schedule(self, on_first: Callable[[], None]) -> Callable[[], None]:
        """Call back when a job is due sooner than all others that wait, and when such news may have been missed;
        returns at once a callable that ends it."""

    @property
    def is_shared(self) -> bool:
        """Whether another library was seen whose TTLs ``promote`` must take off, about once a second."""
        return False

    @abstractmethod
    def expire(self, limit: int) -> int:
        """Forget finished jobs whose TTL is over; fewer than the limit looked at means that none is left."""

    @abstractmethod
    def sweep(self) -> None:
        """Do one small step of the walk that tidies what other libraries left behind."""

    @abstractmethod
    def vanished_workers(self, known: Collection[str]) -> set[str]:
        """One step of a search for processing lists whose worker is not registered."""

    @abstractmethod
    def acquire_lock(self, owner: str, ttl: float) -> bool:
        """Take the leader lock for ``ttl`` seconds if it is free, or keep it if it is ours."""

    @abstractmethod
    def renew_lock(self, owner: str, ttl: float) -> bool:
        """Keep the leader lock for ``ttl`` more seconds; false when it is no longer ours."""

    @abstractmethod
    def release_lock(self, owner: str) -> bool:
        """Give the leader lock up and tell those who wait for it."""

    @abstractmethod
    def listen_lock(self, on_release: Callable[[], None]) -> Callable[[], None]:
        """Call back when a leader gives up the lock; returns at once a callable that ends it."""

    # Life cycle

    @abstractmethod
    def clear(self) -> int:
        """Remove everything of this queue; how many keys or rows were removed."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections; they open again when needed."""
