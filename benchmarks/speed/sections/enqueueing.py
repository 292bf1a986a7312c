"""Enqueueing: one by one, many at once, from a coroutine."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from ..bench import Bench, rate
from ..figures import Row, at_least
from ..jobs import call, nothing

#: Jobs in one ``enqueue_many``: what the library, and so the floor, sends in one pipeline.
MANY = 500

#: Coroutines that enqueue at the same time.
AT_ONCE = 100

PAYLOAD = call("nothing", 1, 2)

ONE_BY_ONE = "one EVALSHA a job, message built by hand"
PIPELINED = f"{MANY} EVALSHA a pipeline, messages built by hand"


def rows(bench: Bench) -> Iterator[Row]:
    """Jobs a second."""
    queue = bench.queue

    def ours(action: Callable[[], int]) -> float:
        bench.forget("default")
        return rate(action, bench.slice_seconds)

    def floor(action: Callable[[], int]) -> float:
        bench.forget("bare")
        return rate(action, bench.slice_seconds)

    def enqueue() -> int:
        queue.enqueue(str(uuid.uuid4()), PAYLOAD)
        return 1

    def call_enqueue() -> int:
        nothing.enqueue(1, 2)
        return 1

    def enqueue_many() -> int:
        return len(queue.enqueue_many([(str(uuid.uuid4()), PAYLOAD) for _ in range(MANY)]))

    def bare_enqueue() -> int:
        bench.bare.enqueue(PAYLOAD)
        return 1

    def bare_enqueue_many() -> int:
        return len(bench.bare.enqueue_many(PAYLOAD, MANY))

    one_by_one = partial(floor, bare_enqueue)
    compare = partial(bench.compare, unit="jobs/s")
    yield compare(
        "queue.enqueue(id, payload)", ours=partial(ours, enqueue), floor=one_by_one,
        floor_is=ONE_BY_ONE, target=at_least(0.85),
    )  # fmt: skip
    yield compare(
        "job.enqueue(1, 2)", ours=partial(ours, call_enqueue), floor=one_by_one,
        floor_is=ONE_BY_ONE, target=at_least(0.85),
    )  # fmt: skip
    yield compare(
        f"enqueue_many, {MANY} jobs", ours=partial(ours, enqueue_many), floor=partial(floor, bare_enqueue_many),
        floor_is=PIPELINED, target=at_least(0.7),
    )  # fmt: skip
    with asyncio.Runner() as runner:

        def in_loop(make: Callable[[], Awaitable[int]]) -> Callable[[], float]:
            return lambda: runner.run(_async_rate(bench, make))

        async def aenqueue() -> int:
            await queue.aenqueue(str(uuid.uuid4()), PAYLOAD)
            return 1

        async def gathered() -> int:
            return sum(await asyncio.gather(*(aenqueue() for _ in range(AT_ONCE))))

        yield compare("aenqueue, one after the other", ours=in_loop(aenqueue), floor=one_by_one, floor_is=ONE_BY_ONE)
        yield compare(f"aenqueue, {AT_ONCE} at once", ours=in_loop(gathered), floor=one_by_one, floor_is=ONE_BY_ONE)
    bench.forget("default")
    bench.forget("bare")


async def _async_rate(bench: Bench, make: Callable[[], Awaitable[int]]) -> float:
    bench.forget("default")
    loop = asyncio.get_running_loop()
    done, began = 0, loop.time()
    while (passed := loop.time() - began) < bench.slice_seconds:
        done += await make()
    return done / passed
