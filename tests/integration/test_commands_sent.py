"""What one job costs on the wire, as ``MONITOR`` shows it."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from django_jobqueue.queue import Queue
from django_jobqueue.storage.scripts import script
from django_jobqueue.worker import Worker
from tests.servers import Server, wait_until

NAMES = {
    script(name).sha: name
    for name in ("enqueue", "claim", "hold", "complete", "lookup", "renew", "promote", "suspects", "expire")
}


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


def test_one_job_on_an_idle_worker_costs_seven_commands(
    queue: Queue, make_worker: Callable[..., Worker], server: Server
) -> None:
    make_worker(queue, handler=lambda job: job.payload, reaper=False)
    # Once through everything, so that connections stand and scripts are loaded.
    assert queue.enqueue_and_wait("warm", 1) == 1
    with server.client() as client:
        # The worker may send its next BLMOVE before its job has ended, or after.
        wait_until(lambda: client.info("clients")["blocked_clients"] == 1, 10, never)
        with client.monitor() as monitor:
            queue.enqueue_and_wait("job", 1)
            wait_until(lambda: client.info("clients")["blocked_clients"] == 1, 10, never)
            client.echo("end")
            sent = _until_end(monitor)

    # A connection more may be opened on the way; and the waiter takes its leave at any time after.
    counted = Counter(one for one in sent if one not in ("HELLO", "CLIENT", "UNSUBSCRIBE", "INFO"))
    assert counted == Counter(["SUBSCRIBE", "enqueue", "hold", "SREM", "complete", "BLMOVE", "lookup"])


def _until_end(monitor: Any) -> list[str]:
    """The commands that clients sent, scripts by name; not what scripts called."""
    sent = []
    for command in monitor.listen():
        if command["client_type"] == "lua":
            continue
        words = command["command"].split()
        if words[0].upper() == "ECHO":
            return sent
        sent.append(NAMES.get(words[1], words[1]) if words[0] == "EVALSHA" else words[0].upper())
    raise AssertionError("the monitor ended")
