"""Jobs that kill their process, below a supervisor: they fail, and take nobody with them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_jobqueue import queues
from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from tests.app import jobs
from tests.faults.auditor import Auditor
from tests.faults.load import Load, Run, happens
from tests.faults.processes import CommandProcess
from tests.servers import Server

pytestmark = pytest.mark.faults

#: How a job ends its process, and what the supervisor says of that.
DEATHS = {
    "exit": "ended with exit status 17",
    "kill": "was killed by SIGKILL",
    "fault": "was killed by SIGSEGV",
    "memory": "was killed by SIGSEGV",
}

#: Seconds; no worker loses a job only because the machine stands still.
VISIBILITY = 6.0

PATIENT = {"JOBQUEUE_PROCESS_VISIBILITY": str(VISIBILITY)}


class Scene:
    """One way to die, on a queue of its own."""

    def __init__(self, how: str, server: Server, directory: Path) -> None:
        self.how = how
        self.queue: Queue = queues[how]
        directory.mkdir()
        self.load = Load(directory)
        self.neighbours = [f"neighbour-{n}" for n in range(20)]
        journal = str(self.load.journal)
        # Long enough to run while the other process dies, comes back and dies again.
        jobs.note_run.using(queue=how, id="long").enqueue(journal, 3 * VISIBILITY)
        jobs.die.using(queue=how, id="poison", max_attempts=2).enqueue(journal, how)
        for job_id in self.neighbours:
            jobs.note_run.using(queue=how, id=job_id).enqueue(journal, 0.01)
        self.supervisor = CommandProcess(
            server.url(), self.queue.config.key_prefix,
            "jobqueue_worker", "default", "--processes", "2", "--concurrency", "1", **PATIENT,
        )  # fmt: skip

    def is_over(self) -> bool:
        """Whether all jobs have ended."""
        states = self.queue.get_job_states(["poison", "long", *self.neighbours]).values()
        return all(state is not None and state.status.is_terminal for state in states)

    def is_told(self) -> bool:
        """Whether the supervisor has told of both deaths."""
        return self._told() >= 2

    def _told(self) -> int:
        return self.supervisor.output().count(DEATHS[self.how])

    def findings(self) -> list[str]:
        """What is not as it must be."""
        found = []
        status = self.queue.get_status("poison")
        if status is None or status.error is None or status.error["code"] != "STALLED":
            found.append(f"poison ended as {status}")
        runs = {job_id: [1] for job_id in ["long", *self.neighbours]} | {"poison": [1, 2]}
        for job_id, attempts in runs.items():
            ran = [run.attempt for run in self.load.began() if run.job_id == job_id]
            if ran != attempts:
                found.append(f"{job_id} ran in attempts {ran}, not {attempts}")
        if self._told() != 2:
            found.append(self.supervisor.output())
        return [f"{self.how}: {one}" for one in found]


@pytest.fixture
def scenes(server: Server, key_prefix: str, settings: Any, tmp_path: Path) -> Iterator[list[Scene]]:
    """All ways to die, at once."""
    settings.JOBQUEUE = {
        how: {"URL": server.url(), "CACHE": None, "KEY_PREFIX": f"{key_prefix}{how}:"} for how in DEATHS
    } | {"default": {"URL": server.url(), "CACHE": None, "KEY_PREFIX": key_prefix}}
    made = [Scene(how, server, tmp_path / how) for how in DEATHS]
    yield made
    for scene in made:
        scene.supervisor.close()
    queues.close()


def test_a_job_that_kills_its_process_fails_as_stalled_and_costs_others_nothing(
    scenes: list[Scene], server: Server
) -> None:
    for scene in scenes:
        happens(scene.is_over, f"all jobs of {scene.how!r} end")
        happens(scene.is_told, f"the supervisor tells of both deaths of {scene.how!r}")

    assert [finding for scene in scenes for finding in scene.findings()] == []
    with server.client() as client:
        for scene in scenes:
            accepted = ["poison", "long", *scene.neighbours]
            Auditor(client, scene.queue.config.key_prefix).check(accepted, max_attempts=3)


def test_a_job_held_but_not_started_by_a_killed_worker_loses_no_attempt(
    queue: Queue, start_command: Callable[..., CommandProcess], server: Server, tmp_path: Path
) -> None:
    load, gate = Load(tmp_path), tmp_path / "gate"
    jobs.die.using(id="poison", max_attempts=1).enqueue(str(load.journal), "exit", str(gate))
    # No look of this worker at what it holds may come in between.
    victim = start_command("jobqueue_worker", "--no-reaper", "--concurrency", "1", JOBQUEUE_PROCESS_VISIBILITY="600")
    happens(lambda: len(load.began()) == 1, "the poison runs")
    jobs.note_run.using(id="held", max_attempts=1).enqueue(str(load.journal))
    prefix, (worker,) = queue.config.key_prefix, queue.workers()
    with server.client() as client:
        assert client.lmove(f"{prefix}queue", f"{prefix}processing:{worker.id}", "LEFT", "RIGHT")

    gate.touch()

    assert victim.wait() == 17
    start_command("jobqueue_worker", "--concurrency", "1", **PATIENT)
    load.await_completed(queue, ["held"])
    happens(lambda: _is_failed(queue, "poison"), "the poison fails")
    assert load.began() == [Run("poison", 1), Run("held", 1)]
    assert load.ended() == [Run("held", 1)]


def test_memory_that_python_is_refused_fails_the_attempt_only(
    queue: Queue, start_command: Callable[..., CommandProcess]
) -> None:
    worker = start_command("jobqueue_worker", "--concurrency", "1")

    assert jobs.want_memory.enqueue_and_wait() == 2
    assert jobs.add.enqueue_and_wait(1, 2) == 3
    assert "MemoryError" in worker.output()


def _is_failed(queue: Queue, job_id: str) -> bool:
    state = queue.get_job_state(job_id)
    return state is not None and state.status is Status.FAILED
