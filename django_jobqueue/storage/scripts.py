"""The Lua scripts: read from ``lua/``, called by SHA, loaded again when the server forgot them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from hiredis import pack_command
from redis.exceptions import NoScriptError, ResponseError

from ..exceptions import StorageError, UnsupportedServer

_INCLUDE = re.compile(r"^--!include (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One transition: its Lua text and the SHA1 by which the server knows it."""

    name: str
    source: str
    sha: str


@dataclass(frozen=True, slots=True)
class Call:
    """A script with the keys and arguments of one call."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | bytes | int]

    def command(self) -> tuple[Any, ...]:
        """The EVALSHA command."""
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)

    def command_in_full(self) -> tuple[Any, ...]:
        """The EVAL command, which brings the script along."""
        return ("EVAL", self.script.source, len(self.keys), *self.keys, *self.args)


@cache
def script(name: str) -> Script:
    """The script of ``lua/<name>.lua``, its ``--!include`` lines replaced by those files."""
    folder = resources.files("django_jobqueue") / "lua"
    source = (folder / f"{name}.lua").read_text("utf-8")
    source = _INCLUDE.sub(lambda match: _included(match[1]), source)
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def command_at(sha: str, line: int) -> str:
    """The command that a line of one of our scripts calls; empty when there is none or the script is not ours."""
    names = [path.name.removesuffix(".lua") for path in (resources.files("django_jobqueue") / "lua").iterdir()]
    for lua in (script(name) for name in names if name != "include"):
        if lua.sha == sha:
            called = re.search(r'redis\.call\("(\w+)"', lua.source.splitlines()[line - 1])
            return called[1].lower() if called else ""
    return ""


@cache
def _included(name: str) -> str:
    return (resources.files("django_jobqueue") / "lua" / "include" / f"{name}.lua").read_text("utf-8")


def execute(client: Any, command: Sequence[Any]) -> Any:
    """Send one command; replies are bytes whatever the client's ``decode_responses`` says."""
    return client.execute_command(*command, NEVER_DECODE=True)


def run(client: Any, call: Call) -> Any:
    """Run a script.

    A server that was restarted, failed over or flushed its scripts does not know it: then it is
    loaded and the call is sent again.

    Raises:
        UnsupportedServer: the server is too old to load it.
        redis.RedisError: as the driver raises it.
    """
    (reply,) = exchange(client, [call.command()])
    if isinstance(reply, NoScriptError):
        load(client, call.script)
        # In full, for the server may have forgotten it again.
        (reply,) = exchange(client, [call.command_in_full()])
    if isinstance(reply, Exception):
        raise reply
    return reply


def run_all(client: Any, calls: Sequence[Call], last: Sequence[Any] = ()) -> list[Any]:
    """Run scripts in one round trip, in order.

    Args:
        client: of the server.
        calls: the scripts.
        last: a command to follow them on the same connection; its reply comes last.

    Returns:
        The replies; a call that failed has its exception in its place, so that the others'
        replies are not lost.

    Raises:
        UnsupportedServer, redis.RedisError: the round trip itself failed.
    """
    if len(calls) == 1 and not last:
        try:
            return [run(client, calls[0])]
        except ResponseError as error:
            return [error]
    return begin_all(client, calls, last)()


def begin_all(client: Any, calls: Sequence[Call], last: Sequence[Any] = ()) -> Callable[[], list[Any]]:
    """Send scripts as ``run_all`` does.

    Returns:
        What reads the replies. It must be called once, by any thread.
    """
    tail = [last] if last else []
    sent = Exchange(client, [*(call.command() for call in calls), *tail])

    def replies() -> list[Any]:
        found = sent.replies()
        # The server may forget scripts in the middle of a pipeline, again and again; each round brings one forward.
        while unknown := [i for i, reply in enumerate(found) if isinstance(reply, NoScriptError)]:
            first = {calls[i].script: i for i in reversed(unknown)}
            for lua in first:
                load(client, lua)
            again = [calls[i].command_in_full() if i in first.values() else calls[i].command() for i in unknown]
            places = [*unknown, *range(len(calls), len(found))]
            for i, reply in zip(places, exchange(client, [*again, *tail]), strict=True):
                found[i] = reply
        return found

    return replies


def exchange(client: Any, commands: Sequence[Any]) -> list[Any]:
    """Send commands together; their replies as bytes, an error as its exception."""
    return Exchange(client, commands).replies()


class Exchange:
    """Commands that are sent together, now, and whose replies must be read: once, by any thread.

    On a connection of the client's pool, without the driver's calls and pipelines: what they do for each command
    (callbacks, retries, options) none of ours needs, and it takes longer than the script on the server.
    """

    def __init__(self, client: Any, commands: Sequence[Any]) -> None:
        self._count = len(commands)
        self._pool = client.connection_pool
        self._connection = self._pool.get_connection()
        try:
            self._connection.send_packed_command([b"".join([pack_command(command) for command in commands])])
        except BaseException:
            self._give_up()
            raise

    def replies(self) -> list[Any]:
        """The replies as bytes, an error as its exception."""
        try:
            replies = [error_or_reply(self._connection) for _ in range(self._count)]
        except BaseException:
            self._give_up()
            raise
        self._pool.release(self._connection)
        return replies

    def _give_up(self) -> None:
        # Replies that nobody has read must not meet the next command; Sentinel's connections stay open by themselves.
        self._connection.disconnect()
        self._pool.release(self._connection)


def error_or_reply(connection: Any) -> Any:
    """The next reply on a connection, as bytes; an error that the server replied is returned, too."""
    try:
        return connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return error


def load(client: Any, lua: Script) -> None:
    """Make the server know a script."""
    try:
        execute(client, ("SCRIPT LOAD", lua.source))
    except ResponseError as error:
        if "compil" not in str(error).lower():
            raise
        # Servers before Redis 7 cannot read the "#!lua" line.
        name, version = server_version(client)
        if version < ((7, 0) if name == "redis" else (7, 2)):
            raise UnsupportedServer(
                f"the server is {name} {'.'.join(map(str, version))}; django-jobqueue needs Redis 7.0 or "
                "Valkey 7.2 or newer: upgrade the server, or point URL or CACHE at a newer one"
            ) from error
        raise StorageError(f"the server refused the script {lua.name}: {error}") from error


def server_version(client: Any) -> tuple[str, tuple[int, ...]]:
    """The server's kind (``redis`` or ``valkey``) and version."""
    info = execute(client, ("INFO", "server"))
    if isinstance(info, bytes):
        pairs = (line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        info = dict(pairs)
    name = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get(f"{name}_version", "0"))
    return name, tuple(int(part) for part in re.findall(r"\d+", version)[:3])
