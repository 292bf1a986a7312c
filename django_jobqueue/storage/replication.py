"""Waits until replicas have what was just written: ``MIN_REPLICAS``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ReadOnlyError, ResponseError

from ..exceptions import NotReplicated
from . import scripts
from .scripts import Call
from .transport import all_or_error

#: Seconds that replicas have to confirm.
CONFIRM_TIMEOUT = 1.0

#: The part of a connection's own timeout that may be spent waiting for replicas; the reply must still come in time.
SHARE_OF_SOCKET_TIMEOUT = 0.5


def run_replicated(client: Any, calls: Sequence[Call], wanted: int, attempted: str) -> list[Any]:
    """Run scripts in one round trip that ends when enough replicas have what they wrote; at once when none is wanted.

    Raises:
        NotReplicated: fewer confirmed in time; the scripts did run.
        redis.RedisError: one of the scripts failed, or the round trip.
    """
    if not wanted:
        return all_or_error(client, calls)
    waited = _timeout(client)
    # WAIT asks for the writes of its own connection, so it goes in the scripts' pipeline. It takes whole ms.
    *replies, confirmed = scripts.run_all(client, calls, ("WAIT", wanted, int(waited * 1000)))
    if isinstance(confirmed, ResponseError) and str(confirmed).startswith("UNBLOCKED"):
        # It became a replica while it waited for replicas: the primary is elsewhere.
        raise ReadOnlyError(str(confirmed)) from confirmed
    for reply in (*replies, confirmed):
        if isinstance(reply, Exception):
            raise reply
    if confirmed < wanted:
        raise NotReplicated(attempted, confirmed, wanted, waited)
    return replies


def _timeout(client: Any) -> float:
    of_socket = client.connection_pool.connection_kwargs.get("socket_timeout")
    if not isinstance(of_socket, (int, float)):
        # No limit, or the driver's own default, which is longer.
        return CONFIRM_TIMEOUT
    # 0 would let WAIT wait for ever.
    return max(0.001, min(CONFIRM_TIMEOUT, SHARE_OF_SOCKET_TIMEOUT * of_socket))
