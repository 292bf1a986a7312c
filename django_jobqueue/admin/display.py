"""Stored bytes and numbers as people read them. Pure; what it returns still has to be escaped."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

#: Characters of a payload, result or traceback on a job's page, and of each in a list.
MAX_BLOCK = 100_000
MAX_LINE = 300

_STRING = rb'\s*"((?:[^"\\]|\\.)*)'
_PAYLOAD = re.compile(rb'^\{"id":' + _STRING + rb'","payload":')
_JOB_NAME = re.compile(rb'^\{"job":' + _STRING + rb'",?')
_ERROR_MESSAGE = re.compile(rb'^\{"message":' + _STRING)

#: Each is used from two of it up, so that rounding stays small.
_UNITS = (("days", 86_400), ("h", 3600), ("min", 60), ("s", 0.5))


@dataclass(frozen=True, slots=True)
class Moment:
    """A time: in full, and as its distance from now."""

    at: datetime
    distance: str


@dataclass(frozen=True, slots=True)
class Block:
    """A long text, cut where it is longer than a page can bear."""

    text: str
    size: int
    is_cut: bool


def moment(ms: int | None, now_ms: int) -> Moment | None:
    """A time in ms since the epoch; ``None`` for none, and for one outside the calendar."""
    if ms is None:
        return None
    try:
        at = datetime.fromtimestamp(ms / 1000, UTC)
        local = timezone.localtime(at) if settings.USE_TZ else timezone.make_naive(at)
    except (OverflowError, ValueError, OSError):
        return None
    return Moment(local, distance(ms - now_ms))


def distance(ms: int) -> str:
    """A span of time from now: ``5 min ago``, ``in 2 days``."""
    seconds = abs(ms) / 1000
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            span = f"{round(seconds / max(length, 1))} {unit}"
            return f"in {span}" if ms > 0 else f"{span} ago"
    return "now"


def clean(text: object) -> str:
    """A text that can be sent as UTF-8: JSON may hold half a character (a lone surrogate)."""
    return str(text).encode("utf-8", "replace").decode()


def block(value: Any) -> Block:
    """A decoded JSON value, indented; a string as it is."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    except RecursionError:
        text = "(nested too deeply to be shown)"
    text = clean(text)
    return Block(text[:MAX_BLOCK], len(text.encode()), len(text) > MAX_BLOCK)


def line(text: object) -> str:
    """The beginning of a text, on one line."""
    flat = " ".join(clean(text)[: 2 * MAX_LINE].split())
    return flat if len(flat) <= MAX_LINE else flat[: MAX_LINE - 1] + "…"


def describe_payload(payload: Any) -> tuple[str, str]:
    """What a job does: the name of its function, and the arguments; else no name, and the payload."""
    match payload:
        case {"job": str(name), "args": list(args), "kwargs": dict(kwargs)}:
            parts = [_compact(value) for value in args] + [
                f"{key}={_compact(value)}" for key, value in kwargs.items()
            ]
            return line(name), line(", ".join(parts))
        case _:
            return "", line(_compact(payload))


def describe_message(head: bytes, size: int) -> tuple[str, str]:
    """``describe_payload`` for the first bytes of a message, whose end may be missing."""
    if len(head) >= size:
        fields = _loads(head)
        if isinstance(fields, dict) and "payload" in fields:
            return describe_payload(fields["payload"])
    payload = _PAYLOAD.match(head)
    rest = head[payload.end() :] if payload else head
    name = _JOB_NAME.match(rest) if payload else None
    return line(_unescaped(name[1])) if name else "", line(_text(rest[name.end() :] if name else rest))


def describe_error(head: bytes, size: int) -> str:
    """The message of a stored error, whose end may be missing."""
    error = _loads(head) if len(head) >= size else None
    if isinstance(error, dict):
        return line(error_title(error))
    found = _ERROR_MESSAGE.match(head)
    return line(_unescaped(found[1]) if found else _text(head))


def error_title(error: dict[str, Any]) -> str:
    """Type and message of a stored error."""
    kind, message = error.get("type"), error.get("message") or "no message was kept"
    return clean(f"{str(kind).removeprefix('builtins.')}: {message}" if kind else message)


def describe_result(head: bytes) -> str:
    """The beginning of a stored result."""
    return line(_text(head))


def _compact(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "…"


def _loads(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _unescaped(inside: bytes) -> str:
    """The text of a JSON string, from what stands between its quotes."""
    text = _loads(b'"' + inside + b'"')
    return text if isinstance(text, str) else _text(inside)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
