"""How soon an idle worker runs a job that is enqueued."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

from ..bench import Bench
from ..figures import Row, at_most, latency_rows
from ..jobs import call
from ..processes import WorkerProcesses, bare_worker

#: Jobs for each second that it should take.
SAMPLES_A_SECOND = 100

#: Seconds before each job, in which the worker becomes idle.
PAUSE = 0.01

FLOOR = "RPUSH in one process, BLMOVE in another"


def rows(bench: Bench) -> Iterator[Row]:
    """Milliseconds from before the enqueue to the first line of the job."""
    samples = int(SAMPLES_A_SECOND * bench.slice_seconds)
    with WorkerProcesses("default", 10), bare_worker("bare:", "hand-over"):
        found = bench.interleave(
            ours=lambda: _paused(lambda: _pick_up(bench), samples),
            floor=lambda: _paused(lambda: _hand_over(bench), samples),
        )
    target = at_most(1.5)
    p50, p99 = latency_rows("pick-up", found["ours"], found["floor"], FLOOR, target)
    yield p50
    yield Row(p99.name, p99.unit, p99.figures, p99.floors, p99.floor_is)
    bench.forget("default")
    bench.forget("bare")


def _paused(measure: Callable[[], float], times: int) -> list[float]:
    samples = []
    for _ in range(times):
        time.sleep(PAUSE)
        samples.append(measure())
    return samples


def _pick_up(bench: Bench) -> float:
    payload = call("moment")
    job_id = str(uuid.uuid4())
    began = time.monotonic_ns()
    bench.queue.enqueue(job_id, payload)
    # No looks meanwhile: the server would have to serve them too.
    time.sleep(PAUSE)
    while (started := bench.queue.get_result(job_id)) is None:
        time.sleep(PAUSE)
    return (int(started) - began) / 1e9


def _hand_over(bench: Bench) -> float:
    client, keys = bench.bare.client, bench.bare.keys
    began = time.monotonic_ns()
    client.rpush(keys.queue, b"message")
    time.sleep(PAUSE)
    _, taken = client.blpop(bench.bare.answers, 10)
    return (int(taken) - began) / 1e9
