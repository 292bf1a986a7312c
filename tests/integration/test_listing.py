"""Looking into a queue: ``list_jobs``, ``inspect``, ``delete``."""

from collections.abc import Callable

import pytest

from django_jobqueue.exceptions import InvalidJobId, InvalidOption, SerializationError
from django_jobqueue.listing import Part
from django_jobqueue.queue import Queue
from django_jobqueue.worker import Worker
from tests.contract.build import claimed, commit, complete
from tests.servers import wait_until


def test_jobs_are_listed_by_part(queue: Queue) -> None:
    queue.enqueue_many([(f"job-{n}", n) for n in range(5)])
    queue.enqueue("late", delay=60)

    page = queue.list_jobs("queued", offset=1, limit=2)

    assert [job.id for job in page.jobs] == ["job-1", "job-2"]
    assert page.total == 5
    assert [job.id for job in queue.list_jobs(Part.SCHEDULED).jobs] == ["late"]


@pytest.mark.parametrize(
    ("part", "offset", "limit"), [("lost", 0, 1), ("queued", -1, 1), ("queued", 0, 0), ("queued", 0, 201)]
)
def test_senseless_pages_are_refused(queue: Queue, part: str, offset: int, limit: int) -> None:
    with pytest.raises(InvalidOption):
        queue.list_jobs(part, offset, limit)


def test_a_job_can_be_inspected(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    queue.enqueue("a", {"x": 1}, max_attempts=1)

    waiting = queue.inspect("a")
    make_worker(queue, handler=lambda job: 1 / 0)
    wait_until(lambda: queue.stats().failed == 1, 10, lambda: AssertionError("the job did not fail"))
    failed = queue.inspect("a")

    assert waiting is not None and waiting.message is not None and waiting.message.payload == {"x": 1}
    assert failed is not None and failed.message is not None and failed.message.payload == {"x": 1}
    assert failed.status.error is not None and failed.status.error["type"] == "builtins.ZeroDivisionError"
    assert failed.expires is not None and failed.expires > failed.status.timestamp
    assert queue.inspect("nobody") is None


def test_an_unreadable_result_is_said_to_be_one(queue: Queue) -> None:
    commit(queue.storage, complete(claimed(queue.storage), b"not json"))

    with pytest.raises(SerializationError, match="'a'"):
        queue.inspect("a")


def test_a_finished_job_can_be_deleted(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    make_worker(queue, handler=lambda job: job.payload)
    assert queue.enqueue_and_wait("a", 1) == 1

    assert queue.delete("a") == "deleted"

    assert queue.enqueue_and_wait("a", 2) == 2
    assert queue.delete("nobody") == "not_found"


@pytest.mark.parametrize("method", ["inspect", "delete"])
def test_ids_are_checked(queue: Queue, method: str) -> None:
    with pytest.raises(InvalidJobId):
        getattr(queue, method)("")
