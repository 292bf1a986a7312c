"""One id, one live job, whichever side enqueues, cancels and asks."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from django_jobqueue import Queue
from django_jobqueue.exceptions import JobNotFoundError
from django_jobqueue.message import Status
from django_jobqueue.reaper import Reaper
from django_jobqueue.worker import Worker
from tests.interop.handlers import Handler
from tests.interop.node_peer import DEADLINE, NodePeer, Run

pytestmark = pytest.mark.interop

#: Seconds of delay that no test waits for.
LONG = 3600

ONE = {"do": "return", "value": 1}
TWO = {"do": "return", "value": 2}


def next_millisecond() -> None:
    """Wait until the clock has moved on.

    The Node library leaves no trace of a job it cancels, so nobody can tell its message from one of the same
    id and the same millisecond.
    """
    now = int(time.time() * 1000)
    while int(time.time() * 1000) == now:
        time.sleep(0.0002)


# Cancelling


@pytest.mark.parametrize("canceller", ["django", "node"])
@pytest.mark.parametrize("producer", ["django", "node"])
def test_a_node_worker_does_not_run_a_cancelled_job(
    queue: Queue, node: NodePeer, producer: str, canceller: str
) -> None:
    sides: dict[str, Any] = {"django": queue, "node": node}
    sides[producer].enqueue("cancelled", ONE)
    sides[producer].enqueue("after", TWO)

    assert sides[canceller].cancel("cancelled") == "cancelled"
    node.start_worker()

    assert queue.wait("after", timeout=DEADLINE) == 2
    assert node.runs == [Run("after", 1, TWO)]
    assert node.get_job_states("cancelled") == {"cancelled": None}
    assert queue.get_job_state("cancelled") is None


@pytest.mark.parametrize("canceller", ["django", "node"])
@pytest.mark.parametrize("producer", ["django", "node"])
def test_a_django_worker_drops_a_cancelled_job(
    queue: Queue,
    node: NodePeer,
    handler: Handler,
    start_worker: Callable[..., Worker],
    producer: str,
    canceller: str,
) -> None:
    sides: dict[str, Any] = {"django": queue, "node": node}
    sides[producer].enqueue("cancelled", ONE)
    sides[producer].enqueue("after", TWO)

    assert sides[canceller].cancel("cancelled") == "cancelled"
    start_worker(queue)

    assert queue.wait("after", timeout=DEADLINE) == 2
    assert handler.runs == [Run("after", 1, TWO)]
    assert queue.get_job_state("cancelled") is None


@pytest.mark.parametrize(
    ("first", "canceller", "second"),
    list(itertools.product(["django", "node"], repeat=3)),
    ids=lambda side: side,
)
def test_an_id_cancelled_and_enqueued_again_runs_the_new_payload_once(
    queue: Queue,
    node: NodePeer,
    handler: Handler,
    client: redis.Redis,
    start_worker: Callable[..., Worker],
    first: str,
    canceller: str,
    second: str,
) -> None:
    sides: dict[str, Any] = {"django": queue, "node": node}
    sides[first].enqueue("job", ONE)
    if canceller == "node":
        next_millisecond()

    assert sides[canceller].cancel("job") == "cancelled"
    sides[second].enqueue("job", TWO)
    sides[second].enqueue("after", ONE)
    start_worker(queue, concurrency=1)

    assert queue.wait("after", timeout=DEADLINE) == 1
    assert handler.runs == [Run("job", 1, TWO), Run("after", 1, ONE)]
    assert queue.get_result("job") == node.get_result("job") == 2
    assert not client.exists(f"{queue.config.key_prefix}cancelled")


@pytest.mark.parametrize("canceller", ["django", "node"])
def test_a_running_job_and_a_finished_one_cannot_be_cancelled(
    queue: Queue,
    node: NodePeer,
    handler: Handler,
    start_worker: Callable[..., Worker],
    canceller: str,
) -> None:
    side: Any = queue if canceller == "django" else node
    node.start_worker(concurrency=1)
    queue.enqueue("on-node", {"do": "hold", "value": 1})
    node.wait_for_run("on-node")
    start_worker(queue, concurrency=1)
    queue.enqueue("on-django", {"do": "hold", "value": 1})
    node.wait_until(lambda: bool(handler.runs), "Django runs a job")

    assert side.cancel("on-node") == "processing"
    assert side.cancel("on-django") == "processing"

    node.release("on-node")
    handler.release("on-django")
    for job_id in ("on-node", "on-django"):
        queue.wait(job_id, timeout=DEADLINE)
        assert side.cancel(job_id) == "completed"
    assert side.cancel("nobody") == "not_found"


def test_a_django_waiter_of_a_job_that_node_cancels_learns_it_when_its_time_is_over(
    queue: Queue, node: NodePeer, client: redis.Redis
) -> None:
    # The Node library tells nobody that it has cancelled a job.
    queue.enqueue("job", ONE)
    channel = f"{queue.config.key_prefix}notify:job"

    with ThreadPoolExecutor() as executor:
        waiting = executor.submit(queue.wait, "job", timeout=1)
        node.wait_until(lambda: client.pubsub_numsub(channel)[0][1] == 1, "Django waits")
        assert node.cancel("job") == "cancelled"

        with pytest.raises(JobNotFoundError):
            waiting.result(DEADLINE)


# Deduplication


def test_node_is_told_of_each_state_a_django_job_is_in(
    queue: Queue, node: NodePeer, handler: Handler, start_worker: Callable[..., Worker]
) -> None:
    queue.enqueue("scheduled", ONE, delay=LONG)
    queue.enqueue("completed", {"do": "return", "value": {"of": "django"}})
    queue.enqueue("null", {"do": "return", "value": None})
    queue.enqueue("failed", {"do": "throw", "message": "no"}, max_attempts=1)
    queue.enqueue("processing", {"do": "hold", "value": 1})
    start_worker(queue, concurrency=1)
    node.wait_until(lambda: len(handler.runs) == 4, "the last of them runs")
    queue.enqueue("queued", ONE)

    def enqueue(job_id: str) -> Any:
        return node.enqueue(job_id, TWO)

    assert enqueue("queued") == {"status": "duplicate", "existingState": "queued"}
    assert enqueue("scheduled") == {"status": "duplicate", "existingState": "scheduled"}
    assert enqueue("processing") == {"status": "duplicate", "existingState": "processing"}
    assert enqueue("failed") == {"status": "duplicate", "existingState": "failed"}
    assert enqueue("completed") == {"status": "completed", "result": {"of": "django"}}
    # The Node library cannot tell the result null from none.
    assert enqueue("null") == {"status": "duplicate", "existingState": "completed"}
    assert queue.stats().queued == 1
    assert queue.stats().scheduled == 1


def test_django_is_told_of_each_state_a_node_job_is_in(queue: Queue, node: NodePeer) -> None:
    node.enqueue("completed", {"do": "return", "value": {"of": "node"}})
    node.enqueue("null", {"do": "return", "value": None})
    node.enqueue("failed", {"do": "throw", "message": "no"}, maxAttempts=1)
    node.enqueue("processing", {"do": "hold", "value": 1})
    node.start_worker(concurrency=1)
    node.wait_for_run("processing")
    node.enqueue("queued", ONE)

    def enqueue(job_id: str) -> tuple[str, Status | None, Any]:
        result = queue.enqueue(job_id, TWO)
        return result.status, result.existing_state, result.result

    assert enqueue("queued") == ("duplicate", Status.QUEUED, None)
    assert enqueue("processing") == ("duplicate", Status.PROCESSING, None)
    assert enqueue("failed") == ("duplicate", Status.FAILED, None)
    assert enqueue("completed") == ("completed", Status.COMPLETED, {"of": "node"})
    assert enqueue("null") == ("completed", Status.COMPLETED, None)
    assert queue.stats().queued == 1


def test_a_node_waiter_on_an_id_that_django_finished_gets_its_result_at_once(
    queue: Queue, node: NodePeer, start_worker: Callable[..., Worker]
) -> None:
    start_worker(queue)
    assert queue.enqueue_and_wait("job", ONE, timeout=DEADLINE) == 1

    assert node.result(node.begin_enqueue_and_wait("job", TWO)) == 1


def test_a_django_waiter_on_an_id_that_node_finished_gets_its_result_at_once(queue: Queue, node: NodePeer) -> None:
    node.start_worker()
    assert node.result(node.begin_enqueue_and_wait("job", ONE)) == 1

    assert queue.enqueue_and_wait("job", TWO, timeout=DEADLINE) == 1
    assert node.runs == [Run("job", 1, ONE)]


def test_both_sides_agree_on_the_states_of_the_same_ids(
    configure: Callable[..., Queue], node: NodePeer, start_worker: Callable[..., Worker]
) -> None:
    queue = configure(RETRY_BACKOFF=LONG, RETRY_BACKOFF_MAX=LONG)
    throws = {"do": "throw", "message": "no"}
    queue.enqueue("forgotten", ONE, result_ttl=0.001)
    queue.enqueue("completed: by django", ONE)
    queue.enqueue("failed: by django", throws, max_attempts=1)
    queue.enqueue("failing", throws, max_attempts=2)
    start_worker(queue, concurrency=1, max_jobs=4).join()
    node.start_worker(concurrency=1)
    node.enqueue("completed by node", ONE)
    node.enqueue("failed by node", throws, maxAttempts=1)
    node.enqueue("processing", {"do": "hold", "value": 1})
    node.wait_for_run("processing")
    queue.enqueue("queued", ONE)
    queue.enqueue("scheduled", ONE, delay=LONG)
    node.wait_until(lambda: queue.get_job_state("forgotten") is None, "the first is forgotten")
    known = ["completed: by django", "failed: by django", "failing", "completed by node", "failed by node"]
    known += ["processing", "queued", "scheduled"]
    ids = [*known, "forgotten", "unknown"]

    states = queue.get_job_states(ids)

    assert {job_id: state and str(state) for job_id, state in states.items()} == node.get_job_states(*ids)
    assert [job_id for job_id, state in states.items() if state is not None] == known


# Delayed jobs


def test_a_delayed_django_job_stays_away_from_node_until_it_is_promoted(queue: Queue, node: NodePeer) -> None:
    node.start_worker()
    queue.enqueue("delayed", ONE, delay=0.2)
    queue.enqueue("after", TWO)
    assert queue.wait("after", timeout=DEADLINE) == 2
    assert node.runs == [Run("after", 1, TWO)]
    assert node.get_status("delayed")["state"] == "scheduled"

    reaper = Reaper(queue)
    node.wait_until(lambda: reaper.run_once() == 1, "the delayed job is due")

    assert queue.wait("delayed", timeout=DEADLINE) == 1
    assert node.runs == [Run("after", 1, TWO), Run("delayed", 1, ONE)]


def test_a_delayed_django_job_that_node_cancels_never_runs(queue: Queue, node: NodePeer, client: redis.Redis) -> None:
    queue.enqueue("delayed", ONE, delay=0.001)
    next_millisecond()

    assert node.cancel("delayed") == "cancelled"
    node.enqueue("delayed", TWO)

    reaper = Reaper(queue)
    prefix = queue.config.key_prefix
    node.wait_until(
        lambda: reaper.run_once() == 0 and not client.exists(f"{prefix}scheduled", f"{prefix}scheduled:messages"),
        "the reaper drops what was cancelled",
    )
    node.start_worker()
    assert queue.wait("delayed", timeout=DEADLINE) == 2
    assert node.runs == [Run("delayed", 1, TWO)]
