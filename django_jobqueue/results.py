"""What a ``Queue`` answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .message import Status


@dataclass(frozen=True, slots=True)
class EnqueueResult:
    """What became of an enqueue.

    Attributes:
        id: the job's id.
        status: ``queued``; ``scheduled`` (it has a delay); ``deferred`` (it will be enqueued when
            the transaction commits); ``completed`` (this id has a result already); ``duplicate``
            (this id is taken, nothing changed).
        existing_state: for ``duplicate`` and ``completed``, the state of the job that has the id.
        result: for ``completed``, its result.
    """

    id: str
    status: Literal["queued", "scheduled", "duplicate", "completed", "deferred"]
    existing_state: Status | None = None
    result: Any = None


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What is known about a job.

    Attributes:
        id: the job's id.
        state: its status.
        timestamp: since when it is in that state, in ms since the epoch.
        attempts: finished attempts, where the queue keeps them (not for ``processing`` and ``completed``).
        worker_id: who runs it.
        result: of a completed job.
        error: of a failed job: message, code, stack, type.
        progress: the last ``JobContext.progress`` report: current, total, message.
    """

    id: str
    state: Status
    timestamp: int
    attempts: int | None = None
    worker_id: str | None = None
    result: Any = None
    error: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Sizes of a queue's parts at one moment.

    Attributes:
        queued: messages in the list, cancelled ones included until a worker meets them.
        scheduled: delayed jobs and retries in back-off.
        processing: messages held by workers.
        completed: finished jobs whose TTL is not over.
        failed: failed jobs whose TTL is not over.
        workers: registered workers.
        malformed: quarantined messages.
        leader: id of the reaper that holds the lock.
    """

    queued: int
    scheduled: int
    processing: int
    completed: int
    failed: int
    workers: int
    malformed: int
    leader: str | None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A registered worker.

    Attributes:
        id: its id.
        heartbeat: its last sign of life, in ms since the epoch.
        alive: whether that is younger than the visibility timeout.
        processing: messages it holds.
        host, pid, version, concurrency, started: as the worker described itself; ``None`` for a
            worker of the Node library. ``started`` is in ms since the epoch.
    """

    id: str
    heartbeat: int
    alive: bool
    processing: int
    host: str | None = None
    pid: int | None = None
    version: str | None = None
    concurrency: int | None = None
    started: int | None = None
