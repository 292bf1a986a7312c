"""Jobs a second: no-op, sleeping and computing jobs, in worker processes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from django_jobqueue.queue import Queue

from ..bare import BATCH
from ..bench import Bench, rate
from ..figures import Row, Target, at_least, done_rate
from ..jobs import call, compute
from ..processes import WorkerProcesses

#: Jobs of the run that does not count; it tells how many those that count should have.
FIRST_COUNT = 200

#: Seconds between looks at how many are done.
LOOK_INTERVAL = 0.003

FLOOR = f"claim {BATCH} and complete {BATCH} in one pipeline, messages decoded"
SLEEP_MS = (1, 20)


class Drained:
    """The jobs a second of workers on a queue that was filled before they saw it, as the server tells it.

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

    def __call__(self) -> float:
        """One run."""
        self._bench.forget("default")
        self._workers.freeze()
        enqueue(self._bench.queue, self._payload, self._count)
        self._workers.thaw()
        found = done_rate(self._looks(), self._count)
        self._count = max(FIRST_COUNT, int(found * self._seconds))
        return found

    def _looks(self) -> Iterator[tuple[float, int]]:
        completed = self._bench.queue.storage.keys.completed  # type: ignore[attr-defined]
        while True:
            with self._bench.client.pipeline(transaction=True) as pipeline:
                (seconds, micros), done = pipeline.time().zcard(completed).execute()
            yield seconds + micros / 1e6, done
            time.sleep(LOOK_INTERVAL)


def enqueue(queue: Queue, payload: Any, count: int) -> None:
    """Fill a queue."""
    queue.enqueue_many([(str(uuid.uuid4()), payload) for _ in range(count)])


def rows(bench: Bench) -> Iterator[Row]:
    """Jobs a second."""
    no_op = call("nothing", 1, 2)
    for name, concurrency, processes, target in (
        ("no-op, concurrency 1", 1, 1, at_least(0.6)),
        ("no-op, concurrency 10", 10, 1, at_least(0.6)),
        ("no-op, concurrency 50", 50, 1, None),
        ("no-op, two processes, concurrency 10 each", 10, 2, None),
    ):
        yield _row(bench, name, no_op, _floor(bench), FLOOR, concurrency, processes, target)
    for ms in SLEEP_MS:
        ideal = 10 * 1000 / ms
        yield _row(
            bench, f"sleeping {ms} ms, concurrency 10", call("sleep", ms / 1000), lambda ideal=ideal: ideal,
            "10 jobs at a time that take no more than they sleep", 10, 1, at_least(0.97) if ms == 20 else None,
            seconds=2 * bench.seconds,
        )  # fmt: skip
    for concurrency in (1, 10):
        yield _row(
            bench, f"computing, concurrency {concurrency}", call("compute"),
            lambda: rate(lambda: compute() and 1, bench.seconds), "calls of the bare function, in one thread",
            concurrency, 1, None,
        )  # fmt: skip
    bench.forget("default")


def _row(
    bench: Bench, name: str, payload: Any, floor: Callable[[], float], floor_is: str, concurrency: int,
    processes: int, target: Target | None, seconds: float | None = None,
) -> Row:  # fmt: skip
    with WorkerProcesses("default", concurrency, processes) as workers:
        ours = Drained(bench, workers, payload, seconds or bench.seconds)
        return bench.compare(name, "jobs/s", ours, floor, slices=1, floor_is=floor_is, target=target)


def _floor(bench: Bench) -> Callable[[], float]:
    count = FIRST_COUNT

    def floor() -> float:
        nonlocal count
        bench.forget("bare")
        bench.bare.enqueue_many(call("nothing", 1, 2), count)
        began = time.perf_counter()
        found = bench.bare.drain() / (time.perf_counter() - began)
        bench.forget("bare")
        count = max(FIRST_COUNT, int(found * bench.seconds))
        return found

    return floor
