"""What the Node library leaves on the wire, written here as it writes it."""

from django_jobqueue.queue import Queue
from django_jobqueue.worker import Worker
from tests.contract.build import message
from tests.servers import Server


def test_a_cancelled_message_is_known_by_its_mark_even_when_node_reuses_its_millisecond(
    queue: Queue, server: Server
) -> None:
    prefix = queue.config.key_prefix
    queue.enqueue("a", "old")
    state = queue.get_job_state("a")
    assert state is not None
    assert queue.cancel("a") == "cancelled"
    new = message("a", "new", created_at=state.timestamp)
    with server.client() as client:  # Node knows nothing of our marks
        client.hset(f"{prefix}jobs", "a", f"queued:{state.timestamp}")
        client.rpush(f"{prefix}queue", new.raw)
    ran: list[object] = []

    Worker(queue, handler=lambda job: ran.append(job.payload)).run_until_empty()

    assert ran == ["new"]
