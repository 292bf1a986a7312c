"""A supervisor and its worker processes, some of which are killed."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from tests.app import jobs
from tests.faults.conftest import noted, whole_lines
from tests.faults.processes import CommandProcess
from tests.integration.old_server import OldServer
from tests.servers import wait_until

StartCommand = Callable[..., CommandProcess]

pytestmark = pytest.mark.faults


def never() -> AssertionError:
    return AssertionError("it did not happen")


def supervise(start: StartCommand, processes: int, *arguments: str, **environment: str) -> CommandProcess:
    """A supervisor whose children are all ready."""
    process = start(
        "jobqueue_worker", "--processes", str(processes), "--concurrency", "2", *arguments,
        **{"JOBQUEUE_PROCESS_SHUTDOWN": "0.2", **environment},
    )  # fmt: skip
    wait_until(lambda: process.output().count("Stop with Ctrl-C") == 1 + processes, 60, never)
    return process


def pids(queue: Queue) -> set[int]:
    """The processes of the registered workers."""
    return {worker.pid for worker in queue.workers() if worker.pid is not None}


def statuses(queue: Queue, ids: list[str]) -> set[Status | None]:
    return {state and state.status for state in queue.get_job_states(ids).values()}


def run_by(journal: Path) -> set[str]:
    """The processes that began jobs."""
    return {line.split()[2] for line in whole_lines(journal) if line.startswith("begin ")}


def test_a_killed_child_is_replaced_and_the_reason_told(queue: Queue, start_command: StartCommand) -> None:
    supervisor = supervise(start_command, 2)
    wait_until(lambda: len(pids(queue)) == 2, 30, never)
    before = pids(queue)
    victim = min(before)

    os.kill(victim, signal.SIGKILL)

    wait_until(lambda: bool(pids(queue) - before), 30, never)
    assert f"worker process {victim} was killed by SIGKILL; starting another in 0.1 s" in supervisor.output()
    assert jobs.add.enqueue_and_wait(1, 2) == 3
    supervisor.signal(signal.SIGTERM)
    assert supervisor.wait() == 0


def test_sigterm_ends_all_children_and_gives_their_jobs_back(
    queue: Queue, start_command: StartCommand, journal: Path
) -> None:
    supervisor = supervise(start_command, 2)
    ids = [f"job-{n}" for n in range(4)]
    for job_id in ids:
        jobs.append_line.using(id=job_id).enqueue(str(journal), job_id, 300)
    wait_until(lambda: len(noted(journal, "begin")) == 4, 30, never)

    supervisor.signal(signal.SIGTERM)

    assert supervisor.wait() == 0
    assert statuses(queue, ids) == {Status.QUEUED}
    assert queue.stats().workers == 0
    assert queue.stats().queued == 4


def test_a_second_signal_gives_jobs_back_at_once(queue: Queue, start_command: StartCommand, journal: Path) -> None:
    supervisor = supervise(start_command, 2, JOBQUEUE_PROCESS_SHUTDOWN="300")
    jobs.append_line.using(id="long").enqueue(str(journal), "long", 300)
    wait_until(lambda: noted(journal, "begin") == ["long"], 30, never)
    supervisor.signal(signal.SIGINT)
    supervisor.wait_for("Stopping: running jobs may finish")

    supervisor.signal(signal.SIGINT)

    assert supervisor.wait() == 0
    assert statuses(queue, ["long"]) == {Status.QUEUED}


def test_a_group_that_hears_a_signal_as_a_whole_counts_it_once(
    queue: Queue, start_command: StartCommand, journal: Path
) -> None:
    supervisor = supervise(start_command, 2, JOBQUEUE_PROCESS_SHUTDOWN="300")
    jobs.append_line.using(id="short").enqueue(str(journal), "short", 2)
    wait_until(lambda: noted(journal, "begin") == ["short"], 30, never)

    supervisor.signal_group(signal.SIGINT)

    assert supervisor.wait() == 0
    assert noted(journal, "end") == ["short"]
    assert statuses(queue, ["short"]) == {Status.COMPLETED}


def test_children_end_by_themselves_when_the_supervisor_is_killed(
    queue: Queue, start_command: StartCommand, journal: Path
) -> None:
    supervisor = supervise(start_command, 2)
    jobs.append_line.using(id="long").enqueue(str(journal), "long", 300)
    wait_until(lambda: noted(journal, "begin") == ["long"] and len(pids(queue)) == 2, 30, never)

    supervisor.signal(signal.SIGKILL)
    supervisor.wait()

    wait_until(lambda: queue.stats().workers == 0, 60, never)
    assert supervisor.output().count("the supervisor of this process is gone") == 2
    assert statuses(queue, ["long"]) == {Status.QUEUED}


def test_children_that_made_room_for_others_lost_and_repeated_no_job(
    queue: Queue, start_command: StartCommand, journal: Path
) -> None:
    ids = [f"job-{n}" for n in range(40)]
    for job_id in ids:
        jobs.append_line.using(id=job_id).enqueue(str(journal), job_id, 0.02)

    supervisor = start_command("jobqueue_worker", "--processes", "2", "--concurrency", "2", "--max-jobs", "5")

    wait_until(lambda: statuses(queue, ids) == {Status.COMPLETED}, 60, never)
    supervisor.signal(signal.SIGTERM)
    assert supervisor.wait() == 0
    assert sorted(noted(journal, "begin")) == sorted(ids)
    assert sorted(noted(journal, "end")) == sorted(ids)
    assert len(run_by(journal)) >= 8


def test_a_child_that_grew_too_large_is_replaced_and_no_job_repeated(
    queue: Queue, start_command: StartCommand, journal: Path
) -> None:
    ids = [f"job-{n}" for n in range(24)]
    for job_id in ids:
        jobs.leak.using(id=job_id).enqueue(str(journal), job_id, 60)

    supervisor = start_command("jobqueue_worker", "--processes", "2", "--concurrency", "1", "--max-memory", "150")

    wait_until(lambda: statuses(queue, ids) == {Status.COMPLETED}, 90, never)
    supervisor.signal(signal.SIGTERM)
    assert supervisor.wait() == 0
    assert "more than the 150 MB allowed" in supervisor.output()
    assert sorted(noted(journal, "begin")) == sorted(ids)
    assert len(run_by(journal)) > 2


def test_children_that_cannot_start_are_told_of_and_started_slowly() -> None:
    with (
        OldServer("redis_version:6.2.14") as old,
        CommandProcess(old.url, "jq:", "jobqueue_worker", "--processes", "2", "--no-reaper") as supervisor,
    ):
        supervisor.wait_for("5 worker processes in a row ended soon after their start")
        supervisor.signal(signal.SIGTERM)
        supervisor.wait()
        output = supervisor.output()

    assert "needs Redis 7.0" in output
    for delay in ("0.1", "0.2", "0.4", "0.8", "1.6"):
        assert f"ended with exit status 1; starting another in {delay} s" in output


def test_a_burst_gives_up_on_children_that_cannot_start() -> None:
    with (
        OldServer("redis_version:6.2.14") as old,
        CommandProcess(old.url, "jq:", "jobqueue_worker", "--processes", "2", "--no-reaper", "--burst") as supervisor,
    ):
        assert supervisor.wait() == 1

        assert supervisor.output().count("giving up on this one") == 2


def test_a_burst_tells_of_a_child_that_died(queue: Queue, start_command: StartCommand, journal: Path) -> None:
    jobs.kill_process.using(id="poison").enqueue()
    ids = [f"job-{n}" for n in range(20)]
    for job_id in ids:
        jobs.append_line.using(id=job_id).enqueue(str(journal), job_id)

    supervisor = start_command("jobqueue_worker", "--processes", "2", "--concurrency", "1", "--burst")

    assert supervisor.wait() == 1
    assert "ended with exit status 17" in supervisor.output()
    assert statuses(queue, ids) == {Status.COMPLETED}
    assert statuses(queue, ["poison"]) == {Status.PROCESSING}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_supervisor_has_no_connection_and_one_thread(queue: Queue, start_command: StartCommand) -> None:
    supervisor = supervise(start_command, 2)
    wait_until(lambda: len(pids(queue)) == 2, 30, never)

    process = Path(f"/proc/{supervisor.pid}")

    assert [fd for fd in os.listdir(process / "fd") if "socket" in os.readlink(process / "fd" / fd)] == []
    assert len(list((process / "task").iterdir())) == 1
