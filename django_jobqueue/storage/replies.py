"""Replies of the server as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..message import Envelope, JobState
from .base import Record


def text(raw: bytes) -> str:
    """Bytes that should be UTF-8, as text."""
    return raw.decode("utf-8", "replace")


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
    return Record(JobState.parse(raw_state), payload, message, progress)
