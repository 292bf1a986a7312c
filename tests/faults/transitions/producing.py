"""What producers and administrators do."""

from __future__ import annotations

from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry
from tests.faults.rig import Rig
from tests.faults.transitions.registry import step

_ERROR = b'{"message":"boom"}'


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
    assert (rig.direct.details("a", None).expires_ms or 0) > rig.now_ms() + 7_000_000


@step("delete")
def delete_a_finished_job(rig: Rig) -> None:
    commit(rig.direct, fail(claimed(rig.direct)))
    with rig.fault():
        assert rig.storage.delete("a") == "deleted"

    rig.auditor.check([], drained=True)


@step("delete")
def delete_a_job_whose_id_is_used_anew_at_once(rig: Rig) -> None:
    commit(rig.direct, complete(claimed(rig.direct), b"1"))
    rig.outlive_this_millisecond()  # a state tells two endings apart by their times
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


def _run_anew(rig: Rig) -> None:
    if enqueue(rig.direct, message("a")) == [None]:
        commit(rig.direct, complete(claim(rig.direct)[0], b"2"))


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
