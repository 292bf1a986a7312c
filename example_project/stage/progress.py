"""A progress bar on a terminal, a line at each tenth elsewhere."""

from __future__ import annotations

import sys
import time

#: Characters of the bar.
WIDTH = 32

#: Back to the beginning of the line, and erase it (ECMA-48).
_CLEAR_LINE = "\r\x1b[K"


class Progress:
    """Shows how many of ``total`` are done; ``say`` puts a line above the bar."""

    def __init__(self, total: int) -> None:
        self._total = max(total, 1)
        self._began = time.monotonic()
        self._is_terminal = sys.stdout.isatty()
        self._tenths_shown = 0
        self._bar = ""

    def update(self, done: int) -> None:
        """Show a new state."""
        if self._is_terminal:
            filled = WIDTH * done // self._total
            self._bar = f"  {'█' * filled}{'░' * (WIDTH - filled)} {self._figures(done)}"
            self._draw()
        elif (tenths := 10 * done // self._total) > self._tenths_shown:
            self._tenths_shown = tenths
            print(f"  {self._figures(done)}", flush=True)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        print(f"{_CLEAR_LINE if self._bar else ''}{line}", flush=True)
        if self._bar:
            self._draw()

    def finish(self) -> None:
        """Leave the bar as it is and go on below it."""
        if self._bar:
            print(flush=True)
            self._bar = ""

    def _draw(self) -> None:
        print(f"{_CLEAR_LINE}{self._bar}", end="", flush=True)

    def _figures(self, done: int) -> str:
        rate = done / max(time.monotonic() - self._began, 0.001)
        return f"{100 * done // self._total:3d} %  {done:,} of {self._total:,}, {rate:,.0f} jobs/s"
