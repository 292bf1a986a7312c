"""How many jobs a worker holds ready beyond those it runs: pure, from how long its jobs take."""

from __future__ import annotations

from collections.abc import Iterable

#: Seconds of work, by the clock, that a worker holds ready: enough for the round trip that brings the next jobs.
WORK_IN_HAND = 0.01

#: Most jobs in hand, those that run included.
MAX_IN_HAND = 64

#: Seconds below which a job is not worth another thread: the one that fetched it runs it.
QUICK = 0.0002

#: The weight of one more duration in the estimate.
_WEIGHT = 0.05


class Pace:
    """An estimate of how long a job takes. A longer one counts at once, shorter ones bring it down slowly, so that
    few jobs wait behind one that turns out long.

    Args:
        holds_ready: whether any can be held ready.
    """

    def __init__(self, holds_ready: bool = True) -> None:
        self._seconds: float | None = None
        self._holds_ready = holds_ready

    def note(self, durations: Iterable[float]) -> None:
        """Jobs have run for so many seconds each."""
        for seconds in durations:
            if self._seconds is None or seconds > self._seconds:
                self._seconds = seconds
            else:
                self._seconds += _WEIGHT * (seconds - self._seconds)

    @property
    def is_quick(self) -> bool:
        """Whether jobs end sooner than it takes to wake a thread for them."""
        return self._seconds is not None and self._seconds < QUICK

    @property
    def holds_ready(self) -> bool:
        """Whether any can be held ready."""
        return self._holds_ready

    def hold_none(self) -> None:
        """No job can be held ready: what runs here would run at once."""
        self._holds_ready = False

    def ready(self, concurrency: int) -> int:
        """How many jobs may be held ready; none until the first has run."""
        if self._seconds is None or not self._holds_ready:
            return 0
        by_time = int(WORK_IN_HAND * concurrency / max(self._seconds, 1e-6))
        return max(0, min(by_time, MAX_IN_HAND - concurrency))
