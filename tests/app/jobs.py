"""Jobs that the tests enqueue; found by autodiscovery."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import threading
import time
import warnings
from pathlib import Path

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


def _await_gate(gate: str) -> None:
    while gate and not Path(gate).exists():
        threading.Event().wait(0.02)


@job(max_attempts=2)
def kill_process() -> None:
    """End the worker's process on the spot."""
    os._exit(17)


@job(takes_context=True, retry_backoff=0)
def scripted(context: JobContext, path: str, failures: int = 0, gate: str | None = None) -> int:
    """Note in a file that an attempt began; wait for a gate to open; fail in the first attempts.

    The gate is a file, ``{attempt}`` in its name stands for the attempt's number.
    """
    _append(path, f"begin {context.id} {context.attempts} {os.getpid()}")
    _await_gate((gate or "").format(attempt=context.attempts))
    if context.attempts <= failures:
        raise ValueError(f"attempt {context.attempts}")
    return context.attempts


@job(takes_context=True, retry_backoff=0)
def note_run(context: JobContext, path: str, seconds: float = 0.0, gate: str = "") -> str:
    """Note in a file that a run of this job began, and which attempt it is; take some time; note that it ended.

    Where a gate is named, it ends only once there is a file of that name.
    """
    _append(path, f"begin {context.id} {context.attempts} {os.getpid()}")
    time.sleep(seconds)
    _await_gate(gate)
    _append(path, f"end {context.id} {context.attempts} {os.getpid()}")
    return context.id


@job(takes_context=True, retry_backoff=0)
def die(context: JobContext, path: str, how: str, gate: str = "") -> None:
    """Note in a file that a run began, wait for another file if one is named, and end the worker's process."""
    _append(path, f"begin {context.id} {context.attempts} {os.getpid()}")
    _await_gate(gate)
    _DEATHS[how]()


@job(takes_context=True, retry_backoff=0)
def freeze(context: JobContext, path: str) -> None:
    """Note in a file that a run began, and stop the worker's process in the first attempt."""
    _append(path, f"begin {context.id} {context.attempts} {os.getpid()}")
    if context.attempts == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
        # It takes a moment until all threads have stopped.
        threading.Event().wait(0.05)


def _kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


def _fault() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def _exceed_memory() -> None:
    """As a C library that does not look at what malloc returns."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory()
    libc = ctypes.CDLL(None)
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    libc.memset(libc.malloc(_TOO_MUCH), 1, _TOO_MUCH)


_TOO_MUCH = 1 << 40

_DEATHS = {"exit": lambda: os._exit(17), "kill": _kill_itself, "fault": _fault, "memory": _exceed_memory}


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_TOO_MUCH // 2, resource.getrlimit(resource.RLIMIT_AS)[1]))


@job(takes_context=True, max_attempts=2, retry_backoff=0)
def want_memory(context: JobContext) -> int:
    """Ask for more memory than the process may have, in the first attempt."""
    if context.attempts == 1:
        _limit_memory()
        bytearray(_TOO_MUCH)
    return context.attempts
