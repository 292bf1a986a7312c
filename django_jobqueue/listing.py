"""What a look into a queue finds: pages of its parts, and the details of one job. Pure, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .message import JobMessage
from .results import JobStatus

#: How much of a message, result or error a page shows, in bytes.
HEAD_BYTES = 1024


class Part(StrEnum):
    """Where a queue keeps its jobs.

    A ``failing`` job lies in ``scheduled`` during its back-off, and in ``queued`` after it.
    """

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    #: Quarantined messages, which nobody can run.
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class ListedJob:
    """One line of a page.

    Attributes:
        id: the job's id; ``None`` for a message from which none can be read.
        message: the first ``HEAD_BYTES`` of its message; empty for a completed job, which has none left.
        message_size: bytes of the whole message.
        outcome: the first ``HEAD_BYTES`` of its result or error, as JSON.
        outcome_size: bytes of the whole result or error.
        time: of a scheduled job, when it may start; of a finished one, when it is forgotten; in ms
            since the epoch.
        worker_id: who holds the message.
    """

    id: str | None
    message: bytes = b""
    message_size: int = 0
    outcome: bytes = b""
    outcome_size: int = 0
    time: int | None = None
    worker_id: str | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs of one part of a queue, in one view.

    Attributes:
        jobs: the jobs: of ``queued`` the next to run first, of ``scheduled`` the next to start, of
            ``completed`` and ``failed`` the last to be forgotten.
        total: how many the part has.
    """

    jobs: list[ListedJob]
    total: int


@dataclass(frozen=True, slots=True)
class JobDetails:
    """All that a queue still has of one job.

    Attributes:
        status: its state, result, error and progress.
        message: its message with the payload; ``None`` when it is gone (the job has completed) or
            lies too deep in a long queue to be looked for.
        due: when a delayed job may start, in ms since the epoch.
        expires: when a finished job is forgotten, in ms since the epoch.
    """

    status: JobStatus
    message: JobMessage | None = None
    due: int | None = None
    expires: int | None = None
