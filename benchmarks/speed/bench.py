"""What every section needs: the server, the queues, the floor, and how long to measure."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from django_jobqueue.queue import Queue, queues
from django_jobqueue.storage.keys import Keys
from tests.servers import Server

from .bare import Bare
from .figures import Row, grouped, interleave

T = TypeVar("T")

#: Parts of one measurement, in which figure and floor take turns. The shorter their turns, the more alike is
#: what a busy machine leaves to each.
SLICES = 20


@dataclass(frozen=True)
class Bench:
    """One run.

    Attributes:
        server: a server that nobody else uses.
        repetitions: of each measurement.
        seconds: that one measurement should take, roughly.
        many: jobs in a large queue.
        idle_seconds: for which an idle worker is watched.
    """

    server: Server
    repetitions: int
    seconds: float
    many: int
    idle_seconds: float

    def interleave_samples(
        self, a_second: float, ours: Callable[[], float], floor: Callable[[], float]
    ) -> tuple[list[list[list[float]]], list[list[list[float]]]]:
        """Let two take turns, some samples at a time: the samples of each slice of each repetition.

        Args:
            a_second: how many samples for each second that a repetition should take.
            ours, floor: take one sample, in seconds.
        """
        samples = max(1, round(a_second * self.seconds / SLICES))
        found = self.interleave(
            SLICES,
            ours=lambda: [ours() for _ in range(samples)],
            floor=lambda: [floor() for _ in range(samples)],
        )
        return found["ours"], found["floor"]

    @property
    def slice_seconds(self) -> float:
        """How long one slice should take."""
        return self.seconds / SLICES

    @property
    def queue(self) -> Queue:
        """The queue that is measured."""
        return queues["default"]

    @cached_property
    def bare(self) -> Bare:
        """The floor, on a queue of its own."""
        return Bare(self.server.url(), "bare:")

    @cached_property
    def client(self) -> Any:
        """For looks at the server that are not measured."""
        return self.server.client()

    def interleave(self, slices: int = SLICES, **contenders: Callable[[], T]) -> dict[str, list[list[T]]]:
        """Let contenders take turns, slice by slice.

        Args:
            slices: turns in one repetition.
            **contenders: by name.

        Returns:
            For each contender and repetition, what its slices returned.
        """
        found = interleave(contenders, self.repetitions * slices)
        return {name: grouped(results, slices) for name, results in found.items()}

    def compare(
        self,
        name: str,
        unit: str,
        ours: Callable[[], float],
        floor: Callable[[], float],
        slices: int = SLICES,
        **about: Any,
    ) -> Row:
        """A row of a figure and its floor, each the median of the slices.

        Args:
            name, unit: of the row.
            ours, floor: measure one slice.
            slices: turns in one repetition.
            **about: the row's other attributes.
        """
        found = self.interleave(slices, ours=ours, floor=floor)
        figures, floors = ([statistics.median(group) for group in found[key]] for key in ("ours", "floor"))
        return Row(name, unit, figures, floors, **about)

    def forget(self, alias: str) -> None:
        """Remove the jobs of a queue, and leave its workers registered."""
        keys = Keys(f"{alias}:")
        self.client.delete(keys.jobs, keys.queue, keys.results, keys.completed, keys.cancelled)


def rate(action: Callable[[], int], seconds: float) -> float:
    """How many a second: ``action`` is repeated for that long, and says how many it did."""
    done, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        done += action()
    return done / passed


def median_ms(action: Callable[[], object], seconds: float) -> float:
    """The median duration of the calls that fit into the time; of at least one."""
    taken, began = [], time.perf_counter()
    while not taken or time.perf_counter() - began < seconds:
        taken += durations(action, 1)
    return statistics.median(taken) * 1e3


def durations(action: Callable[[], object], times: int) -> list[float]:
    """The seconds that each of some calls took."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return taken
