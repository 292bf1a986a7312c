"""Jobs that the tests enqueue; found by autodiscovery."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings

from django_jobqueue import JobContext, job


@job
def add(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y


@job
def echo(value: object) -> object:
    """Return the argument."""
    return value


@job(max_attempts=2, retry_backoff=0)
def fail(message: str = "boom") -> None:
    """Fail in every attempt."""
    raise ValueError(message)


@job(max_attempts=3, retry_backoff=0, takes_context=True)
def fail_until(context: JobContext, attempt: int) -> int:
    """Fail until the given attempt, and return its number."""
    if context.attempts < attempt:
        raise ValueError(f"attempt {context.attempts}")
    return context.attempts


@job(timeout=0.2, max_attempts=1)
def too_slow() -> None:
    """Run until interrupted."""
    while True:
        time.sleep(0.01)


@job
def unserialisable() -> object:
    """Return what JSON cannot hold."""
    return object()


@job
async def double(x: int) -> int:
    """An ``async def`` job."""
    return 2 * x


@job
def append_line(path: str, line: str, seconds: float = 0.0) -> str:
    """Note in a file that the job began, take some time, note that it ended."""
    _append(path, f"begin {line} {os.getpid()}")
    time.sleep(seconds)
    _append(path, f"end {line} {os.getpid()}")
    return line


@job
def end_fork() -> int:
    """Fork, end the fork with SIGTERM, and return how it ended."""
    running, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        pid = os.fork()
    if pid == 0:
        os.write(tell, b"!")
        time.sleep(30)
        os._exit(0)
    os.read(running, 1)
    os.close(running)
    os.close(tell)
    os.kill(pid, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


_leaked: list[bytearray] = []


@job
def leak(path: str, line: str, megabytes: int) -> None:
    """Note in a file that the job ran, and keep memory for ever."""
    _leaked.append(bytearray(os.urandom(1)) * (megabytes * 1024 * 1024))
    _append(path, f"begin {line} {os.getpid()}")
    time.sleep(0.2)


def _append(path: str, line: str) -> None:
    # One write of a short line is atomic between processes.
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")


@job(max_attempts=2)
def kill_process() -> None:
    """End the worker's process on the spot."""
    os._exit(17)


@job(takes_context=True, retry_backoff=0)
def note_run(context: JobContext, path: str, seconds: float = 0.0) -> str:
    """Note in a file that a run of this job began, and which attempt it is; take some time; note that it ended."""
    _append(path, f"begin {context.id} {context.attempts} {os.getpid()}")
    # Not time.sleep, which libfaketime 0.9.10 breaks (clock_nanosleep with TIMER_ABSTIME fails with EINVAL).
    threading.Event().wait(seconds)
    _append(path, f"end {context.id} {context.attempts} {os.getpid()}")
    return context.id
