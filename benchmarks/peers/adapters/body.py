"""What the jobs of every Python peer do, and how the benchmark drives an adapter.

Each adapter is run with the peer's own interpreter as

    adapter.py worker               run a worker
    adapter.py fill COUNT MS        enqueue jobs that sleep so long; the first and the last ones are marked
    adapter.py enqueue SECONDS      enqueue jobs one by one for so long; prints {"jobs", "seconds"}
    adapter.py ask SECONDS          enqueue a job and wait for its result, again and again; prints seconds, a list

and these variables: ``PEER_URL``; ``PEER_MODE``, the row's kind of worker; ``PEER_CONCURRENCY``; ``PEER_CELL``;
``PEER_MARKS``, the file to which marked jobs append when they began and ended.
"""

import asyncio
import inspect
import json
import os
import sys
import time

URL = os.environ["PEER_URL"]
MODE = os.environ["PEER_MODE"]
CONCURRENCY = int(os.environ["PEER_CONCURRENCY"])
CELL = os.environ["PEER_CELL"]

#: Seconds that one result may take; the first one includes the start of the worker.
PATIENCE = 60

#: Enqueued before the clock runs: connections, scripts, lazily imported modules.
WARM_UP = 20


def work(milliseconds, is_marked):
    """The job, in a library that calls plain functions."""
    began = time.time()
    if milliseconds:
        time.sleep(milliseconds / 1000)
    if is_marked:
        _mark(began)
    return 1


async def awork(milliseconds, is_marked):
    """The same job, in a library that calls coroutine functions."""
    began = time.time()
    if milliseconds:
        await asyncio.sleep(milliseconds / 1000)
    if is_marked:
        _mark(began)
    return 1


def _mark(began):
    """Append a line; one write of a short line is atomic between processes."""
    with open(os.environ["PEER_MARKS"], "a", encoding="utf-8") as file:
        file.write(f"{began} {time.time()}\n")


def main(worker, enqueue, ask=None):
    """Do what the command line says.

    Args:
        worker: runs a worker.
        enqueue: a function or coroutine function that enqueues ``work(milliseconds, is_marked)``.
        ask: one that does so and waits for the result; None where the library cannot.
    """
    verb, *arguments = sys.argv[1:]
    if verb == "worker":
        worker()
        return
    run = asyncio.run if inspect.iscoroutinefunction(enqueue) else _run_without_loop
    if verb == "fill":
        run(_fill(_awaitable(enqueue), *map(int, arguments)))
    elif verb == "enqueue":
        print(json.dumps(run(_enqueue(_awaitable(enqueue), float(arguments[0])))))
    elif verb == "ask":
        print(json.dumps(run(_ask(_awaitable(ask), float(arguments[0])))))


async def _fill(enqueue, count, milliseconds):
    await enqueue(milliseconds, True)
    time.sleep(0.01)  # some libraries order jobs by their time in ms
    for _ in range(count - 1 - CONCURRENCY):
        await enqueue(milliseconds, False)
    time.sleep(0.01)
    for _ in range(CONCURRENCY):
        await enqueue(milliseconds, True)


async def _enqueue(enqueue, seconds):
    for _ in range(WARM_UP):
        await enqueue(0, False)
    jobs = 0
    began = now = time.perf_counter()
    while now - began < seconds:
        await enqueue(0, False)
        jobs += 1
        now = time.perf_counter()
    return {"jobs": jobs, "seconds": now - began}


async def _ask(ask, seconds):
    for _ in range(WARM_UP):
        await ask(0, False)
    answers = []
    began = now = time.perf_counter()
    while now - began < seconds:
        asked = now
        if await ask(0, False) != 1:
            raise RuntimeError("the answer is not the job's result")
        now = time.perf_counter()
        answers.append(now - asked)
    return answers


def _awaitable(function):
    if inspect.iscoroutinefunction(function):
        return function

    async def call(*arguments):
        return function(*arguments)

    return call


def _run_without_loop(coroutine):
    """Run a coroutine that never suspends: plain functions must not find themselves in an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("a plain function has suspended")
