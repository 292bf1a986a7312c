"""What each role does with a queue, completely: producer, worker, reaper, admin, monitor."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from django_jobqueue.listing import Part
from django_jobqueue.message import JobMessage, Status
from django_jobqueue.queue import Queue
from django_jobqueue.reaper import Reaper
from django_jobqueue.storage.base import Release
from django_jobqueue.worker import Worker
from tests.admin.pages import Pages
from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry
from tests.servers import wait_until

#: Raises when the server has denied the role something.
Check = Callable[[], None]

#: A scenario: the role's queue, the queue of somebody who may do everything, and the check.
Scenario = Callable[[Queue, Queue, Check], None]


def until(done: Callable[[], object], check: Check) -> None:
    """Wait, but not for what was denied."""

    def is_done() -> bool:
        check()
        return bool(done())

    wait_until(is_done, 30, lambda: AssertionError("it did not happen"))


@contextlib.contextmanager
def in_thread(action: Callable[[], object]) -> Iterator[threading.Thread]:
    """Act beside the block, and wait for the end of it."""
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(30)


def send(queue: Queue, *command: str | bytes | int) -> Any:
    """Send a plain command, and return its reply."""
    (reply,) = queue.storage._transport.commands("preparing", command)  # type: ignore[attr-defined]
    return reply


def status_of(queue: Queue, job_id: str) -> Status | None:
    state = queue.get_job_state(job_id)
    return None if state is None else state.status


def produce(role: Queue, everything: Queue, check: Check) -> None:
    """Enqueue, schedule, cancel, wait, look at states and results."""
    role.enqueue("cancelled")
    role.enqueue_many([("retried", 1), ("waited", 2)])
    role.enqueue("later", delay=3600)
    assert role.enqueue("later").status == "duplicate"
    assert role.cancel("cancelled") == role.cancel("later") == "cancelled"
    # A retried message is found by a walk through the list.
    (taken, *others) = claim(everything.storage)
    commit(everything.storage, retry(taken), *(retry(one) for one in others))
    assert role.cancel("retried") == "cancelled"

    worker = Worker(everything, handler=lambda job: time.sleep(0.3) or job.payload, concurrency=2)
    worker.start()
    try:
        assert role.enqueue_and_wait("short", 3) == 3
        assert role.wait("waited") == 2
    finally:
        worker.stop()
    assert role.get_result("waited") == 2
    assert role.get_status("waited") is not None
    everything.update_result_ttl("short", 0.3)
    until(lambda: role.get_job_states(["short"])["short"] is None, check)
    assert role.enqueue("short").status == "queued"  # in the place of one that is over
    check()


def work(role: Queue, everything: Queue, check: Check) -> None:
    """A worker's whole life, without the embedded reaper."""
    release = threading.Event()

    def handler(job: Any) -> Any:
        job.progress(1, 2)
        if job.id == "retried" and job.attempts == 1:
            raise ValueError("again")
        if job.id == "failed":
            raise ValueError("no")
        if job.id == "long":
            release.wait(30)
        return job.payload

    for job_id in ("done", "retried", "cancelled"):
        everything.enqueue(job_id, 1)
    everything.enqueue("failed", max_attempts=1)
    everything.cancel("cancelled")
    enqueue(everything.storage, message("malformed"))
    (raw,) = everything.storage._transport.commands("x", ("LINDEX", everything.storage.keys.queue, -1))
    everything.storage._transport.commands(
        "x", ("LSET", everything.storage.keys.queue, -1, raw.replace(b"null", b"nope"))
    )

    # What a worker with many short jobs does; whether this one has them is a question of time.
    for raw in role.storage.commit("quick", (), 1, 1)[1].ready:
        job = JobMessage.decode(raw)
        role.storage.begin("quick", job.id)
        commit(role.storage, Release(job), worker_id="quick")
    (started,) = (JobMessage.decode(raw) for raw in role.storage.held("quick"))
    commit(role.storage, retry(started, delay_ms=1), worker_id="quick")
    until(lambda: everything.storage.promote(1)[0] == 1, check)
    check()

    worker = Worker(role, handler=handler, concurrency=2, reaper=False)
    worker.start()
    try:
        until(lambda: everything.stats().completed == 2, check)
        until(lambda: everything.stats().failed == 2 and everything.stats().malformed == 1, check)
        everything.enqueue("idle", 1)  # by BLMOVE
        until(lambda: status_of(everything, "idle") is Status.COMPLETED, check)
        everything.enqueue("long", 1)
        until(lambda: status_of(everything, "long") is Status.PROCESSING, check)
        began = everything.get_job_state("long")
        until(lambda: everything.get_job_state("long") != began, check)  # renewed
        with in_thread(lambda: worker.stop(0)):  # gives "long" back
            until(lambda: status_of(everything, "long") is Status.QUEUED, check)
            release.set()
            until(lambda: not worker.is_alive, check)
        assert everything.workers() == []
        check()
    finally:
        release.set()
        worker.stop(0)


def reap(role: Queue, everything: Queue, check: Check) -> None:
    """Lead, follow, recover, fail, discard, promote, expire, sweep."""
    storage = everything.storage
    storage.renew("dead", b"{}", [])
    for job_id, attempts in (("recovered", 3), ("stalled", 1)):
        enqueue(storage, message(job_id, max_attempts=attempts))
    enqueue(storage, message("outdated"))
    claim(storage, "dead")
    # As a Node producer cancels: the state goes, the message stays.
    send(everything, "HDEL", "jq:jobs", "outdated")
    send(everything, "RPUSH", "jq:processing:lost", message("lost").raw)
    commit(storage, complete(claimed(storage, "expired"), ttl_ms=1))
    everything.enqueue("due", delay=0.1)
    # What the Node library leaves: outcomes without an index. And marks that nobody needs any more.
    send(everything, "HSET", "jq:jobs", "node", "completed:1")
    send(everything, "HSET", "jq:results", "node", b"\0" * 7 + b"\1{}")
    send(everything, "HSET", "jq:cancelled", "node", "1")
    send(everything, "HSET", "jq:progress", "gone", "{}")

    leader, follower = Reaper(role), Reaper(role)
    leader.start()
    try:
        until(lambda: leader.is_leader, check)
        until(lambda: status_of(everything, "recovered") is Status.FAILING, check)
        until(lambda: status_of(everything, "stalled") is Status.FAILED, check)
        until(lambda: status_of(everything, "due") is Status.QUEUED, check)
        until(lambda: status_of(everything, "expired") is None, check)
        until(lambda: everything.stats().completed == 1, check)  # it has an index now
        until(lambda: storage.held("dead") == storage.held("lost") == [], check)
        until(lambda: everything.workers() == [], check)
        follower.start()
        leader.stop()
        until(lambda: follower.is_leader, check)
        follower.stop()
        until(lambda: send(everything, "PUBSUB", "NUMSUB", "jq:reaper:lock:released")[1] == 0, check)
    finally:
        leader.stop()
        follower.stop()


def administrate(role: Queue, everything: Queue, check: Check) -> None:
    """All pages and actions of the admin, and the calls behind them."""
    storage, client, pages = everything.storage, Client(), Pages("/admin")
    client.force_login(User.objects.create_superuser(f"boss-{time.time_ns()}"))
    storage.renew("worker", b'{"host":"web-1","pid":4711,"version":"0.1.0","concurrency":4}', [])
    commit(storage, complete(claimed(storage, "completed")))
    for job_id in ("failed", "failed-2"):
        commit(storage, fail(claimed(storage, job_id)))
    commit(storage, retry(claimed(storage, "failing"), delay_ms=60_000))
    claimed(storage, "processing")
    commit(storage, retry(claimed(storage, "retried")))
    enqueue(storage, message("scheduled"), delay_ms=150_000)
    enqueue(storage, message("queued"))

    jobs = ["completed", "failed", "failing", "processing", "scheduled", "queued"]
    looked_at = [pages.overview, *(pages.jobs(part) for part in Part), *(pages.job(one) for one in jobs)]
    answers = [client.get(url) for url in looked_at]
    answers += [
        pages.confirm(client, "retry", "failed"),
        pages.confirm(client, "cancel", "queued", "scheduled", "retried"),
        pages.confirm(client, "delete", "completed", "failed-2"),
    ]
    check()
    assert [answer.status_code for answer in answers] == [200] * len(looked_at) + [302] * 3
    states = everything.get_job_states(["failed", "queued", "scheduled", "retried", "completed", "failed-2"])
    assert {job_id: state and state.status for job_id, state in states.items()} == {
        "failed": "queued", "queued": None, "scheduled": None, "retried": None, "completed": None, "failed-2": None,
    }  # fmt: skip
    check()


def monitor(role: Queue, everything: Queue, check: Check) -> None:
    """The commands that look, and the health view's question."""
    everything.storage.renew("worker", b'{"host":"web-1"}', [])
    everything.enqueue("a")
    heard = threading.Event()
    end = role.subscribe(lambda job_id, event: heard.set())
    numbers = itertools.count()

    def is_heard() -> bool:
        # Again and again: the link may be given up just when one is told, for a ping that took long.
        everything.enqueue(f"b-{next(numbers)}")
        return heard.wait(0.5)

    until(is_heard, check)
    before = pings(everything)
    until(lambda: pings(everything) > before, check)  # in the silence after it
    end()
    until(lambda: send(everything, "PUBSUB", "NUMSUB", "jq:events")[1] == 0, check)
    call_command("jobqueue_stats", "--json", stdout=_Nowhere())
    with contextlib.suppress(SystemExit):  # nobody leads
        call_command("jobqueue_health", stdout=_Nowhere(), stderr=_Nowhere())
    check()


def pings(queue: Queue) -> int:
    """How many PING the server has answered."""
    return int(send(queue, "INFO", "commandstats").get("cmdstat_ping", {"calls": 0})["calls"])


class _Nowhere:
    """A stream that keeps nothing."""

    def write(self, _: str) -> None: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


SCENARIOS: dict[str, Scenario] = {
    "producer": produce, "worker": work, "reaper": reap, "admin": administrate, "monitor": monitor,
}  # fmt: skip
