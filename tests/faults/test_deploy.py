"""Rolling restarts of workers by SIGTERM, as a deployment does them."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from django_jobqueue.queue import Queue
from tests.app import jobs
from tests.faults.auditor import Auditor
from tests.faults.load import Load, assert_each_ran_once
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
    for worker in running:
        end(worker)

    assert len(accepted) > 2 * PROCESSES * RESTARTS + 100
    assert_each_ran_once(load, sorted(accepted | {run.job_id for run in load.began()}))
    with server.client() as client:
        Auditor(client, queue.config.key_prefix).check(accepted, drained=True)
