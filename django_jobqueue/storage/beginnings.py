"""Tells the server which of the jobs that a worker holds ready it begins now."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import ssl
import threading
from typing import Any

from hiredis import pack_command
from redis.exceptions import RedisError

from .cluster import Node
from .connections import Connector

logger = logging.getLogger(__name__)

#: Answers that may be outstanding; then the oldest are read, which are there by then.
PENDING = 32

#: Asks poll(2) whether the other side has closed a socket, also while there are answers to read. Only Linux tells.
#: Elsewhere what is sent next is lost, and then the link is known to be broken (POLLHUP need not be asked for).
CLOSED = getattr(select, "POLLRDHUP", 0)


def _send(connection: Any, command: bytes) -> None:
    """Send without the driver's wait for a socket that is almost always ready: it would take longer than to write."""
    written = 0
    if not isinstance(connection._sock, ssl.SSLSocket):
        with contextlib.suppress(BlockingIOError):
            written = os.write(connection._sock.fileno(), command)
    if written < len(command):
        connection.send_packed_command([command[written:]])


class Beginnings:
    """A connection of its own on which nobody waits for an answer. Thread-safe; ``_lock`` guards it.

    What was sent reaches the server although the process dies the next instant: so a job that kills its process
    has been begun. When the link is broken the notice is lost. Then the next heartbeat says it, and only a
    crash before that costs the job no attempt.

    Args:
        connector: of the queue.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._lock = threading.Lock()
        self._pool: Any = None
        self._connection: Any = None
        self._closed: Any = None
        self._node: Node | None = None
        self._pending = 0

    def send(self, key: str, job_id: str) -> None:
        """Take a job off the set of those that are held ready."""
        with self._lock:
            try:
                connection = self._open()
                command: Any = ("SREM", key, job_id)
                _send(connection, pack_command(command))
                self._pending += 1
                if self._pending >= PENDING:
                    self._read(self._pending // 2)
            except (RedisError, OSError) as error:
                logger.debug("the beginning of job %s could not be told: %s", job_id, error)
                self._connector.learn(error)
                self._close()

    def close(self) -> None:
        """Close the link, when all that was sent has been answered."""
        with self._lock:
            try:
                self._read(self._pending)
            except (RedisError, OSError) as error:
                logger.debug("the last beginnings may be unknown: %s", error)
            self._close()

    def _read(self, count: int) -> None:
        for _ in range(count):
            self._connection.read_response(disable_decoding=True)
            self._pending -= 1

    def _open(self) -> Any:
        known = self._connection
        is_open = known is not None and known.is_connected and self._node == self._connector.node
        if is_open and not self._closed.poll(0):
            return known
        self._close()
        self._pool = self._connector.dedicated("beginnings")
        self._node = self._connector.node
        self._connection = self._pool.get_connection()
        self._closed = select.poll()
        self._closed.register(self._connection._sock, CLOSED)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.disconnect()
        self._connection, self._pending = None, 0
