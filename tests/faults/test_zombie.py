"""A worker that is frozen beyond the visibility timeout, and then wakes up; and one that only could not renew."""

import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from django_jobqueue.message import JobMessage
from django_jobqueue.queue import Queue
from django_jobqueue.reaper import Reaper
from django_jobqueue.storage.base import Suspect, SuspectKind
from tests.contract.build import claim
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


@pytest.fixture
def expired(configure: Callable[..., Queue], server: Server) -> Queue:
    """A queue with one job, the lease of which has run out by the server's clock."""
    queue = configure(VISIBILITY_TIMEOUT=600)
    queue.enqueue("a")
    queue.storage.renew("worker", b"{}", claim(queue.storage))
    with server.client() as client:
        client.hset(f"{queue.config.key_prefix}jobs", "a", "processing:1:worker")
    return queue


def looks_of(queue: Queue, monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None]) -> list[list[Suspect]]:
    """What each look of a reaper finds; before it, ``before`` is called with the number of those that were."""
    found: list[list[Suspect]] = []
    look = queue.storage.suspects

    def suspects(worker_ids: Iterable[str]) -> list[Suspect]:
        before(len(found))
        found.append(look(worker_ids))
        return found[-1]

    monkeypatch.setattr(queue.storage, "suspects", suspects)
    return found


@pytest.fixture
def reaper(expired: Queue) -> Iterator[Reaper]:
    """A reaper that looks often."""
    reaper = Reaper(expired, leader_election=False)
    reaper._look_interval = 0.2
    yield reaper
    reaper.stop()


def test_a_worker_that_could_not_renew_keeps_its_job_when_it_does_before_the_second_look(
    expired: Queue, reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = JobMessage.decode(*expired.storage.held("worker"))

    def renew(number: int) -> None:
        if number == 1:
            assert not expired.storage.renew("worker", b"{}", [message])

    looks = looks_of(expired, monkeypatch, renew)

    reaper.start()

    wait_until(lambda: len(looks) > 3, 30, lambda: AssertionError(str(looks)))
    assert [[one.kind for one in look] for look in looks[:4]] == [[SuspectKind.STALLED], [], [], []]
    assert expired.storage.held("worker") == [message.raw]


def test_a_lease_that_nobody_renews_is_settled_at_the_second_look(
    expired: Queue, reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = looks_of(expired, monkeypatch, lambda number: None)

    reaper.start()

    wait_until(lambda: len(looks) > 2, 30, lambda: AssertionError(str(looks)))
    assert [[one.kind for one in look] for look in looks[:3]] == [[SuspectKind.STALLED], [SuspectKind.STALLED], []]
    assert expired.storage.held("worker") == []
    assert expired.stats().queued == 1
