"""Finds the node of a cluster that serves a queue: the primary of the slot in which all its keys lie.

A cluster is for us one more way to find the primary, as Sentinel is: with a hash tag in the prefix no
command ever concerns a second node. So there is a plain connection to that one node, with the options
that the settings give, and what is looked up is where it is. ``RedisCluster`` would add a COMMAND and a
connection to every node a process, and retries that send scripts again behind our back.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from ..exceptions import UnsupportedServer

#: Host and port.
Node = tuple[str, int]

#: What only a node of a cluster says. (``ClusterDownError`` has a child that any replica may raise.)
CLUSTER_ERRORS = (AskError, TryAgainError, ClusterCrossSlotError)

#: What a call meets while its slot goes from one node to another; ``MovedError`` is an ``AskError``.
#: Nothing of the call was executed.
ON_THE_MOVE = (AskError, TryAgainError)

#: The first hash tag: between the first "{" and the first "}" behind it, and not empty.
_HASH_TAG = re.compile(r"^[^{]*\{([^}]+)\}")


def has_hash_tag(key_prefix: str) -> bool:
    """Whether all keys with this prefix lie in one slot."""
    return _HASH_TAG.match(key_prefix) is not None


def with_hash_tag(key_prefix: str) -> str:
    """The same prefix with a hash tag, to be proposed: ``jq:emails:`` becomes ``{jq:emails}:``."""
    return "{%s}:" % (re.sub(r"[{}]", "", key_prefix).strip(":") or "jq")


def in_cluster(client: Any) -> bool:
    """Ask a server whether it is part of a cluster."""
    try:
        # Allowed by @connection, which INFO and CLUSTER are not.
        reply = client.execute_command("HELLO", NEVER_DECODE=True)
    except RedisConnectionError:
        raise
    except ResponseError:
        return False  # not allowed, or unknown; a node of a cluster will tell it by MOVED
    pairs = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=False))
    return b"cluster" in (pairs.get(b"mode"), str(pairs.get("mode", "")).encode())


class SlotOwner:
    """Which node serves a queue, from what the nodes say. Used under the lock of the ``Connector``.

    Args:
        alias, key_prefix: the queue.
        seeds: nodes that the settings name. They are asked to the end, when all the others are gone:
            a name may lead to new addresses then.
        ask: sends CLUSTER SLOTS to a node.

    Raises:
        UnsupportedServer: the prefix would spread the keys over the nodes.
    """

    def __init__(self, alias: str, key_prefix: str, seeds: Iterable[Node], ask: Callable[[Node], list[Any]]) -> None:
        if not has_hash_tag(key_prefix):
            raise UnsupportedServer(
                f"JOBQUEUE[{alias!r}]['KEY_PREFIX'] is {key_prefix!r}, but the server is part of a cluster, which "
                "would spread the queue's keys over its nodes: what stands between the first '{' and '}' of a key, "
                f"its hash tag, must be the same in all of them. Set KEY_PREFIX = {with_hash_tag(key_prefix)!r}"
            )
        self._seeds = list(seeds)
        self._others: list[Node] = []
        self._ask = ask
        self._failed: Node | None = None
        self.slot = key_slot(key_prefix.encode())
        self.node: Node | None = None

    def find(self) -> Node:
        """The owner; asks the nodes when it is not known.

        Raises:
            redis.RedisError, OSError: no node answered, or none knows one now.
        """
        if self.node is None:
            self.node = self._look_up()
        return self.node

    def lost(self) -> None:
        """The owner did not answer, or said that it cannot serve: ask who does."""
        self._failed, self.node = self.node or self._failed, None

    def moved(self, error: MovedError) -> None:
        """The slot has a new owner. It is not asked for twice: other nodes may learn it later."""
        asked = self.node or self._seeds[0]
        # An empty or unknown host stands for that of the node which says so.
        self.node = (error.host if error.host not in ("", "?") else asked[0], int(error.port))
        self._others.append(self.node)

    def _look_up(self) -> Node:
        failure: Exception = ClusterDownError(f"no node of the cluster knows who serves slot {self.slot}")
        for node in self._in_turn():
            try:
                ranges = self._ask(node)
            except (RedisError, OSError) as error:
                failure = error
                continue
            self._others = [member for entry in ranges for member in _members(entry, node)]
            for entry in ranges:
                if entry[0] <= self.slot <= entry[1] and (primary := next(_members(entry, node), None)):
                    return primary
        raise failure

    def _in_turn(self) -> list[Node]:
        # At random, since a node cut off from the others keeps an old view; what failed comes last.
        others = list(set(self._others).difference(self._seeds))
        random.shuffle(others)
        return sorted([*others, *self._seeds], key=lambda node: node == self._failed)


def _members(entry: list[Any], asked: Node) -> Iterator[Node]:
    """The nodes of one range of CLUSTER SLOTS, the primary first."""
    for host, port, *_ in entry[2:]:
        name = host.decode() if isinstance(host, bytes) else host
        if name != "?":
            yield (name or asked[0], int(port))
