"""Workers as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.servers import wait_until


def command_environment(url: str, prefix: str) -> dict[str, str]:
    """The variables of a management command in a process of its own that is to find the queue."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.integration.process_settings",
        "JOBQUEUE_PROCESS_URL": url,
        "JOBQUEUE_PROCESS_PREFIX": prefix,
        "PYTHONUNBUFFERED": "1",
    }


class CommandProcess:
    """A management command in a process, ended by its pid at the latest with the test.

    Args:
        url, prefix: the queue.
        arguments: of ``manage.py``.
        environment: further variables, see ``tests.integration.process_settings``.
    """

    def __init__(self, url: str, prefix: str, *arguments: str, **environment: str) -> None:
        self._log = tempfile.NamedTemporaryFile("w", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "django", *arguments],
            env={**command_environment(url, prefix), **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it has."""
        return self._process.poll() is not None

    def output(self) -> str:
        """What it has written so far."""
        return Path(self._log.name).read_text("utf-8")

    def wait_for(self, text: str) -> None:
        """Wait until it has written a text."""

        def written() -> bool:
            assert self._process.poll() is None or text in self.output(), self.output()
            return text in self.output()

        wait_until(written, 30, lambda: AssertionError(self.output()))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to it and its children at once, as a terminal does, and systemd."""
        os.killpg(self.pid, number)

    def freeze(self) -> None:
        """Halt it (SIGSTOP); returns when it does nothing more."""
        self.signal(signal.SIGSTOP)
        self.await_freeze()

    def await_freeze(self) -> None:
        """Wait until it is halted: signals take effect asynchronously."""
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def wait(self, timeout: float = 60) -> int:
        """Its exit status."""
        return self._process.wait(timeout)

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._log.close()

    def __enter__(self) -> CommandProcess:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
