"""The connection on which an idle worker waits for jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.exceptions import RedisError, ResponseError

from .base import Claim
from .cluster import Node
from .connections import Connector, is_worth_resending
from .scripts import error_or_reply


def claim_of(moved: bytes | None, reply: Any) -> Claim:
    """What a wait has brought.

    Args:
        moved: the message that BLMOVE has moved.
        reply: of ``hold.lua`` behind it, or its error.
    """
    if not isinstance(reply, list):
        return Claim() if moved is None else Claim(unread=[moved])
    backlog, *held = reply
    # It may be another one, which a BLMOVE that was given up has brought late.
    return Claim(unread=[moved] if moved is not None and moved not in held else [], backlog=backlog, ready=held)


class BlockingConnection:
    """The connection on which an idle worker waits in BLMOVE. Used by one thread at a time."""

    def __init__(self, connector: Connector, block_timeout: float) -> None:
        self._connector = connector
        self._block_timeout = block_timeout
        self._pool: Any = None
        self._connection: Any = None
        self._node: Node | None = None
        self._client_id: int | None = None

    def move(
        self, source: str, destination: str, timeout: float, then: Sequence[Any] | None = None
    ) -> tuple[bytes | None, Any]:
        """BLMOVE from the head of one list to the tail of another, and a command that the server runs right after it.

        Returns:
            What was moved, ``None`` when the time is over; and the reply to the other command, or its error.

        Raises:
            redis.RedisError, OSError: the link is closed, if it does not work; the message may have been moved.
        """
        commands = [("BLMOVE", source, destination, "LEFT", "RIGHT", timeout), *([] if then is None else [then])]
        try:
            connection = self._open()
            connection.send_packed_command([b"".join([pack_command(tuple(command)) for command in commands])])
            # Both before any is looked at: what is left unread would be taken for the reply to the next command.
            moved, reply = [*(error_or_reply(connection) for _ in commands), None][:2]
            if isinstance(moved, ResponseError):
                raise moved
            return moved, reply
        except (RedisError, OSError) as error:
            self._connector.learn(error)
            if is_worth_resending(error):
                # After a lost reply the link is out of step; else the primary may be elsewhere.
                self._client_id = None
                self._disconnect()
            raise

    def wake(self) -> None:
        """End a running ``move`` early, from another thread, through another connection."""
        client_id = self._client_id
        client = self._connector.main()
        # On another node the number is another client's; ours is ended by the node that lost the slot.
        if client_id is not None and self._node == self._connector.node:
            client.execute_command("CLIENT UNBLOCK", client_id)

    def close(self) -> None:
        """Close the link."""
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
        if self._pool is not None:
            self._pool.disconnect()

    def _is_sound(self) -> bool:
        """Whether the idle link is still open; a server that went away has left an end-of-file in it."""
        connection = self._connection
        try:
            if connection.is_connected and not connection.can_read(timeout=0):
                return True
        except (RedisError, OSError):
            pass  # the same as an end-of-file
        connection.disconnect()
        return False

    def _open(self) -> Any:
        if self._client_id is not None and self._node == self._connector.node and self._is_sound():
            return self._connection
        self._client_id = None
        self._disconnect()
        self._pool = self._connector.dedicated("blocking", self._block_timeout)
        self._node = self._connector.node
        self._connection = self._pool.get_connection()
        self._connection.send_command("CLIENT", "ID")
        self._client_id = int(self._connection.read_response())
        return self._connection
