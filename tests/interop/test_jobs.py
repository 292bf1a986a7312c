"""Jobs that one side enqueues and the other side runs: payloads, results, errors, events."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from django_jobqueue import Queue, job, queues
from django_jobqueue.exceptions import JobFailedError
from django_jobqueue.message import Status
from django_jobqueue.worker import Worker
from tests.interop.handlers import Handler
from tests.interop.node_peer import DEADLINE, NodeError, NodePeer, Run
from tests.interop.states import error_of, state_of
from tests.servers import ExternalServer, Server

pytestmark = pytest.mark.interop

#: Values that JSON writes the same whoever writes it, with all that is awkward about strings.
VALUES = [
    pytest.param(42, id="number"),
    pytest.param(-0.125, id="fraction"),
    pytest.param(2**53 - 1, id="largest safe integer"),
    pytest.param(False, id="false"),
    pytest.param("", id="empty string"),
    pytest.param('grün 日本 😀 \u2028 "quoted" \\ \n \x00 \x7f </script>', id="unicode and escapes"),
    pytest.param([], id="empty list"),
    pytest.param({"a": [1, {"ключ": [None, True, {"": {}}]}], "b": "x" * 20_000}, id="nested"),
    pytest.param("\ud800", id="lone surrogate"),
    pytest.param(None, id="null"),
]


@job(name="interop.add")
def add(x: int, y: int, *, scale: int = 1) -> int:
    return (x + y) * scale


@pytest.mark.parametrize("value", VALUES)
def test_a_django_worker_runs_a_job_of_node_and_both_read_its_result(
    queue: Queue, node: NodePeer, handler: Handler, start_worker: Callable[..., Worker], value: Any
) -> None:
    payload = {"do": "return", "value": value}
    start_worker(queue)

    assert node.enqueue("job", payload) == {"status": "queued"}

    assert queue.wait("job", timeout=DEADLINE) == value
    assert handler.runs == [Run("job", 1, payload)]
    assert queue.get_result("job", "nothing") == value
    assert node.get_result("job") == value


@pytest.mark.parametrize("value", VALUES)
def test_a_node_worker_runs_a_job_of_django_and_both_read_its_result(
    queue: Queue, node: NodePeer, value: Any
) -> None:
    payload = {"do": "return", "value": value}
    node.start_worker()

    assert queue.enqueue("job", payload).status == "queued"

    assert queue.wait("job", timeout=DEADLINE) == value
    assert node.runs == [Run("job", 1, payload)]
    assert queue.get_result("job", "nothing") == value
    assert node.get_result("job") == value


@pytest.mark.parametrize(
    "job_id", ["tenant:7:report", 'a "quoted" \\ id', "грün-日本-😀", "x" * 512], ids=lambda id: ascii(id)[:20]
)
def test_a_job_runs_on_either_side_whatever_its_id(
    queue: Queue, node: NodePeer, handler: Handler, start_worker: Callable[..., Worker], job_id: str
) -> None:
    node.enqueue(job_id, {"do": "return", "value": "of node"}, resultTTL=1)
    Worker(queue, handler=handler, reaper=False).run_until_empty()
    node.wait_until(lambda: queue.get_job_state(job_id) is None, "the id is free again")
    node.start_worker()

    assert queue.enqueue_and_wait(job_id, {"do": "return", "value": "of django"}, timeout=DEADLINE) == "of django"

    assert [run.id for run in handler.runs] == [job_id]
    assert [run.id for run in node.runs] == [job_id]


def test_a_django_waiter_gets_the_result_of_a_node_worker(queue: Queue, node: NodePeer) -> None:
    node.start_worker()

    result = queue.enqueue_and_wait("job", {"do": "return", "value": {"sum": "3 €"}}, timeout=DEADLINE)

    assert result == {"sum": "3 €"}


def test_a_django_waiter_gets_none_for_the_null_of_a_node_worker(queue: Queue, node: NodePeer) -> None:
    node.start_worker()

    result = queue.enqueue_and_wait("job", {"do": "return", "value": None}, timeout=DEADLINE)

    assert result is None
    assert state_of(queue, "job").status is Status.COMPLETED


def test_a_node_waiter_gets_the_result_of_a_django_worker(
    queue: Queue, node: NodePeer, start_worker: Callable[..., Worker]
) -> None:
    start_worker(queue)

    waiting = node.begin_enqueue_and_wait("job", {"do": "return", "value": {"sum": "3 €"}})

    assert node.result(waiting) == {"sum": "3 €"}


def test_a_node_waiter_and_a_django_waiter_of_one_job_both_learn(
    queue: Queue, node: NodePeer, handler: Handler, start_worker: Callable[..., Worker]
) -> None:
    waiting = node.begin_enqueue_and_wait("job", {"do": "hold", "value": 7})
    start_worker(queue)
    node.wait_until(lambda: bool(handler.runs), "the job runs")
    handler.release("job")

    assert queue.wait("job", timeout=DEADLINE) == 7
    assert node.result(waiting) == 7


def test_many_jobs_shared_by_workers_of_both_sides_each_run_once(
    queue: Queue, node: NodePeer, handler: Handler, start_worker: Callable[..., Worker]
) -> None:
    node.start_worker(concurrency=1)
    start_worker(queue, concurrency=1)
    ids = [f"job-{n}" for n in range(200)]
    # The first two keep both workers busy, so that both are there when the others come.
    for job_id in ids[:2]:
        queue.enqueue(job_id, {"do": "hold", "value": job_id})
    node.wait_until(lambda: bool(node.runs and handler.runs), "each side runs a job")

    for number, job_id in enumerate(ids[2:]):
        enqueue = node.enqueue if number % 2 else queue.enqueue
        enqueue(job_id, {"do": "return", "value": job_id})
    node.release(node.runs[0].id)
    handler.release(handler.runs[0].id)

    assert [queue.wait(job_id, timeout=DEADLINE) for job_id in ids] == ids
    assert sorted(run.id for run in [*node.runs, *handler.runs]) == sorted(ids)
    assert {run.attempts for run in [*node.runs, *handler.runs]} == {1}


def test_node_calls_a_registered_django_job_by_name(
    queue: Queue, node: NodePeer, start_worker: Callable[..., Worker]
) -> None:
    start_worker(queue, handler=None)

    waiting = node.begin_enqueue_and_wait("job", {"job": add.name, "args": [1, 2], "kwargs": {"scale": 10}})

    assert node.result(waiting) == 30


def test_a_named_queue_of_node_is_a_django_queue_of_the_same_alias(
    server: Server | ExternalServer, jobqueue_settings: dict[str, Any], settings: Any
) -> None:
    name = f"interop-{uuid.uuid4().hex[:12]}"
    settings.JOBQUEUE = {name: {"URL": server.url(), "CACHE": None}}

    try:
        with NodePeer(server.url(), "jq:", name) as node:
            node.start_worker()

            result = queues[name].enqueue_and_wait("job", {"do": "return", "value": 1}, timeout=DEADLINE)
            node.enqueue("other", {"do": "return", "value": 2})

            assert result == 1
            assert queues[name].wait("other", timeout=DEADLINE) == 2
    finally:
        queues[name].clear()


def test_a_node_waiter_is_rejected_when_a_django_handler_raises(
    queue: Queue, node: NodePeer, start_worker: Callable[..., Worker]
) -> None:
    start_worker(queue)
    payload = {"do": "throw", "message": "no stock for “Å”", "code": "OUT_OF_STOCK"}

    waiting = node.begin_enqueue_and_wait("job", payload, maxAttempts=1)

    with pytest.raises(NodeError) as caught:
        node.result(waiting)
    assert caught.value.name == "JobFailedError"
    assert caught.value.code == "JOB_FAILED"
    error = caught.value.original_error
    assert error["message"] == "no stock for “Å”"
    assert error["code"] == "OUT_OF_STOCK"
    assert error["type"] == "tests.interop.handlers.HandlerFailed"
    assert "in _throw" in error["stack"]
    assert node.get_status("job")["state"] == "failed"
    assert node.get_status("job")["error"] == error
    assert error_of(queue, "job") == error


def test_a_django_waiter_raises_when_a_node_handler_throws(queue: Queue, node: NodePeer) -> None:
    node.start_worker()
    payload = {"do": "throw", "message": "no stock for “Å”", "code": "OUT_OF_STOCK"}

    with pytest.raises(JobFailedError, match="no stock for “Å”") as caught:
        queue.enqueue_and_wait("job", payload, timeout=DEADLINE, max_attempts=1)

    assert caught.value.job_id == "job"
    assert caught.value.error["code"] == "OUT_OF_STOCK"
    assert "peer.mjs" in caught.value.error["stack"]
    assert error_of(queue, "job") == node.get_status("job")["error"] == caught.value.error


def test_an_error_without_code_is_read_by_both(
    queue: Queue, node: NodePeer, start_worker: Callable[..., Worker]
) -> None:
    start_worker(queue, concurrency=1, max_jobs=1)
    queue.enqueue("of-django", {"do": "throw", "message": "plain"}, max_attempts=1)
    node.wait_until(lambda: state_of(queue, "of-django").status is Status.FAILED, "Django's job fails")
    node.start_worker()
    queue.enqueue("of-node", {"do": "throw", "message": "plain"}, max_attempts=1)
    node.wait_until(lambda: state_of(queue, "of-node").status is Status.FAILED, "Node's job fails")

    for job_id in ("of-django", "of-node"):
        error = error_of(queue, job_id)
        assert error["message"] == "plain"
        assert error.get("code") is None
        assert node.get_status(job_id)["error"] == error


def test_django_gives_a_job_of_node_that_failed_for_good_a_fresh_start(
    queue: Queue, node: NodePeer, start_worker: Callable[..., Worker]
) -> None:
    payload = {"do": "fail_first", "times": 1, "value": "recovered"}
    node.enqueue("job", payload, maxAttempts=1)
    worker = start_worker(queue)
    node.wait_until(lambda: state_of(queue, "job").status is Status.FAILED, "the job fails")
    worker.stop()

    assert queue.retry("job") is True
    node.start_worker()

    # Attempts start afresh, so it fails again, now on the other side.
    assert node.wait_for_run("job") == Run("job", 1, payload)
    node.wait_until(lambda: state_of(queue, "job").status is Status.FAILED, "the job fails again")
    assert "peer.mjs" in error_of(queue, "job")["stack"]


def test_a_django_subscriber_hears_of_the_jobs_of_node(queue: Queue, node: NodePeer) -> None:
    events: list[tuple[str, str]] = []
    unsubscribe = queue.subscribe(lambda job_id, event: events.append((job_id, event)))
    node.start_worker()

    node.enqueue("tenant:1:job", {"do": "return", "value": 1})
    node.enqueue("broken", {"do": "throw", "message": "no"}, maxAttempts=1)

    node.wait_until(lambda: len(events) == 6, f"six events have come: {events}")
    unsubscribe()
    assert [event for job_id, event in events if job_id == "tenant:1:job"] == ["queued", "processing", "completed"]
    assert [event for job_id, event in events if job_id == "broken"] == ["queued", "processing", "failed"]


def test_a_node_subscriber_hears_of_the_jobs_of_django(
    queue: Queue, node: NodePeer, start_worker: Callable[..., Worker]
) -> None:
    node.call("listen")
    start_worker(queue)

    queue.enqueue("job", {"do": "fail_first", "times": 1, "value": 1})
    queue.wait("job", timeout=DEADLINE)

    expected = ["queued", "processing", "failing", "processing", "completed"]
    node.wait_until(lambda: len(node.events) >= len(expected), "all events have come")
    assert node.events == [("job", event) for event in expected]
