"""Jobs that a worker holds ready while its jobs are short: what becomes of them when something breaks."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_jobqueue.context import JobContext
from django_jobqueue.exceptions import StorageError
from django_jobqueue.message import JobMessage, Status
from django_jobqueue.pace import MAX_IN_HAND
from django_jobqueue.queue import Queue
from django_jobqueue.storage.base import Claim, Release, Suspect, SuspectKind, Verdict
from django_jobqueue.storage.calls import AHEAD_BYTES
from django_jobqueue.storage.redis import RedisStorage
from django_jobqueue.worker import Worker
from tests.app import jobs
from tests.contract.build import enqueue, message, state
from tests.faults.auditor import Auditor
from tests.faults.load import Load, Run, happens
from tests.faults.processes import CommandProcess
from tests.faults.test_connections_cut import cut
from tests.servers import Server, wait_until

pytestmark = pytest.mark.faults


@pytest.fixture
def storage(queue: Queue) -> RedisStorage:
    """The queue's storage."""
    assert isinstance(queue.storage, RedisStorage)
    return queue.storage


@pytest.fixture
def hasty(configure: Callable[..., Queue]) -> RedisStorage:
    """A storage for which every lease has run out a millisecond later."""
    storage = configure(VISIBILITY_TIMEOUT=0.001).storage
    assert isinstance(storage, RedisStorage)
    return storage


def hold(storage: RedisStorage, *messages: JobMessage) -> list[JobMessage]:
    """Claim one job to run, and the others to be held ready; returns these."""
    enqueue(storage, *messages)
    claim = storage.commit("worker", (), 1, 10)[1]
    assert [JobMessage.decode(raw).id for raw in claim.messages] == [messages[0].id]
    return [JobMessage.decode(raw) for raw in claim.ready]


def large_message(job_id: str) -> JobMessage:
    """A message of which three are more than one answer holds ready."""
    body = b'"' + b"x" * (AHEAD_BYTES * 2 // 5) + b'"'
    return JobMessage.encode(job_id, None, body, created_at=1, max_attempts=3, result_ttl_ms=60_000)


def marks(server: Server, queue: Queue) -> set[str]:
    """The ids that are held ready, whoever holds them."""
    with server.client() as client:
        names = client.keys(f"{queue.config.key_prefix}ahead:*")
        return {job_id.decode() for name in names for job_id in client.smembers(name)}


def waits_for_a_job(server: Server) -> bool:
    with server.client() as client:
        return any(one["cmd"] == "blmove" for one in client.client_list())


def suspects(hasty: RedisStorage) -> dict[str, Suspect]:
    time.sleep(0.002)  # the lease of a millisecond has run out one millisecond later
    return {JobMessage.decode(one.raw).id: one for one in hasty.suspects(["worker"])}


def test_what_is_held_ready_counts_as_started_when_it_begins(
    hasty: RedisStorage, server: Server, queue: Queue
) -> None:
    ready = hold(hasty, message("a"), message("b"), message("c"))

    hasty.begin("worker", "b")

    assert [one.id for one in ready] == ["b", "c"]
    assert {state(hasty, job_id) for job_id in "abc"} == {"processing:worker"}
    happens(lambda: marks(server, queue) == {"c"}, "the beginning is told")
    kinds = {job_id: suspect.kind for job_id, suspect in suspects(hasty).items()}
    assert kinds == {"a": SuspectKind.STALLED, "b": SuspectKind.STALLED, "c": SuspectKind.UNSTARTED}


def test_a_beginning_is_told_although_the_driver_has_closed_the_link(
    storage: RedisStorage, server: Server, queue: Queue
) -> None:
    hold(storage, message("a"), message("b"), message("c"))
    storage.begin("worker", "b")
    storage._beginnings._connection.disconnect()

    storage.begin("worker", "c")

    happens(lambda: marks(server, queue) == set(), "both are told")


def test_a_job_held_ready_comes_back_as_it_was(hasty: RedisStorage, server: Server, queue: Queue) -> None:
    fresh, retried = message("fresh"), message("retried").with_attempts(1)
    enqueue(hasty, message("first"), fresh, message("retried", created_at=retried.created_at))
    with server.client() as client:
        prefix = queue.config.key_prefix
        client.lset(f"{prefix}queue", 2, retried.raw)
        client.hset(f"{prefix}jobs", "retried", "failing:1:1")
    hasty.commit("worker", (), 1, 10)

    for job_id, one in {"fresh": fresh, "retried": retried}.items():
        suspect = suspects(hasty)[job_id]
        assert hasty.recover(suspect, one, one)
        assert not hasty.recover(suspect, one, one)

    assert [state(hasty, job_id) for job_id in ("fresh", "retried")] == ["queued", "failing:1"]
    assert marks(server, queue) == set()
    assert hasty.claim("other", 2).messages == [retried.raw, fresh.raw]


def test_a_job_held_ready_by_a_claim_whose_answer_was_lost_counts_as_started_once_it_is(
    hasty: RedisStorage, server: Server, queue: Queue
) -> None:
    (ready,) = hold(hasty, message("a"), message("b"))

    assert hasty.start("worker", ready)[0] is Verdict.STARTED

    assert marks(server, queue) == set()
    assert suspects(hasty)["b"].kind is SuspectKind.STALLED


def test_a_message_that_an_idle_worker_gets_is_held_ready_until_it_begins(
    hasty: RedisStorage, server: Server, queue: Queue
) -> None:
    assert hasty.wait_and_claim("worker", 0.01) == Claim()  # loads the script
    one, other = message("a"), message("b")
    enqueue(hasty, one, other)

    assert hasty.wait_and_claim("worker", 1) == Claim(ready=[one.raw], backlog=1)

    assert state(hasty, "a") == "processing:worker"
    assert suspects(hasty)["a"].kind is SuspectKind.UNSTARTED
    hasty.begin("worker", "a")
    happens(lambda: marks(server, queue) == set(), "the beginning is told")
    assert suspects(hasty)["a"].kind is SuspectKind.STALLED


def test_what_an_idle_worker_holds_already_is_not_taken_again(storage: RedisStorage) -> None:
    assert storage.wait_and_claim("worker", 0.01) == Claim()
    one = message("a")
    enqueue(storage, one)
    assert storage.wait_and_claim("worker", 1).ready == [one.raw]

    assert storage.wait_and_claim("worker", 0.01) == Claim()


@pytest.mark.parametrize("why", ["cancelled", "forgotten by Node", "unreadable", "unknown script"])
def test_a_message_that_needs_a_closer_look_is_only_taken(
    storage: RedisStorage, server: Server, queue: Queue, why: str
) -> None:
    assert storage.wait_and_claim("worker", 0.01) == Claim()
    one = message("a")
    raw = one.raw
    enqueue(storage, one)
    with server.client() as client:
        match why:
            case "cancelled":
                assert storage.cancel("a") == "cancelled"
            case "forgotten by Node":
                client.hdel(f"{queue.config.key_prefix}jobs", "a")
            case "unreadable":
                raw = b"not a message"
                client.lset(f"{queue.config.key_prefix}queue", 0, raw)
            case _:
                client.script_flush()

    claim = storage.wait_and_claim("worker", 1)

    assert (claim.ready, claim.unread) == ([], [raw])
    assert storage.held("worker") == [raw]
    assert marks(server, queue) == set()


def test_a_message_that_came_late_is_not_lost_behind_the_next(storage: RedisStorage) -> None:
    assert storage.wait_and_claim("worker", 0.01) == Claim()
    late = message("late")
    enqueue(storage, late)
    assert storage.wait_and_take("worker", 1) == late.raw

    # BLMOVE brings nothing, and so the last in the list is the one that came late.
    assert storage.wait_and_claim("worker", 0.01) == Claim(ready=[late.raw])


def test_few_large_jobs_are_held_ready(storage: RedisStorage) -> None:
    large = [large_message(f"large-{n}") for n in range(10)]
    enqueue(storage, *large)

    claim = storage.commit("worker", (), 2, 10)[1]

    assert claim.messages == [one.raw for one in large[:2]]
    assert claim.ready == [large[2].raw]
    assert claim.backlog == 7


def test_a_job_held_ready_can_be_given_back(storage: RedisStorage, server: Server, queue: Queue) -> None:
    (ready,) = hold(storage, message("a"), message("b"))

    assert storage.commit("worker", [Release(ready)])[0] == [True]

    assert state(storage, "b") == "queued"
    assert marks(server, queue) == set()


def test_it_is_too_late_to_cancel_a_job_held_ready(storage: RedisStorage) -> None:
    hold(storage, message("a"), message("b"))

    assert storage.cancel("b") == "processing"


def test_a_worker_that_is_gone_leaves_no_marks(storage: RedisStorage, server: Server, queue: Queue) -> None:
    storage.renew("worker", b"{}", [])
    with server.client() as client:
        client.sadd(f"{queue.config.key_prefix}ahead:worker", "x")

    assert storage.unregister("worker")

    assert marks(server, queue) == set()


def test_clearing_a_queue_takes_the_marks(storage: RedisStorage, server: Server, queue: Queue) -> None:
    hold(storage, message("a"), message("b"))

    queue.clear()

    with server.client() as client:
        assert client.keys(f"{queue.config.key_prefix}*") == []


def test_a_worker_that_starts_again_under_its_id_takes_back_what_it_had_held_ready(queue: Queue) -> None:
    enqueue(queue.storage, *(message(job_id, max_attempts=1) for job_id in ("begun", "ready")))
    queue.storage.commit("me", (), 1, 1)
    ran = []

    Worker(queue, handler=lambda job: ran.append((job.id, job.attempts)), worker_id="me").run_until_empty()

    assert ran == [("ready", 1)]
    assert (_status(queue, "begun"), _status(queue, "ready")) == (Status.FAILED, Status.COMPLETED)


def test_a_job_that_kills_its_process_costs_those_held_ready_no_attempt(
    queue: Queue, start_command: Callable[..., CommandProcess], server: Server, tmp_path: Path
) -> None:
    load = Load(tmp_path)
    short = [f"short-{n}" for n in range(100)]
    held = [f"held-{n}" for n in range(20)]
    for job_id in short:
        jobs.note_run.using(id=job_id).enqueue(str(load.journal))
    jobs.die.using(id="poison", max_attempts=1).enqueue(str(load.journal), "exit")
    for job_id in held:
        jobs.note_run.using(id=job_id, max_attempts=1).enqueue(str(load.journal))
    victim = start_command("jobqueue_worker", "--concurrency", "1", "--no-reaper")

    assert victim.wait() == 17

    start_command("jobqueue_worker", "--concurrency", "1", JOBQUEUE_PROCESS_VISIBILITY="6")
    load.await_completed(queue, [*short, *held])
    happens(lambda: _status(queue, "poison") is Status.FAILED, "the poison fails")
    # A short one may have run and not been stored when the process died.
    ran = [run for run in load.began() if run.job_id not in short]
    assert sorted(ran, key=str) == sorted((Run(job_id, 1) for job_id in ["poison", *held]), key=str)
    with server.client() as client:
        happens(lambda: queue.stats().workers == 1, "the dead worker is off the list")
        Auditor(client, queue.config.key_prefix).check([*short, "poison", *held])


def test_short_jobs_wait_unstarted_for_their_turn_however_many_slots_there_are(
    storage: RedisStorage, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, begin_commit = set[tuple[bool, bool]](), storage.begin_commit

    def noted(worker_id: str, outcomes: Any, limit: int = 0, ahead: int = 0) -> Any:
        claims.add((limit > 0, ahead > 0))
        return begin_commit(worker_id, outcomes, limit, ahead)

    monkeypatch.setattr(storage, "begin_commit", noted)
    # However long they take on a busy machine: what counts is what a worker does that takes them for quick.
    monkeypatch.setattr("django_jobqueue.pace.QUICK", 60.0)
    queue.enqueue_many([(f"job-{n}", None) for n in range(3000)])

    # More slots than are ever filled by jobs that are held ready beside others.
    Worker(queue, handler=lambda job: None, concurrency=2 * MAX_IN_HAND).run_until_empty()

    # First until it is known that they are short.
    assert (True, False) in claims
    assert (False, True) in claims


def test_what_goes_back_keeps_its_order(queue: Queue, server: Server) -> None:
    script, before, behind = Script(), [f"before-{n}" for n in range(200)], [f"behind-{n}" for n in range(100)]
    queue.enqueue_many([*((one, None) for one in before), ("long", "wait"), *((one, None) for one in behind)])
    worker = Worker(queue, handler=script, concurrency=1, reaper=False)
    worker.start()

    def queued() -> list[str]:
        with server.client() as client:
            raw = client.lrange(f"{queue.config.key_prefix}queue", 0, -1)
        return [JobMessage.decode(one).id for one in raw]

    happens(lambda: "long" in script.ran, "the long job runs")
    happens(lambda: queued() == behind, "those behind the long job go back in their order")
    script.gate.set()
    worker.stop()


def test_a_worker_that_was_frozen_does_not_run_what_it_had_held_ready(
    queue: Queue, start_command: Callable[..., CommandProcess], server: Server, tmp_path: Path
) -> None:
    load, environment = Load(tmp_path), {"JOBQUEUE_PROCESS_VISIBILITY": "6"}
    ids = [f"short-{n}" for n in range(100)]
    for job_id in ids:
        jobs.note_run.using(id=job_id).enqueue(str(load.journal))
    jobs.freeze.using(id="freezes").enqueue(str(load.journal))
    held = [f"held-{n}" for n in range(20)]
    for job_id in held:
        jobs.note_run.using(id=job_id).enqueue(str(load.journal))
    zombie = start_command("jobqueue_worker", "--concurrency", "1", "--no-reaper", **environment)
    happens(lambda: Run("freezes", 1) in load.began(), "the job that freezes the worker runs")
    zombie.await_freeze()
    start_command("jobqueue_worker", "--concurrency", "1", **environment)
    load.await_completed(queue, [*ids, *held, "freezes"])

    zombie.signal(signal.SIGCONT)

    wait_until(lambda: "its lease was lost" in zombie.output(), 30, lambda: AssertionError(zombie.output()))
    zombie.signal(signal.SIGTERM)
    assert zombie.wait() == 0
    # A short one may have run and not been stored when the process froze.
    ran = [run for run in load.began() if run.job_id not in ids]
    runs = [*(Run(job_id, 1) for job_id in held), Run("freezes", 1), Run("freezes", 2)]
    assert sorted(ran, key=str) == sorted(runs, key=str)


class Script:
    """A handler that notes what runs, and lets one job wait for a gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.ran: list[str] = []

    def __call__(self, job: JobContext) -> None:
        self.ran.append(job.id)
        if job.payload == "wait":
            assert self.gate.wait(60)


def enqueue_around_a_long_one(queue: Queue, count: int) -> list[str]:
    """So many short jobs before and as many behind a long one; the ids of the short ones."""
    before, behind = ([f"{place}-{n}" for n in range(count)] for place in ("before", "behind"))
    queue.enqueue_many([*((job_id, None) for job_id in before), ("long", "wait"), *((one, None) for one in behind)])
    return [*before, *behind]


# Of 500, some are claimed while the thread that was to read the answer runs the long one.
@pytest.mark.parametrize("count", [30, 500])
def test_jobs_that_wait_behind_a_long_one_go_back_for_others(queue: Queue, count: int) -> None:
    script, other = Script(), Script()
    for n in range(200):
        queue.enqueue(f"short-{n}")
    queue.enqueue("long", "wait")
    behind = [f"behind-{n}" for n in range(count)]
    for job_id in behind:
        queue.enqueue(job_id)
    workers = [Worker(queue, handler=one, concurrency=1, reaper=False) for one in (script, other)]
    workers[0].start()
    happens(lambda: "long" in script.ran, "the long job runs")

    workers[1].start()

    happens(lambda: len(other.ran) == len(behind), "the other worker runs all behind the long one")
    script.gate.set()
    happens(lambda: _status(queue, "long") is Status.COMPLETED, "the long job ends")
    for worker in workers:
        worker.stop()
    assert sorted(other.ran) == sorted(behind)
    assert set(script.ran) == {"long", *(f"short-{n}" for n in range(200))}


@pytest.mark.parametrize("behind", [1, 2, 7, 300])
def test_short_jobs_do_not_wait_behind_a_long_one_while_threads_are_idle(queue: Queue, behind: int) -> None:
    script = Script()
    for n in range(200):
        queue.enqueue(f"short-{n}")
    queue.enqueue("long", "wait")
    last = [f"behind-{n}" for n in range(behind)]
    for job_id in last:
        queue.enqueue(job_id)
    worker = Worker(queue, handler=script, concurrency=10, reaper=False)

    worker.start()

    happens(lambda: set(last) <= set(script.ran), "those behind the long job run")
    assert _status(queue, "long") is Status.PROCESSING
    script.gate.set()
    worker.stop()


@pytest.mark.parametrize("breaks", ["nothing", "the answer"])
def test_what_was_stored_while_a_job_turned_out_long_is_told_once(
    queue: Queue, server: Server, told: list[str], breaks: str
) -> None:
    script = Script()

    def handler(job: JobContext) -> None:
        if job.payload == "wait" and breaks == "the answer":
            cut(server, "main")
        script(job)

    short = enqueue_around_a_long_one(queue, 300)
    worker = Worker(queue, handler=handler, concurrency=2, reaper=False)
    worker.start()
    happens(lambda: "long" in script.ran, "the long job runs")

    happens(lambda: queue.stats().completed == len(short), "the others are stored meanwhile")
    script.gate.set()

    happens(lambda: _status(queue, "long") is Status.COMPLETED, "the long job ends")
    happens(lambda: len(told) > len(short), "each is told")
    worker.stop()
    assert sorted(script.ran) == sorted(told) == sorted([*short, "long"])
    with server.client() as client:
        Auditor(client, queue.config.key_prefix).check([*short, "long"], drained=True)


@pytest.mark.parametrize("stops", ["later", "at once"])
def test_a_worker_that_stops_while_a_job_takes_long_gives_back_what_it_claimed_meanwhile(
    queue: Queue, told: list[str], stops: str
) -> None:
    script = Script()

    def handler(job: JobContext) -> None:
        if job.payload == "wait" and stops == "at once":
            worker.request_stop(timeout=0.1)  # before another has the duty
        script(job)

    ids = [*enqueue_around_a_long_one(queue, 300), "long"]
    worker = Worker(queue, handler=handler, concurrency=1, reaper=False)
    worker.start()
    happens(lambda: "long" in script.ran, "the long job runs")

    worker.stop(timeout=0.1)

    stats = queue.stats()
    assert (stats.completed + stats.queued, stats.processing) == (len(ids), 0)
    assert _status(queue, "long") is Status.QUEUED
    script.gate.set()
    attempts = []
    Worker(queue, handler=lambda job: attempts.append(job.attempts), concurrency=1).run_until_empty()
    assert set(attempts) == {1}
    assert queue.stats().completed == len(ids)
    happens(lambda: sorted(told) == sorted(ids), "each is told once")


def test_no_more_jobs_run_than_there_are_slots_while_one_turns_out_long(queue: Queue) -> None:
    running, most, gate = set[str](), list[int](), threading.Event()

    def handler(job: JobContext) -> None:
        running.add(job.id)
        most.append(len(running))
        if job.payload == "wait":
            # Long for the worker, which then gives its duty to another thread.
            assert not gate.wait(0.05)
        running.discard(job.id)

    enqueue_around_a_long_one(queue, 300)

    Worker(queue, handler=handler, concurrency=1).run_until_empty()

    assert max(most) == 1
    assert queue.stats().completed == 601


def run_while_cutting(queue: Queue, server: Server, role: str) -> tuple[list[str], list[tuple[str, int]]]:
    """Run short jobs, and cut a connection of the worker in each fiftieth; the ids, and the runs with their attempts.

    All have completed, and left nothing behind.
    """
    cuts, runs = list[int](), list[tuple[str, int]]()

    def handler(job: JobContext) -> None:
        runs.append((job.id, job.attempts))
        if len(runs) % 50 == 0:
            cuts.append(cut(server, role))

    ids = [f"job-{n}" for n in range(800)]
    for job_id in ids:
        queue.enqueue(job_id)

    Worker(queue, handler=handler, concurrency=1).run_until_empty()

    # One that takes long makes the worker hold no jobs ready for a while, and then there is nothing to cut.
    assert sum(cuts) > 3
    assert queue.stats().completed == len(ids)
    with server.client() as client:
        Auditor(client, queue.config.key_prefix).check(ids, drained=True)
    return ids, runs


def test_the_connection_may_be_cut_while_jobs_run_in_its_round_trip(
    queue: Queue, server: Server, told: list[str]
) -> None:
    ids, runs = run_while_cutting(queue, server, "main")

    assert sorted(runs) == sorted((job_id, 1) for job_id in ids)
    assert sorted(told) == sorted(ids)


def test_async_jobs_are_never_more_than_the_slots(queue: Queue) -> None:
    import asyncio

    running, most = set[str](), list[int]()

    async def handler(job: JobContext) -> None:
        running.add(job.id)
        most.append(len(running))
        await asyncio.sleep(0)
        running.discard(job.id)

    for n in range(300):
        queue.enqueue(f"job-{n}")

    Worker(queue, handler=handler, concurrency=3).run_until_empty()

    assert max(most) <= 3
    assert queue.stats().completed == 300


def test_a_worker_with_a_limit_takes_no_more_than_that(queue: Queue) -> None:
    script = Script()
    for n in range(200):
        queue.enqueue(f"job-{n}")

    Worker(queue, handler=script, concurrency=1, max_jobs=150).run()

    stats = queue.stats()
    assert (len(script.ran), stats.completed, stats.queued, stats.processing) == (150, 150, 50, 0)


def test_the_order_of_jobs_held_ready_is_kept(queue: Queue) -> None:
    script = Script()
    ids = [f"job-{n}" for n in range(3 * MAX_IN_HAND)]
    for job_id in ids:
        queue.enqueue(job_id)

    Worker(queue, handler=script, concurrency=1).run_until_empty()

    assert script.ran == ids


def test_the_connection_that_tells_beginnings_may_be_cut(queue: Queue, server: Server) -> None:
    ids, runs = run_while_cutting(queue, server, "beginnings")

    assert [job_id for job_id, _ in runs] == ids


def test_a_beginning_is_told_although_the_server_has_closed_the_link(
    configure: Callable[..., Queue], server: Server
) -> None:
    script = Script()
    queue = configure(VISIBILITY_TIMEOUT=600)  # no heartbeat of its own comes in between
    worker = Worker(queue, handler=script, concurrency=1, reaper=False)
    worker.start()
    # The first only loads the script that holds the next ones ready.
    for job_id in ["first", "second"]:
        happens(lambda: waits_for_a_job(server), "the worker is idle")
        queue.enqueue_and_wait(job_id, timeout=30)
    assert cut(server, "beginnings") == 1
    happens(lambda: waits_for_a_job(server), "the worker is idle again")
    queue.enqueue("long", "wait")
    happens(lambda: "long" in script.ran, "the long job runs")

    happens(lambda: marks(server, queue) == set(), "the beginning is told on another link")
    script.gate.set()
    worker.stop()


@pytest.mark.parametrize("others", [0, 200], ids=["at once", "behind others"])
def test_the_heartbeat_tells_a_beginning_whose_notice_was_lost(queue: Queue, server: Server, others: int) -> None:
    script = Script()
    queue.enqueue_many([*((f"short-{n}", None) for n in range(others)), ("long", "wait")])
    worker = Worker(queue, handler=script, concurrency=1, reaper=False)
    worker.start()
    happens(lambda: "long" in script.ran, "the long job runs")
    with server.client() as client:  # as if the notice had been lost
        client.sadd(f"{queue.config.key_prefix}ahead:{worker.id}", "long")

    worker._heartbeat.beat()

    # Those of the short ones may still be on their way, on the other link.
    happens(lambda: marks(server, queue) == set(), "all beginnings are told")
    script.gate.set()
    worker.stop()


def test_a_heartbeat_begins_nothing_that_is_held_ready(
    hasty: RedisStorage, storage: RedisStorage, server: Server, queue: Queue
) -> None:
    begun, ready, elsewhere = hold(storage, *(message(job_id) for job_id in "abcd"))
    (suspect,) = (one for one in suspects(hasty).values() if one.raw == elsewhere.raw)
    assert hasty.recover(suspect, elsewhere, elsewhere)
    assert JobMessage.decode(storage.claim("other", 1).messages[0]).id == "d"

    assert storage.renew("worker", b"{}", [begun], [ready]) == set()

    assert marks(server, queue) == {"c"}
    assert storage.renew("worker", b"{}", [ready, elsewhere]) == {elsewhere.raw}
    assert marks(server, queue) == set()


def test_a_heartbeat_keeps_the_leases_although_the_marks_are_damaged(
    storage: RedisStorage, server: Server, queue: Queue
) -> None:
    (ready,) = hold(storage, message("a"), message("b"))
    prefix = queue.config.key_prefix
    with server.client() as client:
        client.set(f"{prefix}ahead:worker", "not a set")
        before = client.hget(f"{prefix}jobs", "b")
        time.sleep(0.002)  # the state tells milliseconds

        with pytest.raises(StorageError, match="ahead:worker' is a string, not a set"):
            storage.renew("worker", b"{}", [ready])

        assert client.hget(f"{prefix}jobs", "b") != before
        client.delete(f"{prefix}ahead:worker")
    assert storage.renew("worker", b"{}", [ready]) == set()


def _status(queue: Queue, job_id: str) -> Any:
    found = queue.get_job_state(job_id)
    return found and found.status
