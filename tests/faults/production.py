"""What a producer does that may be killed at any of its commands, and that does it all again."""

from __future__ import annotations

from typing import Any

from django_jobqueue.queue import Queue

#: The jobs that must run in the end, however often the producer had to begin anew.
WANTED = ("one", "many-1", "many-2", "many-3", "later")


def produce(queue: Queue, payload: Any) -> None:
    """Enqueue jobs, and print the id of each as soon as the queue has accepted it; cancel another."""
    _accepted(queue.enqueue("one", payload).id)
    for result in queue.enqueue_many([(f"many-{n}", payload) for n in (1, 2, 3)]):
        _accepted(result.id)
    _accepted(queue.enqueue("later", payload, delay=0.1).id)
    queue.enqueue("unwanted", payload)
    queue.cancel("unwanted")


def _accepted(job_id: str) -> None:
    print("accepted", job_id, flush=True)
