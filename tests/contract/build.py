"""Short ways to make what the contract suite passes to a storage."""

import itertools
import json
import time
from typing import Any

from django_jobqueue.message import JobMessage
from django_jobqueue.storage.base import Complete, Fail, NewJob, Retry, Storage

_created = itertools.count(int(time.time() * 1000))


def message(job_id: str, payload: Any = None, **fields: int) -> JobMessage:
    """A fresh message; ``created_at`` is later than that of every message before."""
    defaults = {"created_at": next(_created), "max_attempts": 3, "result_ttl_ms": 60_000}
    return JobMessage.encode(job_id, payload, json.dumps(payload).encode(), **{**defaults, **fields})


def enqueue(storage: Storage, *messages: JobMessage, delay_ms: int = 0) -> list[str | None]:
    """Enqueue messages; for each the state that was in the way, without its details."""
    accepted = storage.enqueue([NewJob(one, delay_ms) for one in messages])
    return [None if one.standing is None else str(one.standing.status) for one in accepted]


def claim(storage: Storage, worker_id: str = "worker", limit: int = 10) -> list[JobMessage]:
    """Claim and decode."""
    return [JobMessage.decode(raw) for raw in storage.claim(worker_id, limit).messages]


def claimed(storage: Storage, job_id: str = "a", worker_id: str = "worker") -> JobMessage:
    """A job enqueued and claimed."""
    enqueue(storage, message(job_id))
    (taken,) = claim(storage, worker_id)
    return taken


def complete(one: JobMessage, result: bytes = b'"done"', ttl_ms: int = 60_000) -> Complete:
    """The outcome of a job that ended well."""
    return Complete(one, result, ttl_ms)


def fail(one: JobMessage, error: bytes = b'{"message":"boom"}', ttl_ms: int = 60_000) -> Fail:
    """The outcome of a job that failed for good."""
    return Fail(one, error, ttl_ms)


def retry(one: JobMessage, delay_ms: int = 0) -> Retry:
    """The outcome of a failed attempt."""
    return Retry(one, one.with_attempts(one.attempts + 1), delay_ms)


def commit(storage: Storage, *outcomes: Any, worker_id: str = "worker") -> list[bool]:
    """Commit; whether each counted."""
    return storage.commit(worker_id, outcomes)[0]


def state(storage: Storage, job_id: str = "a") -> str | None:
    """The state string of a job, without its time."""
    (found,) = storage.states([job_id])
    if found is None:
        return None
    details = [str(part) for part in (found.worker_id, found.attempts) if part is not None]
    return ":".join([found.status, *details])
