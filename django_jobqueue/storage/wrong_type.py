"""Explains WRONGTYPE, which the server says without naming the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis.exceptions import RedisError, ResponseError

from ..exceptions import StorageError


def is_wrong_type(error: BaseException) -> bool:
    """Whether a command or script met a key of another type than it needs."""
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def wrong_type(client: Any, expected: Mapping[str, str], attempted: str) -> StorageError | None:
    """The error that names the keys of a wrong type; ``None`` when none is found (any more).

    Args:
        client: asks the server.
        expected: the keys to look at, with the type that each must have.
        attempted: what met them.
    """
    with client.pipeline(transaction=False) as pipeline:
        for name in expected:
            pipeline.execute_command("TYPE", name, NEVER_DECODE=True)
        try:
            found = [bytes(kind).decode() for kind in pipeline.execute()]
        except RedisError:
            return None  # the first error is the one to tell
    wrong = [
        f"{name!r} is a {kind}, not a {expected[name]}"
        for name, kind in zip(expected, found, strict=True)
        if kind not in ("none", expected[name])
    ]
    if not wrong:
        return None
    return StorageError(
        f"{attempted}: {'; '.join(wrong)}: another program uses the key, so give this queue a KEY_PREFIX of its own, "
        "or rename the key (RENAME) if it is a leftover; it is safe to try again"
    )
