"""Hundreds of waiters whose subscriber connection is cut again and again."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
import redis

from django_jobqueue import waiting
from django_jobqueue.context import JobContext
from django_jobqueue.queue import Queue
from django_jobqueue.worker import Worker
from tests.faults.load import DEADLINE, happens
from tests.faults.proxy import Proxy
from tests.servers import Server

pytestmark = pytest.mark.faults

WAITERS, THREADS, CUTS = 500, 50, 20


async def results(queue: Queue, ids: list[str]) -> list[Any]:
    """The results of jobs, each awaited by a task of its own and without a time limit."""
    async with asyncio.timeout(DEADLINE):
        return await asyncio.gather(*(queue.await_result(job_id, timeout=None) for job_id in ids))


def in_thread(call: Callable[[], Any]) -> Future[Any]:
    """Call something in a thread that does not outlive the tests, whatever it waits for."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def subscriptions(client: redis.Redis, queue: Queue) -> int:
    """How many of this queue's jobs are waited for, as the server sees it."""
    return len(client.pubsub_channels(f"{queue.config.key_prefix}notify:*"))


def cut_subscriber(client: redis.Redis, queue: Queue) -> str:
    """Cut the connection that all waiters share; returns its id."""
    found: list[Any] = []

    def is_found() -> bool:
        channels = str(subscriptions(client, queue))
        # The server is shared: other tests have subscribers too, but none with so many channels.
        found[:] = [one for one in client.client_list() if one["sub"] == channels]
        return len(found) == 1

    # After a cut it subscribes with many commands, and both looks can fall among them.
    happens(is_found, "one connection has all the subscriptions")
    assert client.client_kill_filter(_id=found[0]["id"]) == 1
    return str(found[0]["id"])


def test_five_hundred_waiters_are_answered_although_their_connection_is_cut_twenty_times(
    queue: Queue, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The look after each reconnection must do it, not the one that comes now and then.
    monkeypatch.setattr(waiting, "LOOK_INTERVAL", 3600.0)
    each = WAITERS // CUTS
    ids = [f"job-{n}" for n in range(WAITERS)]
    queue.enqueue_many([(job_id, job_id) for job_id in ids])
    gate, ended = threading.Semaphore(0), []

    def handler(job: JobContext) -> Any:
        gate.acquire()
        ended.append(job.id)
        return job.payload

    worker = Worker(queue, handler=handler, concurrency=each, reaper=False)
    with server.client() as client:
        in_threads = [in_thread(lambda job_id=job_id: queue.wait(job_id, None)) for job_id in ids[:THREADS]]  # type: ignore[misc]
        in_tasks = in_thread(lambda: asyncio.run(results(queue, ids[THREADS:])))
        happens(lambda: subscriptions(client, queue) == WAITERS, "all waiters are subscribed")
        worker.start()

        killed = set()
        for left in range(WAITERS - each, -1, -each):
            killed.add(cut_subscriber(client, queue))
            # These end while nobody hears of it.
            gate.release(each)
            happens(lambda left=left: len(ended) == WAITERS - left, f"{each} more jobs end")  # type: ignore[misc]
            happens(lambda left=left: subscriptions(client, queue) == left, f"{left} waiters are left")  # type: ignore[misc]

    assert len(killed) == CUTS
    assert [future.result(DEADLINE) for future in in_threads] + in_tasks.result(DEADLINE) == ids
    worker.stop()


@pytest.mark.parametrize("ask", ["in a thread", "in a task"])
@pytest.mark.parametrize("stands", ["after the answer", "never"])
def test_a_waiter_whose_subscription_stands_too_late_is_answered(
    queue: Queue, server: Server, monkeypatch: pytest.MonkeyPatch, ask: str, stands: str
) -> None:
    # Its own look must find the result, not the one of all waiters.
    monkeypatch.setattr(waiting, "LOOK_INTERVAL", 3600.0)
    worker = Worker(queue, handler=lambda job: job.payload, concurrency=1, reaper=False)
    worker.start()
    with Proxy(server.port) as proxy:
        config = replace(queue.config, url=f"redis://127.0.0.1:{proxy.port}/0", cache=None)
        asking = Queue(config)
        assert asking.enqueue_and_wait("first", 1) == 1  # the link is found to work
        held = proxy.hold("SUBSCRIBE")

        if ask == "in a thread":
            answer = in_thread(lambda: asking.enqueue_and_wait("a", 2, timeout=None))
        else:
            answer = in_thread(lambda: asyncio.run(asking.aenqueue_and_wait("a", 2, timeout=None)))
        if stands == "after the answer":
            happens(lambda: queue.get_result("a") == 2, "the job ends, and nobody hears of it")
            held.release()

        assert answer.result(DEADLINE) == 2
        held.release()
        asking.close()
    worker.stop()
