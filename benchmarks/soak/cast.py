"""The processes of the soak: workers, reapers and producers; one that has ended is replaced."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.processes import CommandProcess
from tests.servers.warden import warden

from .journal import FOLDER_VARIABLE

#: Seconds that a process gets to end after SIGTERM.
STOP_DEADLINE = 120.0

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Member:
    """One part of the cast, played by one process after the other.

    Attributes:
        role: ``worker``, ``reaper`` or ``producer``.
        arguments: of its command, given how many processes have played it.
        url: of the server, directly or through the relay.
        has_children: whether jobs run in processes below it.
    """

    role: str
    arguments: Callable[[int], list[str]]
    url: str
    has_children: bool = False
    count: int = 0
    process: CommandProcess | None = None
    ended: list[int] = field(default_factory=list)
    asked_to_end: int | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def is_running(self) -> bool:
        """Whether its process lives."""
        if self.process is None:
            return False
        try:
            self.process.wait(0)
        except subprocess.TimeoutExpired:
            return True
        return False

    def ask_to_end(self) -> None:
        """SIGTERM, once: a second one tells a worker to give its jobs back at once, and they begin anew elsewhere."""
        if self.process is not None and self.is_running() and self.asked_to_end != self.pid:
            self.asked_to_end = self.pid
            self.process.signal(signal.SIGTERM)

    def job_pids(self) -> list[int]:
        """The processes that run its jobs."""
        return children(self.pid) if self.has_children else [self.pid]


class Cast:
    """All members. Leaving the ``with`` block ends them.

    Args:
        folder: of the journals.
        prefix: of the queue.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder = folder
        self._prefix = prefix
        self.members: list[Member] = []
        self.replaced = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for member in self.members:
            if member.process is not None:
                below = children(member.pid) if member.is_running() else []
                self._forget(member)
                for pid in below:
                    _kill_if_alive(pid)

    def add(self, member: Member) -> None:
        """Start a member."""
        self.members.append(member)
        self.start(member)

    def start(self, member: Member) -> None:
        """Start a new process for a member; the one before is over."""
        if member.process is not None:
            self._forget(member)
        member.count += 1
        environment = {"DJANGO_SETTINGS_MODULE": "benchmarks.soak.settings", FOLDER_VARIABLE: str(self._folder)}
        member.process = CommandProcess(member.url, self._prefix, *member.arguments(member.count), **environment)
        warden.guard("pid", member.pid)

    def replace_ended(self) -> None:
        """Start those again that have ended, as a service manager does."""
        for member in self.members:
            if not member.is_running():
                self.replaced += 1
                self.start(member)

    def of(self, role: str) -> list[Member]:
        """The members of a role."""
        return [member for member in self.members if member.role == role]

    def choose(self, role: str, chance: random.Random) -> Member:
        """One of a role."""
        return chance.choice(self.of(role))

    def stop(self, role: str) -> list[int]:
        """Ask all of a role to end (SIGTERM), wait for them, and return their exit statuses."""
        running = [member for member in self.of(role) if member.is_running()]
        for member in running:
            member.process.signal(signal.SIGTERM)  # type: ignore[union-attr]
        return [member.process.wait(STOP_DEADLINE) for member in running]  # type: ignore[union-attr]

    def resident_megabytes(self) -> list[float]:
        """The resident memory of each process that runs jobs."""
        return [resident for member in self.of("worker") for pid in member.job_pids() for resident in _resident(pid)]

    @staticmethod
    def _forget(member: Member) -> None:
        assert member.process is not None
        member.ended.append(member.pid)
        warden.release("pid", member.pid)
        member.process.close()
        member.process = None


def children(pid: int) -> list[int]:
    """The children of a process."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []  # it has ended


def _resident(pid: int) -> Iterator[float]:
    try:
        yield int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6
    except OSError:
        return  # it has ended


def _kill_if_alive(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
