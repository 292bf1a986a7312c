"""Claiming, finishing, fencing, renewing, recovering."""

import time
from dataclasses import replace
from typing import Any

import pytest

from django_jobqueue.message import JobMessage
from django_jobqueue.storage.base import Release, Storage, Suspect, SuspectKind, Verdict
from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry, state


def take(storage: Storage, worker_id: str = "worker") -> bytes:
    raw = storage.wait_and_take(worker_id, 1)
    assert raw is not None
    return raw


def suspects(hasty: Storage, worker_id: str = "worker") -> list[Suspect]:
    # The lease of a millisecond has run out one millisecond later.
    time.sleep(0.002)
    return hasty.suspects([worker_id])


def test_a_claim_tells_what_is_left(storage: Storage) -> None:
    enqueue(storage, *(message(f"job-{n}") for n in range(5)))

    claim = storage.claim("worker", 2)

    assert len(claim.messages) == 2
    assert claim.backlog == 3
    assert len(storage.held("worker")) == 2


def test_a_claim_hands_on_what_the_storage_cannot_read(storage: Storage) -> None:
    # Half of a surrogate pair is JSON to JavaScript and Python, but to few others.
    odd = message("odd", "\ud83d")
    odd = replace(odd, raw=odd.raw[:-1] + b',"trace":1}')
    enqueue(storage, odd, message("b"))

    claim = storage.claim("worker", 10)

    started = [JobMessage.decode(raw).id for raw in claim.messages]
    assert sorted([*started, *(JobMessage.decode(raw).id for raw in claim.unread)]) == ["b", "odd"]
    assert len(storage.held("worker")) == 2
    if claim.unread:
        assert state(storage, "odd") == "queued"
        assert storage.start("worker", odd)[0] is Verdict.STARTED
    assert state(storage, "odd") == "processing:worker"


def test_a_claimed_job_is_processing_by_its_worker(storage: Storage) -> None:
    claimed(storage, "a", "worker-7")

    assert state(storage) == "processing:worker-7"


def test_a_taken_job_is_not_started_until_it_is_started(storage: Storage) -> None:
    enqueue(storage, message("a"), message("b"))
    raw = take(storage)
    assert state(storage) == "queued"

    verdict, backlog = storage.start("worker", JobMessage.decode(raw))

    assert (verdict, backlog) == (Verdict.STARTED, 1)
    assert state(storage) == "processing:worker"


def test_starting_twice_after_a_lost_reply_changes_nothing(storage: Storage) -> None:
    enqueue(storage, message("a"))
    one = JobMessage.decode(take(storage))
    storage.start("worker", one)

    assert storage.start("worker", one)[0] is Verdict.STARTED
    assert storage.held("worker") == [one.raw]


def test_a_job_cancelled_after_it_was_taken_is_dropped_at_its_start(storage: Storage) -> None:
    enqueue(storage, message("a"))
    raw = take(storage)
    assert storage.cancel("a") == "cancelled"

    verdict, _ = storage.start("worker", JobMessage.decode(raw))

    assert verdict is Verdict.DROPPED
    assert storage.held("worker") == []


def test_a_retried_job_that_was_taken_for_its_next_attempt_is_too_late_to_cancel(storage: Storage) -> None:
    commit(storage, retry(claimed(storage)))
    raw = take(storage)

    assert storage.cancel("a") == "processing"

    assert storage.start("worker", JobMessage.decode(raw))[0] is Verdict.STARTED


def test_starting_a_message_that_was_taken_back_is_refused(storage: Storage) -> None:
    enqueue(storage, message("a"))
    one = JobMessage.decode(take(storage))
    commit(storage, Release(one))

    assert storage.start("worker", one)[0] is Verdict.LOST


def test_waiting_ends_with_nothing_when_the_time_is_over(storage: Storage) -> None:
    assert storage.wait_and_take("worker", 0.01) is None


def test_results_and_errors_are_kept(storage: Storage) -> None:
    done, failed = claimed(storage, "done"), claimed(storage, "failed")

    assert commit(storage, complete(done, b"[1]"), fail(failed, b'{"message":"no"}')) == [True, True]

    found_done, found_failed = storage.lookup(["done", "failed"])
    assert found_done is not None and found_done.payload == b"[1]"
    assert found_failed is not None and found_failed.payload == b'{"message":"no"}'
    assert found_failed.message == failed.raw
    assert storage.held("worker") == []


def test_outcomes_and_the_next_claim_go_together(storage: Storage) -> None:
    first = claimed(storage)
    enqueue(storage, message("b"), message("c"))

    stored, following = storage.commit("worker", [complete(first)], 1)

    assert stored == [True]
    assert [JobMessage.decode(raw).id for raw in following.messages] == ["b"]
    assert following.backlog == 1


@pytest.mark.parametrize("outcome", [complete, fail, retry, Release])
def test_a_zombie_cannot_finish_a_recovered_job(storage: Storage, hasty: Storage, outcome: Any) -> None:
    one = claimed(storage, "a", "zombie")
    (suspect,) = suspects(hasty, "zombie")
    assert hasty.recover(suspect, one, one.with_attempts(1))
    (again,) = claim(storage, "other")

    assert commit(storage, outcome(one), worker_id="zombie") == [False]

    assert state(storage) == "processing:other"
    assert storage.held("other") == [again.raw]
    assert commit(storage, complete(again), worker_id="other") == [True]


@pytest.mark.parametrize(("outcome", "ending"), [(complete, "completed"), (fail, "failed"), (retry, "failing:1")])
def test_an_outcome_sent_again_after_a_lost_reply_counts_once(storage: Storage, outcome: Any, ending: str) -> None:
    sent = outcome(claimed(storage))

    assert commit(storage, sent) == [True]
    assert commit(storage, replace(sent, resent=True)) == [True]

    assert state(storage) == ending
    counts = storage.counts()
    assert counts.queued + counts.completed + counts.failed == 1


@pytest.mark.parametrize("outcome", [complete, fail])
def test_a_zombie_does_not_take_the_end_of_a_later_run_for_its_own(
    storage: Storage, hasty: Storage, outcome: Any
) -> None:
    one = claimed(storage, "a", "zombie")
    (suspect,) = suspects(hasty, "zombie")
    hasty.recover(suspect, one, one.with_attempts(1))
    (again,) = claim(storage, "other")
    commit(storage, outcome(again), worker_id="other")

    assert commit(storage, outcome(one), worker_id="zombie") == [False]


def test_a_retry_at_once_goes_to_the_head_with_one_attempt_more(storage: Storage) -> None:
    one = claimed(storage)
    enqueue(storage, message("b"))

    commit(storage, retry(one))

    assert state(storage) == "failing:1"
    assert [(again.id, again.attempts) for again in claim(storage)] == [("a", 1), ("b", 0)]


def test_a_retry_with_back_off_waits_aside_and_keeps_its_state(storage: Storage) -> None:
    commit(storage, retry(claimed(storage), delay_ms=1))
    assert state(storage) == "failing:1"

    while storage.promote(10)[0] == 0:
        assert storage.counts().scheduled == 1

    assert state(storage) == "failing:1"
    (again,) = claim(storage)
    assert again.attempts == 1


def test_a_released_job_is_back_at_the_head_as_if_never_taken(storage: Storage) -> None:
    enqueue(storage, message("a"), message("b"))
    before = storage.states(["a"])
    (one,) = claim(storage, limit=1)

    assert commit(storage, Release(one)) == [True]

    assert storage.states(["a"]) == before
    assert [(again.id, again.attempts) for again in claim(storage)] == [("a", 0), ("b", 0)]


def test_a_released_retry_keeps_its_attempts(storage: Storage) -> None:
    commit(storage, retry(claimed(storage)))
    (again,) = claim(storage)

    commit(storage, Release(again))

    assert state(storage) == "failing:1"
    assert [one.attempts for one in claim(storage)] == [1]


def test_releasing_a_taken_job_that_was_cancelled_does_not_bring_it_back(storage: Storage) -> None:
    enqueue(storage, message("a"))
    one = JobMessage.decode(take(storage))
    storage.cancel("a")

    commit(storage, Release(one))

    assert claim(storage) == []
    assert state(storage) is None


# Renewing and recovering


def test_a_renewed_lease_is_no_suspect(make_storage: object) -> None:
    storage = make_storage(visibility_timeout=60)  # type: ignore[operator]
    one = claimed(storage)

    assert storage.renew("worker", b"{}", [one]) == set()

    assert storage.suspects(["worker"]) == []
    assert [beat.worker_id for beat in storage.heartbeats()] == ["worker"]


def test_renewing_tells_which_leases_are_lost(storage: Storage, hasty: Storage) -> None:
    kept, lost = claimed(storage, "kept"), claimed(storage, "lost")
    by_id = {JobMessage.decode(one.raw).id: one for one in suspects(hasty)}
    hasty.recover(by_id["lost"], lost, lost.with_attempts(1))

    assert storage.renew("worker", b"{}", [kept, lost]) == {lost.raw}

    assert state(storage, "lost") == "failing:1"


def test_a_renewal_just_before_the_recovery_fences_it_off(storage: Storage, hasty: Storage) -> None:
    one = claimed(storage)
    (suspect,) = suspects(hasty)
    storage.renew("worker", b"{}", [one])

    assert not hasty.recover(suspect, one, one.with_attempts(1))

    assert storage.held("worker") == [one.raw]


def test_a_stalled_job_comes_back_at_the_head_with_an_attempt_counted(storage: Storage, hasty: Storage) -> None:
    one = claimed(storage)
    enqueue(storage, message("b"))

    (suspect,) = suspects(hasty)
    assert suspect.kind is SuspectKind.STALLED
    assert hasty.recover(suspect, one, one.with_attempts(1))

    assert state(storage) == "failing:1"
    assert [(again.id, again.attempts) for again in claim(storage, "other")] == [("a", 1), ("b", 0)]


def test_recovering_twice_recovers_once(storage: Storage, hasty: Storage) -> None:
    one = claimed(storage)
    (suspect,) = suspects(hasty)

    assert hasty.recover(suspect, one, one.with_attempts(1))
    assert not hasty.recover(suspect, one, one.with_attempts(1))

    assert storage.counts().queued == 1


def test_a_job_taken_but_not_started_comes_back_without_an_attempt(storage: Storage, hasty: Storage) -> None:
    enqueue(storage, message("a"))
    one = JobMessage.decode(take(storage))

    (suspect,) = suspects(hasty)
    assert suspect.kind is SuspectKind.UNSTARTED
    assert hasty.recover(suspect, one, one)

    assert state(storage) == "queued"
    assert [again.attempts for again in claim(storage)] == [0]


def test_recovering_a_job_that_did_not_start_twice_queues_it_once(storage: Storage, hasty: Storage) -> None:
    enqueue(storage, message("a"))
    one = JobMessage.decode(take(storage))
    (suspect,) = suspects(hasty)

    assert hasty.recover(suspect, one, one)
    assert not hasty.recover(suspect, one, one)

    assert storage.counts().queued == 1


def test_a_job_that_starts_in_time_is_not_recovered_as_unstarted(storage: Storage, hasty: Storage) -> None:
    enqueue(storage, message("a"))
    one = JobMessage.decode(take(storage))
    (suspect,) = suspects(hasty)
    storage.start("worker", one)

    assert not hasty.recover(suspect, one, one)

    assert storage.held("worker") == [one.raw]


def test_a_stalled_job_without_attempts_left_fails(storage: Storage, hasty: Storage) -> None:
    one = claimed(storage)
    (suspect,) = suspects(hasty)
    outcome = replace(fail(one, b'{"code":"STALLED"}'), expected=suspect.state)

    assert hasty.fail_stalled(suspect, outcome)

    assert state(storage) == "failed"
    assert storage.held("worker") == []


def test_a_cancelled_message_of_a_dead_worker_is_discarded(storage: Storage, hasty: Storage) -> None:
    enqueue(storage, message("a"))
    one = JobMessage.decode(take(storage))
    storage.cancel("a")

    (suspect,) = suspects(hasty)
    assert suspect.kind is SuspectKind.OUTDATED
    assert hasty.discard(suspect, one)

    assert storage.held("worker") == []
    assert claim(storage) == []


def test_a_worker_that_holds_messages_stays_listed(storage: Storage) -> None:
    one = claimed(storage)
    storage.renew("worker", b"{}", [one])

    assert not storage.unregister("worker")
    commit(storage, complete(one))
    assert storage.unregister("worker")

    assert storage.workers() == []


def test_a_worker_that_has_beaten_again_is_not_unregistered(storage: Storage) -> None:
    storage.renew("worker", b"{}", [])
    (beat,) = storage.heartbeats()

    assert not storage.unregister("worker", beat.at_ms - 1)
    assert storage.unregister("worker", beat.at_ms)


def test_lists_of_unlisted_workers_are_found(storage: Storage) -> None:
    claimed(storage, "a", "lost-worker")
    claimed(storage, "b", "listed-worker")

    found: set[str] = set()
    for _ in range(1000):
        found |= storage.vanished_workers(["listed-worker"])
        if found:
            break

    assert found == {"lost-worker"}


def test_releasing_a_cancelled_message_leaves_the_next_job_of_its_id_alone(storage: Storage) -> None:
    enqueue(storage, message("a", 1))
    cancelled = JobMessage.decode(take(storage))
    storage.cancel("a")
    enqueue(storage, message("a", 2))
    (running,) = claim(storage)

    commit(storage, Release(cancelled))

    assert state(storage) == "processing:worker"
    assert storage.held("worker") == [running.raw]
    assert claim(storage) == []


def test_a_cancelled_message_is_outdated_whatever_the_next_job_of_its_id_does(
    storage: Storage, hasty: Storage
) -> None:
    enqueue(storage, message("a", 1))
    cancelled = JobMessage.decode(take(storage, "dead"))
    storage.cancel("a")
    enqueue(storage, message("a", 2))
    (running,) = claim(storage, "alive")

    (suspect,) = suspects(hasty, "dead")

    assert suspect.kind is SuspectKind.OUTDATED
    assert hasty.discard(suspect, cancelled)
    assert storage.held("dead") == []
    assert state(storage) == "processing:alive"
    assert commit(storage, complete(running), worker_id="alive") == [True]
