"""Enqueueing, deduplication, delays and cancelling."""

import pytest

from django_jobqueue.storage.base import NewJob, Storage
from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry, state
from tests.servers import wait_until


def test_jobs_are_claimed_in_the_order_of_enqueueing(storage: Storage) -> None:
    enqueue(storage, *(message(f"job-{n}") for n in range(5)))

    assert [one.id for one in claim(storage, limit=3)] == ["job-0", "job-1", "job-2"]
    assert [one.id for one in claim(storage, limit=3)] == ["job-3", "job-4"]


def test_an_enqueued_job_has_the_creation_time_of_its_message_in_its_state(storage: Storage) -> None:
    one = message("a")

    enqueue(storage, one)

    (found,) = storage.states(["a"])
    assert str(found) == f"queued:{one.created_at}"


def test_a_thousand_jobs_are_enqueued_in_order(storage: Storage) -> None:
    enqueue(storage, *(message(f"job-{n}") for n in range(1100)))

    assert storage.counts().queued == 1100
    assert [one.id for one in claim(storage, limit=1100)] == [f"job-{n}" for n in range(1100)]


def test_large_jobs_are_enqueued_in_order(storage: Storage) -> None:
    enqueue(storage, *(message(f"job-{n}", "x" * 3_000_000) for n in range(7)))

    assert [one.id for one in claim(storage)] == [f"job-{n}" for n in range(7)]


def test_one_id_is_one_job_within_a_batch(storage: Storage) -> None:
    assert enqueue(storage, message("a"), message("a")) == [None, "queued"]
    assert storage.counts().queued == 1


@pytest.mark.parametrize("ending", ["queued", "scheduled", "processing", "failing", "completed", "failed"])
def test_an_id_in_use_is_refused_with_its_state_and_nothing_changes(storage: Storage, ending: str) -> None:
    if ending == "queued":
        enqueue(storage, message("a"))
    elif ending == "scheduled":
        enqueue(storage, message("a"), delay_ms=60_000)
    else:
        one = claimed(storage)
        outcomes = {"failing": retry(one), "completed": complete(one), "failed": fail(one)}
        if ending in outcomes:
            commit(storage, outcomes[ending])
    before = storage.counts(), storage.lookup(["a"])

    assert enqueue(storage, message("a", "new")) == [ending]
    assert enqueue(storage, message("a", "new"), delay_ms=1000) == [ending]

    assert (storage.counts(), storage.lookup(["a"])) == before


@pytest.mark.parametrize("finish", [complete, fail])
def test_an_id_is_free_again_when_the_ttl_of_its_job_is_over(storage: Storage, finish: object) -> None:
    commit(storage, finish(claimed(storage), ttl_ms=1))  # type: ignore[operator]
    wait_until(lambda: state(storage) is None, 5, lambda: AssertionError("the job did not expire"))

    assert enqueue(storage, message("a", "again")) == [None]

    (again,) = claim(storage)
    assert again.payload == "again"


def test_a_job_over_the_ttl_of_an_earlier_one_keeps_its_own_result(storage: Storage) -> None:
    commit(storage, fail(claimed(storage), ttl_ms=1))
    wait_until(lambda: state(storage) is None, 5, lambda: AssertionError("the job did not expire"))
    commit(storage, complete(claimed(storage), b'"new"'))

    while storage.expire(10):
        pass

    (record,) = storage.lookup(["a"])
    assert record is not None and record.payload == b'"new"'
    assert storage.counts().failed == 0


def test_a_delayed_job_waits_and_then_goes_to_the_tail(storage: Storage) -> None:
    enqueue(storage, message("later"), delay_ms=1)
    enqueue(storage, message("now"))
    assert state(storage, "later") == "scheduled"

    wait_until(lambda: storage.promote(10)[0] == 1, 5, lambda: AssertionError("the job was not promoted"))

    assert state(storage, "later") == "queued"
    assert [one.id for one in claim(storage)] == ["now", "later"]


def test_promote_tells_when_the_next_job_is_due(storage: Storage) -> None:
    assert storage.promote(10) == (0, None)
    enqueue(storage, message("a"), delay_ms=60_000)

    moved, due_in = storage.promote(10)

    assert moved == 0
    assert due_in is not None and 0 < due_in <= 60


def test_promote_moves_no_more_than_asked(storage: Storage) -> None:
    enqueue(storage, *(message(f"job-{n}") for n in range(5)), delay_ms=1)
    moved: list[int] = []

    def all_are_promoted() -> bool:
        moved.append(storage.promote(2)[0])
        return sum(moved) == 5

    wait_until(all_are_promoted, 5, lambda: AssertionError("not all were promoted"))

    assert max(moved) <= 2
    assert (storage.counts().queued, storage.counts().scheduled) == (5, 0)


# Cancelling


def test_a_cancelled_job_does_not_run(storage: Storage) -> None:
    enqueue(storage, message("a"), message("b"))

    assert storage.cancel("a") == "cancelled"

    assert state(storage) is None
    assert [one.id for one in claim(storage)] == ["b"]
    assert storage.cancel("a") == "not_found"


def test_a_cancelled_delayed_job_leaves_nothing_behind(storage: Storage) -> None:
    enqueue(storage, message("a"), delay_ms=60_000)

    assert storage.cancel("a") == "cancelled"

    assert storage.counts().scheduled == 0
    assert storage.promote(10) == (0, None)


@pytest.mark.parametrize("delay_ms", [0, 60_000])
def test_a_retry_that_waits_can_be_cancelled(storage: Storage, delay_ms: int) -> None:
    commit(storage, retry(claimed(storage), delay_ms))
    enqueue(storage, message("b"))

    assert storage.cancel("a") == "cancelled"

    assert [one.id for one in claim(storage)] == ["b"]
    assert storage.counts().scheduled == 0


def test_a_retry_far_from_the_head_can_be_cancelled(storage: Storage) -> None:
    enqueue(storage, *(message(f"job-{n}") for n in range(2500)))
    messages = claim(storage, limit=2500)
    commit(storage, *(retry(one) for one in messages))
    deepest = messages[0].id

    assert storage.cancel(deepest) == "cancelled"

    assert state(storage, deepest) is None
    assert deepest not in [one.id for one in claim(storage, limit=2500)]


def test_a_started_or_finished_job_cannot_be_cancelled(storage: Storage) -> None:
    done, failed = claimed(storage, "done"), claimed(storage, "failed")
    claimed(storage, "running")
    commit(storage, complete(done), fail(failed))

    assert storage.cancel("running") == "processing"
    assert storage.cancel("done") == "completed"
    assert storage.cancel("failed") == "failed"
    assert state(storage, "running") == "processing:worker"


def test_cancel_then_enqueue_within_one_millisecond_runs_the_new_payload_once(storage: Storage) -> None:
    old = message("a", "old")
    new = message("a", "new", created_at=old.created_at)
    enqueue(storage, old)
    storage.cancel("a")

    assert enqueue(storage, new) == [None]

    taken = claim(storage)
    assert [one.payload for one in taken] == ["new"]
    assert claim(storage) == []
    assert commit(storage, complete(taken[0])) == [True]


def test_many_cancelled_messages_of_one_id_are_all_dropped(storage: Storage) -> None:
    created_at = message("a").created_at
    for n in range(5):
        enqueue(storage, message("a", n, created_at=created_at))
        assert storage.cancel("a") == "cancelled"
    enqueue(storage, message("a", "last", created_at=created_at))

    assert [one.payload for one in claim(storage, limit=20)] == ["last"]


def test_a_cancelled_delayed_job_and_its_successor_do_not_mix(storage: Storage) -> None:
    old = message("a", "old")
    enqueue(storage, old)
    storage.cancel("a")
    enqueue(storage, message("a", "new", created_at=old.created_at), delay_ms=1)
    assert claim(storage) == []

    wait_until(lambda: storage.promote(10)[0] == 1, 5, lambda: AssertionError("the job was not promoted"))

    assert [one.payload for one in claim(storage)] == ["new"]


def test_thousands_of_cancelled_messages_at_the_head_do_not_hide_the_next_job(storage: Storage) -> None:
    enqueue(storage, *(message(f"job-{n}") for n in range(600)))
    for n in range(599):
        storage.cancel(f"job-{n}")

    taken = claim(storage, limit=1)
    while not taken and storage.counts().queued:
        taken = claim(storage, limit=1)

    assert [one.id for one in taken] == ["job-599"]


def test_enqueueing_nothing_is_fine(storage: Storage) -> None:
    assert storage.enqueue([]) == []


@pytest.mark.parametrize("job_id", ["a:b:c", 'quote"\\', "%d%s", "^$()%.[]*+-?", "ünï 🎉", "<b>&amp;", "a" * 512])
def test_hostile_ids_travel_through_every_transition(storage: Storage, job_id: str) -> None:
    enqueue(storage, message(job_id))
    assert storage.cancel(job_id) == "cancelled"
    assert claim(storage) == []
    enqueue(storage, message(job_id))
    (first,) = claim(storage)
    commit(storage, retry(first))
    (second,) = claim(storage)
    assert (second.id, second.attempts) == (job_id, 1)
    commit(storage, fail(second))
    assert storage.retry_dead(job_id)
    (third,) = claim(storage)

    assert commit(storage, complete(third)) == [True]

    assert state(storage, job_id) == "completed"


def test_a_batch_may_mix_delayed_and_immediate_jobs(storage: Storage) -> None:
    accepted = storage.enqueue([NewJob(message("now")), NewJob(message("later"), 60_000)])

    assert [one.standing for one in accepted] == [None, None]
    assert (state(storage, "now"), state(storage, "later")) == ("queued", "scheduled")
