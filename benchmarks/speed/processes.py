"""The workers, each in processes of its own, and what they take of the machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.soak.cast import children
from django_jobqueue.queue import queues
from tests.faults.processes import CommandProcess
from tests.servers.waiting import wait_until
from tests.servers.warden import warden

from .environment import FILE_VARIABLE, SETTINGS, URL_VARIABLE

#: Seconds that a worker may take to start, and to end.
DEADLINE = 60.0

PAGE = os.sysconf("SC_PAGE_SIZE")


class WorkerProcesses:
    """A ``jobqueue_worker`` that has registered, and waits for jobs. Leaving the block ends it.

    Args:
        alias: of its queue.
        concurrency: jobs at a time in a process.
        processes: how many, under a supervisor if more than one.
        must_wait: false to enter the block while it still starts.
    """

    def __init__(self, alias: str, concurrency: int, processes: int = 1, must_wait: bool = True) -> None:
        self._alias = alias
        self._must_wait = must_wait
        self._count = processes
        arguments = [alias, f"--concurrency={concurrency}", f"--processes={processes}"]
        environment = {"DJANGO_SETTINGS_MODULE": SETTINGS, FILE_VARIABLE: os.environ[FILE_VARIABLE]}
        self._process = CommandProcess(
            os.environ[URL_VARIABLE], "unused:", "jobqueue_worker", *arguments, **environment
        )
        warden.guard("pid", self._process.pid)

    def __enter__(self) -> WorkerProcesses:
        if self._must_wait:
            wait_until(self._are_ready, DEADLINE, lambda: RuntimeError(f"no worker came:\n{self._process.output()}"))
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        if not self._process.has_ended:
            self._process.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(DEADLINE)
        self._process.close()
        warden.release("pid", self._process.pid)

    @property
    def pids(self) -> list[int]:
        """The processes that run jobs."""
        return [self._process.pid] if self._count == 1 else children(self._process.pid)

    def freeze(self) -> None:
        """Halt them, so that a queue can be filled before they see it."""
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def resident_bytes(self) -> int:
        """The memory that they occupy together."""
        return sum(resident_bytes(pid) for pid in self.pids)

    def cpu_seconds(self) -> float:
        """The time that their threads have run so far, together."""
        return sum(cpu_seconds(pid) for pid in self.pids)

    def _are_ready(self) -> bool:
        if self._process.has_ended:
            raise RuntimeError(f"the worker has ended:\n{self._process.output()}")
        return len(queues[self._alias].workers()) == self._count


@contextmanager
def program(*arguments: str) -> Iterator[int]:
    """A Python program for the time of a block; its pid.

    Args:
        arguments: of the interpreter.
    """
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS}
    process = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.DEVNULL, env=environment)
    warden.guard("pid", process.pid)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
        warden.release("pid", process.pid)


def bare_worker(prefix: str, role: str) -> contextlib.AbstractContextManager[int]:
    """A worker of the floor; see ``bare``."""
    return program("-m", "benchmarks.speed.bare", os.environ[URL_VARIABLE], prefix, role)


def resident_bytes(pid: int) -> int:
    """The memory that a process occupies."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def cpu_seconds(pid: int) -> float:
    """The time that a process has run so far; of its threads that live, by the scheduler's own count.

    Finer than the 10 ms of ``/proc/<pid>/stat``, of which an idle worker uses a few in a minute.
    """
    threads: Sequence[Path] = list(Path(f"/proc/{pid}/task").iterdir())
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
