"""The sections, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..bench import Bench
from ..figures import Row
from . import answers, enqueueing, growth, local, looking, memory, pickup, throughput


@dataclass(frozen=True, slots=True)
class Section:
    """A table.

    Attributes:
        name: for the command line.
        title: for the reader.
        rows: measures them.
    """

    name: str
    title: str
    rows: Callable[[Bench], Iterator[Row]]


SECTIONS = (
    Section("enqueue", "Enqueueing", enqueueing.rows),
    Section("jobs", "Running jobs", throughput.rows),
    Section("answers", "Request and response", answers.rows),
    Section("pickup", "From the enqueue to the start of the job, on an idle worker", pickup.rows),
    Section("memory", "Memory, and an idle worker", memory.rows),
    Section("local", "Without a server: FileStorage and MemoryStorage", local.rows),
    Section("looking", "Looking at jobs", looking.rows),
    Section("growth", "Growth with the number of jobs", growth.rows),
)
