"""Hands the files to the queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from django_jobqueue import EnqueueResult

from . import sources
from .jobs import index_file

#: Jobs handed over in one call, so that the first can run while the rest are still on their way.
BATCH_SIZE = 200


def enqueue(paths: Iterable[str]) -> Iterator[list[EnqueueResult]]:
    """Enqueue one job a file; yields the results batch by batch.

    The ids are made of the file names: a file whose job is waiting, running or not long done is
    reported as such and does not get a second job.
    """
    remaining = iter(paths)
    while batch := list(islice(remaining, BATCH_SIZE)):
        jobs = [(sources.job_id(path), index_file.payload((path,), {})) for path in batch]
        yield index_file.queue.enqueue_many(jobs)
