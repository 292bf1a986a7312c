"""The indexing run: enqueue everything, kill a worker on the way, count what became of each job."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codeindex import sources
from codeindex.enqueueing import enqueue
from codeindex.models import Module

from django_jobqueue import Queue

from .children import Child
from .progress import Progress

#: The part of all jobs after which a worker is killed.
KILL_AFTER = 1 / 3

#: Seconds without any job ending after which the run is given up. Recovery takes 1.5 visibility
#: timeouts at most, so this is far beyond what a sound queue needs.
PATIENCE = 60.0

#: Seconds between two looks at the queue.
LOOK_EVERY = 0.2

#: Seconds for the server to work off what a frozen worker had sent before.
SETTLE = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the run came to.

    Attributes:
        jobs: how many were accepted by the queue.
        seconds: from the first enqueue to the last end.
        recovered: jobs that the killed worker held and that were given to another.
        failed: jobs that ended in failure.
        lost: accepted jobs that did not end, or that completed without their module in the index.
        unparsed: files that are no Python; their jobs completed with that outcome.
    """

    jobs: int
    seconds: float
    recovered: int
    failed: int
    lost: int
    unparsed: int

    @property
    def is_sound(self) -> bool:
        """Whether every file is in the index."""
        return self.jobs > 0 and not self.lost and not self.failed


class Recoveries:
    """Counts the jobs that came back from a dead worker, from the queue's events.

    The event thread alone changes it; the main thread only asks how many ``ids`` there are.
    """

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self._times_queued: Counter[str] = Counter()

    def on_event(self, job_id: str, event: str) -> None:
        """Note a started job that stalled, and one that was queued again before it had started."""
        self._times_queued[job_id] += event == "queued"
        if event == "stalled" or self._times_queued[job_id] > 1:
            self.ids.add(job_id)


class IndexingRun:
    """One run over all files, with one worker killed on the way."""

    def __init__(self, queue: Queue, workers: list[Child], replace_worker: Callable[[], Child]) -> None:
        self._queue = queue
        self._workers = workers
        self._replace_worker = replace_worker
        self._paths = sources.library_files()
        self._progress = Progress(len(self._paths))
        self._recoveries = Recoveries()
        self._recoveries_shown = 0
        self._killed_at: float | None = None

    def run(self) -> Outcome:
        """Enqueue all files and wait until each job has ended.

        Raises:
            ChildFailed: a worker ended that nobody killed.
        """
        unsubscribe = self._queue.subscribe(self._recoveries.on_event)
        try:
            began = time.monotonic()
            accepted = self._enqueue()
            self._await_the_end(len(accepted))
            seconds = time.monotonic() - began
        finally:
            unsubscribe()
            self._progress.finish()
        return self._outcome(accepted, seconds)

    def _enqueue(self) -> list[str]:
        accepted: list[str] = []
        for results in enqueue(self._paths):
            accepted += [result.id for result in results if result.status == "queued"]
            self._look()
        return accepted

    def _await_the_end(self, accepted: int) -> None:
        ended, last_change = 0, time.monotonic()
        while ended < accepted and time.monotonic() < last_change + PATIENCE:
            time.sleep(LOOK_EVERY)
            before, ended = ended, self._look()
            if ended != before:
                last_change = time.monotonic()

    def _look(self) -> int:
        """Show where the run is, kill when it is time; how many jobs have ended."""
        stats = self._queue.stats()
        ended = stats.completed + stats.failed
        self._progress.update(ended)
        if self._killed_at is None and ended >= KILL_AFTER * len(self._paths):
            self._kill_a_busy_worker()
        self._show_recoveries()
        for worker in self._workers:
            worker.ensure_running()
        return ended

    def _kill_a_busy_worker(self) -> None:
        """Kill the first worker if it holds jobs at this moment; else the next look tries again."""
        victim = self._workers[0]
        victim.freeze()
        time.sleep(SETTLE)
        held = self._held_by(victim)
        if not held:
            victim.thaw()
            return
        victim.kill()
        self._killed_at = time.monotonic()
        self._progress.say(f"  Killed {victim.name} (process {victim.pid}) while it held {_jobs(held)}.")
        self._workers[0] = replacement = self._replace_worker()
        self._progress.say(f"  Started {replacement.name} (process {replacement.pid}) in its place.")

    def _held_by(self, worker: Child) -> int:
        return sum(info.processing for info in self._queue.workers() if info.pid == worker.pid)

    def _show_recoveries(self) -> None:
        recovered = len(self._recoveries.ids)
        if self._killed_at is None or recovered == self._recoveries_shown:
            return
        after = time.monotonic() - self._killed_at
        back = _jobs(recovered - self._recoveries_shown)
        self._recoveries_shown = recovered
        self._progress.say(f"  Recovered {back} of the killed worker {after:.1f} s after its end.")

    def _outcome(self, accepted: Sequence[str], seconds: float) -> Outcome:
        states = self._queue.get_job_states(accepted)
        failed = {job_id for job_id, state in states.items() if state and state.status == "failed"}
        completed = {job_id for job_id, state in states.items() if state and state.status == "completed"}
        indexed = {sources.job_id(path) for path in Module.objects.values_list("path", flat=True)}
        return Outcome(
            jobs=len(accepted),
            seconds=seconds,
            recovered=len(self._recoveries.ids),
            failed=len(failed),
            # Whatever neither failed nor both completed and left its module behind.
            lost=len(set(accepted) - failed - (completed & indexed)),
            unparsed=Module.objects.exclude(problem="").count(),
        )


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"
