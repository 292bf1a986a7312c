"""The cells: each gives one peer the same work and says what figures came of it."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Protocol

from .peers import Peer
from .stage import Stage

#: A first, uncounted run of so many jobs tells how many a peer does in the time of a cell.
PROBE_JOBS = 200

#: Bounds of the jobs of one cell: start-up must not weigh, and queueing them takes its time too.
FEWEST_JOBS, MOST_JOBS = 200, 20_000

#: Seconds between the end of the last job and our look at the server: its result must be stored by then.
SETTLING = 0.5

Figures = dict[str, float]


class Cell(Protocol):
    """A piece of work, with its short name."""

    name: str

    def suits(self, peer: Peer) -> bool:
        """Whether the peer can do it."""

    def measure(self, stage: Stage, peer: Peer, seconds: float) -> Figures:
        """Have the peer do it for about so long on the empty server; the figures, by their names."""


class Enqueue:
    """One producer enqueues jobs one by one; nobody takes them."""

    name = "enqueue"

    def suits(self, peer: Peer) -> bool:
        """Every peer can."""
        return True

    def measure(self, stage: Stage, peer: Peer, seconds: float) -> Figures:
        """Jobs a second."""
        done = stage.adapter(peer, 1, self.name, "enqueue", str(seconds))
        return {"enqueue/s": done["jobs"] / done["seconds"]}


@dataclass(eq=False)
class Run:
    """One worker process does jobs that were queued before.

    Attributes:
        name: of the cell.
        figure: what its rate is called.
        concurrency: jobs at a time.
        milliseconds: that a job sleeps.
    """

    name: str
    figure: str
    concurrency: int
    milliseconds: int = 0

    def __post_init__(self) -> None:
        self._rates: dict[Peer, float] = {}

    def suits(self, peer: Peer) -> bool:
        """Those that run so many jobs at a time in one worker."""
        return self.concurrency <= peer.concurrency

    def measure(self, stage: Stage, peer: Peer, seconds: float) -> Figures:
        """Jobs a second, from the start of the first to the end of the last.

        And the server's effort for each job, where no-ops run at the peer's full concurrency.
        """
        if peer not in self._rates:
            self._rates[peer] = PROBE_JOBS / self._run(stage, peer, PROBE_JOBS)
            stage.clear()
        jobs = max(FEWEST_JOBS, min(MOST_JOBS, int(self._rates[peer] * seconds)))
        first, before = stage.effort(), stage.effort()
        self._rates[peer] = jobs / self._run(stage, peer, jobs)
        figures = {self.figure: self._rates[peer]}
        if not self.milliseconds and self.concurrency == peer.concurrency:
            time.sleep(SETTLING)
            # A look is work for the server as well; the first two tell how much.
            effort = stage.effort() - before - (before - first)
            figures["commands/job"] = effort.commands / jobs
            figures["bytes in/job"] = effort.bytes_in / jobs
            figures["bytes out/job"] = effort.bytes_out / jobs
            figures["server µs/job"] = effort.cpu_seconds / jobs * 1e6
        return figures

    def _run(self, stage: Stage, peer: Peer, jobs: int) -> float:
        stage.adapter(peer, self.concurrency, self.name, "fill", str(jobs), str(self.milliseconds))
        with stage.worker(peer, self.concurrency, self.name):
            return stage.await_marks(1 + self.concurrency)


class Ask:
    """A producer enqueues a job on an idle worker and waits for its result, one at a time."""

    name = "ask"

    def suits(self, peer: Peer) -> bool:
        """Those whose API can wait."""
        return peer.can_wait

    def measure(self, stage: Stage, peer: Peer, seconds: float) -> Figures:
        """Milliseconds from the call to the result."""
        with stage.worker(peer, peer.concurrency, self.name):
            answers = stage.adapter(peer, peer.concurrency, self.name, "ask", str(seconds))
        cuts = statistics.quantiles(answers, n=100, method="inclusive")
        return {"ask p50 ms": cuts[49] * 1000, "ask p99 ms": cuts[98] * 1000}


#: Figures of which more is better; of the others less is.
RATES = ("enqueue/s", "no-op/s, 1", "no-op/s, 10", "20 ms jobs/s, 10")
ANSWERS = ("ask p50 ms", "ask p99 ms")
EFFORTS = ("commands/job", "bytes in/job", "bytes out/job", "server µs/job")

CELLS: tuple[Cell, ...] = (
    Enqueue(),
    Run("noop-1", "no-op/s, 1", concurrency=1),
    Run("noop-10", "no-op/s, 10", concurrency=10),
    Run("sleep-10", "20 ms jobs/s, 10", concurrency=10, milliseconds=20),
    Ask(),
)
