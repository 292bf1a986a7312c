"""Load from real processes: producers that note what was accepted, and jobs that note how they ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from tests.faults.conftest import whole_lines
from tests.faults.processes import CommandProcess
from tests.servers import wait_until

#: Seconds until something must have happened; generous, for loaded machines.
DEADLINE = 90.0

#: Enqueues until it is ended, and goes on with the same id where the server failed it. A line is written only
#: when the server has accepted the job.
_PRODUCER = """
import itertools, time
from django_jobqueue.exceptions import StorageError
from tests.app import jobs
accepted = open({accepted!r}, "a", buffering=1)
print("begun", flush=True)
for n in itertools.count():
    job_id = f"{name}-{{n}}"
    while True:
        try:
            jobs.note_run.using(id=job_id).enqueue({journal!r}, {seconds!r})
            break
        except StorageError as error:
            print(f"{{type(error).__name__}}: {{error}}", flush=True)
            time.sleep(0.05)
    accepted.write(job_id + "\\n")
    time.sleep({pause!r})
"""


def happens(what: Callable[[], bool], told: str, timeout: float = DEADLINE) -> None:
    """Wait until something has happened; fail with what was waited for."""
    wait_until(what, timeout, lambda: AssertionError(f"it did not happen: {told}"))


def is_drained(queue: Queue) -> bool:
    """Whether nothing is queued and nothing runs, both at one moment."""
    stats = queue.stats()
    return stats.queued == stats.processing == 0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job, as the job noted it."""

    job_id: str
    attempt: int


class Load:
    """The files of one test's load.

    Args:
        directory: where they lie.
    """

    def __init__(self, directory: Path) -> None:
        self.journal = directory / "runs"
        self._accepted = directory / "accepted"
        self.journal.touch()
        self._accepted.touch()

    def producer(
        self,
        start: Callable[..., CommandProcess],
        name: str,
        *,
        seconds: float = 0.01,
        pause: float = 0.01,
        **environment: str,
    ) -> CommandProcess:
        """Start a process that enqueues jobs until it is ended.

        Args:
            start: starts a management command.
            name: the beginning of its jobs' ids.
            seconds: that each job takes.
            pause: seconds between two jobs.
            environment: further variables of the process.
        """
        script = _PRODUCER.format(
            accepted=str(self._accepted), journal=str(self.journal), name=name, seconds=seconds, pause=pause
        )
        return start("shell", "--no-imports", "--command", script, **environment)

    def accepted(self) -> list[str]:
        """The ids that producers know to be accepted. Whole lines only: a producer may just be writing."""
        return [line[:-1] for line in self._accepted.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def began(self) -> list[Run]:
        """The runs that began, in order."""
        return self._runs("begin")

    def ended(self) -> list[Run]:
        """The runs that ended, in order."""
        return self._runs("end")

    def await_ended(self, more: int) -> None:
        """Wait until so many more runs have ended than now."""
        before = len(self.ended())
        happens(lambda: len(self.ended()) >= before + more, f"{more} more jobs end")

    def await_completed(self, queue: Queue, job_ids: list[str]) -> None:
        """Wait until all these jobs are completed."""
        happens(lambda: not unfinished(queue, job_ids), "all jobs are completed")

    def _runs(self, what: str) -> list[Run]:
        words = [line.split() for line in whole_lines(self.journal)]
        return [Run(word[1], int(word[2])) for word in words if word[0] == what]


def unfinished(queue: Queue, job_ids: list[str]) -> dict[str, Status | None]:
    """The jobs that are not completed, and what they are instead."""
    states = queue.get_job_states(job_ids)
    statuses = {job_id: state and state.status for job_id, state in states.items()}
    return {job_id: status for job_id, status in statuses.items() if status is not Status.COMPLETED}


def assert_each_ran_once(load: Load, job_ids: list[str]) -> None:
    """Each job began once and ended once, in its first attempt, and no other job ran."""
    for runs in (load.began(), load.ended()):
        counts = Counter(run.job_id for run in runs)
        assert [job_id for job_id, count in counts.items() if count > 1] == []
        assert sorted(counts) == sorted(job_ids)
        assert [run for run in runs if run.attempt != 1] == []
