"""How long to wait before the next try. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

#: Seconds between tries to reach a server that cannot be reached: the first, and the longest.
OUTAGE_DELAYS = (0.1, 5.0)


def retry_delay(
    attempts: int, base: float, longest: float, rng: Callable[[float, float], float] = random.uniform
) -> float:
    """Seconds until a failed job runs again: exponential, with full jitter.

    "Full jitter" spreads retries evenly over the whole interval, which keeps many jobs that failed
    together from coming back together (AWS Architecture Blog, "Exponential Backoff And Jitter").

    Args:
        attempts: finished attempts, from 1.
        base: upper limit of the first delay, in seconds; 0 retries at once.
        longest: upper limit of any delay, in seconds.
        rng: picks a number between two.
    """
    limit = retry_limit(attempts, base, longest)
    return rng(0.0, limit) if limit > 0 else 0.0


def retry_limit(attempts: int, base: float, longest: float) -> float:
    """The most seconds that ``retry_delay`` gives: doubling with each attempt, up to the longest."""
    # 2 ** 60 is far beyond any limit, and larger exponents would overflow.
    return min(longest, base * 2.0 ** min(attempts - 1, 60))


def outage_delays() -> Iterator[float]:
    """Seconds between tries during an outage: doubling from the first to the longest."""
    delay, longest = OUTAGE_DELAYS
    while True:
        yield delay
        delay = min(2 * delay, longest)
