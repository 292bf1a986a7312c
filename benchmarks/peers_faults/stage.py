"""One peer on a server of its own: its workers, its producer, its journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.descendants import Descendants
from benchmarks.relay import Relay
from tests.servers import Server

from .peers import ADAPTERS, Peer

#: Seconds that an adapter's producer or reader may take.
ADAPTER_DEADLINE = 30.0

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the journal."""

    what: str
    job_id: str
    pid: int
    seconds: float


class Stage:
    """Everything that one fault on one peer needs; nothing of it stays behind.

    Args:
        peer, row: the library and its configuration.
        kind: of the server, ``redis`` or ``valkey``.
    """

    def __init__(self, peer: Peer, row: str, kind: str) -> None:
        self.peer = peer
        self._workers = Descendants()
        self._row = row
        self.server = Server(kind, appendonly=True)
        self._folder = tempfile.TemporaryDirectory(prefix="jobqueue-peer-")
        self._journal = Path(self._folder.name) / "journal"
        self._journal.touch()
        self._logs = 0
        self._started: list[subprocess.Popen[bytes]] = []
        self.relay: Relay

    def __enter__(self) -> Self:
        self.server.start()
        self.relay = Relay(self.server.port).__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._workers.signal_all(signal.SIGKILL)
        for process in self._started:
            process.kill()
            process.wait()
        self.relay.__exit__(None, None, None)
        self.server.close()
        self._folder.cleanup()

    # workers

    def start_worker(self, *, through_relay: bool = False) -> subprocess.Popen[bytes]:
        """Start a worker; it is ready some time later."""
        self._logs += 1
        port = self.relay.port if through_relay else self.server.port
        with (Path(self._folder.name) / f"worker-{self._logs}.log").open("wb") as log:
            process = subprocess.Popen(
                self.peer.command("worker"),
                env=self._environment(port) | self._workers.environment,
                cwd=ADAPTERS,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def signal_all(self, number: signal.Signals) -> list[int]:
        """Send every worker process a signal, as to a whole container; the pids."""
        return self._workers.signal_all(number)

    def signal(self, pids: list[int], number: signal.Signals) -> None:
        """Send a signal to those of the processes that still live."""
        self._workers.signal(pids, number)

    def logs(self) -> str:
        """The ends of the workers' logs, for the curious."""
        files = sorted(Path(self._folder.name).glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text('utf-8', 'replace')[-3000:]}" for file in files)

    # jobs

    def enqueue(self, kind: str, *job_ids: str, seconds: float = 0) -> None:
        """Enqueue jobs, past the relay."""
        self._adapter("enqueue", kind, ",".join(job_ids), str(seconds))

    def begin(self, job_id: str, seconds: float) -> None:
        """Enqueue a job; return at the moment that a worker has begun it.

        Raises:
            RuntimeError: none has.
        """
        self._started.append(
            subprocess.Popen(
                self.peer.command("enqueue", "sleep", job_id, str(seconds)),
                env=self._environment(self.server.port),
                cwd=ADAPTERS,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        if not within(ADAPTER_DEADLINE, lambda: bool(self.notes("begin", job_id))):
            raise RuntimeError(f"{self.peer.name}: {job_id} did not begin\n{self.logs()}")

    def result(self, job_id: str) -> Any:
        """What the peer keeps as the job's result, the pid of the process that ran it; None without one."""
        return json.loads(self._adapter("result", job_id) or "null")

    def notes(self, what: str, job_id: str | None = None) -> list[Note]:
        """The journal's lines of one kind, of one job or all."""
        lines = (line.split() for line in self._journal.read_text("utf-8").splitlines())
        notes = (Note(words[0], words[1], int(words[2]), float(words[3])) for words in lines)
        return [note for note in notes if note.what == what and job_id in (None, note.job_id)]

    def _adapter(self, *arguments: str) -> str:
        done = subprocess.run(
            self.peer.command(*arguments),
            env=self._environment(self.server.port),
            cwd=ADAPTERS,
            capture_output=True,
            text=True,
            timeout=ADAPTER_DEADLINE,
        )
        if done.returncode:
            raise RuntimeError(f"{self.peer.name}: {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
        return done.stdout.strip()

    def _environment(self, port: int) -> dict[str, str]:
        return {
            **os.environ,
            "PEER_URL": f"redis://127.0.0.1:{port}/0",
            "PEER_ROW": self._row,
            "PEER_JOURNAL": str(self._journal),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(ADAPTERS)] if self.peer.is_ours else [str(ADAPTERS)]),
            "PYTHONUNBUFFERED": "1",
        }


def within(seconds: float, done: Callable[[], bool]) -> bool:
    """Whether it comes true in this time."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
