"""Ends what the tests start, whatever way they end themselves."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self


class Warden:
    """A process beside the tests that ends what they leave behind.

    It learns of each server process and directory through a pipe, and acts when the pipe closes. So it works
    for a normal exit and Ctrl-C as well as for ``os._exit`` (a pytest-timeout) and SIGKILL of the tests,
    where no handler of ours runs.
    """

    _PROGRAM = """
import os, shutil, signal, sys
left = {"pid": set(), "directory": set()}
for line in sys.stdin:
    verb, what, value = line.rstrip("\\n").split(" ", 2)
    (left[what].add if verb == "guard" else left[what].discard)(value)
for pid in left["pid"]:
    try:
        os.kill(int(pid), signal.SIGKILL)
    except ProcessLookupError:
        pass
for directory in left["directory"]:
    shutil.rmtree(directory, ignore_errors=True)
"""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def guard(self, what: str, value: int | Path) -> None:
        self._tell("guard", what, value)

    def release(self, what: str, value: int | Path) -> None:
        self._tell("release", what, value)

    def _tell(self, verb: str, what: str, value: int | Path) -> None:
        with self._lock:
            if self._process is None:
                self._process = self._start()
            assert self._process.stdin is not None
            self._process.stdin.write(f"{verb} {what} {value}\n")
            self._process.stdin.flush()

    def _start(self) -> subprocess.Popen[str]:
        # A session of its own: Ctrl-C in the terminal must not reach the warden before its work is done.
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", self._PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        starter = os.getpid()

        def finish() -> None:
            if os.getpid() == starter:  # a forked child runs atexit hooks too
                process.communicate()

        atexit.register(finish)
        return process


warden = Warden()


class Started(ABC):
    """A context manager that runs from ``start()`` to ``close()``, and closes what has started half."""

    @abstractmethod
    def start(self) -> Self: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exc_info: object) -> None:
        self.close()
