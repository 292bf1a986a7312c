"""What operators ask a storage."""

import time

from django_jobqueue.storage.base import Storage
from tests.contract.build import claim, enqueue, message


def test_the_oldest_queued_job_tells_its_age(storage: Storage) -> None:
    now = int(time.time() * 1000)
    enqueue(storage, message("old", created_at=now - 60_000), message("new", created_at=now))

    age = storage.oldest_queued()

    assert age is not None and 60_000 <= age < 120_000
    claim(storage, limit=1)
    younger = storage.oldest_queued()
    assert younger is not None and younger < 60_000


def test_an_empty_queue_has_no_oldest_job(storage: Storage) -> None:
    enqueue(storage, message("later"), delay_ms=60_000)

    assert storage.oldest_queued() is None


def test_a_job_from_the_future_has_no_negative_age(storage: Storage) -> None:
    enqueue(storage, message("early", created_at=int(time.time() * 1000) + 60_000))

    assert storage.oldest_queued() == 0
