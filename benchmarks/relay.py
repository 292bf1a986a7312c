"""A TCP relay before a server, which can be cut, and can lose the one reply that hands a job over."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self

#: How a published message begins, in both versions of the protocol. It is no reply.
PUBLISHED = (b"*3\r\n$7\r\nmessage", b">3\r\n$7\r\nmessage", b"*4\r\n$8\r\npmessage", b">4\r\n$8\r\npmessage")


class Relay:
    """Forwards connections to a server on loopback.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._lock = threading.Lock()
        self._links: set[socket.socket] = set()
        self._is_cut = False
        self._token: bytes | None = None
        self._cuts = True
        #: Set when the reply was lost that ``lose_reply`` asked for.
        self.struck = threading.Event()

    @property
    def port(self) -> int:
        """Where clients connect."""
        port: int = self._listener.getsockname()[1]
        return port

    def cut(self) -> None:
        """Break every connection and accept none, until ``mend``."""
        with self._lock:
            self._is_cut = True
            for link in self._links:
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._is_cut = False

    def lose_reply(self, token: str, *, cut: bool = True) -> None:
        """Lose the next reply that holds these bytes, and cut its connection, or let the client wait on."""
        with self._lock:
            self.struck.clear()
            self._token = token.encode()
            self._cuts = cut

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="relay", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # shutdown() wakes the accepting thread; close() alone leaves it blocked.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="relay-link", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(self._target)
            except OSError:
                return  # the server is down; the client sees its connection closed
            with server:
                if not self._register(client, server):
                    return
                try:
                    self._forward(client, server)
                except OSError:
                    return  # a cut, or either end has gone
                finally:
                    self._forget(client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    source: socket.socket = key.fileobj  # type: ignore[assignment]
                    data = source.recv(1 << 20)
                    if not data:
                        return
                    if source is server and self._strikes(data):
                        if self._cuts:
                            return
                        continue
                    key.data.sendall(data)

    def _strikes(self, reply: bytes) -> bool:
        with self._lock:
            if self._token is None or self._token not in reply or reply.startswith(PUBLISHED):
                return False
            self._token = None
        self.struck.set()
        return True

    def _register(self, *ends: socket.socket) -> bool:
        with self._lock:
            if not self._is_cut:
                self._links.update(ends)
            return not self._is_cut

    def _forget(self, *ends: socket.socket) -> None:
        with self._lock:
            self._links.difference_update(ends)
