"""How soon an idle worker runs a job that is enqueued."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

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
    with WorkerProcesses("default", 10), bare_worker("bare:", "hand-over"):
        ours, floor = bench.interleave_samples(SAMPLES_A_SECOND, lambda: _pick_up(bench), lambda: _hand_over(bench))
    p50, p99 = latency_rows("pick-up", ours, floor, FLOOR, at_most(1.5))
    yield p50
    yield replace(p99, target=None)
    bench.forget("default")
    bench.forget("bare")


def _pick_up(bench: Bench) -> float:
    payload = call("moment")
    job_id = str(uuid.uuid4())
    time.sleep(PAUSE)
    began = time.monotonic_ns()
    bench.queue.enqueue(job_id, payload)
    # No looks meanwhile: the server would have to serve them too.
    time.sleep(PAUSE)
    while (started := bench.queue.get_result(job_id)) is None:
        time.sleep(PAUSE)
    return (int(started) - began) / 1e9


def _hand_over(bench: Bench) -> float:
    client, keys = bench.bare.client, bench.bare.keys
    time.sleep(PAUSE)
    began = time.monotonic_ns()
    client.rpush(keys.queue, b"message")
    time.sleep(PAUSE)
    _, taken = client.blpop(bench.bare.answers, 10)
    return (int(taken) - began) / 1e9
