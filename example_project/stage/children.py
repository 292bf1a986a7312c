"""The demo's processes: started in order, ended in reverse order, whatever happens."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

#: Seconds that a process has to end after SIGTERM, before SIGKILL.
STOP_TIMEOUT = 15.0

#: Seconds that a process has until it is of use.
START_TIMEOUT = 30.0

#: Ports to choose from. They lie below those that the system gives to clients: a client that
#: reconnects to a client port without a server may be given that same port, and reach itself.
PORTS = range(12000, 32000)

TETHER = Path(__file__).with_name("tether.py")


class ChildFailed(Exception):
    """A process did not start, or ended by itself; the message has the end of its log."""


class Child:
    """One process, with its output in a log file."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path) -> None:
        self.name = name
        self._log = log
        tethered = [sys.executable, "-IS", TETHER, str(os.getpid()), *command]
        with log.open("ab") as output:
            # In a session of its own, a Ctrl-C in the terminal reaches the demo alone, which then
            # ends its children in an order that lets each of them end well.
            self._process = subprocess.Popen(
                tethered, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """The process id; the tether becomes the command, so it is the command's."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def ensure_running(self) -> None:
        """Raise ``ChildFailed`` if it has ended."""
        if not self.is_running:
            status = self._process.returncode
            raise ChildFailed(f"{self.name} ended with exit status {status}. Its last lines:\n{self._tail()}")

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Wait until the process does what it is for.

        Raises:
            ChildFailed: it ended, or took longer than ``START_TIMEOUT``.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while not is_ready():
            self.ensure_running()
            if time.monotonic() > deadline:
                raise ChildFailed(f"{self.name} is not ready after {START_TIMEOUT:g} s:\n{self._tail()}")
            time.sleep(0.05)

    def freeze(self) -> None:
        """Stop its clock (SIGSTOP)."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after ``freeze``."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without warning (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and insist after ``STOP_TIMEOUT``."""
        if not self.is_running:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()

    def _tail(self) -> str:
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-15:]) or "(no output)"


class Children:
    """All processes of the demo; leaving the ``with`` block ends them."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._started: list[Child] = []
        # The with block does it as a rule; this is for an exit that leaves the block out.
        atexit.register(self.stop)

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str | Path]) -> Child:
        """Start a process."""
        child = Child(name, command, self._logs / f"{name.replace(' ', '-')}.log")
        self._started.append(child)
        return child

    def stop(self) -> None:
        """End those that still run, the youngest first: workers before the server they need."""
        while self._started:
            self._started[-1].stop()
            self._started.pop()


def free_port() -> int:
    """A loopback port that nothing listens on at this moment."""
    for port in random.sample(PORTS, k=50):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ChildFailed("found no free port among 50 tried on 127.0.0.1; choose one with --port")
