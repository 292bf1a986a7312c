"""The async twins, and ``async def`` jobs in the worker."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from django_jobqueue import JobContext, job
from django_jobqueue.exceptions import (
    JobCancelledError,
    JobFailedError,
    JobNotFoundError,
    JobTimeoutError,
    SerializationError,
)
from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from django_jobqueue.threads import MAX_THREADS
from django_jobqueue.worker import Worker
from tests.app import jobs
from tests.servers import Server, wait_until


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


def test_every_call_that_does_io_has_a_twin() -> None:
    pure = {"alias", "serializer", "close", "dump", "wait"}
    calls = {name for name in vars(Queue) if not name.startswith("_")} - pure

    assert {f"a{name}" for name in calls} <= set(dir(Queue))
    assert hasattr(Queue, "await_result")


def test_the_twins_do_what_their_twins_do(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    async def go() -> None:
        assert (await queue.aenqueue("a", 1)).status == "queued"
        assert (await queue.aenqueue("a", 1)).status == "duplicate"
        assert [one.status for one in await queue.aenqueue_many([("b", 1), ("c", 2)], delay=60)] == ["scheduled"] * 2
        assert (await queue.astats()).scheduled == 2
        assert await queue.acancel("b") == "cancelled"
        state = await queue.aget_job_state("a")
        assert state is not None and state.status is Status.QUEUED
        assert list(await queue.aget_job_states(["a", "x"])) == ["a", "x"]
        make_worker(queue, handler=lambda one: one.payload)
        assert await queue.await_result("a") == 1
        assert await queue.aget_result("a") == 1
        assert await queue.aenqueue_and_wait("d", 4) == 4
        assert await queue.aenqueue_and_wait("d", 5) == 4
        status = await queue.aget_status("d")
        assert status is not None and status.result == 4
        assert await queue.aupdate_result_ttl("d", 60) == "updated"
        assert not await queue.aretry("d")
        assert len(await queue.aworkers()) == 1
        with pytest.raises(SerializationError):
            await queue.aenqueue("e", object())
        with pytest.raises(JobNotFoundError):
            await queue.await_result("nobody")
        with pytest.raises(JobTimeoutError):
            await queue.await_result("c", timeout=0.02)
        assert await queue.aclear() > 0

    asyncio.run(go())


def test_events_reach_a_coroutine(queue: Queue) -> None:
    async def go() -> list[tuple[str, str]]:
        heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        end = await queue.asubscribe(
            lambda job_id, event: loop.call_soon_threadsafe(heard.put_nowait, (job_id, event)) and None
        )
        await queue.aenqueue("a")
        await queue.acancel("a")
        events = [await asyncio.wait_for(heard.get(), 10) for _ in range(2)]
        end()
        return events

    assert asyncio.run(go()) == [("a", "queued"), ("a", "cancelled")]


def test_failures_and_cancels_reach_a_waiting_task(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    async def go() -> None:
        waiting = asyncio.create_task(queue.aenqueue_and_wait("a", timeout=None))
        while await queue.aget_job_state("a") is None:
            await asyncio.sleep(0)
        assert await queue.acancel("a") == "cancelled"
        with pytest.raises(JobCancelledError):
            await asyncio.wait_for(waiting, 30)
        make_worker(queue)
        with pytest.raises(JobFailedError, match="boom"):
            await jobs.fail.aenqueue_and_wait()

    asyncio.run(go())


def test_a_thousand_waiting_tasks_hold_no_thread_and_share_one_connection(
    queue: Queue, make_worker: Callable[..., Worker], server: Server
) -> None:
    before = threading.active_count()
    observed: dict[str, Any] = {}

    async def go() -> list[int]:
        tasks = [asyncio.create_task(jobs.echo.using(wait_timeout=60).aenqueue_and_wait(n)) for n in range(1000)]
        while (await queue.astats()).queued < 1000:
            await asyncio.sleep(0.01)
        observed["threads"] = threading.active_count()
        with server.client() as client:
            observed["subscribers"] = [
                one for one in client.client_list() if one["name"] == "django-jobqueue:subscriber:default"
            ]
        make_worker(queue, concurrency=10)
        return await asyncio.gather(*tasks)

    assert asyncio.run(go()) == list(range(1000))
    assert observed["threads"] <= before + MAX_THREADS + 1  # and the subscriber's
    (subscriber,) = observed["subscribers"]
    assert int(subscriber["sub"]) == 1000
    assert queue._waiting._waiters == {}


def test_a_cancelled_task_leaves_nothing_behind(queue: Queue, server: Server) -> None:
    async def go() -> None:
        for pause in (0, 0, 0, 0.001, 0.003, 0.01):
            tasks = [asyncio.create_task(queue.aenqueue_and_wait(f"{pause}-{n}", timeout=None)) for n in range(20)]
            await asyncio.sleep(pause)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in results)

    asyncio.run(go())

    assert queue._waiting._waiters == {}
    with server.client() as client:
        pattern = f"{queue.config.key_prefix}*"
        wait_until(lambda: client.pubsub_channels(pattern) == [], 20, never)


def test_waiting_tasks_survive_the_loss_of_the_subscriber_connection(
    queue: Queue, make_worker: Callable[..., Worker], server: Server
) -> None:
    async def go() -> list[int]:
        tasks = [asyncio.create_task(jobs.echo.using(wait_timeout=60).aenqueue_and_wait(n)) for n in range(100)]
        while (await queue.astats()).queued < 100:
            await asyncio.sleep(0.01)
        with server.client() as client:
            for one in client.client_list():
                if one["name"] == "django-jobqueue:subscriber:default":
                    client.client_kill_filter(_id=one["id"])
        make_worker(queue, concurrency=10)
        return await asyncio.gather(*tasks)

    assert asyncio.run(go()) == list(range(100))


@pytest.mark.django_db(transaction=True)
def test_on_commit_works_from_a_coroutine(queue: Queue) -> None:
    async def go() -> str:
        return (await queue.aenqueue("a", on_commit=True)).status

    # Outside a transaction there is nothing to wait for.
    assert asyncio.run(go()) == "deferred"
    assert queue.get_job_state("a") is not None


# Jobs


def test_async_jobs_run_side_by_side_within_the_concurrency(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    running: list[str] = []
    most: list[int] = []

    async def handler(one: JobContext) -> int:
        running.append(one.id)
        most.append(len(running))
        while max(most) < 5:  # together or never
            await asyncio.sleep(0.001)
        running.remove(one.id)
        return int(one.payload)

    queue.enqueue_many([(f"job-{n}", n) for n in range(30)])
    make_worker(queue, handler=handler, concurrency=5)

    assert [queue.wait(f"job-{n}") for n in range(30)] == list(range(30))
    assert max(most) == 5


def test_async_and_other_jobs_share_a_worker(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    make_worker(queue, concurrency=3)

    async def go() -> list[int]:
        twice = [jobs.double.aenqueue_and_wait(n) for n in range(20)]
        sums = [jobs.add.aenqueue_and_wait(n, n) for n in range(20)]
        return list(await asyncio.gather(*twice, *sums))

    assert asyncio.run(go()) == [2 * n for n in range(20)] * 2


def test_an_async_job_may_enqueue_and_wait_for_another(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    @job(name="tests.outer")
    async def outer(x: int) -> int:
        return 1 + await jobs.double.aenqueue_and_wait(x)

    make_worker(queue, concurrency=2)

    assert outer.enqueue_and_wait(5) == 11


def test_an_async_job_that_takes_too_long_is_cancelled(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    cancelled = threading.Event()

    @job(name="tests.async_too_slow", timeout=0.05, max_attempts=1)
    async def too_slow() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    make_worker(queue)

    with pytest.raises(JobFailedError, match=r"timeout of 0.05 s") as caught:
        too_slow.enqueue_and_wait()
    assert caught.value.error["code"] == "JOB_TIMEOUT"
    assert cancelled.is_set()


def test_an_async_jobs_own_timeout_is_its_own(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    async def handler(one: JobContext) -> None:
        raise TimeoutError("the other side did not answer")

    make_worker(queue, handler=handler)

    with pytest.raises(JobFailedError, match="the other side"):
        queue.enqueue_and_wait("a", max_attempts=1)


def test_async_jobs_that_do_not_finish_in_time_are_cancelled_and_given_back(
    queue: Queue, make_worker: Callable[..., Worker]
) -> None:
    began, cancelled = threading.Event(), threading.Event()

    async def handler(one: JobContext) -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    worker = make_worker(queue, handler=handler)
    queue.enqueue("a")
    assert began.wait(20)

    worker.stop(timeout=0)

    assert cancelled.wait(20)
    status = queue.get_status("a")
    assert status is not None and (status.state, status.attempts) == (Status.QUEUED, 0)


def test_async_jobs_can_use_the_database(
    queue: Queue, make_worker: Callable[..., Worker], transactional_db: None
) -> None:
    from asgiref.sync import sync_to_async
    from django.contrib.auth.models import Group

    async def handler(one: JobContext) -> int:
        if one.id == "last":
            # Leave no connection of the loop's database thread to the test database.
            await sync_to_async(connections.close_all)()
            return 0
        await Group.objects.acreate(name=str(one.payload))
        return await Group.objects.acount()

    make_worker(queue, handler=handler, concurrency=1)

    assert [queue.enqueue_and_wait(f"job-{n}", n) for n in range(5)] == [1, 2, 3, 4, 5]
    queue.enqueue_and_wait("last")


def test_a_burst_of_async_jobs(queue: Queue) -> None:
    async def handler(one: JobContext) -> Any:
        await asyncio.sleep(0)
        return one.payload

    queue.enqueue_many([(f"job-{n}", n) for n in range(100)])
    Worker(queue, handler=handler, concurrency=7).run_until_empty()

    assert queue.stats().completed == 100
