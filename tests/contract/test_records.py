"""Looking, TTLs, retry of failed jobs, events, the leader lock, clearing."""

import queue
from collections.abc import Callable

from django_jobqueue.message import Status
from django_jobqueue.storage.base import Listening, Storage
from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry, state
from tests.servers import wait_until


def listening(subscription: Listening) -> Callable[[], None]:
    """What ends a subscription that stands now."""
    wait_until(subscription.stands, 10, lambda: AssertionError("it does not stand"))
    return subscription.end


def test_unknown_jobs_have_no_state_and_no_record(storage: Storage) -> None:
    assert storage.states(["nobody"]) == [None]
    assert storage.lookup(["nobody"]) == [None]
    assert storage.states([]) == []
    assert storage.lookup([]) == []


def test_many_states_are_read_at_once(storage: Storage) -> None:
    enqueue(storage, *(message(f"job-{n}") for n in range(1200)))

    found = storage.states([f"job-{n}" for n in range(1201)])

    assert [one.status for one in found[:-1] if one] == [Status.QUEUED] * 1200
    assert found[-1] is None


def test_many_records_are_looked_up(storage: Storage) -> None:
    enqueue(storage, *(message(f"job-{n}") for n in range(1200)))

    assert all(storage.lookup([f"job-{n}" for n in range(1200)]))


def test_finished_jobs_are_forgotten_at_their_ttl_with_all_they_left(storage: Storage) -> None:
    done, failed = claimed(storage, "done"), claimed(storage, "failed")
    commit(storage, complete(done, ttl_ms=1), fail(failed, ttl_ms=1))
    kept = claimed(storage, "kept")
    commit(storage, complete(kept))

    wait_until(
        lambda: storage.expire(10) == 0 and storage.counts().completed == 1,
        5,
        lambda: AssertionError("nothing was forgotten"),
    )

    assert storage.states(["done", "failed"]) == [None, None]
    assert state(storage, "kept") == "completed"
    assert storage.counts().failed == 0
    assert not storage.retry_dead("failed")


def test_a_ttl_can_be_moved(storage: Storage) -> None:
    commit(storage, complete(claimed(storage), b"1", ttl_ms=60_000))

    assert storage.update_ttl("a", 1) == "updated"

    wait_until(lambda: state(storage) is None, 5, lambda: AssertionError("the job was not forgotten"))
    assert storage.lookup(["a"]) == [None]


def test_a_longer_ttl_outlives_the_old_one(storage: Storage) -> None:
    commit(storage, fail(claimed(storage), b'{"message":"x"}', ttl_ms=5_000))
    assert storage.update_ttl("a", 60_000) == "updated"

    storage.expire(10)

    (record,) = storage.lookup(["a"])
    assert record is not None and record.payload == b'{"message":"x"}'


def test_the_ttl_of_what_is_not_finished_cannot_be_moved(storage: Storage) -> None:
    enqueue(storage, message("a"))

    assert storage.update_ttl("a", 1000) == "not_terminal"
    assert storage.update_ttl("nobody", 1000) == "not_found"


def test_a_failed_job_is_retried_from_its_message_with_all_its_attempts(storage: Storage) -> None:
    enqueue(storage, message("a", {"n": 1}))
    (one,) = claim(storage)
    commit(storage, retry(one))
    (again,) = claim(storage)
    commit(storage, fail(again))

    assert storage.retry_dead("a")

    (fresh,) = claim(storage)
    assert (fresh.payload, fresh.attempts, fresh.max_attempts) == ({"n": 1}, 0, 3)
    assert storage.counts().failed == 0
    assert storage.lookup(["a"])[0].payload is None  # type: ignore[union-attr]


def test_a_failed_job_whose_ttl_is_over_is_not_retried(storage: Storage) -> None:
    commit(storage, fail(claimed(storage), ttl_ms=1))
    wait_until(lambda: state(storage) is None, 5, lambda: AssertionError("the job was not forgotten"))

    assert not storage.retry_dead("a")

    assert storage.counts().queued == 0


def test_only_a_failed_job_is_retried(storage: Storage) -> None:
    enqueue(storage, message("queued"))

    assert not storage.retry_dead("queued")
    assert not storage.retry_dead("nobody")


def test_progress_is_shown_until_the_job_ends(storage: Storage) -> None:
    one = claimed(storage)
    storage.set_progress("a", b'{"current":1}')
    assert storage.lookup(["a"])[0].progress == b'{"current":1}'  # type: ignore[union-attr]

    storage.set_progress("a", None)

    assert storage.lookup(["a"])[0].progress is None  # type: ignore[union-attr]
    commit(storage, complete(one))


def test_every_transition_publishes_its_event(storage: Storage) -> None:
    events: queue.Queue[tuple[str, str]] = queue.Queue()
    end = storage.listen_events(lambda job_id, event: events.put((job_id, event)))

    enqueue(storage, message("a:b"))
    (one,) = claim(storage)
    commit(storage, retry(one))
    (again,) = claim(storage)
    commit(storage, complete(again))
    enqueue(storage, message("c"))
    storage.cancel("c")
    (failing,) = [claimed(storage, "d")]
    commit(storage, fail(failing))

    expected = [
        ("a:b", "queued"), ("a:b", "processing"), ("a:b", "failing"), ("a:b", "processing"),
        ("a:b", "completed"), ("c", "queued"), ("c", "cancelled"), ("d", "queued"), ("d", "processing"),
        ("d", "failed"),
    ]  # fmt: skip
    assert [events.get(timeout=5) for _ in expected] == expected
    end()


def test_the_listeners_of_a_job_hear_of_that_job_alone(storage: Storage) -> None:
    heard: queue.Queue[str] = queue.Queue()
    end = listening(storage.listen_job("b", heard.put, lambda: None))

    first = claimed(storage, "a")
    commit(storage, complete(first))
    second = claimed(storage, "b")
    commit(storage, retry(second))
    (again,) = claim(storage)
    commit(storage, complete(again))

    assert [heard.get(timeout=5), heard.get(timeout=5)] == ["failing", "completed"]
    end()


def test_two_listeners_of_one_job_end_independently(storage: Storage) -> None:
    first: queue.Queue[str] = queue.Queue()
    second: queue.Queue[str] = queue.Queue()
    end_first = listening(storage.listen_job("a", first.put, lambda: None))
    end_second = listening(storage.listen_job("a", second.put, lambda: None))
    end_first()
    end_first()

    commit(storage, complete(claimed(storage)))

    assert second.get(timeout=5) == "completed"
    assert first.empty()
    end_second()
    again: queue.Queue[str] = queue.Queue()
    end_again = listening(storage.listen_job("a", again.put, lambda: None))
    storage.update_ttl("a", 1)
    wait_until(lambda: state(storage) is None, 5, lambda: AssertionError("not forgotten"))
    commit(storage, complete(claimed(storage)))
    assert again.get(timeout=5) == "completed"
    end_again()


def test_one_owner_holds_the_lock(storage: Storage, make_storage: Callable[..., Storage]) -> None:
    other = make_storage()

    assert storage.acquire_lock("me", 60)
    assert not other.acquire_lock("you", 60)
    assert not other.renew_lock("you", 60)
    assert not other.release_lock("you")
    assert storage.acquire_lock("me", 60)
    assert storage.renew_lock("me", 60)
    assert storage.counts().leader == "me"

    assert storage.release_lock("me")
    assert other.acquire_lock("you", 60)
    assert not storage.renew_lock("me", 60)


def test_a_lock_runs_out(storage: Storage) -> None:
    storage.acquire_lock("me", 0.001)

    wait_until(lambda: storage.acquire_lock("you", 60), 5, lambda: AssertionError("the lock did not run out"))


def test_only_a_job_that_is_due_sooner_than_all_others_is_told(storage: Storage) -> None:
    told, heard = queue.Queue[bool](), queue.Queue[str]()
    ends = [
        storage.listen_schedule(lambda: told.put(True)),
        # Confirmed after the other, as both are heard in one thread; so are the messages.
        storage.listen_events(lambda job_id, event: heard.put(f"{job_id}:{event}")),
    ]
    while not told.empty():
        told.get()

    enqueue(storage, message("due"), delay_ms=100_000)
    assert told.get(timeout=5)
    enqueue(storage, message("due-later"), delay_ms=200_000)
    commit(storage, retry(claimed(storage, "retried-later"), delay_ms=300_000))
    while heard.get(timeout=5) != "retried-later:failing":
        pass
    assert told.empty()
    enqueue(storage, message("due-sooner"), delay_ms=50_000)
    assert told.get(timeout=5)
    commit(storage, retry(claimed(storage, "retried-sooner"), delay_ms=20_000))
    assert told.get(timeout=5)
    assert told.empty()

    for end in ends:
        end()


def test_a_lock_given_up_is_told(storage: Storage) -> None:
    released: queue.Queue[bool] = queue.Queue()
    end = storage.listen_lock(lambda: released.put(True))

    # The subscription is not confirmed, so it may miss the first ones.
    def told() -> bool:
        storage.acquire_lock("me", 60)
        storage.release_lock("me")
        return not released.empty()

    wait_until(told, 5, lambda: AssertionError("nothing was told"))
    end()


def test_clearing_removes_this_queue_and_no_other(
    storage: Storage, make_storage: Callable[..., Storage], key_prefix: str
) -> None:
    other = make_storage(key_prefix=f"{key_prefix}other:")
    for one in (storage, other):
        enqueue(one, message("a"), message("b"))
        claim(one, limit=1)
        one.renew("worker", b"{}", [])

    assert storage.clear() > 0

    assert storage.counts().queued == 0
    assert storage.held("worker") == []
    assert storage.workers() == []
    assert (other.counts().queued, len(other.held("worker")), len(other.workers())) == (1, 1, 1)


def test_a_sweep_of_a_tidy_queue_changes_nothing(storage: Storage) -> None:
    commit(storage, complete(claimed(storage, "done")), fail(claimed(storage, "failed")))
    enqueue(storage, message("queued"))
    before = storage.counts(), storage.lookup(["done", "failed", "queued"])

    for _ in range(10):
        storage.sweep()

    assert (storage.counts(), storage.lookup(["done", "failed", "queued"])) == before
