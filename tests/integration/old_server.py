"""A server that answers as releases before Redis 7 do: no such binary is to be had any more."""

from __future__ import annotations

import socketserver
import threading
from types import TracebackType
from typing import Self


class OldServer:
    """Speaks enough of the protocol to refuse our scripts the way Redis 6.2 refuses them.

    Args:
        version: the version lines of its INFO.
    """

    def __init__(self, version: str) -> None:
        info = f"# Server\r\n{version}\r\nredis_mode:standalone\r\n".encode()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while command := self._read():
                    self.wfile.write(self._answer([part.upper() for part in command]))

            def _read(self) -> list[bytes]:
                header = self.rfile.readline()
                if not header:
                    return []
                parts = []
                for _ in range(int(header[1:])):
                    length = int(self.rfile.readline()[1:])
                    parts.append(self.rfile.read(length + 2)[:-2])
                return parts

            def _answer(self, command: list[bytes]) -> bytes:
                if command[0] == b"HELLO":
                    return b"-ERR unknown command `HELLO`\r\n"
                if command[0] == b"EVALSHA":
                    return b"-NOSCRIPT No matching script. Please use EVAL.\r\n"
                if command[:2] == [b"SCRIPT", b"LOAD"]:
                    return (
                        b"-ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'\r\n"
                    )
                if command[0] == b"INFO":
                    return b"$%d\r\n%b\r\n" % (len(info), info)
                return b"+OK\r\n"

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where it listens; RESP2, which it speaks alone."""
        return f"redis://127.0.0.1:{self._server.server_address[1]}/0?protocol=2"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
