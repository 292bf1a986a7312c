"""Request and response: enqueue a job in one process, and have the result of another."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from typing import Any

import redis

from ..bench import Bench, durations
from ..figures import Row, at_most, latency_rows, tail_row
from ..jobs import call
from ..processes import WorkerProcesses, bare_worker

#: Answers waited for one after the other, for each second that it should take.
SAMPLES_A_SECOND = 500

#: Coroutines that wait at the same time, and rounds of them for each second.
AT_ONCE = 100
ROUNDS_A_SECOND = 10

PAYLOAD = call("nothing", 1, 2)

FLOOR = (
    "the same commands by hand in two processes: SUBSCRIBE, enqueue, BLMOVE with hold, SREM with complete, "
    "message, lookup"
)
FLOOR_AT_ONCE = f"the same by hand, with one SUBSCRIBE, one pipeline and one lookup of all {AT_ONCE}"


class BareAsker:
    """Enqueues and waits by hand."""

    def __init__(self, bench: Bench) -> None:
        self._bare = bench.bare
        pool = redis.ConnectionPool.from_url(bench.server.url(), protocol=2)
        self._link: Any = pool.get_connection()

    def ask(self) -> float:
        """The seconds until the answer to one job was there."""
        bare = self._bare
        began = time.perf_counter()
        job_id = str(uuid.uuid4())
        channel = bare.keys.notify(job_id)
        self._send("SUBSCRIBE", channel)
        bare.client.execute_command(*bare.enqueue_command(job_id, PAYLOAD))
        self._link.read_response()
        bare.lookup(job_id)
        passed = time.perf_counter() - began
        self._send("UNSUBSCRIBE", channel)
        return passed

    def ask_at_once(self) -> None:
        """Have the answers to many jobs."""
        bare = self._bare
        ids = [str(uuid.uuid4()) for _ in range(AT_ONCE)]
        channels = [bare.keys.notify(job_id) for job_id in ids]
        self._send("SUBSCRIBE", *channels)
        bare.pipelined([bare.enqueue_command(job_id, PAYLOAD) for job_id in ids])
        for _ in ids:
            self._link.read_response()
        bare.pipelined([bare.lookup_command(job_id) for job_id in ids])
        self._send("UNSUBSCRIBE", *channels)

    def close(self) -> None:
        """Close the link."""
        self._link.disconnect()

    def _send(self, command: str, *channels: str) -> None:
        self._link.send_command(command, *channels)
        for _ in channels:
            self._link.read_response()


def rows(bench: Bench) -> Iterator[Row]:
    """Milliseconds until an answer, and answers a second."""
    bench.forget("bare")
    with WorkerProcesses("default", 10), bare_worker("bare:", "work"), asyncio.Runner() as runner:
        asker = BareAsker(bench)
        yield from _one_by_one(bench, asker)
        yield _at_once(bench, asker, runner)
        asker.close()
    bench.forget("default")
    bench.forget("bare")


def _one_by_one(bench: Bench, asker: BareAsker) -> Iterator[Row]:
    def ask() -> float:
        began = time.perf_counter()
        bench.queue.enqueue_and_wait(str(uuid.uuid4()), PAYLOAD)
        return time.perf_counter() - began

    ours, floor = bench.interleave_samples(SAMPLES_A_SECOND, ask, asker.ask)
    yield from latency_rows("enqueue_and_wait", ours, floor, FLOOR, at_most(1.6))
    yield tail_row("enqueue_and_wait", ours, at_most(3))
    yield tail_row("the floor of enqueue_and_wait", floor)


def _at_once(bench: Bench, asker: BareAsker, runner: asyncio.Runner) -> Row:
    rounds = max(1, int(ROUNDS_A_SECOND * bench.slice_seconds))

    async def ask() -> None:
        waits = (bench.queue.aenqueue_and_wait(str(uuid.uuid4()), PAYLOAD) for _ in range(AT_ONCE))
        await asyncio.gather(*waits)

    def ours() -> float:
        return rounds * AT_ONCE / sum(durations(lambda: runner.run(ask()), rounds))

    def floor() -> float:
        return rounds * AT_ONCE / sum(durations(asker.ask_at_once, rounds))

    return bench.compare(
        f"aenqueue_and_wait, {AT_ONCE} at once", "answers/s", ours, floor, floor_is=FLOOR_AT_ONCE
    )  # fmt: skip
