"""How much memory this process occupies, and a watch that tells when it is too much."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Callable

#: Seconds between two looks.
LOOK_INTERVAL = 1.0

_STATUS = "/proc/self/status"


def resident_megabytes() -> float:
    """The resident set of this process. Where the system does not tell, the largest it has been."""
    try:
        with open(_STATUS, encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass  # not Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


class MemoryWatch:
    """A thread that looks at the resident set now and then.

    Args:
        limit: in megabytes.
        on_exceeded: called once, with the size, when it is above the limit.
    """

    def __init__(self, limit: float, on_exceeded: Callable[[float], None]) -> None:
        self._limit = limit
        self._on_exceeded = on_exceeded
        self._stopping = threading.Event()

    def start(self) -> None:
        """Look from now on."""
        threading.Thread(target=self._run, name="jobqueue-memory", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_INTERVAL):
            if (size := resident_megabytes()) > self._limit:
                self._on_exceeded(size)
                return
