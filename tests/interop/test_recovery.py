"""Workers that die, hang or are slow, and the reapers of both sides."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from django_jobqueue import Queue
from django_jobqueue.message import Status
from django_jobqueue.reaper import Reaper
from django_jobqueue.worker import Worker
from tests.interop.handlers import Handler
from tests.interop.node_peer import DEADLINE, NodeError, NodePeer, Run
from tests.interop.states import state_of
from tests.servers import ExternalServer, Server

pytestmark = pytest.mark.interop

REPOSITORY = Path(__file__).parents[2]

HOLD = {"do": "hold", "value": "done"}
RETURN = {"do": "return", "value": "done"}

#: Seconds of a visibility timeout that a test waits for, and of one that it never reaches.
SHORT = 0.6
LONG = 60.0


@pytest.fixture
def kill_django_worker(
    server: Server | ExternalServer, key_prefix: str, queue: Queue, node: NodePeer
) -> Iterator[Callable[[str], None]]:
    """A function that lets a Django worker process begin a job that is enqueued, and kills it then."""
    processes: list[subprocess.Popen[bytes]] = []

    def kill_in(job_id: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.interop.worker_process", server.url(), key_prefix, str(SHORT)],
            cwd=REPOSITORY,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        processes.append(process)
        node.wait_until(lambda: state_of(queue, job_id).status is Status.PROCESSING, "Django's process runs it")
        process.kill()
        process.wait()

    yield kill_in

    for process in processes:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def forget_heartbeats(client: redis.Redis, queue: Queue) -> None:
    """Make all heartbeats ancient, as they are for a Node worker that runs for long: it sends only one."""
    workers = f"{queue.config.key_prefix}workers"
    for worker_id in client.hkeys(workers):
        client.hset(workers, worker_id, 1)


# Django's reaper and Node's workers


def test_a_job_of_a_killed_node_worker_is_finished_by_a_django_worker(
    configure: Callable[..., Queue],
    make_node: Callable[[], NodePeer],
    client: redis.Redis,
    handler: Handler,
    start_worker: Callable[..., Worker],
) -> None:
    queue = configure(VISIBILITY_TIMEOUT=SHORT)
    producer, doomed = make_node(), make_node()
    waiting = producer.begin_enqueue_and_wait("job", HOLD)
    doomed.start_worker(workerId="doomed", visibilityTimeout=int(SHORT * 1000))
    doomed.wait_for_run("job")
    doomed.kill()
    handler.release("job")

    start_worker(queue, reaper=True)

    assert producer.result(waiting) == "done"
    assert handler.runs == [Run("job", 2, HOLD)]
    producer.wait_until(
        lambda: "doomed" not in [worker.id for worker in queue.workers()], "the dead are off the list"
    )
    assert not client.exists(f"{queue.config.key_prefix}processing:doomed")


def test_a_job_of_a_node_worker_killed_in_its_last_attempt_fails_as_stalled(
    configure: Callable[..., Queue], make_node: Callable[[], NodePeer]
) -> None:
    queue = configure(VISIBILITY_TIMEOUT=SHORT)
    producer, doomed = make_node(), make_node()
    waiting = producer.begin_enqueue_and_wait("job", HOLD, maxAttempts=1)
    doomed.start_worker(visibilityTimeout=int(SHORT * 1000))
    doomed.wait_for_run("job")
    doomed.kill()

    reaper = Reaper(queue)
    producer.wait_until(lambda: reaper.run_once() == 1, "the reaper finds the job")

    with pytest.raises(NodeError) as caught:
        producer.result(waiting)
    assert caught.value.name == "JobFailedError"
    assert caught.value.original_error["code"] == "STALLED"
    assert queue.retry("job") is True


def test_a_job_that_a_killed_node_worker_had_not_started_loses_no_attempt(
    configure: Callable[..., Queue],
    make_node: Callable[[], NodePeer],
    handler: Handler,
    start_worker: Callable[..., Worker],
) -> None:
    queue = configure(VISIBILITY_TIMEOUT=SHORT)
    queue.enqueue("job", RETURN)
    doomed = make_node()
    assert doomed.call("take", workerId="doomed", visibilityTimeout=int(SHORT * 1000)) is not None
    doomed.kill()

    start_worker(queue, reaper=True)

    assert queue.wait("job", timeout=DEADLINE) == "done"
    assert handler.runs == [Run("job", 1, RETURN)]


def test_a_job_that_a_node_worker_has_just_taken_is_left_to_it(
    configure: Callable[..., Queue], node: NodePeer, client: redis.Redis
) -> None:
    queue = configure(VISIBILITY_TIMEOUT=LONG)
    queue.enqueue("job", RETURN)
    message = node.call("take", workerId="old", visibilityTimeout=int(LONG * 1000))
    forget_heartbeats(client, queue)

    settled = Reaper(queue).run_once()

    assert settled == 0
    assert client.lrange(f"{queue.config.key_prefix}processing:old", 0, -1) == [message.encode()]


def test_a_running_node_worker_is_not_disturbed_by_the_django_reaper(
    configure: Callable[..., Queue], node: NodePeer, client: redis.Redis
) -> None:
    queue = configure(VISIBILITY_TIMEOUT=LONG)
    node.start_worker(workerId="old", visibilityTimeout=int(LONG * 1000))
    queue.enqueue("job", HOLD)
    node.wait_for_run("job")
    before = state_of(queue, "job")
    forget_heartbeats(client, queue)
    reaper = Reaper(queue)

    settled = [reaper.run_once() for _ in range(5)]

    assert settled == [0] * 5
    assert state_of(queue, "job") == before
    node.release("job")
    assert queue.wait("job", timeout=DEADLINE) == "done"
    assert node.runs == [Run("job", 1, HOLD)]


def test_a_killed_node_worker_that_had_fallen_off_the_list_is_found_all_the_same(
    configure: Callable[..., Queue], node: NodePeer, handler: Handler, start_worker: Callable[..., Worker]
) -> None:
    queue = configure(VISIBILITY_TIMEOUT=SHORT)
    node.start_worker(workerId="doomed", visibilityTimeout=int(SHORT * 1000))
    node.wait_until(lambda: [worker.id for worker in queue.workers()] == ["doomed"], "Node's worker is listed")
    reaper = Reaper(queue)

    def unlisted() -> bool:
        reaper.run_once()
        return queue.workers() == []

    node.wait_until(unlisted, "Node's worker, which sends no heartbeats, is off the list")
    queue.enqueue("job", HOLD)
    node.wait_for_run("job")
    node.kill()
    handler.release("job")

    start_worker(queue, reaper=True)

    assert queue.wait("job", timeout=DEADLINE) == "done"
    assert handler.runs == [Run("job", 2, HOLD)]


def test_a_job_that_a_slow_node_worker_finishes_after_its_recovery_does_not_run_again(
    configure: Callable[..., Queue], node: NodePeer, handler: Handler, start_worker: Callable[..., Worker]
) -> None:
    queue = configure(VISIBILITY_TIMEOUT=SHORT)
    node.start_worker(visibilityTimeout=int(LONG * 1000), concurrency=1)
    queue.enqueue("job", HOLD)
    node.wait_for_run("job")
    reaper = Reaper(queue)
    node.wait_until(lambda: reaper.run_once() == 1, "the reaper brings the job back")
    assert (state_of(queue, "job").status, state_of(queue, "job").attempts) == (Status.FAILING, 1)

    # It stops first, so that it does not take the job again itself.
    stopping = node.begin("stopWorker")
    node.release("job")
    node.result(stopping)
    assert queue.wait("job", timeout=DEADLINE) == "done"
    queue.enqueue("after", RETURN)
    start_worker(queue)

    assert queue.wait("after", timeout=DEADLINE) == "done"
    assert handler.runs == [Run("after", 1, RETURN)]
    assert state_of(queue, "job").status is Status.COMPLETED


# Node's reaper and Django's workers


def test_a_job_of_a_killed_django_worker_comes_back_by_the_node_reaper_and_runs_on_node(
    queue: Queue, node: NodePeer, kill_django_worker: Callable[[str], None]
) -> None:
    queue.enqueue("job", HOLD)
    kill_django_worker("job")

    node.call("startReaper", visibilityTimeout=int(SHORT * 1000))
    node.wait_until(lambda: state_of(queue, "job").status is Status.FAILING, "Node's reaper brings the job back")
    node.start_worker()
    node.wait_for_run("job")  # the Node library counts the stall in the state, not in the message
    node.release("job")

    assert queue.wait("job", timeout=DEADLINE) == "done"


def test_a_job_of_a_killed_django_worker_comes_back_by_the_node_reaper_and_runs_on_django(
    queue: Queue,
    node: NodePeer,
    handler: Handler,
    start_worker: Callable[..., Worker],
    kill_django_worker: Callable[[str], None],
) -> None:
    queue.enqueue("job", HOLD)
    kill_django_worker("job")
    handler.release("job")

    node.call("startReaper", visibilityTimeout=int(SHORT * 1000))
    node.wait_until(lambda: state_of(queue, "job").status is Status.FAILING, "Node's reaper brings the job back")
    start_worker(queue)

    assert queue.wait("job", timeout=DEADLINE) == "done"
    assert handler.runs == [Run("job", 1, HOLD)]


def test_a_long_job_of_a_django_worker_is_not_disturbed_by_the_node_reaper(
    configure: Callable[..., Queue], node: NodePeer, handler: Handler, start_worker: Callable[..., Worker]
) -> None:
    timeout_ms = 1500
    queue = configure(VISIBILITY_TIMEOUT=timeout_ms / 1000)
    node.call("startReaper", visibilityTimeout=timeout_ms)
    worker = start_worker(queue)
    queue.enqueue("job", HOLD)
    node.wait_until(lambda: bool(handler.runs), "Django runs the job")
    begun = state_of(queue, "job").timestamp

    # The state carries the time of the last renewal.
    node.wait_until(
        lambda: state_of(queue, "job").timestamp > begun + 2 * timeout_ms,
        "the lease outlives two visibility timeouts",
    )

    assert state_of(queue, "job").worker_id == worker.id
    handler.release("job")
    assert queue.wait("job", timeout=DEADLINE) == "done"
    assert handler.runs == [Run("job", 1, HOLD)]


# Both reapers


def test_the_reapers_of_both_sides_share_one_leader_lock(configure: Callable[..., Queue], node: NodePeer) -> None:
    # A leaving Node reaper tells nobody, so Django's asks now and then.
    queue = configure(REAPER={"ACQUIRE_INTERVAL": 0.05})
    election = {"enabled": True, "acquireRetryInterval": 50, "renewalInterval": 1000, "lockTTL": 20_000}
    node_id = node.call("startReaper", leaderElection=election)
    assert node.call("isLeader") is True
    assert queue.stats().leader == node_id
    reaper = Reaper(queue)
    reaper.start()

    try:
        # A job that only a leader of ours would queue.
        queue.enqueue("delayed", RETURN, delay=0.001)
        assert reaper.is_leader is False
        assert state_of(queue, "delayed").status is Status.SCHEDULED
        node.call("stopReaper")
        node.wait_until(lambda: reaper.is_leader, "Django's reaper takes over")
        assert queue.stats().leader == reaper.id
        node.wait_until(lambda: state_of(queue, "delayed").status is Status.QUEUED, "it does its work")

        node.call("startReaper", leaderElection=election)
        assert node.call("isLeader") is False
    finally:
        reaper.stop()

    node.wait_until(lambda: node.call("isLeader") is True, "Node's reaper takes over")
