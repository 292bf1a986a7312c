"""What workers do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from django_jobqueue.exceptions import StorageError
from django_jobqueue.storage.base import Outcome, Release, Verdict
from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry
from tests.faults.rig import Rig, again
from tests.faults.transitions.registry import step

_ERROR = b'{"message":"boom"}'


@step("BLMOVE")
def take_by_blmove(rig: Rig) -> None:
    enqueue(rig.direct, message("a"))
    with rig.fault(), pytest.raises(StorageError):
        rig.storage.wait_and_take("worker", 1)

    rig.check(a="queued")
    assert len(rig.storage.held("worker")) == (0 if rig.never_arrives else 1)


@step("hold")
def hold_what_blmove_brings(rig: Rig) -> None:
    one = message("a")
    enqueue(rig.direct, one)
    with rig.fault(), pytest.raises(StorageError):
        rig.storage.wait_and_claim("worker", 1)

    rig.check(a="queued" if rig.never_arrives else "processing:worker")
    assert rig.storage.held("worker") == [one.raw]
    assert rig.storage.start("worker", one)[0] is Verdict.STARTED
    rig.check(a="processing:worker")
    assert rig.storage.held_ready("worker") == set()


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
