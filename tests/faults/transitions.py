"""Every transition of the storage, each as a short story with one command that may meet a fault.

A story arranges, sends the command within ``rig.fault()``, and says how it must end whatever was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from django_jobqueue.exceptions import StorageError
from django_jobqueue.storage.base import Complete, Fail, Outcome, Release, SuspectKind, Verdict
from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry
from tests.faults.rig import Rig, again
from tests.servers import wait_until

Story = Callable[[Rig], None]

#: (command, nth, story): the fault strikes at the nth such command.
TRANSITIONS: list[tuple[str, int, Story]] = []

_ERROR = b'{"message":"boom"}'


def step(command: str, nth: int = 1) -> Callable[[Story], Story]:
    """Let a story be told with a fault at this command."""

    def add(story: Story) -> Story:
        TRANSITIONS.append((command, nth, story))
        return story

    return add


# Producers


@step("enqueue")
def enqueue_one(rig: Rig) -> None:
    with rig.fault():
        assert enqueue(rig.storage, message("a")) == [None]

    rig.check(a="queued")
    assert [one.id for one in claim(rig.direct)] == ["a"]


@step("enqueue")
@step("enqueue", 2)
@step("enqueue", 3)
def enqueue_many(rig: Rig) -> None:
    with rig.fault():
        assert enqueue(rig.storage, message("a"), message("b"), message("c")) == [None, None, None]

    rig.check(a="queued", b="queued", c="queued")
    assert sorted(one.id for one in claim(rig.direct)) == ["a", "b", "c"]


@step("schedule")
@step("schedule", 2)
def schedule_two(rig: Rig) -> None:
    with rig.fault():
        assert enqueue(rig.storage, message("a"), message("b"), delay_ms=60_000) == [None, None]

    rig.check(a="scheduled", b="scheduled")


@step("cancel")
def cancel_a_queued_job(rig: Rig) -> None:
    enqueue(rig.direct, message("a"), message("b"))
    with rig.fault():
        assert rig.storage.cancel("a") == "cancelled"

    rig.check(b="queued")
    assert [one.id for one in claim(rig.direct)] == ["b"]


@step("cancel")
def cancel_a_scheduled_job(rig: Rig) -> None:
    enqueue(rig.direct, message("a"), delay_ms=60_000)
    with rig.fault():
        assert rig.storage.cancel("a") == "cancelled"

    rig.auditor.check([], drained=True)


@step("cancel")
def cancel_a_retried_job(rig: Rig) -> None:
    commit(rig.direct, retry(claimed(rig.direct)))
    with rig.fault():
        assert rig.storage.cancel("a") == "cancelled"

    rig.auditor.check([], drained=True)


@step("cancel")
def cancel_a_job_whose_id_is_used_anew_at_once(rig: Rig) -> None:
    old, new = message("a"), message("a")
    enqueue(rig.direct, old)
    with rig.fault(meanwhile=lambda: enqueue(rig.direct, new)):
        assert rig.storage.cancel("a") == "cancelled"

    # A command that is sent again is still about the job that was there when it was sent first.
    assert [one.raw for one in claim(rig.direct)] == ([] if rig.never_arrives else [new.raw])


@step("cancel")
def cancel_a_scheduled_job_that_is_queued_meanwhile(rig: Rig) -> None:
    enqueue(rig.direct, message("a"), delay_ms=1)
    with rig.fault(meanwhile=lambda: rig.direct.promote(10)):
        assert rig.storage.cancel("a") == "cancelled"

    assert claim(rig.direct) == []
    rig.auditor.check([], drained=True)


@step("cancel")
def cancel_a_job_that_nobody_knows(rig: Rig) -> None:
    assert rig.storage.cancel("x") == "not_found"
    commit(rig.direct, complete(claimed(rig.direct)))
    with rig.fault():
        assert rig.storage.cancel("a") == "completed"

    rig.check(a="completed")


@step("retry_dead")
def retry_a_failed_job(rig: Rig) -> None:
    commit(rig.direct, fail(claimed(rig.direct)))
    with rig.fault():
        assert rig.storage.retry_dead("a")

    rig.check(a="queued")
    assert [one.attempts for one in claim(rig.direct)] == [0]


@step("retry_dead")
def retry_a_failed_job_that_a_worker_takes_at_once(rig: Rig) -> None:
    commit(rig.direct, fail(claimed(rig.direct)))
    with rig.fault(meanwhile=lambda: claim(rig.direct)):
        assert rig.storage.retry_dead("a")

    rig.check(a="queued" if rig.never_arrives else "processing:worker")


@step("retry_dead")
def retry_a_failed_job_that_is_deleted_meanwhile(rig: Rig) -> None:
    commit(rig.direct, fail(claimed(rig.direct)))
    with rig.fault(meanwhile=lambda: rig.direct.delete("a")):
        assert rig.storage.retry_dead("a") is not rig.never_arrives

    rig.auditor.check([])


@step("update_ttl")
def update_the_ttl_of_a_result(rig: Rig) -> None:
    commit(rig.direct, complete(claimed(rig.direct)))
    with rig.fault():
        assert rig.storage.update_ttl("a", 7_200_000) == "updated"

    rig.check(a="completed")
    assert (rig.direct.details("a", None).expires_ms or 0) > _later(rig, 7_000_000)


@step("delete")
def delete_a_finished_job(rig: Rig) -> None:
    commit(rig.direct, fail(claimed(rig.direct)))
    with rig.fault():
        assert rig.storage.delete("a") == "deleted"

    rig.auditor.check([], drained=True)


@step("delete")
def delete_a_job_whose_id_is_used_anew_at_once(rig: Rig) -> None:
    commit(rig.direct, complete(claimed(rig.direct), b"1"))
    # A state tells two endings apart by their time in ms.
    wait_until(lambda: _later(rig, 0) > _ended(rig), 30, lambda: AssertionError("the clock stands still"))
    with rig.fault(meanwhile=lambda: _run_anew(rig)):
        assert rig.storage.delete("a") == "deleted"

    (record,) = rig.direct.lookup(["a"])
    assert (record and record.payload) == (None if rig.never_arrives else b"2")


@step("delete")
def delete_a_job_that_is_not_finished(rig: Rig) -> None:
    assert rig.storage.delete("x") == "not_found"
    enqueue(rig.direct, message("a"))
    with rig.fault():
        assert rig.storage.delete("a") == "queued"

    rig.check(a="queued")


def _ended(rig: Rig) -> int:
    (state,) = rig.direct.states(["a"])
    assert state is not None
    return state.timestamp


def _run_anew(rig: Rig) -> None:
    if enqueue(rig.direct, message("a")) == [None]:
        commit(rig.direct, complete(claim(rig.direct)[0], b"2"))


def _later(rig: Rig, ms: int) -> int:
    rig.redis("HSET", "workers", "clock", 0)
    (now,) = [beat.at_ms + beat.age_ms for beat in rig.direct.heartbeats() if beat.worker_id == "clock"]
    rig.redis("HDEL", "workers", "clock")
    return now + ms


# Workers


@step("BLMOVE")
def take_by_blmove(rig: Rig) -> None:
    enqueue(rig.direct, message("a"))
    with rig.fault(), pytest.raises(StorageError):
        rig.storage.wait_and_take("worker", 1)

    rig.check(a="queued")
    assert len(rig.storage.held("worker")) == (0 if rig.never_arrives else 1)


@step("start")
def start_a_taken_job(rig: Rig) -> None:
    one = message("a")
    enqueue(rig.direct, one)
    assert rig.direct.wait_and_take("worker", 1) == one.raw
    with rig.fault():
        assert rig.storage.start("worker", one)[0] is Verdict.STARTED

    rig.check(a="processing:worker")
    assert rig.direct.held("worker") == [one.raw]


@step("start")
def drop_a_taken_job_that_was_cancelled(rig: Rig) -> None:
    one = message("a")
    enqueue(rig.direct, one)
    assert rig.direct.wait_and_take("worker", 1) == one.raw
    assert rig.direct.cancel("a") == "cancelled"
    with rig.fault():
        assert rig.storage.start("worker", one)[0] in (Verdict.DROPPED, Verdict.LOST)

    rig.auditor.check([], drained=True)


@step("claim")
def claim_two(rig: Rig) -> None:
    enqueue(rig.direct, *(message(job_id) for job_id in "abcd"))
    with rig.fault(), pytest.raises(StorageError):
        rig.storage.claim("worker", 2)

    taken = "queued" if rig.never_arrives else "processing:worker"
    rig.check(a=taken, b=taken, c="queued", d="queued")
    assert len(rig.storage.held("worker")) == (0 if rig.never_arrives else 2)


def _outcome(rig: Rig, outcome: Outcome) -> None:
    with rig.fault(), pytest.raises(StorageError):
        commit(rig.storage, outcome)
    assert commit(rig.storage, replace(outcome, resent=True)) == [True]


@step("complete")
def complete_a_job(rig: Rig) -> None:
    _outcome(rig, complete(claimed(rig.direct)))

    rig.check(a="completed")


@step("fail")
def fail_a_job(rig: Rig) -> None:
    _outcome(rig, fail(claimed(rig.direct)))

    rig.check(a="failed")


@step("retry")
def retry_at_once(rig: Rig) -> None:
    _outcome(rig, retry(claimed(rig.direct)))

    rig.check(a="failing:1")
    assert [one.attempts for one in claim(rig.direct)] == [1]


@step("retry")
def retry_after_a_pause(rig: Rig) -> None:
    _outcome(rig, retry(claimed(rig.direct), 60_000))

    rig.check(a="failing:1")
    assert rig.direct.counts().scheduled == 1


@step("release")
def release_a_job(rig: Rig) -> None:
    one = claimed(rig.direct)
    with rig.fault():
        again(lambda: commit(rig.storage, Release(one)))

    rig.check(a="queued")
    assert [one.attempts for one in claim(rig.direct)] == [0]


@step("complete")
@step("fail")
@step("retry")
@step("claim")
def commit_and_claim_in_one_pipeline(rig: Rig) -> None:
    enqueue(rig.direct, *(message(job_id) for job_id in "abcd"))
    first, second, third = claim(rig.direct, limit=3)
    outcomes: list[Outcome] = [complete(first), fail(second), retry(third, 60_000)]
    with rig.fault(), pytest.raises(StorageError):
        rig.storage.commit("worker", outcomes, limit=1)

    # As the worker does: the outcomes again, and then a look at what the server moved to it.
    assert commit(rig.storage, *(replace(outcome, resent=True) for outcome in outcomes)) == [True, True, True]
    is_claimed = bool(rig.storage.held("worker"))
    rig.check(a="completed", b="failed", c="failing:1", d="processing:worker" if is_claimed else "queued")


@step("renew")
def renew_a_lease(rig: Rig) -> None:
    one = claimed(rig.direct)
    with rig.fault():
        assert rig.storage.renew("worker", b"{}", [one]) == set()

    rig.check(a="processing:worker")
    assert [beat.worker_id for beat in rig.direct.heartbeats()] == ["worker"]


@step("quarantine")
def quarantine_an_unreadable_message(rig: Rig) -> None:
    raw = message("a").raw
    rig.redis("HSET", "jobs", "a", f"queued:{message('a').created_at - 1}")
    rig.redis("RPUSH", "processing:worker", raw)
    with rig.fault():
        rig.storage.quarantine("worker", raw, _ERROR)

    rig.check(a="failed")
    assert rig.direct.counts().malformed == 1


@step("unregister")
def unregister_a_worker(rig: Rig) -> None:
    rig.direct.renew("worker", b"{}", [])
    with rig.fault():
        assert rig.storage.unregister("worker")

    rig.auditor.check([], drained=True)


# Reaper


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
@step("sweep_payloads", 2)
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


@step("SET")
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


# Everybody


@step("UNLINK")
@step("UNLINK", 7)
def clear_the_queue(rig: Rig) -> None:
    enqueue(rig.direct, message("a"), message("b"))
    claim(rig.direct, limit=1)
    with rig.fault():
        rig.storage.clear()

    rig.auditor.check([], drained=True)
    assert rig.direct.counts().queued == 0


@step("HSET")
def report_progress(rig: Rig) -> None:
    claimed(rig.direct)
    with rig.fault():
        rig.storage.set_progress("a", b'{"current":1}')

    rig.check(a="processing:worker")
    (record,) = rig.direct.lookup(["a"])
    assert record is not None
    assert record.progress == b'{"current":1}'
