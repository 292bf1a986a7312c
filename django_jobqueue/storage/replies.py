"""Replies of the server as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..exceptions import MalformedMessage
from ..message import Envelope, JobMessage, JobState
from .base import Record

#: What complete, fail and retry reply: done now, or found done although the lease is gone.
APPLIED, FOUND_APPLIED = 1, 2


def text(raw: bytes) -> str:
    """Bytes that should be UTF-8, as text."""
    return raw.decode("utf-8", "replace")


def exact_bytes(state: str) -> bytes:
    """A state string as it stands on the server, where it need not be UTF-8."""
    return state.encode("utf-8", "surrogateescape")


def whole(raw: bytes | None) -> int | None:
    """A number of ms; ``None`` for nothing, and for what is no such number."""
    return int(raw) if raw is not None and raw.isdigit() and len(raw) <= 16 else None


def has_expired(state: JobState | None, expires_at: bytes, now_ms: int) -> bool:
    """Whether a job's TTL is over, so that it counts as forgotten."""
    expires_ms = whole(expires_at)
    return state is not None and state.status.is_terminal and expires_ms is not None and now_ms >= expires_ms


def milliseconds(server_time: Any) -> int:
    """The reply of TIME in ms since the epoch; redis-py turns it into a pair of ints."""
    seconds, microseconds = server_time
    return int(seconds) * 1000 + int(microseconds) // 1000


def record(entry: Sequence[Any]) -> Record | None:
    """One entry of ``lookup.lua``."""
    if not entry:
        return None
    raw_state, stored, message, progress = entry
    payload = None if stored is None else Envelope.open(stored).payload
    return Record(JobState.read(raw_state), payload, message, progress)


def kept_message(job_id: str, raw: bytes) -> JobMessage:
    """The message that is kept of a failed job.

    Raises:
        MalformedMessage: it cannot be read, or is another job's.
    """
    message = JobMessage.decode(raw)
    if message.id != job_id:
        raise MalformedMessage(f"the kept message of job {job_id!r} is of job {message.id!r:.100}")
    return message


def is_applied(reply: Any, resent: bool) -> bool:
    """Whether an outcome counts, by the reply to it.

    Args:
        reply: of its script.
        resent: whether the reply to an earlier sending was lost.
    """
    return reply == APPLIED or (reply == FOUND_APPLIED and resent)
