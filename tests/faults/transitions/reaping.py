"""What reapers do."""

from __future__ import annotations

from django_jobqueue.storage.base import Complete, Fail, SuspectKind
from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry
from tests.faults.rig import Rig, again
from tests.faults.transitions.registry import step
from tests.servers import wait_until

_ERROR = b'{"message":"boom"}'


@step("suspects")
@step("suspects", 2)
def look_for_suspects(rig: Rig) -> None:
    claimed(rig.direct)
    rig.suspect()
    with rig.fault():
        assert [one.worker_id for one in rig.hasty.suspects(["other", "worker"])] == ["worker"]

    rig.check(a="processing:worker")


@step("recover")
def recover_a_started_job(rig: Rig) -> None:
    one = claimed(rig.direct)
    suspect = rig.suspect()
    with rig.fault():
        rig.hasty.recover(suspect, one, one.with_attempts(1))

    rig.check(a="failing:1")
    assert [one.attempts for one in claim(rig.direct)] == [1]


@step("recover")
def recover_a_job_whose_lease_is_renewed_meanwhile(rig: Rig) -> None:
    one = claimed(rig.direct)
    suspect = rig.suspect()
    with rig.fault(meanwhile=lambda: rig.direct.renew("worker", b"{}", [one])):
        assert rig.hasty.recover(suspect, one, one.with_attempts(1)) is False

    rig.check(a="processing:worker" if rig.never_arrives else "failing:1")


@step("recover")
def recover_a_job_that_was_not_started(rig: Rig) -> None:
    one = message("a")
    enqueue(rig.direct, one)
    rig.direct.wait_and_take("worker", 1)
    suspect = rig.suspect(SuspectKind.UNSTARTED)
    with rig.fault():
        rig.hasty.recover(suspect, one, one)

    rig.check(a="queued")
    assert [one.attempts for one in claim(rig.direct)] == [0]


@step("fail")
def fail_a_stalled_job(rig: Rig) -> None:
    one = claimed(rig.direct)
    suspect = rig.suspect()
    with rig.fault():
        again(lambda: rig.hasty.fail_stalled(suspect, Fail(one, _ERROR, 60_000, expected=suspect.state)))

    rig.check(a="failed")


@step("discard")
def discard_an_outdated_message(rig: Rig) -> None:
    one = message("a")
    enqueue(rig.direct, one)
    rig.direct.wait_and_take("worker", 1)
    rig.direct.cancel("a")
    suspect = rig.suspect(SuspectKind.OUTDATED)
    with rig.fault():
        rig.hasty.discard(suspect, one)

    rig.auditor.check([], drained=True)


@step("promote")
def promote_a_delayed_job(rig: Rig) -> None:
    enqueue(rig.direct, message("a"), delay_ms=1)
    with rig.fault():
        wait_until(lambda: rig.storage.promote(10) == (0, None), 30, lambda: AssertionError("not due"))

    rig.check(a="queued")
    assert [one.id for one in claim(rig.direct)] == ["a"]


@step("promote")
def promote_a_retried_job(rig: Rig) -> None:
    commit(rig.direct, retry(claimed(rig.direct), 1))
    with rig.fault():
        wait_until(lambda: rig.storage.promote(10) == (0, None), 30, lambda: AssertionError("not due"))

    rig.check(a="failing:1")
    assert [one.attempts for one in claim(rig.direct)] == [1]


@step("expire")
def expire_finished_jobs(rig: Rig) -> None:
    commit(rig.direct, complete(claimed(rig.direct), ttl_ms=1))
    commit(rig.direct, fail(claimed(rig.direct, "b"), ttl_ms=1))
    with rig.fault():
        wait_until(lambda: rig.storage.expire(10) == 0, 30, lambda: AssertionError("not due"))

    assert [rig.redis("EXISTS", key) for key in ("jobs", "results", "errors", "dead", "completed", "failed")] == [
        0
    ] * 6


@step("sweep_jobs")
@step("sweep_payloads")
@step("sweep_marks")
def sweep(rig: Rig) -> None:
    commit(rig.direct, Complete(claimed(rig.direct), b"1", 60_000))
    rig.redis("ZREM", "completed", "a")  # as the Node library leaves it
    rig.redis("HSET", "results", "x", b"\0\0\0\0\0\0\0\x01" + b"1")
    rig.redis("HSET", "cancelled", "x", "17")
    rig.direct.set_progress("x", b"{}")
    with rig.fault():
        rig.storage.sweep()

    rig.check(a="completed")
    assert [rig.redis("EXISTS", key) for key in ("cancelled", "progress")] == [0, 0]


@step("lock_acquire")
def acquire_the_leader_lock(rig: Rig) -> None:
    with rig.fault():
        assert rig.storage.acquire_lock("me", 60)

    assert rig.direct.counts().leader == "me"


@step("lock_renew")
def renew_the_leader_lock(rig: Rig) -> None:
    rig.direct.acquire_lock("me", 60)
    with rig.fault():
        assert rig.storage.renew_lock("me", 60)

    rig.auditor.check([])
    assert rig.direct.counts().leader == "me"


@step("lock_release")
def release_the_leader_lock(rig: Rig) -> None:
    rig.direct.acquire_lock("me", 60)
    with rig.fault():
        rig.storage.release_lock("me")

    assert rig.direct.counts().leader is None
