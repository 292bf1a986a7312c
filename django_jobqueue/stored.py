"""What a storage keeps of jobs and workers, read for people: damage in it hides nothing else. Pure."""

from __future__ import annotations

import json
from typing import Any

from .message import Status, readable
from .results import WorkerInfo
from .storage.base import Record, WorkerRecord

#: What a worker tells of itself, and the types that it must have to be shown.
_DESCRIPTION: dict[str, type] = {"host": str, "pid": int, "version": str, "concurrency": int, "started": int}


def attempts_of(record: Record) -> int | None:
    """Finished attempts, where the queue keeps them."""
    match record.state.status:
        case Status.QUEUED | Status.SCHEDULED:
            return 0
        case Status.FAILING:
            return record.state.attempts
        case Status.FAILED:
            message = readable(record.message)
            return None if message is None else message.attempts + 1
        case _:
            return None


def error_of(payload: bytes | None) -> dict[str, Any] | None:
    """A stored error; what is no such object becomes its message."""
    if payload is None:
        return None
    # A legacy entry may be plain text.
    error = object_of(payload)
    return {"message": payload.decode("utf-8", "replace")} if error is None else error


def object_of(raw: bytes | None) -> dict[str, Any] | None:
    """A JSON object that is for people only; ``None`` for anything else."""
    try:
        value = None if raw is None else json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def worker_info(record: WorkerRecord, alive: bool) -> WorkerInfo:
    """A worker with what it told of itself, as far as that makes sense."""
    described = object_of(record.info) or {}
    known: dict[str, Any] = {
        name: value for name, kind in _DESCRIPTION.items() if type(value := described.get(name)) is kind
    }
    heartbeat = record.heartbeat
    return WorkerInfo(heartbeat.worker_id, heartbeat.at_ms, alive, record.processing, **known)
