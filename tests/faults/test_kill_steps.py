"""SIGKILL of a worker, a reaper and a producer before and after each command that they send."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from django_jobqueue.storage.base import Storage
from tests.contract.build import claim, complete
from tests.faults.production import WANTED, produce
from tests.faults.resp import Command, script_names
from tests.faults.stage import Stage, Step, both_moments, play_all
from tests.servers import Server, wait_until

pytestmark = pytest.mark.faults

#: How connections begin and end; nothing depends on it, and not every process has the time to say goodbye.
GREETINGS = {
    "UNSUBSCRIBE",
    "HELLO",
    "CLIENT SETINFO",
    "CLIENT SETNAME",
    "CLIENT ID",
    "CLIENT UNBLOCK",
    "CLIENT MAINT_NOTIFICATIONS",
}


def names(steps: list[Step]) -> set[str]:
    return {step.name for step in steps}


def sent_names(stage: Stage) -> set[str]:
    return {command.name for command in stage.proxy.seen()} - GREETINGS


# A worker


def renews_a_lease(command: Command) -> bool:
    # EVALSHA, SHA, 4, four keys, worker id, description: and then the leases.
    return command.name == "renew" and len(command.args) > 9


WORKER_STEPS = both_moments(
    ("renew", 1), ("SMEMBERS", 1), ("LRANGE", 1), ("BLMOVE", 1), ("hold", 1), ("start", 1), ("claim", 1),
    ("complete", 1), ("retry", 1), ("complete", 2), ("retry", 2), ("fail", 1), ("hold", 2),
    ("renew", 1, renews_a_lease), ("release", 1), ("unregister", 1),
)  # fmt: skip


def play_worker(stage: Stage, step: Step | None) -> None:
    """A worker does all that it ever does with jobs, and is then asked to stop in the middle of one.

    What it says when it begins a job that it held ready is left to ``test_ready``: how many it holds is a
    question of time.
    """
    queue, gate = stage.queue, stage.gate("gate")
    queue.enqueue("dropped", stage.call())
    assert queue.cancel("dropped") == "cancelled"
    queue.enqueue("good", stage.call())
    queue.enqueue("flaky", stage.call(failures=1))
    queue.enqueue("doomed", stage.call(failures=2), max_attempts=2)
    command = ("jobqueue_worker", "--concurrency", "1", "--no-reaper")
    with stage.killed_at(step, *command, JOBQUEUE_PROCESS_SHUTDOWN="0.2") as process:
        wait_until(
            lambda: process.has_ended or stage.have_ended("good", "flaky", "doomed"),
            60,
            lambda: AssertionError(process.output()),
        )
        queue.enqueue("long", stage.call(gate=str(gate)))
        wait_until(
            lambda: process.has_ended or (stage.has_begun("long") and any(map(renews_a_lease, stage.proxy.seen()))),
            60,
            lambda: AssertionError(process.output()),
        )
        process.signal(signal.SIGTERM)
    if step is None:
        assert sent_names(stage) - {"SREM"} == names(WORKER_STEPS)
        assert stage.queue.stats().workers == 0
    stage.auditor.check(["good", "flaky", "doomed", "long"])

    gate.touch()
    stage.heal("good", "flaky", "doomed", "long")

    assert stage.states("good", "flaky", "doomed", "long") == {
        "good": "completed", "flaky": "completed", "doomed": "failed", "long": "completed",
    }  # fmt: skip
    # The job in the victim's hands may have begun once more; a job that was given back has, too.
    begun = stage.attempts()
    assert sum(len(attempts) for attempts in begun.values()) <= 7
    assert all(max(attempts) <= (2 if job_id == "doomed" else 3) for job_id, attempts in begun.items())


def test_a_worker_killed_at_any_command_loses_no_job(server: Server, tmp_path: Path) -> None:
    play_all(server, tmp_path, play_worker, [None, *WORKER_STEPS])


# A reaper


REAPER_STEPS = both_moments(
    ("SUBSCRIBE", 1), ("lock_acquire", 1), ("sweep_jobs", 1), ("sweep_payloads", 1),
    ("sweep_marks", 1), ("TIME", 1), ("HGETALL", 1), ("SCAN", 1), ("suspects", 1), ("recover", 1), ("recover", 2),
    ("recover", 3), ("fail", 1), ("discard", 1), ("quarantine", 1), ("LRANGE", 1), ("expire", 1), ("promote", 1),
    ("lock_renew", 1), ("unregister", 1), ("lock_release", 1),
)  # fmt: skip

RECOVERED = ("stalled", "last", "unstarted", "unlisted", "delayed")


def abandon(stage: Stage) -> None:
    """Leave behind all that a reaper ever finds: of a worker that has died, and of one that nobody lists."""
    queue, storage = stage.queue, stage.queue.storage
    storage.renew("dead", b"{}", [])
    for job_id, worker_id, attempts in (("stalled", "dead", 3), ("last", "dead", 1), ("unlisted", "unlisted", 3)):
        queue.enqueue(job_id, stage.call(), max_attempts=attempts)
        assert len(claim(storage, worker_id)) == 1
    for job_id in ("unstarted", "cancelled"):
        queue.enqueue(job_id, stage.call())
        assert storage.wait_and_take("dead", 1) is not None
    assert queue.cancel("cancelled") == "cancelled"
    stage.client.rpush(f"{stage.prefix}processing:dead", b"not a message")
    queue.enqueue("delayed", stage.call(), delay=0.1)
    end_and_outlive(stage, storage)


def end_and_outlive(stage: Stage, storage: Storage) -> None:
    stage.queue.enqueue("forgotten", stage.call())
    (one,) = claim(storage, "other")
    storage.commit("other", [complete(one, ttl_ms=1)])
    wait_until(lambda: storage.states(["forgotten"]) == [None], 30, lambda: AssertionError("it lives on"))


def play_reaper(stage: Stage, step: Step | None) -> None:
    """A reaper finds all that there is to find, and is then asked to stop."""
    abandon(stage)

    def has_done_all() -> bool:
        sent = Counter(command.name for command in stage.proxy.seen())
        return all(sent[step.name] >= step.nth for step in REAPER_STEPS if step.name != "lock_release")

    with stage.killed_at(step, "jobqueue_reaper") as process:
        wait_until(lambda: process.has_ended or has_done_all(), 60, lambda: AssertionError(process.output()))
        process.signal(signal.SIGTERM)
    if step is None:
        assert sent_names(stage) == names(REAPER_STEPS)
    stage.auditor.check(RECOVERED)

    stage.heal(*RECOVERED)

    assert stage.states(*RECOVERED) == {job_id: "failed" if job_id == "last" else "completed" for job_id in RECOVERED}
    # Nothing runs twice, and only what had been started has lost an attempt.
    assert stage.attempts() == {"stalled": [2], "unlisted": [2], "unstarted": [1], "delayed": [1]}
    assert stage.queue.stats().malformed == 1
    assert stage.queue.get_job_state("forgotten") is None


def test_a_reaper_killed_at_any_command_loses_no_job(server: Server, tmp_path: Path) -> None:
    play_all(server, tmp_path, play_reaper, [None, *REAPER_STEPS])


# A producer


PRODUCER_STEPS = both_moments(
    ("enqueue", 1), ("enqueue", 2), ("enqueue", 3), ("enqueue", 4), ("schedule", 1), ("enqueue", 5), ("HGET", 1),
    ("cancel", 1),
)  # fmt: skip


def play_producer(stage: Stage, step: Step | None) -> None:
    """A producer enqueues jobs one by one and many at a time, and cancels one; the next one does it all again."""
    payload = stage.call()
    code = (
        "from django_jobqueue import queues\n"
        "from tests.faults.production import produce\n"
        f"produce(queues['default'], {payload!r})\n"
    )
    with stage.killed_at(step, "shell", "--command", code) as process:
        process.wait()
        accepted = [line.split()[1] for line in process.output().splitlines() if line.startswith("accepted ")]
    if step is None:
        assert sent_names(stage) == names(PRODUCER_STEPS)
        assert accepted == list(WANTED)
    stage.auditor.check(accepted)

    produce(stage.queue, payload)
    stage.heal(*WANTED)

    assert stage.attempts() == {job_id: [1] for job_id in WANTED}


def test_a_producer_killed_at_any_command_leaves_whole_jobs(server: Server, tmp_path: Path) -> None:
    play_all(server, tmp_path, play_producer, [None, *PRODUCER_STEPS])


def test_every_script_that_a_process_sends_is_a_step() -> None:
    steps = names([*WORKER_STEPS, *REAPER_STEPS, *PRODUCER_STEPS])

    # retry_dead, delete and update_ttl are single calls of an administrator; the rest reads.
    others = {"retry_dead", "delete", "update_ttl", "lookup", "details", "page_list", "page_index"}
    assert set(script_names().values()) - steps == others
