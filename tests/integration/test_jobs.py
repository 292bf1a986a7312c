"""``@job``: registration, calling, enqueueing, and what a job is given."""

import functools
import inspect
import itertools
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_jobqueue import JobContext, job
from django_jobqueue.exceptions import InvalidOption, JobFailedError, UnknownJob, UnknownQueue
from django_jobqueue.queue import Queue
from django_jobqueue.registry import Job, registry
from django_jobqueue.worker import Worker
from tests.app import jobs


def test_a_job_is_still_a_function() -> None:
    assert jobs.add(1, 2) == 3
    assert jobs.add.__name__ == "add"
    assert jobs.add.__doc__ == "Add two numbers."
    assert jobs.add.name == "tests.app.jobs.add"


def test_jobs_of_installed_apps_are_found() -> None:
    assert registry["tests.app.jobs.add"] is jobs.add


def test_an_enqueued_call_returns_its_result(worker: Worker) -> None:
    assert jobs.add.enqueue_and_wait(1, y=2) == 3


def test_an_async_job_runs(worker: Worker) -> None:
    assert jobs.double.enqueue_and_wait(21) == 42


def test_options_are_given_with_using(queue: Queue) -> None:
    result = jobs.add.using(id="sum-1", delay=10).using(max_attempts=5).enqueue(1, 2)

    assert (result.id, result.status) == ("sum-1", "scheduled")


def test_random_ids_differ(queue: Queue) -> None:
    assert jobs.add.enqueue(1, 2).id != jobs.add.enqueue(1, 2).id


def test_a_call_that_cannot_work_is_refused_when_it_is_enqueued(queue: Queue) -> None:
    with pytest.raises(TypeError, match=r"'tests.app.jobs.add' cannot be called with these arguments"):
        jobs.add.enqueue(1)  # type: ignore[call-arg]
    jobs.fail_until.enqueue(2)  # type: ignore[call-arg, arg-type]
    assert queue.stats().queued == 1


def test_unknown_options_are_refused(queue: Queue) -> None:
    with pytest.raises(InvalidOption, match="did you mean 'delay'"):
        jobs.add.using(delai=5)  # type: ignore[call-arg]
    with pytest.raises(UnknownQueue, match="no queue 'nowhere'"):
        jobs.add.using(queue="nowhere").enqueue(1, 2)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": -1}, {"retry_backoff": -1}, {"timeout": "x"}])
def test_bad_options_of_the_decorator_are_refused(options: Any) -> None:
    with pytest.raises(InvalidOption):
        job(name="tests.bad", **options)(lambda: None)
    assert "tests.bad" not in registry


def test_a_name_belongs_to_one_function() -> None:
    @job(name="tests.mine")
    def mine() -> None: ...

    job(name="tests.mine")(mine.func)  # registering the same again is what a reload does
    with pytest.raises(ValueError, match="'tests.mine' is taken"):

        @job(name="tests.mine")
        def other() -> None: ...


def test_durations_of_the_decorator_may_be_timedeltas() -> None:
    @job(name="tests.timed", timeout=timedelta(minutes=1), retry_backoff=timedelta(seconds=2))
    def timed() -> None: ...

    assert (timed.timeout, timed.retry_backoff) == (60.0, 2.0)


def test_the_registry_names_the_nearest_job() -> None:
    with pytest.raises(UnknownJob, match=r"there is 'tests.app.jobs.add'"):
        registry["tests.app.jobs.ad"]


def test_a_job_with_context_knows_itself(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    seen: list[JobContext] = []

    @job(name="tests.with_context", takes_context=True, max_attempts=4)
    def with_context(context: JobContext, value: int) -> int:
        seen.append(context)
        context.progress(1, 2, "half")
        status = context.queue.get_status(context.id)
        assert status is not None and status.progress is not None
        assert (status.progress["current"], status.progress["total"], status.progress["message"]) == (1, 2, "half")
        return value

    worker = make_worker(queue)

    assert with_context.using(id="c").enqueue_and_wait(5) == 5  # type: ignore[call-arg, arg-type]

    (context,) = seen
    assert (context.id, context.attempts, context.max_attempts, context.worker_id) == ("c", 1, 4, worker.id)
    assert context.queue is queue
    assert context.payload == {"job": "tests.with_context", "args": [5], "kwargs": {}}
    assert not context.is_cancelled()


def test_a_job_is_retried_until_it_succeeds(worker: Worker) -> None:
    assert jobs.fail_until.enqueue_and_wait(3) == 3  # type: ignore[call-arg, arg-type]


def test_a_job_that_takes_too_long_fails_with_job_timeout(worker: Worker) -> None:
    with pytest.raises(JobFailedError) as caught:
        jobs.too_slow.enqueue_and_wait()

    assert caught.value.error["code"] == "JOB_TIMEOUT"
    assert "timeout of 0.2 s" in caught.value.error["message"]


def test_a_result_that_json_cannot_hold_is_a_failed_attempt(worker: Worker) -> None:
    with pytest.raises(JobFailedError, match="type object cannot be written") as caught:
        jobs.unserialisable.using(max_attempts=1).enqueue_and_wait()

    assert caught.value.error["code"] == "NOT_SERIALIZABLE"


def test_a_result_that_is_too_large_is_a_failed_attempt(
    configure: Callable[..., Queue], make_worker: Callable[..., Worker]
) -> None:
    make_worker(configure(MAX_PAYLOAD_SIZE=200))

    with pytest.raises(JobFailedError) as caught:
        _big.using(max_attempts=1).enqueue_and_wait()

    assert caught.value.error["code"] == "PAYLOAD_TOO_LARGE"


@job(name="tests.big")
def _big() -> str:
    return "x" * 1000


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_what_ends_a_thread_elsewhere_is_a_failed_attempt_here(
    queue: Queue, make_worker: Callable[..., Worker], error: BaseException
) -> None:
    def handler(one: JobContext) -> str:
        if one.id == "bad":
            raise error
        return "fine"

    make_worker(queue, handler=handler, concurrency=1)

    with pytest.raises(JobFailedError) as caught:
        queue.enqueue_and_wait("bad", max_attempts=1)
    assert caught.value.error["type"] == f"builtins.{type(error).__name__}"
    assert queue.enqueue_and_wait("good") == "fine"


def test_an_unknown_job_backs_off_and_heals_with_the_next_deploy(
    configure: Callable[..., Queue], make_worker: Callable[..., Worker]
) -> None:
    queue = configure(RETRY_BACKOFF=0)
    make_worker(queue)
    failing = threading.Event()
    end = queue.subscribe(lambda job_id, event: failing.set() if event == "failing" else None)
    name = f"tests.deployed_later_{uuid.uuid4().hex}"
    queue.enqueue("new", {"job": name, "args": [1], "kwargs": {}})
    assert failing.wait(10)
    end()

    @job(name=name)
    def deployed_later(value: int) -> int:
        return value

    assert queue.wait("new") == 1


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (None, "UNKNOWN_JOB"),
        ({"job": 5}, "UNKNOWN_JOB"),
        ({"job": "os.system", "args": ["true"]}, "UNKNOWN_JOB"),
        ({"job": "tests.app.jobs.add", "args": 5}, None),
        ({"job": "tests.app.jobs.add", "args": [1, 2, 3]}, None),
    ],
)
def test_payloads_that_name_no_registered_call_fail_with_a_reason(
    worker: Worker, queue: Queue, payload: Any, code: str | None
) -> None:
    with pytest.raises(JobFailedError) as caught:
        queue.enqueue_and_wait("a", payload, max_attempts=1)

    assert caught.value.error["code"] == code


# Hooks of the settings


def handle(context: JobContext) -> Any:
    """The handler that a test names in its settings."""
    return {"handled": context.payload}


def change_outcome(execution: Any) -> None:
    """The hook that a test names in its settings."""
    if execution.status == "completed":
        execution.result = [execution.result, execution.attempts]
        execution.ttl = 120
    else:
        execution.error = PermissionError("hidden")


def raise_in_hook(execution: Any) -> None:
    """A hook with a fault."""
    execution.result = "changed"
    execution.ttl = -1


def test_a_queue_may_have_one_handler(configure: Callable[..., Queue], make_worker: Callable[..., Worker]) -> None:
    queue = configure(HANDLER="tests.integration.test_jobs.handle")
    make_worker(queue)

    assert queue.enqueue_and_wait("a", [1]) == {"handled": [1]}


def test_after_execution_may_replace_the_outcome(
    configure: Callable[..., Queue], make_worker: Callable[..., Worker], server: Any
) -> None:
    queue = configure(AFTER_EXECUTION="tests.integration.test_jobs.change_outcome")
    make_worker(queue)

    assert jobs.add.using(id="a", result_ttl=5).enqueue_and_wait(1, 2) == [3, 1]
    with pytest.raises(JobFailedError, match="hidden"):
        jobs.fail.enqueue_and_wait()

    with server.client() as client:
        (seconds, _), expires_at = client.time(), client.hget(f"{queue.config.key_prefix}jobs", "a:exp")
    assert int(expires_at) / 1000 - seconds > 60


def test_a_faulty_hook_changes_nothing(
    configure: Callable[..., Queue], make_worker: Callable[..., Worker], caplog: pytest.LogCaptureFixture
) -> None:
    queue = configure(AFTER_EXECUTION="tests.integration.test_jobs.raise_in_hook")
    make_worker(queue)

    assert jobs.add.enqueue_and_wait(1, 2) == 3
    assert "AFTER_EXECUTION" in caplog.text


SIGNATURES: list[Callable[..., Any]] = [
    lambda: 0,
    lambda a: 0,
    lambda a, b=1: 0,
    lambda a, /, b: 0,
    lambda *rest: 0,
    lambda a, *rest: 0,
    lambda a, *, name: 0,
    lambda a, *, name=1: 0,
    lambda **others: 0,
    lambda a, b=1, **others: 0,
    functools.partial(lambda a, b: 0, 1),
    functools.partial(lambda a, b: 0, b=1),
    max,
]


@pytest.mark.parametrize("takes_context", [False, True])
@pytest.mark.parametrize("func", SIGNATURES, ids=range(len(SIGNATURES)))
def test_a_call_is_refused_when_python_would_refuse_it(func: Callable[..., Any], takes_context: bool) -> None:
    made = Job(func, name="tests.made", takes_context=takes_context)
    leading = (None,) if takes_context else ()
    for args, kwargs in itertools.product([(), (1,), (1, 2), (1, 2, 3)], [{}, {"b": 1}, {"name": 1}, {"other": 1}]):
        try:
            inspect.signature(func).bind(*leading, *args, **kwargs)
            binds = True
        except TypeError:
            binds = False
        except ValueError:
            binds = True  # a builtin that does not say

        try:
            assert made.payload(args, kwargs) == {"job": "tests.made", "args": list(args), "kwargs": kwargs}
            accepted = True
        except TypeError:
            accepted = False

        assert accepted == binds, (args, kwargs)
