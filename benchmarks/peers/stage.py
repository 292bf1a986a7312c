"""One server for all peers, and the processes of the one peer that is on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.descendants import Descendants
from tests.servers import Server, wait_until

from .peers import ADAPTERS, Peer

REPOSITORY = Path(__file__).parents[2]

#: Seconds in which an adapter must be done; no cell takes nearly as long.
DEADLINE = 120.0


@dataclass(frozen=True, slots=True)
class Effort:
    """What the server has done since it was cleared, or between two looks.

    Attributes:
        commands: calls of commands, those inside scripts included.
        bytes_in, bytes_out: of all connections.
        cpu_seconds: of the server's process.
    """

    commands: int
    bytes_in: int
    bytes_out: int
    cpu_seconds: float

    def __sub__(self, other: Effort) -> Effort:
        return Effort(
            self.commands - other.commands,
            self.bytes_in - other.bytes_in,
            self.bytes_out - other.bytes_out,
            self.cpu_seconds - other.cpu_seconds,
        )


class Stage:
    """The server, empty for each cell, and what runs against it. Nothing of it stays behind."""

    def __init__(self) -> None:
        self.server = Server("redis")
        self._folder = tempfile.TemporaryDirectory(prefix="jobqueue-peers-")
        self._marks = Path(self._folder.name) / "marks"
        self._log = Path(self._folder.name) / "log"
        self._worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.server.close()
        self._folder.cleanup()

    def clear(self) -> None:
        """Empty the server and the marks."""
        with self.server.client() as client:
            client.flushall()
            client.config_resetstat()
        self._marks.write_bytes(b"")

    @contextmanager
    def worker(self, peer: Peer, concurrency: int, cell: str) -> Iterator[None]:
        """A worker of a peer, from here to the end of the block; then all its processes are killed."""
        family = Descendants()
        with self._log.open("wb") as log:
            self._worker = process = subprocess.Popen(
                peer.command("worker"),
                env=self._environment(peer, concurrency, cell) | family.environment,
                cwd=ADAPTERS,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield
        finally:
            family.signal_all(signal.SIGKILL)
            process.wait()

    def adapter(self, peer: Peer, concurrency: int, cell: str, *arguments: str) -> Any:
        """What a producer of a peer prints, decoded; None for nothing.

        Raises:
            RuntimeError: it failed; the message has the end of what it and the worker said.
        """
        try:
            done = subprocess.run(
                peer.command(*arguments),
                env=self._environment(peer, concurrency, cell),
                cwd=ADAPTERS,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{peer.name}: {arguments[0]} took over {DEADLINE:g} s\n{self._said()}") from None
        if done.returncode:
            raise RuntimeError(f"{peer.name}: {arguments[0]} failed:\n{done.stderr[-2000:]}\n{self._said()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def await_marks(self, count: int) -> float:
        """Wait until so many marked jobs have ended; the seconds from the first one's start to the last one's end.

        Raises:
            RuntimeError: they have not in time, or the worker has ended.
        """

        def are_written() -> bool:
            if self._worker is not None and self._worker.poll() is not None:
                raise failure()
            return self._marks.read_bytes().count(b"\n") >= count

        def failure() -> RuntimeError:
            return RuntimeError(f"saw {self._marks.read_bytes().count(10)} of {count} marked jobs\n{self._said()}")

        wait_until(are_written, DEADLINE, failure)
        marks = [tuple(map(float, line.split())) for line in self._marks.read_text("utf-8").splitlines()]
        return max(end for _, end in marks) - min(begin for begin, _ in marks)

    def effort(self) -> Effort:
        """What the server has done since it was cleared, our own questions included."""
        with self.server.client() as client:
            info = client.info("all")
        return Effort(
            commands=sum(entry["calls"] for name, entry in info.items() if name.startswith("cmdstat_")),
            bytes_in=info["total_net_input_bytes"],
            bytes_out=info["total_net_output_bytes"],
            cpu_seconds=info["used_cpu_user"] + info["used_cpu_sys"],
        )

    def _said(self) -> str:
        return self._log.read_text("utf-8", "replace")[-2000:] if self._log.exists() else ""

    def _environment(self, peer: Peer, concurrency: int, cell: str) -> dict[str, str]:
        return {
            **os.environ,
            "PEER_URL": self.server.url(),
            "PEER_MODE": peer.mode,
            "PEER_CONCURRENCY": str(concurrency),
            "PEER_CELL": cell,
            "PEER_MARKS": str(self._marks),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(ADAPTERS)] if peer.is_ours else [str(ADAPTERS)]),
        }
