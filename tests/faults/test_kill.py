"""Workers that are killed or stopped in the middle of their jobs."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from tests.app import jobs
from tests.faults.conftest import noted, whole_lines
from tests.faults.processes import CommandProcess
from tests.servers import Server, wait_until

StartCommand = Callable[..., CommandProcess]

#: Seconds; short, so that the tests are.
#: Seconds; no worker loses a job only because the machine stands still.
VISIBILITY = 6.0


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


def workers(start: StartCommand, count: int, *arguments: str, **environment: str) -> list[CommandProcess]:
    environment = {"JOBQUEUE_PROCESS_VISIBILITY": str(VISIBILITY), **environment}
    started = [start("jobqueue_worker", "--concurrency", "4", *arguments, **environment) for _ in range(count)]
    for process in started:
        process.wait_for("Stop with Ctrl-C")
    return started


def all_completed(queue: Queue, ids: list[str]) -> bool:
    states = queue.get_job_states(ids).values()
    return all(state is not None and state.status is Status.COMPLETED for state in states)


def noted_by(process: CommandProcess, journal: Path, what: str) -> set[str]:
    """The jobs of which a process has noted this."""
    lines = [line.split() for line in whole_lines(journal)]
    return {job_id for word, job_id, pid in lines if (word, pid) == (what, str(process.pid))}


@pytest.mark.faults
def test_a_worker_killed_in_the_middle_of_its_jobs_loses_none(
    queue: Queue, start_command: StartCommand, journal: Path
) -> None:
    ids = [f"job-{n}" for n in range(120)]
    for job_id in ids:
        jobs.append_line.using(id=job_id).enqueue(str(journal), job_id, 0.02)
    victim, _ = workers(start_command, 2)
    wait_until(lambda: len(noted(journal, "end")) > 10, 30, never)

    victim.signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    begun, ended = (noted_by(victim, journal, what) for what in ("begin", "end"))
    stored = {job_id for job_id in ids if all_completed(queue, [job_id])}

    wait_until(lambda: all_completed(queue, ids), 60, never)
    assert set(noted(journal, "end")) == set(ids)
    counts = Counter(noted(journal, "begin"))
    again = {job_id for job_id, count in counts.items() if count > 1}
    # What ran in the victim's hands, and what had ended there so shortly before that it was not stored yet.
    assert len(begun - ended) <= 4
    assert begun - ended <= again <= begun - stored
    assert max(counts.values()) <= 2


@pytest.mark.faults
def test_jobs_of_a_killed_worker_are_back_in_time_by_the_servers_clock(
    queue: Queue, start_command: StartCommand, journal: Path, server: Server
) -> None:
    ids = [f"job-{n}" for n in range(4)]
    for job_id in ids:
        jobs.append_line.using(id=job_id).enqueue(str(journal), job_id, 300)
    (victim,) = workers(start_command, 1)
    wait_until(lambda: len(noted(journal, "begin")) == 4, 30, never)
    workers(start_command, 1)
    with server.client() as client:
        victim.signal(signal.SIGKILL)
        victim.wait()
        seconds, microseconds = client.time()
    killed_at = seconds * 1000 + microseconds // 1000

    recovered: dict[str, int] = {}

    def are_recovered() -> bool:
        for job_id, state in queue.get_job_states(ids).items():
            if state is not None and state.timestamp > killed_at:
                # The second worker has taken it again: the state tells since when, until the lease is renewed.
                recovered.setdefault(job_id, state.timestamp)
        return len(recovered) == 4

    wait_until(are_recovered, 60, never)
    late = [stamp - killed_at for stamp in recovered.values() if stamp - killed_at > 1.5 * VISIBILITY * 1000]
    assert late == []


@pytest.mark.faults
def test_a_long_job_is_not_taken_from_a_living_worker(
    queue: Queue, start_command: StartCommand, journal: Path
) -> None:
    jobs.append_line.using(id="long").enqueue(str(journal), "long", 1.5 * VISIBILITY)
    workers(start_command, 2)

    wait_until(lambda: all_completed(queue, ["long"]), 60, never)

    assert noted(journal, "begin") == ["long"]


@pytest.mark.faults
def test_a_job_that_kills_its_process_fails_as_stalled_and_its_neighbours_lose_no_more_than_a_run(
    queue: Queue, start_command: StartCommand
) -> None:
    jobs.kill_process.using(id="poison", max_attempts=2).enqueue()
    first = start_command("jobqueue_worker", "--concurrency", "1", JOBQUEUE_PROCESS_VISIBILITY="1")
    assert first.wait() == 17
    second = start_command("jobqueue_worker", "--concurrency", "1", JOBQUEUE_PROCESS_VISIBILITY="1")
    assert second.wait() == 17
    jobs.add.using(id="neighbour").enqueue(1, 2)
    start_command("jobqueue_worker", "--concurrency", "1", JOBQUEUE_PROCESS_VISIBILITY="1")

    def failed() -> bool:
        state = queue.get_job_state("poison")
        return state is not None and state.status is Status.FAILED

    wait_until(failed, 60, never)
    status = queue.get_status("poison")
    assert status is not None and status.error is not None
    assert status.error["code"] == "STALLED"
    assert queue.wait("neighbour") == 3


@pytest.mark.faults
def test_a_rolling_restart_under_load_loses_and_repeats_nothing(
    queue: Queue, start_command: StartCommand, journal: Path
) -> None:
    ids = [f"job-{n}" for n in range(300)]
    for job_id in ids:
        jobs.append_line.using(id=job_id).enqueue(str(journal), job_id, 0.02)
    running = workers(start_command, 2)
    for _ in range(3):
        old = running.pop(0)
        old.signal(signal.SIGTERM)
        assert old.wait() == 0, old.output()
        running += workers(start_command, 1)

    wait_until(lambda: all_completed(queue, ids), 60, never)

    assert sorted(noted(journal, "begin")) == sorted(ids)
    assert sorted(noted(journal, "end")) == sorted(ids)


@pytest.mark.faults
def test_a_second_signal_gives_running_jobs_back_at_once(
    queue: Queue, start_command: StartCommand, journal: Path
) -> None:
    jobs.append_line.using(id="a").enqueue(str(journal), "a", 3600)
    (worker,) = workers(start_command, 1)
    wait_until(lambda: noted(journal, "begin") == ["a"], 30, never)

    worker.signal(signal.SIGINT)
    worker.wait_for("a second signal")
    worker.signal(signal.SIGTERM)

    assert worker.wait() == 0
    status = queue.get_status("a")
    assert status is not None
    assert (status.state, status.attempts) == (Status.QUEUED, 0)
    assert queue.stats().workers == 0


@pytest.mark.faults
def test_a_killed_producer_leaves_whole_jobs(queue: Queue, start_command: StartCommand, tmp_path: Path) -> None:
    script = (
        "from tests.app import jobs\n"
        "import itertools\n"
        "print('begun', flush=True)\n"
        "for n in itertools.count():\n"
        "    jobs.add.using(id=f'job-{n}').enqueue(n, 1)\n"
    )
    producer = start_command("shell", "--command", script)
    producer.wait_for("begun")
    wait_until(lambda: queue.stats().queued > 100, 30, never)
    os.kill(producer.pid, signal.SIGKILL)
    producer.wait()

    queued = queue.stats().queued
    (worker,) = workers(start_command, 1, "--burst")
    assert worker.wait() == 0
    assert queue.stats().completed == queued
    assert set(queue.get_job_states([f"job-{n}" for n in range(queued)]).values()) & {None} == set()
