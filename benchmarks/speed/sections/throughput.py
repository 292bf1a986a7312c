"""Jobs a second: no-op, sleeping and computing jobs, in worker processes."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django_jobqueue.queue import Queue
from django_jobqueue.storage.keys import Keys

from ..bare import BATCH
from ..bench import Bench, rate
from ..figures import Row, Target, at_least, done_rate, interleave
from ..jobs import call, compute
from ..processes import WorkerProcesses

#: Jobs of the run that does not count; it tells how many those that count should have.
FIRST_COUNT = 200

#: Seconds between looks at how many are done.
LOOK_INTERVAL = 0.003

#: A run of sleeping jobs is so many times as long: they end in waves, and it must be long beside a wave.
SLEEPING = 2

NO_OP = call("nothing", 1, 2)

FLOOR = f"claim {BATCH} and complete {BATCH} in one pipeline, messages decoded, in one process"
SLEEPING_FLOOR = "jobs that take no more than they sleep"
COMPUTING_FLOOR = "calls of the bare function, in one thread"


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took.

    Attributes:
        rate: jobs a second.
        worker_us, server_us: microseconds of a processor, a job.
    """

    rate: float
    worker_us: float = math.nan
    server_us: float = math.nan


class Drained:
    """Workers on a queue that was filled before they saw it; the server tells how many jobs a second are done.

    Args:
        bench: the run.
        workers: that wait for jobs.
        payload: of the jobs.
        seconds: that a run should take, roughly.
    """

    def __init__(self, bench: Bench, workers: WorkerProcesses, payload: Any, seconds: float) -> None:
        self._bench = bench
        self._workers = workers
        self._payload = payload
        self._seconds = seconds
        self._count = FIRST_COUNT

    def __call__(self) -> Run:
        """One run."""
        count = self._count
        self._bench.forget("default")
        self._workers.freeze()
        enqueue(self._bench.queue, self._payload, count)
        worker, server = self._workers.cpu_seconds(), server_seconds(self._bench)
        self._workers.thaw()
        looks = self._looks()
        rate = done_rate(looks, count)
        # The processor's time is of all jobs.
        while next(looks)[1] < count:
            pass
        self._count = max(FIRST_COUNT, int(rate * self._seconds))
        worker, server = self._workers.cpu_seconds() - worker, server_seconds(self._bench) - server
        return Run(rate, worker * 1e6 / count, server * 1e6 / count)

    def _looks(self) -> Iterator[tuple[float, int]]:
        completed = Keys("default:").completed
        while True:
            with self._bench.client.pipeline(transaction=True) as pipeline:
                (seconds, micros), done = pipeline.time().zcard(completed).execute()
            yield seconds + micros / 1e6, done
            time.sleep(LOOK_INTERVAL)


class BareDrained:
    """The same by hand, in this process."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._count = FIRST_COUNT

    def __call__(self) -> Run:
        """One run."""
        bare = self._bench.bare
        self._bench.forget("bare")
        bare.enqueue_many(NO_OP, self._count)
        own, server, began = time.process_time(), server_seconds(self._bench), time.perf_counter()
        count = bare.drain()
        rate = count / (time.perf_counter() - began)
        own, server = time.process_time() - own, server_seconds(self._bench) - server
        self._bench.forget("bare")
        self._count = max(FIRST_COUNT, int(rate * self._bench.seconds))
        return Run(rate, own * 1e6 / count, server * 1e6 / count)


def server_seconds(bench: Bench) -> float:
    """The time of a processor that the server has used so far."""
    used = bench.client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def enqueue(queue: Queue, payload: Any, count: int) -> None:
    """Fill a queue."""
    queue.enqueue_many([(str(uuid.uuid4()), payload) for _ in range(count)])


def rows(bench: Bench) -> Iterator[Row]:
    """Jobs a second, and what a no-op job takes of the processors."""
    for name, concurrency, processes, target in (
        ("no-op, concurrency 1", 1, 1, at_least(0.6)),
        ("no-op, concurrency 10", 10, 1, at_least(0.6)),
        ("no-op, concurrency 50", 50, 1, None),
        ("no-op, two processes, concurrency 10 each", 10, 2, None),
    ):
        with WorkerProcesses("default", concurrency, processes) as workers:
            ours, floors = _found(bench, Drained(bench, workers, NO_OP, bench.seconds), BareDrained(bench))
        yield _rate_row(name, ours, floors, FLOOR, target)
        for what in ("worker", "server"):
            figures, bare = ([getattr(run, f"{what}_us") for run in runs] for runs in (ours, floors))
            yield Row(f"{name}: processor of the {what}", "µs/job", figures, bare, FLOOR)
    for ms, concurrency, target in ((1, 10, None), (20, 10, at_least(0.97))):
        ideal = Run(concurrency * 1000 / ms)
        with WorkerProcesses("default", concurrency) as workers:
            drained = Drained(bench, workers, call("sleep", ms / 1000), SLEEPING * bench.seconds)
            ours, floors = _found(bench, drained, lambda ideal=ideal: ideal)
        yield _rate_row(f"sleeping {ms} ms, concurrency {concurrency}", ours, floors, SLEEPING_FLOOR, target)
    for concurrency in (1, 10):
        with WorkerProcesses("default", concurrency) as workers:
            drained = Drained(bench, workers, call("compute"), bench.seconds)
            ours, floors = _found(bench, drained, lambda: Run(rate(_compute, bench.seconds)))
        yield _rate_row(f"computing, concurrency {concurrency}", ours, floors, COMPUTING_FLOOR)
    bench.forget("default")


def _found(bench: Bench, ours: Callable[[], Run], floor: Callable[[], Run]) -> tuple[list[Run], list[Run]]:
    found = interleave({"ours": ours, "floor": floor}, bench.repetitions)
    return found["ours"], found["floor"]


def _rate_row(name: str, ours: list[Run], floors: list[Run], floor_is: str, target: Target | None = None) -> Row:
    return Row(name, "jobs/s", [run.rate for run in ours], [run.rate for run in floors], floor_is, target)


def _compute() -> int:
    compute()
    return 1
