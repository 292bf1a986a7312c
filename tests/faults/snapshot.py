"""All keys of one queue, read from the server in one instant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import redis

from django_jobqueue.exceptions import MalformedMessage
from django_jobqueue.message import EXPIRY_SUFFIX, JobMessage

# One script, so that workers may go on meanwhile. KEYS[1] leads a cluster client to the right server.
_READ_ALL = """
local found, time = {}, redis.call("TIME")
for _, key in ipairs(redis.call("KEYS", ARGV[1])) do
  local kind, content = redis.call("TYPE", key)["ok"], false
  if kind == "hash" then
    content = redis.call("HGETALL", key)
  elseif kind == "list" then
    content = redis.call("LRANGE", key, 0, -1)
  elseif kind == "zset" then
    content = redis.call("ZRANGE", key, 0, -1, "WITHSCORES")
  end
  found[#found + 1] = { key, kind, redis.call("PTTL", key), content }
end
return { time[1], time[2], found }
"""


@dataclass(frozen=True, slots=True)
class Key:
    """What kind of key it is, and whether the server ends it by itself."""

    kind: str
    has_ttl: bool


@dataclass(frozen=True, slots=True)
class Copy:
    """A message and where it lies: ``queue``, ``scheduled`` or ``processing:{worker id}``."""

    message: JobMessage
    place: str

    @property
    def worker_id(self) -> str | None:
        """Who holds it."""
        kind, _, worker_id = self.place.partition("processing:")
        return None if kind else worker_id


@dataclass(slots=True)
class Snapshot:
    """The keys by their names without prefix, hashes and zsets as dicts.

    Attributes:
        now: the server's time in ms.
        states: job id to state string.
        expiries: job id to the time in its ``:exp`` field.
        copies: job id to its messages in queue, scheduled jobs and processing lists, without the cancelled ones.
        tombstones: (id, createdAt) of cancelled messages; and those of them whose message still lies somewhere.
    """

    now: int
    keys: dict[str, Key]
    hashes: dict[str, dict[str, bytes]]
    zsets: dict[str, dict[str, int]]
    lists: dict[str, list[bytes]]
    states: dict[str, str] = field(default_factory=dict)
    expiries: dict[str, int] = field(default_factory=dict)
    copies: defaultdict[str, list[Copy]] = field(default_factory=lambda: defaultdict(list))
    tombstones: set[tuple[str, str]] = field(default_factory=set)
    found_tombstones: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def read(cls, client: redis.Redis, prefix: str) -> Self:
        """Read everything under the prefix."""
        pattern = "".join(f"\\{char}" if char in "*?[]\\^" else char for char in prefix) + "*"
        seconds, micros, found = client.execute_command(
            "EVAL", _READ_ALL, 1, f"{prefix}jobs", pattern, NEVER_DECODE=True
        )
        snapshot = cls(int(seconds) * 1000 + int(micros) // 1000, {}, {}, {}, {})
        for raw_key, raw_kind, ttl, content in found:
            snapshot._add(raw_key.decode()[len(prefix) :], raw_kind.decode(), ttl, content)
        snapshot._read_jobs()
        snapshot._read_copies()
        return snapshot

    def hash(self, name: str) -> dict[str, bytes]:
        """A hash, empty when there is none."""
        return self.hashes.get(name, {})

    def zset(self, name: str) -> dict[str, int]:
        """A zset as member to score, empty when there is none."""
        return self.zsets.get(name, {})

    def list(self, name: str) -> list[bytes]:
        """A list, empty when there is none."""
        return self.lists.get(name, [])

    def _add(self, name: str, kind: str, ttl: int, content: Any) -> None:
        self.keys[name] = Key(kind, ttl >= 0)
        if kind == "list":
            self.lists[name] = content
        elif kind == "hash":
            self.hashes[name] = {_text(content[i]): content[i + 1] for i in range(0, len(content), 2)}
        elif kind == "zset":
            self.zsets[name] = {_text(content[i]): int(float(content[i + 1])) for i in range(0, len(content), 2)}

    def _read_jobs(self) -> None:
        for name, value in self.hash("jobs").items():
            if name.endswith(EXPIRY_SUFFIX):
                self.expiries[name.removesuffix(EXPIRY_SUFFIX)] = int(value)
            else:
                self.states[name] = _text(value)
        for job_id, marks in self.hash("cancelled").items():
            self.tombstones.update((job_id, mark) for mark in _text(marks).split(","))

    def _read_copies(self) -> None:
        for place, raw in self._lying():
            try:
                message = JobMessage.decode(raw)
            except MalformedMessage:
                continue  # for whoever takes it to quarantine
            mark = (message.id, str(message.created_at))
            if mark in self.tombstones:
                self.found_tombstones.add(mark)
            else:
                self.copies[message.id].append(Copy(message, place))

    def _lying(self) -> Iterator[tuple[str, bytes]]:
        for name, messages in self.lists.items():
            if name == "queue" or name.startswith("processing:"):
                yield from ((name, raw) for raw in messages)
        yield from (("scheduled", raw) for raw in self.hash("scheduled:messages").values())


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
