"""What a server's denial says about the right that is missing."""

from __future__ import annotations

import re

from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, ResponseError

from .scripts import command_at

_DENIED = (AuthenticationError, AuthorizationError, NoPermissionError)

#: How a server words what a script may not do: Valkey and Redis 7.2, and before.
_IN_SCRIPT = ("ACL failure in script", "The user executing the script can't")

_COMMAND = re.compile(r"run the '([^']+)' command")

#: Redis 7.0 names only the line of the script.
_LINE = re.compile(r"script: ([0-9a-f]{40}), on @user_script:(\d+)")


def is_denied(error: BaseException) -> bool:
    """Whether the server refused it for lack of a right, or of a login."""
    return isinstance(error, _DENIED) or (isinstance(error, ResponseError) and str(error).startswith(_IN_SCRIPT))


def missing_right(error: BaseException) -> str:
    """The right that is missing, as ``ACL SETUSER`` takes it or in words; empty when it cannot be told."""
    text = str(error)
    if named := _COMMAND.search(text):
        return f"+{named[1]}"
    if "channel" in text:
        return "& with the channels of the key prefix"
    if "key" in text:
        return "~ with the keys of the key prefix"
    line = _LINE.search(text)
    command = command_at(line[1], int(line[2])) if line else ""
    return f"+{command}" if command else ""
