"""``Queue`` as producers, waiters and observers use it, with a worker where results are needed."""

import threading
from collections.abc import Callable
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

import pytest
from django.db import transaction

from django_jobqueue import signals
from django_jobqueue.exceptions import (
    InvalidJobId,
    InvalidOption,
    JobCancelledError,
    JobFailedError,
    JobNotFoundError,
    JobTimeoutError,
    PayloadTooLargeError,
    SerializationError,
    StorageError,
)
from django_jobqueue.message import JobState, Status
from django_jobqueue.queue import Queue
from django_jobqueue.results import EnqueueResult
from django_jobqueue.worker import Worker
from tests.servers import free_port, wait_until


def test_enqueue_tells_what_became_of_it(queue: Queue) -> None:
    assert queue.enqueue("a", {"x": 1}) == EnqueueResult("a", "queued")
    assert queue.enqueue("a", {"x": 2}) == EnqueueResult("a", "duplicate", Status.QUEUED)
    assert queue.enqueue("b", delay=60) == EnqueueResult("b", "scheduled")
    assert queue.enqueue("b", delay=60) == EnqueueResult("b", "duplicate", Status.SCHEDULED)


def test_a_completed_id_gives_its_result(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    make_worker(queue, handler=lambda job: {"got": job.payload})

    assert queue.enqueue_and_wait("a", 5) == {"got": 5}

    assert queue.enqueue("a", 6) == EnqueueResult("a", "completed", Status.COMPLETED, {"got": 5})
    assert queue.enqueue_and_wait("a", 6) == {"got": 5}
    assert queue.wait("a") == {"got": 5}
    assert queue.get_result("a") == {"got": 5}


def test_none_is_a_result_like_any_other(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    make_worker(queue, handler=lambda job: None)

    assert queue.enqueue_and_wait("a") is None
    assert queue.get_result("a", "default") is None
    assert queue.get_result("b", "default") == "default"


def test_a_failed_job_raises_in_every_waiter(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    def handler(job: Any) -> None:
        raise LookupError("no such customer")

    make_worker(queue, handler=handler)

    with pytest.raises(JobFailedError, match="no such customer") as caught:
        queue.enqueue_and_wait("a", max_attempts=1)

    error = caught.value.error
    assert (error["message"], error["type"]) == ("no such customer", "builtins.LookupError")
    assert "in handler" in error["stack"]
    for again in (queue.wait, queue.enqueue_and_wait):
        with pytest.raises(JobFailedError):
            again("a")
    status = queue.get_status("a")
    assert status is not None
    assert (status.state, status.attempts, status.error) == (Status.FAILED, 1, error)


def test_a_wait_ends_at_its_timeout_and_the_job_goes_on(queue: Queue) -> None:
    with pytest.raises(JobTimeoutError, match="'a' was not finished after 0.05 s"):
        queue.enqueue_and_wait("a", timeout=0.05)

    assert queue.get_job_state("a") is not None
    with pytest.raises(JobTimeoutError):
        queue.wait("a", timeout=timedelta(milliseconds=20))


def test_waiting_for_an_unknown_job_is_an_error(queue: Queue) -> None:
    with pytest.raises(JobNotFoundError, match="'nobody' is not known"):
        queue.wait("nobody")


def test_a_cancelled_job_wakes_its_waiter_at_once(queue: Queue) -> None:
    queue.enqueue("a")
    raised: SimpleQueue[BaseException] = SimpleQueue()

    def wait() -> None:
        try:
            queue.wait("a", timeout=None)
        except JobCancelledError as error:
            raised.put(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    wait_until(lambda: "a" in queue._waiting._waiters, 10, lambda: AssertionError("nobody waits"))
    # The waiter looks at the state once its subscription stands; from then on it only listens.
    wait_until(lambda: _listens(queue, "a"), 10, lambda: AssertionError("nobody listens"))
    assert queue.cancel("a") == "cancelled"

    thread.join(30)
    assert str(raised.get(timeout=1)) == "job 'a' was cancelled before it ran"


def _listens(queue: Queue, job_id: str) -> bool:
    keys = queue.storage.keys  # type: ignore[attr-defined]
    ((_, listeners),) = queue.storage._connector.main().pubsub_numsub(keys.notify(job_id))  # type: ignore[attr-defined]
    return bool(listeners)


def test_a_hundred_waiters_share_one_connection(
    queue: Queue, make_worker: Callable[..., Worker], server: Any
) -> None:
    release = threading.Event()

    def handler(job: Any) -> Any:
        release.wait(30)
        return job.payload

    make_worker(queue, handler=handler, concurrency=4)
    results: SimpleQueue[Any] = SimpleQueue()
    threads = [
        threading.Thread(target=lambda n=n: results.put(queue.enqueue_and_wait(f"job-{n}", n))) for n in range(100)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: queue.stats().queued >= 96, 20, lambda: AssertionError(str(queue.stats())))
    with server.client() as client:
        names = [one["name"] for one in client.client_list()]
    release.set()
    for thread in threads:
        thread.join(30)

    assert sorted(results.get(timeout=1) for _ in threads) == list(range(100))
    assert names.count("django-jobqueue:subscriber:default") == 1


@pytest.mark.parametrize("bad", ["", "a:exp", "a\nb", "x" * 513, 5, None])
def test_bad_ids_are_refused_everywhere(queue: Queue, bad: Any) -> None:
    calls: list[Callable[[Any], Any]] = [
        queue.enqueue, queue.enqueue_and_wait, queue.wait, queue.cancel, queue.retry, queue.get_result,
        queue.get_status, queue.get_job_state, lambda job_id: queue.get_job_states([job_id]),
        lambda job_id: queue.update_result_ttl(job_id, 5),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(InvalidJobId):
            call(bad)
    assert queue.stats().queued == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_attempts": 0}, "max_attempts is 0"),
        ({"max_attempts": 1.5}, "max_attempts is 1.5"),
        ({"max_attempts": True}, "max_attempts is True"),
        ({"result_ttl": 0}, "result_ttl is 0"),
        ({"result_ttl": -1}, "result_ttl is -1"),
        ({"result_ttl": "x"}, "result_ttl is 'x'"),
        ({"delay": -1}, "delay is -1"),
        ({"delay": timedelta(seconds=-5)}, "must not be negative"),
        ({"dely": 5}, "did you mean 'delay'"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_enqueued(queue: Queue, options: Any, words: str) -> None:
    with pytest.raises(InvalidOption, match=words):
        queue.enqueue("a", **options)
    with pytest.raises(InvalidOption, match=words):
        queue.enqueue_and_wait("a", **options)
    assert queue.get_job_state("a") is None


def test_a_payload_that_json_cannot_hold_is_refused(queue: Queue) -> None:
    with pytest.raises(SerializationError, match="type object"):
        queue.enqueue_many([("a", 1), ("b", object())])
    assert queue.get_job_states(["a", "b"]) == {"a": None, "b": None}


def test_a_payload_that_is_too_large_is_refused(configure: Callable[..., Queue]) -> None:
    queue = configure(MAX_PAYLOAD_SIZE=100)

    with pytest.raises(PayloadTooLargeError, match=r"102 bytes, more than MAX_PAYLOAD_SIZE = 100"):
        queue.enqueue("a", "x" * 100)
    queue.enqueue("a", "x" * 98)


def test_many_jobs_are_enqueued_with_one_answer_each(queue: Queue) -> None:
    results = queue.enqueue_many([("a", 1), ("b", 2), ("a", 3)], max_attempts=7)

    assert [one.status for one in results] == ["queued", "queued", "duplicate"]
    assert queue.enqueue_many([]) == []


def test_states_are_read_in_a_batch(queue: Queue) -> None:
    queue.enqueue("a")

    states = queue.get_job_states(["a", "b"])

    assert isinstance(states["a"], JobState)
    assert states["b"] is None
    assert queue.get_job_states([]) == {}


def test_stats_count_the_parts(queue: Queue, worker: Worker) -> None:
    queue.enqueue("later", delay=60)
    wait_until(lambda: queue.stats().leader is not None, 10, lambda: AssertionError("no leader"))

    stats = queue.stats()

    assert (stats.queued, stats.scheduled, stats.processing, stats.workers) == (0, 1, 0, 1)
    (info,) = queue.workers()
    assert (info.id, info.alive, info.concurrency) == (worker.id, True, 4)


def test_subscribers_hear_every_event(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    heard: SimpleQueue[tuple[str, str]] = SimpleQueue()
    end = queue.subscribe(lambda job_id, event: heard.put((job_id, event)))
    make_worker(queue, handler=lambda job: 1)

    queue.enqueue_and_wait("a:b")

    assert [heard.get(timeout=5) for _ in range(3)] == [("a:b", one) for one in ("queued", "processing", "completed")]
    end()


def test_a_subscriber_that_raises_does_not_silence_the_waiters(
    queue: Queue, make_worker: Callable[..., Worker], caplog: pytest.LogCaptureFixture
) -> None:
    def handler(job_id: str, event: str) -> None:
        raise RuntimeError("bad subscriber")

    end = queue.subscribe(handler)
    make_worker(queue, handler=lambda job: 1)

    assert queue.enqueue_and_wait("a") == 1
    assert "bad subscriber" in caplog.text
    end()


def test_a_failed_job_can_be_retried(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    works = threading.Event()

    def handler(job: Any) -> str:
        if not works.is_set():
            raise ValueError("not yet")
        return f"{job.payload} in attempt {job.attempts}"

    make_worker(queue, handler=handler)
    with pytest.raises(JobFailedError):
        queue.enqueue_and_wait("a", "done", max_attempts=1)
    works.set()

    assert queue.retry("a")

    assert queue.wait("a") == "done in attempt 1"
    assert not queue.retry("a")


@pytest.mark.django_db(transaction=True)
def test_a_job_enqueued_on_commit_waits_for_the_commit(queue: Queue) -> None:
    with transaction.atomic():
        result = queue.enqueue("a", 1, on_commit=True)
        assert queue.get_job_state("a") is None
    assert result == EnqueueResult("a", "deferred")
    assert queue.get_job_state("a") is not None


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_transaction_enqueues_nothing(queue: Queue) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        queue.enqueue("a", 1, on_commit=True)
        raise ZeroDivisionError
    assert queue.get_job_state("a") is None


@pytest.mark.django_db(transaction=True)
def test_bad_input_on_commit_is_refused_at_the_call(queue: Queue) -> None:
    with transaction.atomic(), pytest.raises(SerializationError):
        queue.enqueue("a", object(), on_commit=True)
    with pytest.raises(InvalidOption, match="cannot be waited for"):
        queue.enqueue_and_wait("a", on_commit=True)


def test_signals_of_the_producer(queue: Queue) -> None:
    heard: list[tuple[str, Any]] = []

    def on_enqueued(sender: Any, queue: Queue, job_id: str, status: str, **_: Any) -> None:
        heard.append((job_id, status))

    def on_cancelled(sender: Any, queue: Queue, job_id: str, **_: Any) -> None:
        heard.append((job_id, "cancelled"))

    signals.job_enqueued.connect(on_enqueued)
    signals.job_cancelled.connect(on_cancelled)
    try:
        queue.enqueue("a")
        queue.enqueue("a")
        queue.enqueue("b", delay=5)
        queue.cancel("b")
    finally:
        signals.job_enqueued.disconnect(on_enqueued)
        signals.job_cancelled.disconnect(on_cancelled)

    assert heard == [("a", "queued"), ("b", "scheduled"), ("b", "cancelled")]


def test_an_unreachable_server_is_a_clear_error(settings: Any) -> None:
    from django_jobqueue import queues

    settings.JOBQUEUE = {"default": {"URL": f"redis://127.0.0.1:{free_port()}/0"}}
    queue = queues["default"]

    for call in (lambda: queue.enqueue("a"), queue.stats, lambda: queue.get_status("a")):
        with pytest.raises(StorageError, match="cannot be reached now") as caught:
            call()  # type: ignore[no-untyped-call]
        assert caught.value.__cause__ is not None
