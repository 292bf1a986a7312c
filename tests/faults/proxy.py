"""A TCP proxy that loses chosen commands or their replies."""

from __future__ import annotations

import selectors
import socket
import threading
from enum import Enum
from types import TracebackType
from typing import Self


class Loss(Enum):
    """What happens to the command that is waited for; then the connection is cut."""

    #: It never reaches the server.
    COMMAND = "command never arrived"
    #: The server carries it out, but nobody hears of it.
    REPLY = "reply was lost"


class Proxy:
    """Forwards connections to a server until it meets an armed command.

    Args:
        port: of the server, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._armed: tuple[bytes, Loss] | None = None
        self._closing = False
        #: Set when the armed command was met.
        self.struck = threading.Event()

    @property
    def port(self) -> int:
        """Where clients connect."""
        port: int = self._listener.getsockname()[1]
        return port

    def lose(self, token: str, loss: Loss) -> None:
        """Lose the next request that holds these bytes, such as a command's name or a script's SHA."""
        with self._lock:
            self.struck.clear()
            self._armed = (token.encode(), loss)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="test-proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing = True
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="test-proxy-link", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        with client, server, selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    source: socket.socket = key.fileobj  # type: ignore[assignment]
                    try:
                        data = source.recv(1 << 20)
                        if not data:
                            return
                        loss = self._strike(data) if source is client else None
                        if loss is Loss.COMMAND:
                            self.struck.set()
                            return
                        key.data.sendall(data)
                        if loss is Loss.REPLY:
                            server.recv(1)  # the server has carried it out
                            self.struck.set()
                            return
                    except OSError:
                        return

    def _strike(self, data: bytes) -> Loss | None:
        with self._lock:
            if self._armed is None or self._armed[0] not in data:
                return None
            loss, self._armed = self._armed[1], None
            return loss
