"""Pages of a queue's parts, the details of one job, and deleting."""

import pytest

from django_jobqueue.listing import HEAD_BYTES, ListedJob, Part
from django_jobqueue.storage.base import Details, Storage
from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry, state
from tests.servers import wait_until


def ids(storage: Storage, part: Part, offset: int = 0, limit: int = 50) -> list[str | None]:
    """The ids on a page."""
    return [one.id for one in storage.page(part, offset, limit).jobs]


@pytest.mark.parametrize("part", Part)
def test_an_empty_part_has_an_empty_page(storage: Storage, part: Part) -> None:
    page = storage.page(part, 0, 50)

    assert page.jobs == []
    assert page.total == 0


def test_queued_jobs_are_listed_from_the_head(storage: Storage) -> None:
    one = message("a", {"x": 1})
    enqueue(storage, one, *(message(f"job-{n}") for n in range(9)))

    page = storage.page(Part.QUEUED, 0, 4)

    assert page.total == 10
    assert page.jobs[0] == ListedJob("a", one.raw, len(one.raw))
    assert [job.id for job in page.jobs] == ["a", "job-0", "job-1", "job-2"]
    assert ids(storage, Part.QUEUED, 8, 4) == ["job-7", "job-8"]
    assert ids(storage, Part.QUEUED, 10, 4) == []


def test_a_page_shows_the_head_of_a_long_message(storage: Storage) -> None:
    one = message("a", "x" * 100_000)
    enqueue(storage, one)

    (listed,) = storage.page(Part.QUEUED, 0, 1).jobs

    assert listed.message == one.raw[:HEAD_BYTES]
    assert listed.message_size == len(one.raw)


def test_odd_ids_are_listed_as_they_are(storage: Storage) -> None:
    odd = ['quote"', "back\\slash", "a/b?c#d%e", "naïve ☃", "<b>", ".."]
    enqueue(storage, *(message(one) for one in odd))

    assert ids(storage, Part.QUEUED) == odd


def test_scheduled_jobs_are_listed_by_their_due_time(storage: Storage) -> None:
    later, sooner = message("later"), message("sooner")
    enqueue(storage, later, delay_ms=90_000)
    enqueue(storage, sooner, delay_ms=60_000)

    first, second = storage.page(Part.SCHEDULED, 0, 50).jobs

    assert (first.id, first.message, first.message_size) == ("sooner", sooner.raw, len(sooner.raw))
    assert second.id == "later"
    assert first.time is not None and second.time is not None and 20_000 < second.time - first.time < 40_000
    assert ids(storage, Part.SCHEDULED, 1, 1) == ["later"]


def test_a_retry_in_back_off_is_listed_with_its_next_message(storage: Storage) -> None:
    again = retry(claimed(storage), delay_ms=60_000)
    commit(storage, again)

    (listed,) = storage.page(Part.SCHEDULED, 0, 50).jobs

    assert listed.message == again.following.raw


def test_processing_jobs_are_listed_across_the_workers(storage: Storage) -> None:
    for worker_id in ("w1", "w2", "w3"):
        storage.renew(worker_id, b"{}", [])
    enqueue(storage, *(message(f"job-{n}") for n in range(5)))
    claim(storage, "w1", 3)
    claim(storage, "w3", 2)

    page = storage.page(Part.PROCESSING, 1, 3)

    assert page.total == 5
    assert [(job.id, job.worker_id) for job in page.jobs] == [("job-1", "w1"), ("job-2", "w1"), ("job-3", "w3")]
    assert ids(storage, Part.PROCESSING, 4, 50) == ["job-4"]


def test_completed_jobs_are_listed_from_the_last(storage: Storage) -> None:
    for n in range(3):
        commit(storage, complete(claimed(storage, f"job-{n}"), b'{"n":%d}' % n, ttl_ms=60_000 + n * 1000))

    page = storage.page(Part.COMPLETED, 0, 2)

    assert page.total == 3
    assert [(job.id, job.outcome, job.outcome_size) for job in page.jobs] == [
        ("job-2", b'{"n":2}', 7),
        ("job-1", b'{"n":1}', 7),
    ]
    assert page.jobs[0].message == b"" and page.jobs[0].time is not None
    assert ids(storage, Part.COMPLETED, 2, 2) == ["job-0"]


def test_failed_jobs_are_listed_with_message_and_error(storage: Storage) -> None:
    one = claimed(storage)
    error = b'{"message":"' + b"x" * 5000 + b'"}'
    commit(storage, fail(one, error))

    (listed,) = storage.page(Part.FAILED, 0, 50).jobs

    assert (listed.id, listed.message, listed.message_size) == ("a", one.raw, len(one.raw))
    assert (listed.outcome, listed.outcome_size) == (error[:HEAD_BYTES], len(error))


def test_quarantined_messages_are_listed(storage: Storage) -> None:
    one = claimed(storage)
    storage.quarantine("worker", one.raw, b'{"message":"unreadable"}')

    assert storage.page(Part.MALFORMED, 0, 50).jobs == [ListedJob("a", one.raw, len(one.raw))]
    assert ids(storage, Part.FAILED) == ["a"]


def test_details_of_a_waiting_job(storage: Storage) -> None:
    first, last = message("first"), message("last")
    enqueue(storage, first, *(message(f"job-{n}") for n in range(3000)), last)

    assert storage.details("first", None) == Details(first.raw)
    assert storage.details("last", None) == Details(last.raw)
    assert storage.details("nobody", None) == Details()


def test_details_of_a_cancelled_and_enqueued_job_are_the_new_ones(storage: Storage) -> None:
    old, new = message("a", 1), message("a", 2)
    enqueue(storage, old)
    storage.cancel("a")
    enqueue(storage, new)

    assert storage.details("a", None) == Details(new.raw)


def test_details_of_a_delayed_job(storage: Storage) -> None:
    one = message("a")
    enqueue(storage, one, delay_ms=60_000)

    details = storage.details("a", None)

    assert details.message == one.raw
    assert details.due_ms is not None and details.expires_ms is None


def test_details_of_a_running_job(storage: Storage) -> None:
    one = claimed(storage)

    assert storage.details("a", "worker") == Details(one.raw)


def test_details_of_finished_jobs(storage: Storage) -> None:
    done, failed = claimed(storage, "done"), claimed(storage, "failed")
    commit(storage, complete(done), fail(failed))

    assert storage.details("done", None).message is None
    assert storage.details("done", None).expires_ms is not None
    assert storage.details("failed", None).message == failed.raw


@pytest.mark.parametrize("ending", [complete, fail])
def test_a_deleted_job_leaves_nothing_behind(storage: Storage, ending: object) -> None:
    commit(storage, ending(claimed(storage)))  # type: ignore[operator]

    assert storage.delete("a") == "deleted"

    assert storage.lookup(["a"]) == [None]
    assert storage.details("a", None) == Details()
    assert storage.counts().completed == storage.counts().failed == 0
    assert not storage.retry_dead("a")
    assert storage.delete("a") == "not_found"
    assert enqueue(storage, message("a")) == [None]


def test_deleting_one_job_spares_the_others(storage: Storage) -> None:
    commit(storage, complete(claimed(storage, "a")), complete(claimed(storage, "b"), b"1"))

    storage.delete("a")

    (record,) = storage.lookup(["b"])
    assert record is not None and record.payload == b"1"
    assert storage.counts().completed == 1


def test_what_is_not_finished_is_not_deleted(storage: Storage) -> None:
    enqueue(storage, message("late"), delay_ms=60_000)
    commit(storage, retry(claimed(storage, "failing"), delay_ms=60_000))
    claimed(storage, "busy")
    enqueue(storage, message("waiting"))

    assert [storage.delete(one) for one in ("late", "failing", "busy", "waiting", "nobody")] == [
        "scheduled",
        "failing",
        "processing",
        "queued",
        "not_found",
    ]
    assert state(storage, "waiting") == "queued"


def test_a_job_whose_time_is_over_is_not_found(storage: Storage) -> None:
    commit(storage, complete(claimed(storage), ttl_ms=1))

    wait_until(lambda: state(storage) is None, 5, lambda: AssertionError("the job was not forgotten"))

    assert storage.delete("a") == "not_found"
