"""Finds and signals every process that descends from one we started, however it detaches itself."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Iterable
from pathlib import Path


class Descendants:
    """The processes that were started with ``environment``, and all that these started in their turn."""

    def __init__(self) -> None:
        self._name, self._value = "BENCHMARK_FAMILY", uuid.uuid4().hex

    @property
    def environment(self) -> dict[str, str]:
        """What to add to the environment of a process; its children inherit it."""
        return {self._name: self._value}

    def pids(self) -> list[int]:
        """Those that live."""
        marker = f"{self._name}={self._value}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if marker in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def signal_all(self, number: signal.Signals) -> list[int]:
        """Send every one a signal, as to a whole container; the pids."""
        pids = self.pids()
        _signal(pids, number)
        return pids

    def signal(self, pids: Iterable[int], number: signal.Signals) -> None:
        """Send a signal to those of the processes that still live."""
        _signal(set(pids) & set(self.pids()), number)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
