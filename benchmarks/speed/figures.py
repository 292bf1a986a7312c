"""The figures: what was measured, beside its floor and against its target. Pure, no I/O."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

#: The samples of each slice of each repetition.
Repetitions = Sequence[Sequence[Sequence[float]]]

#: What is measured of a run lies between these shares of its jobs, so that neither a start nor an end counts.
FIRST_SHARE, LAST_SHARE = 0.1, 0.95

#: Seconds in which something more must get done.
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Target:
    """What a row should reach.

    Attributes:
        limit: the number.
        is_least: whether it is the least (of a rate) or the most (of a time).
        of_ratio: whether the ratio to the floor is meant, or the figure itself.
    """

    limit: float
    is_least: bool = False
    of_ratio: bool = True

    def is_met(self, value: float) -> bool:
        """Whether a value reaches it."""
        return value >= self.limit if self.is_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.is_least else '≤'} {self.limit:g}{' ×' if self.of_ratio else ''}"


def at_least(ratio: float) -> Target:
    """The ratio to the floor must not be below."""
    return Target(ratio, is_least=True)


def at_most(ratio: float) -> Target:
    """The ratio to the floor must not be above."""
    return Target(ratio)


def limited_to(figure: float) -> Target:
    """The figure itself must not be above."""
    return Target(figure, of_ratio=False)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some repetitions, with the least and the greatest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, a value each repetition.

    Attributes:
        name: what was measured.
        unit: of figure and floor.
        figures: ours.
        floors: of the same repetitions; empty where there is no floor.
        floor_is: what the floor is.
        target: what should be reached; ``None`` where nothing was set.
    """

    name: str
    unit: str
    figures: Sequence[float]
    floors: Sequence[float] = ()
    floor_is: str = ""
    target: Target | None = None

    @property
    def figure(self) -> Spread:
        """Ours."""
        return Spread.of(self.figures)

    @property
    def floor(self) -> Spread | None:
        """The floor's."""
        return Spread.of(self.floors) if self.floors else None

    @property
    def ratio(self) -> Spread | None:
        """Ours to the floor's of the same repetition, so that a slow moment of the machine counts for both."""
        if not self.floors:
            return None
        return Spread.of([figure / floor for figure, floor in zip(self.figures, self.floors, strict=True)])

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; ``None`` without one."""
        if self.target is None:
            return None
        judged = self.ratio if self.target.of_ratio else self.figure
        if judged is None:
            raise ValueError(f"{self.name!r} has a target for its ratio, but no floor")
        return self.target.is_met(judged.median)


def interleave(contenders: Mapping[str, Callable[[], T]], repetitions: int) -> dict[str, list[T]]:
    """Run contenders in turn, after a first run of each that does not count.

    Every other turn goes backwards, so that none always profits from what another leaves in the caches.
    """
    for contender in contenders.values():
        contender()
    results: dict[str, list[T]] = {name: [] for name in contenders}
    for turn in range(repetitions):
        for name in list(contenders)[:: -1 if turn % 2 else 1]:
            results[name].append(contenders[name]())
    return results


def grouped(values: Sequence[T], size: int) -> list[list[T]]:
    """The values in groups of the same size, in their order."""
    return [list(values[start : start + size]) for start in range(0, len(values), size)]


def done_rate(looks: Iterator[tuple[float, int]], count: int) -> float:
    """How many a second were done, from looks (time, how many are done) at a run of ``count``.

    Raises:
        RuntimeError: nothing more is done.
    """
    first: tuple[float, int] | None = None
    last_done, last_change = -1, 0.0
    for now, done in looks:
        if done != last_done:
            last_done, last_change = done, now
        if now - last_change > PATIENCE:
            raise RuntimeError(f"{done} of {count} jobs are done, and for {PATIENCE:g} s no more")
        if first is None and done >= count * FIRST_SHARE:
            first = (now, done)
        elif first is not None and done >= count * LAST_SHARE and now > first[0]:
            return (done - first[1]) / (now - first[0])
    raise RuntimeError("nobody looked any more")


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def latency_rows(
    name: str,
    samples: Repetitions,
    floors: Repetitions,
    floor_is: str,
    target: Target | None = None,
) -> Iterator[Row]:
    """The rows of p50 and p99, both with the target.

    Args:
        name: what was measured.
        samples, floors: seconds.
        floor_is: what the floor is.
        target: of the ratios.
    """
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        figures, bare = (_quantiles_ms(group, share) for group in (samples, floors))
        yield Row(f"{name}, {label}", "ms", figures, bare, floor_is, target)


def tail_row(name: str, samples: Repetitions, target: Target | None = None) -> Row:
    """The row of p99 against p50 of the same samples."""
    p50, p99 = (_quantiles_ms(samples, share) for share in (0.5, 0.99))
    return Row(f"{name}, p99 to p50", "ms", p99, p50, "the p50 of the same samples", target)


def _quantiles_ms(repetitions: Repetitions, share: float) -> list[float]:
    """The quantile of all samples of each repetition, in ms."""
    return [quantile([one for part in slices for one in part], share) * 1e3 for slices in repetitions]
