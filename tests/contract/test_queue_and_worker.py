"""``Queue``, ``Worker`` and ``Reaper`` on each storage: what a project sees, whichever it chose."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import pytest

from django_jobqueue import reaper
from django_jobqueue.conf import QueueConfig
from django_jobqueue.exceptions import JobCancelledError, JobFailedError, JobTimeoutError
from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from django_jobqueue.reaper import Reaper
from django_jobqueue.results import EnqueueResult
from django_jobqueue.storage.base import NewJob
from django_jobqueue.worker import Worker
from tests.contract.build import message
from tests.servers import wait_until


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


@pytest.fixture
def make_queue(base_config: QueueConfig) -> Iterator[Callable[..., Queue]]:
    """A factory of ``Queue`` objects on the same jobs: ``make_queue(retry_backoff=0)``."""
    made: list[Queue] = []

    def make(**config: Any) -> Queue:
        made.append(Queue(replace(base_config, **config)))
        return made[-1]

    yield make

    for queue in made:
        queue.clear()
        queue.close()


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    return make_queue()


@pytest.fixture
def work() -> Iterator[Callable[..., Worker]]:
    """Start a worker: ``work(queue, handler, concurrency=2)``."""
    made: list[Worker] = []

    def start(queue: Queue, handler: Callable[[Any], Any], **options: Any) -> Worker:
        made.append(Worker(queue, handler=handler, **options))
        made[-1].start()
        return made[-1]

    yield start

    for worker in made:
        worker.stop(timeout=0)


def test_a_result_comes_back(queue: Queue, work: Callable[..., Worker]) -> None:
    work(queue, lambda job: {"got": job.payload})

    assert queue.enqueue_and_wait("a", 5) == {"got": 5}

    assert queue.enqueue("a", 6) == EnqueueResult("a", "completed", Status.COMPLETED, {"got": 5})
    assert queue.wait("a") == {"got": 5}


def test_an_idle_worker_hears_of_a_job_of_another_process(
    queue: Queue, make_queue: Callable[..., Queue], work: Callable[..., Worker]
) -> None:
    work(queue, lambda job: job.payload)
    producer = make_queue()

    assert [producer.enqueue_and_wait(f"job-{n}", n) for n in range(20)] == list(range(20))


def test_a_failure_is_raised_in_the_waiter_and_can_be_retried(queue: Queue, work: Callable[..., Worker]) -> None:
    works = threading.Event()

    def handler(job: Any) -> str:
        if not works.is_set():
            raise LookupError("not yet")
        return f"{job.payload} in attempt {job.attempts}"

    work(queue, handler)
    with pytest.raises(JobFailedError, match="not yet") as caught:
        queue.enqueue_and_wait("a", "done", max_attempts=1)
    assert caught.value.error["type"] == "builtins.LookupError"
    works.set()

    assert queue.retry("a")

    assert queue.wait("a") == "done in attempt 1"


def test_a_retry_with_back_off_is_promoted_by_the_reaper(
    make_queue: Callable[..., Queue], work: Callable[..., Worker]
) -> None:
    queue = make_queue(retry_backoff=0.05)

    def handler(job: Any) -> int:
        if job.attempts < 3:
            raise ValueError("again")
        return int(job.attempts)

    work(queue, handler)

    assert queue.enqueue_and_wait("a", max_attempts=3) == 3


def test_a_delayed_job_runs(queue: Queue, work: Callable[..., Worker]) -> None:
    work(queue, lambda job: job.payload)

    assert queue.enqueue_and_wait("a", 1, delay=0.05) == 1


def test_a_delayed_job_runs_though_nobody_looks_at_the_schedule(
    queue: Queue, work: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "PROMOTE_INTERVAL", 3600.0)
    work(queue, lambda job: job.payload)
    wait_until(lambda: queue.stats().leader is not None, 5, lambda: AssertionError("no leader"))
    queue.enqueue("much later", delay=7200)

    assert [queue.enqueue_and_wait(f"job-{n}", n, delay=0.05, timeout=30) for n in range(3)] == [0, 1, 2]


def test_a_cancelled_job_wakes_its_waiter(queue: Queue, make_queue: Callable[..., Queue]) -> None:
    raised: SimpleQueue[BaseException] = SimpleQueue()
    other = make_queue()
    queue.enqueue("a")

    def wait() -> None:
        try:
            queue.wait("a", timeout=30)
        except (JobCancelledError, LookupError) as error:
            raised.put(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: "a" in queue._waiting._waiters, 10, never)
    assert other.cancel("a") == "cancelled"
    thread.join(30)

    # A waiter whose first look comes after the cancelling finds no such job.
    assert not isinstance(raised.get(timeout=1), JobTimeoutError)


def test_a_burst_works_until_nothing_is_left(make_queue: Callable[..., Queue]) -> None:
    queue = make_queue(retry_backoff=0)
    queue.enqueue_many([(f"job-{n}", n) for n in range(120)], max_attempts=2)
    queue.enqueue("later", delay=60)

    def handler(job: Any) -> None:
        if job.payload % 10 == 0 and job.attempts == 1:
            raise ValueError("again")

    Worker(queue, handler=handler, concurrency=4).run_until_empty()

    stats = queue.stats()
    assert (stats.completed, stats.queued, stats.processing, stats.scheduled) == (120, 0, 0, 1)


def test_what_does_not_finish_in_time_is_given_back_in_order(queue: Queue, work: Callable[..., Worker]) -> None:
    began, go_on = threading.Semaphore(0), threading.Event()

    def handler(job: Any) -> None:
        began.release()
        go_on.wait(60)

    queue.enqueue_many([(f"job-{n}", n) for n in range(4)])
    worker = work(queue, handler, concurrency=2)
    assert began.acquire(timeout=20) and began.acquire(timeout=20)

    worker.stop(timeout=0)

    order: list[tuple[str, int]] = []
    Worker(queue, handler=lambda job: order.append((job.id, job.attempts)), concurrency=1).run_until_empty()
    assert order == [(f"job-{n}", 1) for n in range(4)]
    go_on.set()


def test_an_idle_worker_stops_at_once(make_queue: Callable[..., Queue], work: Callable[..., Worker]) -> None:
    queue = make_queue(block_timeout=3600)
    worker = work(queue, lambda job: job.payload)
    queue.enqueue_and_wait("a")

    worker.stop()

    assert not worker.is_alive
    assert queue.stats().workers == 0


def test_a_stalled_job_runs_again_and_fails_at_its_last_attempt(make_queue: Callable[..., Queue]) -> None:
    queue = make_queue(visibility_timeout=0.01)
    queue.enqueue("a", max_attempts=2)
    reaper = Reaper(queue)
    for _ in range(2):
        assert queue.storage.claim("dead", 1).messages
        wait_until(lambda: reaper.run_once() > 0, 10, never)

    with pytest.raises(JobFailedError) as caught:
        queue.wait("a")
    assert caught.value.error["code"] == "STALLED"


def test_a_job_only_taken_comes_back_without_an_attempt(make_queue: Callable[..., Queue]) -> None:
    queue = make_queue(visibility_timeout=0.05)
    queue.enqueue("a")
    assert queue.storage.wait_and_take("dead", 1) is not None
    reaper = Reaper(queue)

    wait_until(lambda: reaper.run_once() == 1, 10, never)

    status = queue.get_status("a")
    assert status is not None and (status.state, status.attempts) == (Status.QUEUED, 0)


def test_another_reaper_takes_over_after_a_clean_stop(make_queue: Callable[..., Queue]) -> None:
    queue = make_queue(visibility_timeout=600)
    first, second = Reaper(queue), Reaper(make_queue(visibility_timeout=600))
    first.start()
    wait_until(lambda: first.is_leader, 20, never)
    second.start()

    first.stop()

    wait_until(lambda: second.is_leader, 20, never)
    assert queue.stats().leader == second.id
    second.stop()


def test_subscribers_hear_every_event_of_another_process(
    queue: Queue, make_queue: Callable[..., Queue], work: Callable[..., Worker]
) -> None:
    heard: SimpleQueue[tuple[str, str]] = SimpleQueue()
    end = make_queue().subscribe(lambda job_id, event: heard.put((job_id, event)))
    work(queue, lambda job: 1)

    queue.enqueue_and_wait("a:b")

    assert [heard.get(timeout=5) for _ in range(3)] == [("a:b", one) for one in ("queued", "processing", "completed")]
    end()


def test_progress_and_workers_are_shown(queue: Queue, work: Callable[..., Worker]) -> None:
    reported, go_on = threading.Event(), threading.Event()

    def handler(job: Any) -> None:
        job.progress(1, 2)
        reported.set()
        go_on.wait(60)

    worker = work(queue, handler, worker_id="w")
    queue.enqueue("a")
    assert reported.wait(20)

    status = queue.get_status("a")
    (info,) = queue.workers()

    assert status is not None and status.progress is not None
    assert (info.id, info.alive, info.processing) == ("w", True, 1)
    go_on.set()
    queue.wait("a")
    worker.stop()


def test_clearing_leaves_nothing(queue: Queue, work: Callable[..., Worker]) -> None:
    work(queue, lambda job: 1).stop()
    queue.enqueue_many([(f"job-{n}", n) for n in range(10)])
    queue.enqueue("later", delay=60)

    assert queue.clear() > 0

    stats = queue.stats()
    assert (stats.queued, stats.scheduled, stats.workers) == (0, 0, 0)
    assert queue.get_job_state("job-1") is None


#: Messages that nobody can read but for their id.
DAMAGED = {
    "cut": b'{"id":"cut","payload":{"x":1',
    "no-utf8": b'{"id":"no-utf8","payload":"\xff"}',
    "deep": b'{"id":"deep","payload":' + b"[" * 100_000,
    "typed": b'{"id":"typed","payload":1,"createdAt":"5","attempts":0,"maxAttempts":3,"resultTTL":5}',
}


def test_damaged_messages_fail_their_jobs_and_stop_no_other(queue: Queue) -> None:
    for job_id, raw in DAMAGED.items():
        queue.storage.enqueue([NewJob(replace(message(job_id), raw=raw))])
    queue.enqueue("good", 1)

    Worker(queue, handler=lambda job: job.payload).run_until_empty()

    assert queue.get_result("good") == 1
    assert queue.stats().malformed == len(DAMAGED)
    assert [one.message_size for one in queue.list_jobs("malformed").jobs] == [len(raw) for raw in DAMAGED.values()]
    for job_id in DAMAGED:
        with pytest.raises(JobFailedError) as caught:
            queue.wait(job_id)
        assert caught.value.error["code"] == "MALFORMED_MESSAGE"
        assert not queue.retry(job_id)
