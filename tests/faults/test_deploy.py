"""Rolling restarts of workers by SIGTERM, as a deployment does them."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from tests.app import jobs
from tests.faults.auditor import Auditor
from tests.faults.load import Load, Run, assert_each_ran_once, happens, is_drained
from tests.faults.processes import CommandProcess
from tests.servers import Server

pytestmark = pytest.mark.faults

PROCESSES, RESTARTS = 4, 10


def start_workers(start: Callable[..., CommandProcess]) -> list[CommandProcess]:
    """The next release's workers, all ready."""
    workers = [start("jobqueue_worker", "--concurrency", "3") for _ in range(PROCESSES)]
    for worker in workers:
        worker.wait_for("Stop with Ctrl-C")
    return workers


def end(process: CommandProcess) -> None:
    process.signal(signal.SIGTERM)
    process.wait()


def test_a_message_held_and_not_started_is_given_back_at_the_head(
    queue: Queue, start_command: Callable[..., CommandProcess], server: Server, tmp_path: Path
) -> None:
    load, gate = Load(tmp_path), tmp_path / "gate"
    jobs.note_run.using(id="running").enqueue(str(load.journal), gate=str(gate))
    # No look of this worker at what it holds may come in between.
    old = start_command("jobqueue_worker", "--concurrency", "1", JOBQUEUE_PROCESS_VISIBILITY="600")
    happens(lambda: len(load.began()) == 1, "the job runs")
    for job_id in ("held", "next"):
        jobs.note_run.using(id=job_id, max_attempts=1).enqueue(str(load.journal))
    prefix, (worker,) = queue.config.key_prefix, queue.workers()
    with server.client() as client:
        assert client.lmove(f"{prefix}queue", f"{prefix}processing:{worker.id}", "LEFT", "RIGHT")

    old.signal(signal.SIGTERM)
    old.wait_for("a second signal")
    gate.touch()
    assert old.wait() == 0

    assert load.ended() == [Run("running", 1)]
    state = queue.get_job_state("held")
    assert state is not None and state.status is Status.QUEUED
    assert start_command("jobqueue_worker", "--concurrency", "1", "--burst").wait() == 0
    assert load.ended() == [Run("running", 1), Run("held", 1), Run("next", 1)]


@pytest.mark.timeout(300)
def test_ten_rolling_restarts_under_load_lose_repeat_and_fail_no_job(
    queue: Queue, start_command: Callable[..., CommandProcess], server: Server, tmp_path: Path
) -> None:
    load = Load(tmp_path)
    producers = [load.producer(start_command, f"short{n}", pause=0.02) for n in range(2)]
    running, long = start_workers(start_command), []
    for restart in range(RESTARTS):
        # Long enough to be running, or held and not begun, when their worker is told to stop.
        for n in range(2 * PROCESSES):
            long.append(f"long-{restart}-{n}")
            jobs.note_run.using(id=long[-1]).enqueue(str(load.journal), 0.8)
        old, running = running, start_workers(start_command)
        load.await_ended(10)
        for worker in old:
            worker.signal(signal.SIGTERM)
        assert [worker.wait() for worker in old] == [0] * PROCESSES, "".join(worker.output() for worker in old)
    for producer in producers:
        end(producer)
    # A job whose producer was ended before it could note it may be there, too.
    accepted = {*load.accepted(), *long}

    load.await_completed(queue, sorted(accepted))
    happens(lambda: is_drained(queue), "the queue is drained")
    for worker in running:
        end(worker)

    assert len(accepted) > 2 * PROCESSES * RESTARTS + 100
    assert_each_ran_once(load, sorted(accepted | {run.job_id for run in load.began()}))
    with server.client() as client:
        Auditor(client, queue.config.key_prefix).check(accepted, drained=True)
