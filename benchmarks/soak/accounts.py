"""What became of every job: both journals and the queue's own states, brought together."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable

from django_jobqueue import queues
from django_jobqueue.exceptions import StorageError
from django_jobqueue.message import Status

from .faults import Loss
from .journal import Journal, Line
from .orders import Kind

#: Seconds between looks at the jobs that have not ended.
INTERVAL = 2.0

#: States asked for at a time.
BATCH = 500


class Accounts(threading.Thread):
    """Follows the journals and the queue. It owns both readers; the figures are for after ``finish``.

    Attributes:
        open: accepted jobs that have not ended, as far as is known.
        ends: job id to how it ended: ``completed``, ``failed``, ``cancelled`` or ``gone``.
        runs: job id to its lines in the runs' journal.
        cancelled, kept: jobs whose cancel was answered, with the time of a positive answer.
        refused: enqueues and cancels that the producers were told could not be done, by reason.
    """

    def __init__(self, jobs: Journal, runs: Journal) -> None:
        super().__init__(name="accounts", daemon=True)
        self._journals = jobs, runs
        self._finished = threading.Event()
        self._lock = threading.Lock()
        self.error: BaseException | None = None
        self.kinds: dict[str, Kind] = {}
        self.open: set[str] = set()
        self.accepted: set[str] = set()
        self.ends: dict[str, str] = {}
        self.runs: defaultdict[str, list[Line]] = defaultdict(list)
        self.cancelled: dict[str, float] = {}
        self.kept: set[str] = set()
        self.waiting: dict[str, int] = {}
        self.answered: dict[str, float] = {}
        self.unanswered: dict[str, str] = {}
        self.refused: Counter[str] = Counter()

    def run(self) -> None:
        """Look again and again."""
        try:
            while not self._finished.wait(INTERVAL):
                self.look()
        except BaseException as error:
            self.error = error
            raise

    def finish(self) -> None:
        """Look no more."""
        self._finished.set()
        if self.is_alive():
            self.join()

    def look(self) -> int:
        """Read what is new; the number of accepted jobs that have not ended."""
        with self._lock:
            jobs, runs = self._journals
            for line in jobs.new_lines():
                self._note(line)
            for line in runs.new_lines():
                self.runs[line.job_id].append(line)
            asked = sorted(self.open)
            for start in range(0, len(asked), BATCH):
                try:
                    states = queues["default"].get_job_states(asked[start : start + BATCH])
                except StorageError:
                    break  # a fault is on; the next look will see
                for job_id, state in states.items():
                    self._settle(job_id, state.status if state is not None else None)
            return len(self.open)

    def _note(self, line: Line) -> None:
        match line.what:
            case "try":
                self.kinds[line.job_id] = Kind(line.detail)
            case "accepted":
                self.accepted.add(line.job_id)
                self.open.add(line.job_id)
            case "cancelled":
                self.cancelled[line.job_id] = line.at
            case "not-cancelled":
                self.kept.add(line.job_id)
            case "refused":
                self.refused[line.detail] += 1
            case "waiting":
                self.waiting[line.job_id] = line.pid
            case "answered":
                self.answered[line.job_id] = line.at
            case "unanswered":
                self.unanswered[line.job_id] = line.detail

    def _settle(self, job_id: str, status: Status | None) -> None:
        if status is None:
            # Without a note the producer was killed after it had sent the cancel, or has not written it yet.
            is_cancelled = self.kinds[job_id] is Kind.CANCELLED and job_id not in self.kept
            self._end(job_id, "cancelled" if is_cancelled else "gone")
        elif status.is_terminal:
            self._end(job_id, str(status))

    def _end(self, job_id: str, how: str) -> None:
        self.open.discard(job_id)
        self.ends[job_id] = how

    # the figures

    def ended(self, how: str, *, as_told: bool = True) -> list[str]:
        """The jobs that ended in one way, of those that were told to, or of the others."""
        return [
            job_id
            for job_id, end in self.ends.items()
            if end == how and (how != "failed" or self.kinds[job_id].must_fail == as_told)
        ]

    def lost(self) -> list[str]:
        """Accepted jobs that never ended, or vanished without an end."""
        return sorted(self.open) + self.ended("gone")

    def ran_although_cancelled(self) -> list[str]:
        """Jobs that began after the answer that they are cancelled."""
        return [
            job_id
            for job_id, at in self.cancelled.items()
            if any(line.what == "begin" and line.at > at for line in self.runs[job_id])
        ]

    def cut_off(self) -> int:
        """Runs that began, and neither came to their end nor raised."""
        lines = Counter(line.what for lines in self.runs.values() for line in lines)
        return lines["begin"] - lines["raise"] - lines["end"]

    def second_ends(self) -> list[str]:
        """Jobs whose run went to its end more than once."""
        return [job_id for job_id, lines in self.runs.items() if sum(line.what == "end" for line in lines) > 1]

    def unexplained_runs(self) -> list[str]:
        """Jobs of which two runs began with the same number of attempts."""
        found = []
        for job_id, lines in self.runs.items():
            attempts = [line.detail for line in lines if line.what == "begin"]
            if len(attempts) != len(set(attempts)):
                found.append(job_id)
        return found

    def recoveries(self, losses: Iterable[Loss]) -> list[float]:
        """Seconds from a kill or freeze of its process until each job that ran there began again, sorted."""
        times = []
        for loss in losses:
            for lines in self._runs_of(loss):
                again = [line.at for line in lines if line.what == "begin" and line.at > loss.at]
                if again:
                    times.append(min(again) - loss.at)
        return sorted(times)

    def _runs_of(self, loss: Loss) -> Iterable[list[Line]]:
        for lines in self.runs.values():
            before = [line for line in lines if line.pid in loss.pids and line.at <= loss.at]
            if before and before[-1].what == "begin":
                yield lines

    def answer_delays(self) -> dict[str, float]:
        """Seconds from the end of a job's last run to the answer that its waiter got."""
        return {
            job_id: max(0.0, at - max(line.at for line in self.runs[job_id]))
            for job_id, at in self.answered.items()
            if self.runs[job_id]
        }

    def left_waiting(self, living: Iterable[int]) -> list[str]:
        """Waiters of producers that were not killed, with no answer at all."""
        pids = set(living)
        return [
            job_id
            for job_id, pid in self.waiting.items()
            if pid in pids and job_id not in self.answered and job_id not in self.unanswered
        ]
