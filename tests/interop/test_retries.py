"""Jobs that fail on one side and run again on the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from django_jobqueue import Queue
from django_jobqueue.message import JobState, Status
from django_jobqueue.reaper import Reaper
from django_jobqueue.worker import Worker
from tests.interop.handlers import Handler
from tests.interop.node_peer import DEADLINE, NodePeer, Run
from tests.interop.states import state_of

pytestmark = pytest.mark.interop

FAILS_ONCE = {"do": "fail_first", "times": 1, "value": "second try"}

#: Settings of a back-off that no test waits for; ``make_due`` ends it.
LONG_BACKOFF = {"RETRY_BACKOFF": 3600, "RETRY_BACKOFF_MAX": 3600}


def fail_once_on_django(start_worker: Callable[..., Worker], queue: Queue) -> JobState:
    """Let a Django worker run one job, which fails, and stop; returns the job's state then."""
    start_worker(queue, concurrency=1, max_jobs=1).join()
    return state_of(queue, "job")


def make_due(client: Any, queue: Queue, job_id: str) -> None:
    """End the back-off of a job: from now on it is due, and the next look of a reaper queues it."""
    assert client.zadd(f"{queue.config.key_prefix}scheduled", {job_id: 1}, xx=True, ch=True) == 1


def fail_once_on_node(queue: Queue, node: NodePeer) -> JobState:
    """Let a Node worker run one ``fail_and_stop`` job; returns the job's state when it is stored."""
    node.start_worker()
    node.wait_until(lambda: state_of(queue, "job").status is Status.FAILING, "its job is failing")
    return state_of(queue, "job")


@pytest.mark.parametrize("producer", ["django", "node"])
def test_a_job_that_failed_on_django_gets_its_second_attempt_on_node(
    queue: Queue, node: NodePeer, handler: Handler, start_worker: Callable[..., Worker], producer: str
) -> None:
    (queue if producer == "django" else node).enqueue("job", FAILS_ONCE)
    state = fail_once_on_django(start_worker, queue)
    assert (state.status, state.attempts) == (Status.FAILING, 1)
    assert node.get_job_states("job") == {"job": str(state)}
    assert node.get_status("job")["state"] == "failing"

    node.start_worker()

    assert queue.wait("job", timeout=DEADLINE) == "second try"
    assert handler.runs == [Run("job", 1, FAILS_ONCE)]
    assert node.runs == [Run("job", 2, FAILS_ONCE)]


@pytest.mark.parametrize("producer", ["django", "node"])
def test_a_job_that_failed_on_node_gets_its_second_attempt_on_django(
    queue: Queue, node: NodePeer, handler: Handler, start_worker: Callable[..., Worker], producer: str
) -> None:
    handler.on("fail_and_stop", lambda job: f"done in attempt {job.attempts}")
    payload = {"do": "fail_and_stop"}
    (queue if producer == "django" else node).enqueue("job", payload)
    state = fail_once_on_node(queue, node)
    assert (state.status, state.attempts) == (Status.FAILING, 1)

    start_worker(queue)

    assert queue.wait("job", timeout=DEADLINE) == "done in attempt 2"
    assert node.get_result("job") == "done in attempt 2"
    assert node.runs == [Run("job", 1, payload)]
    assert handler.runs == [Run("job", 2, payload)]


def test_attempts_of_both_sides_count_together_to_the_last(
    queue: Queue, node: NodePeer, handler: Handler, start_worker: Callable[..., Worker]
) -> None:
    payload = {"do": "throw", "message": "never works"}
    node.enqueue("job", payload, maxAttempts=3)
    start_worker(queue, concurrency=1, max_jobs=2).join()
    assert state_of(queue, "job").attempts == 2

    node.start_worker()

    node.wait_until(lambda: state_of(queue, "job").status is Status.FAILED, "the job has failed for good")
    assert [run.attempts for run in handler.runs] == [1, 2]
    assert [run.attempts for run in node.runs] == [3]


def test_a_retry_in_back_off_is_failing_for_node_and_runs_there_when_due(
    configure: Callable[..., Queue],
    node: NodePeer,
    client: Any,
    handler: Handler,
    start_worker: Callable[..., Worker],
) -> None:
    queue = configure(**LONG_BACKOFF)
    queue.enqueue("job", FAILS_ONCE)

    state = fail_once_on_django(start_worker, queue)

    assert (state.status, state.attempts) == (Status.FAILING, 1)
    assert node.get_job_states("job") == {"job": f"failing:{state.timestamp}:1"}
    assert node.get_status("job")["state"] == "failing"
    assert node.enqueue("job", FAILS_ONCE) == {"status": "duplicate", "existingState": "failing"}
    assert client.llen(f"{queue.config.key_prefix}queue") == 0

    make_due(client, queue, "job")
    assert Reaper(queue).run_once() == 1
    node.start_worker()

    assert queue.wait("job", timeout=DEADLINE) == "second try"
    assert node.runs == [Run("job", 2, FAILS_ONCE)]


def test_a_retry_in_back_off_that_node_cancels_never_runs(
    configure: Callable[..., Queue],
    node: NodePeer,
    client: Any,
    handler: Handler,
    start_worker: Callable[..., Worker],
) -> None:
    queue = configure(**LONG_BACKOFF)
    queue.enqueue("job", FAILS_ONCE)
    fail_once_on_django(start_worker, queue)

    assert node.cancel("job") == "cancelled"
    make_due(client, queue, "job")
    assert Reaper(queue).run_once() == 0
    start_worker(queue)
    queue.enqueue("after", {"do": "return", "value": 1})
    queue.wait("after", timeout=DEADLINE)

    assert [run.id for run in handler.runs] == ["job", "after"]
    assert queue.get_job_state("job") is None
    assert not client.exists(f"{queue.config.key_prefix}scheduled", f"{queue.config.key_prefix}scheduled:messages")


def test_a_retry_in_back_off_that_django_cancels_is_unknown_to_node(
    configure: Callable[..., Queue], node: NodePeer, start_worker: Callable[..., Worker]
) -> None:
    queue = configure(**LONG_BACKOFF)
    queue.enqueue("job", FAILS_ONCE)
    fail_once_on_django(start_worker, queue)

    assert queue.cancel("job") == "cancelled"

    assert node.get_status("job") is None
    assert node.enqueue("job", FAILS_ONCE) == {"status": "queued"}


@pytest.mark.xfail(
    strict=True,
    reason="Node deletes the state of a retry in back-off and leaves its message; when the id then fails anew, "
    "nothing on the wire tells the two messages apart. Named in docs/how-to/node-and-django.md.",
)
def test_a_retry_that_node_cancelled_does_not_come_back_when_the_new_job_of_its_id_fails_too(
    configure: Callable[..., Queue],
    node: NodePeer,
    client: Any,
    handler: Handler,
    start_worker: Callable[..., Worker],
) -> None:
    queue = configure(**LONG_BACKOFF)
    queue.enqueue("job", {"do": "fail_first", "times": 1, "value": "old"})
    fail_once_on_django(start_worker, queue)
    assert node.cancel("job") == "cancelled"
    node.enqueue("job", {"do": "fail_and_stop"})
    fail_once_on_node(queue, node)
    handler.on("fail_and_stop", lambda job: "new")

    make_due(client, queue, "job")
    Reaper(queue).run_once()
    start_worker(queue, concurrency=1)

    assert queue.wait("job", timeout=DEADLINE) == "new"


def test_a_waiting_node_is_not_disturbed_by_a_retry(
    queue: Queue, node: NodePeer, handler: Handler, start_worker: Callable[..., Worker]
) -> None:
    start_worker(queue)

    waiting = node.begin_enqueue_and_wait("job", FAILS_ONCE)

    assert node.result(waiting) == "second try"
    assert [run.attempts for run in handler.runs] == [1, 2]


def test_a_waiting_django_is_not_disturbed_by_a_retry(queue: Queue, node: NodePeer) -> None:
    node.start_worker()

    assert queue.enqueue_and_wait("job", FAILS_ONCE, timeout=DEADLINE) == "second try"

    assert [run.attempts for run in node.runs] == [1, 2]


def test_unknown_fields_at_the_end_of_a_message_survive_a_retry_on_django(
    queue: Queue, node: NodePeer, client: Any, handler: Handler, start_worker: Callable[..., Worker]
) -> None:
    extra = {"correlationId": "grün-1", "trace": {"span": [1, 2]}}
    node.enqueue("job", FAILS_ONCE, extra_fields=extra)
    key = f"{queue.config.key_prefix}queue"
    (sent,) = client.lrange(key, 0, -1)
    assert sent.endswith('"correlationId":"grün-1","trace":{"span":[1,2]}}'.encode())

    fail_once_on_django(start_worker, queue)

    (retried,) = client.lrange(key, 0, -1)
    assert retried == sent.replace(b'"attempts":0', b'"attempts":1')
    node.start_worker()
    assert queue.wait("job", timeout=DEADLINE) == "second try"
    assert node.runs == [Run("job", 2, FAILS_ONCE)]


def test_a_claimed_message_with_unknown_fields_may_hold_half_an_emoji(
    queue: Queue, node: NodePeer, handler: Handler
) -> None:
    # JavaScript cuts strings between the halves of a surrogate pair: "😀".slice(0, 1).
    node.enqueue("job", {"do": "return", "value": "\ud83d"}, extra_fields={"correlationId": "c1"})

    Worker(queue, handler=handler, reaper=False).run_until_empty()

    assert queue.stats().malformed == 0
    assert queue.get_result("job") == "\ud83d"


def test_a_message_with_unknown_fields_runs_on_django_and_can_be_retried_by_hand(
    queue: Queue, node: NodePeer, client: Any, start_worker: Callable[..., Worker]
) -> None:
    node.enqueue("job", {"do": "throw", "message": "no"}, maxAttempts=1, extra_fields={"correlationId": "c1"})
    start_worker(queue, concurrency=1, max_jobs=1).join()
    assert state_of(queue, "job").status is Status.FAILED

    assert queue.retry("job") is True

    (fresh,) = client.lrange(f"{queue.config.key_prefix}queue", 0, -1)
    fields = json.loads(fresh)
    assert (fields["attempts"], fields["correlationId"]) == (0, "c1")
    assert node.get_job_states("job") == {"job": f"queued:{fields['createdAt']}"}
