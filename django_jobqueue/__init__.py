"""The reliable Redis/Valkey job queue for Django."""

from __future__ import annotations

from .context import JobContext
from .queue import Queue, queues
from .registry import Job, job
from .results import EnqueueResult, JobStatus, QueueStats, WorkerInfo

__version__ = "0.1.0"

__all__ = [
    "EnqueueResult",
    "Job",
    "JobContext",
    "JobStatus",
    "Queue",
    "QueueStats",
    "WorkerInfo",
    "__version__",
    "job",
    "queues",
]
