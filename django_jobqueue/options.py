"""Options of an enqueue, a wait and a worker: their types, and their checks."""

from __future__ import annotations

import difflib
import os
import re
import socket
import uuid
from datetime import timedelta
from typing import TypedDict, cast

from .conf import seconds
from .exceptions import InvalidOption

_WORKER_ID = re.compile(r"[^:\s\x00-\x1f\x7f]{1,200}")

Duration = int | float | timedelta


class MessageOptions(TypedDict, total=False):
    """Options of one job; what is left out comes from the queue's settings.

    ``max_attempts``: runs the job may have. ``result_ttl``: seconds that result or error are kept.
    ``delay``: seconds until it may start.
    """

    max_attempts: int | None
    result_ttl: Duration | None
    delay: Duration | None


class EnqueueOptions(MessageOptions, total=False):
    """``MessageOptions``, and ``on_commit``: enqueue when the database transaction commits."""

    on_commit: bool


def message_options(options: EnqueueOptions) -> MessageOptions:
    """The options that concern the message.

    Raises:
        InvalidOption: there is one that does not exist.
    """
    check_names(options, EnqueueOptions.__optional_keys__, "enqueue")
    return cast("MessageOptions", {name: value for name, value in options.items() if name != "on_commit"})


def check_names(given: object, known: frozenset[str], call: str) -> None:
    """Refuse options that do not exist.

    Raises:
        InvalidOption: naming the nearest that does.
    """
    for name in cast("dict[str, object]", given):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known))}"
            raise InvalidOption(f"{call}() has no option {name!r}; {hint}")


def attempts(value: object) -> int:
    """A number of attempts.

    Raises:
        InvalidOption: it is no whole number from 1 up.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidOption(f"max_attempts is {value!r}; it must be a whole number from 1 up")
    return value


def milliseconds(name: str, value: Duration, above: float | None = None) -> int:
    """A duration in whole milliseconds; at least one unless it is zero.

    Raises:
        InvalidOption: it is no duration, is negative, or is not above a limit in seconds.
    """
    try:
        number = seconds(value)
    except ValueError as rule:
        raise InvalidOption(f"{name} is {value!r}; it must be {rule}") from None
    if above is not None and number <= above:
        raise InvalidOption(f"{name} is {value!r}; it must be above {above:g} seconds")
    if number < 0:
        raise InvalidOption(f"{name} is {value!r}; it must not be negative")
    return max(1, round(number * 1000)) if number else 0


def wait_seconds(timeout: Duration | None) -> float | None:
    """A waiter's timeout in seconds; ``None`` waits without limit.

    Raises:
        InvalidOption: it is no duration, or negative.
    """
    return None if timeout is None else milliseconds("timeout", timeout) / 1000


def count(name: str, value: object, default: int) -> int:
    """A number of slots or jobs.

    Raises:
        InvalidOption: it is no whole number from 1 up.
    """
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidOption(f"{name} is {value!r}; it must be a whole number from 1 up")
    return value


def checked_worker_id(given: object) -> str:
    """A worker's id; random when none is given.

    Raises:
        InvalidOption: it cannot be one.
    """
    if given is None:
        host = re.sub(r"[^\w.-]", "-", socket.gethostname())[:100]
        return f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    if not isinstance(given, str) or not _WORKER_ID.fullmatch(given):
        raise InvalidOption(
            f"worker_id is {given!r}; it must have 1 to 200 characters without spaces, control "
            "characters and ':', which separates the parts of a state"
        )
    return given
