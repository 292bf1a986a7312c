"""The Redis protocol as a bystander reads it: where commands and replies begin and end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from django_jobqueue.storage.scripts import script

_WITH_SUBCOMMAND = frozenset({"CLIENT", "SCRIPT", "CONFIG", "CLUSTER"})


@dataclass(frozen=True, slots=True)
class Command:
    """A request as it came over the wire.

    Attributes:
        name: ``BLMOVE``, ``SCRIPT LOAD``; of a script call the script's name, such as ``complete``.
        args: all words of the request.
        raw: its bytes.
    """

    name: str
    args: Sequence[bytes]
    raw: bytes


class CommandReader:
    """Cuts a client's stream into commands, however the network chopped it."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> Iterator[Command]:
        """The commands that are complete now; what is not waits for more."""
        self._left += data
        while (end := _frame_end(self._left, 0)) is not None:
            raw, self._left = self._left[:end], self._left[end:]
            args = tuple(_words(raw))
            yield Command(_name(args), args, raw)


class ReplyReader:
    """Cuts a server's stream into replies."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The replies that are complete now."""
        self._left += data
        while (end := _frame_end(self._left, 0)) is not None:
            raw, self._left = self._left[:end], self._left[end:]
            yield raw


def is_push(reply: bytes) -> bool:
    """Whether it answers no command (RESP3)."""
    return reply.startswith(b">")


def _frame_end(data: bytes, start: int) -> int | None:
    """Where the frame that begins at ``start`` ends; ``None`` when more must come.

    The kinds are those of the protocol specification at redis.io, RESP2 and RESP3.
    """
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return None
    kind, head, after = data[start : start + 1], data[start + 1 : line_end], line_end + 2
    if kind in (b"$", b"=", b"!"):
        size = int(head)
        end = after if size < 0 else after + size + 2
        return end if end <= len(data) else None
    if kind in (b"*", b"~", b">", b"%", b"|"):
        count = int(head) * (2 if kind in (b"%", b"|") else 1)
        if kind == b"|":
            count += 1  # attributes come before the reply they describe
        at: int | None = after
        for _ in range(count):
            at = None if at is None else _frame_end(data, at)
        return at
    return after


def _words(raw: bytes) -> Iterator[bytes]:
    at = raw.index(b"\r\n") + 2
    while at < len(raw):
        line_end = raw.index(b"\r\n", at)
        size = int(raw[at + 1 : line_end])
        yield raw[line_end + 2 : line_end + 2 + size]
        at = line_end + 2 + size + 2


def _name(args: Sequence[bytes]) -> str:
    word = args[0].decode().upper()
    if word == "EVALSHA":
        return script_names().get(args[1].decode(), "EVALSHA")
    return f"{word} {args[1].decode().upper()}" if word in _WITH_SUBCOMMAND and len(args) > 1 else word


@cache
def script_names() -> dict[str, str]:
    """SHA to name of every script there is."""
    files = (resources.files("django_jobqueue") / "lua").iterdir()
    names = [file.name.removesuffix(".lua") for file in files if file.name.endswith(".lua")]
    return {script(name).sha: name for name in names}
