"""A worker that is frozen beyond the visibility timeout, and then wakes up."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.snapshot import Snapshot
from tests.faults.stage import Stage
from tests.servers import Server, wait_until

pytestmark = pytest.mark.faults

JOBS = ("completes", "fails", "retries")


@pytest.fixture
def stage(server: Server, tmp_path: Path) -> Iterator[Stage]:
    # The other worker must not lose its leases only because the machine stands still.
    with Stage(server, tmp_path, visibility=6.0) as stage:
        yield stage


def lasting(stage: Stage) -> tuple[object, ...]:
    """All that is kept of jobs."""
    snapshot = Snapshot.read(stage.client, stage.prefix)
    names = ("jobs", "results", "errors", "dead")
    return ({name: snapshot.hash(name) for name in names}, snapshot.zsets, snapshot.lists)


def test_a_zombie_can_neither_finish_nor_keep_what_it_has_lost(stage: Stage) -> None:
    gate = stage.gate("attempt-{attempt}")
    stage.queue.enqueue("completes", stage.call(gate=str(gate)))
    # The zombie's run would be their last but for the stall, and the other worker's then is.
    stage.queue.enqueue("fails", stage.call(gate=str(gate), failures=2), max_attempts=2)
    stage.queue.enqueue("retries", stage.call(gate=str(gate), failures=1), max_attempts=3)
    command = ("jobqueue_worker", "--concurrency", "3", "--no-reaper")
    with stage.killed_at(None, *command) as zombie:
        wait_until(lambda: set(stage.attempts()) == set(JOBS), 60, lambda: AssertionError(zombie.output()))
        zombie.freeze()
        stage.gate("attempt-2").touch()

        # The healthy worker's reaper brings the jobs back; each runs once more, there.
        with stage.healthy_worker():
            wait_until(
                lambda: all(state in ("completed", "failed") for state in stage.states(*JOBS).values()),
                60,
                lambda: AssertionError(str(stage.states(*JOBS))),
            )
        before = lasting(stage)

        zombie.thaw()
        for job_id in JOBS:
            zombie.wait_for(f"the lease of job {job_id} was lost")
        assert lasting(stage) == before
        stage.auditor.check(JOBS)

        stage.gate("attempt-1").touch()
        for job_id in JOBS:
            zombie.wait_for(f"job {job_id} ended after its lease was lost")
        assert lasting(stage) == before
        zombie.signal(signal.SIGTERM)

    assert {"complete", "retry", "renew"} <= {command.name for command in stage.proxy.seen()}
    assert stage.states(*JOBS) == {"completes": "completed", "fails": "failed", "retries": "completed"}
    assert stage.attempts() == {job_id: [1, 2] for job_id in JOBS}
    stage.auditor.check(JOBS, drained=True)


def test_a_zombie_cannot_fail_for_good_what_it_has_lost(stage: Stage) -> None:
    gate = stage.gate("gate")
    stage.queue.enqueue("last", stage.call(gate=str(gate), failures=1), max_attempts=1)
    with stage.killed_at(None, "jobqueue_worker", "--concurrency", "1", "--no-reaper") as zombie:
        wait_until(lambda: stage.has_begun("last"), 60, lambda: AssertionError(zombie.output()))
        zombie.freeze()
        with stage.healthy_worker():
            wait_until(
                lambda: stage.states("last") == {"last": "failed"}, 60, lambda: AssertionError(zombie.output())
            )
        before = lasting(stage)

        zombie.thaw()
        gate.touch()
        zombie.wait_for("job last ended after its lease was lost")
        zombie.signal(signal.SIGTERM)

    assert lasting(stage) == before
    status = stage.queue.get_status("last")
    assert status is not None and status.error is not None
    assert status.error["code"] == "STALLED"
    stage.auditor.check(["last"], drained=True)


def test_a_message_that_the_server_gives_to_a_zombie_runs_once_elsewhere(stage: Stage) -> None:
    gate, arguments = stage.gate("gate"), ("jobqueue_worker", "--concurrency", "1", "--no-reaper")
    with stage.killed_at(None, *arguments, JOBQUEUE_PROCESS_BLOCK="60") as zombie:

        def sent(name: str) -> int:
            return [command.name for command in stage.proxy.seen()].count(name)

        wait_until(
            lambda: any(one["cmd"] == "blmove" for one in stage.client.client_list()),
            60, lambda: AssertionError(zombie.output()),
        )  # fmt: skip
        zombie.freeze()
        stage.queue.enqueue("a", stage.call(gate=str(gate)))
        (copy,) = stage.auditor.copies("a")
        assert copy.worker_id is not None

        with stage.healthy_worker():
            wait_until(lambda: stage.has_begun("a"), 60, lambda: AssertionError(zombie.output()))
            looks = sent("LRANGE")
            zombie.thaw()
            wait_until(lambda: sent("LRANGE") > looks, 60, lambda: AssertionError(zombie.output()))
            zombie.signal(signal.SIGTERM)
            assert zombie.wait() == 0
            stage.auditor.check(["a"])

            gate.touch()
            wait_until(lambda: stage.states("a") == {"a": "completed"}, 60, lambda: AssertionError("it runs on"))

    # It had not been started, so it lost no attempt.
    assert stage.attempts() == {"a": [1]}
    stage.auditor.check(["a"], drained=True)
