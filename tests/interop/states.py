"""What the Django side knows of a job that a test knows to exist."""

from __future__ import annotations

from typing import Any

from django_jobqueue import Queue
from django_jobqueue.message import JobState


def state_of(queue: Queue, job_id: str) -> JobState:
    """The state of a job."""
    state = queue.get_job_state(job_id)
    assert state is not None, f"job {job_id!r} is not known"
    return state


def error_of(queue: Queue, job_id: str) -> dict[str, Any]:
    """The stored error of a failed job."""
    status = queue.get_status(job_id)
    assert status is not None, f"job {job_id!r} is not known"
    assert status.error is not None, f"job {job_id!r} has no error: {status}"
    return status.error
