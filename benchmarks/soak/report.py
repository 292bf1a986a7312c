"""The table at the end of the soak."""

from __future__ import annotations

import argparse
import math
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import django
import redis

import django_jobqueue
from tests.servers import Server, binary_version

from .accounts import Accounts
from .faults import Injector

#: Seconds after the end of a job at which its waiter has missed it; no fault lasts so long.
LATE = 20.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that the server uses, empty, before and after; resident megabytes of the workers at both ends."""

    server_before: int
    server_after: int
    workers_before: Sequence[float]
    workers_after: Sequence[float]


@dataclass(frozen=True, slots=True)
class Report:
    """All figures.

    Attributes:
        replaced: processes started in the place of ended ones.
        violations: what the auditor found in the drained queue.
        left_over: keys that are there after every TTL has passed.
        living_producers: the pids of those that were alive at the end.
    """

    accounts: Accounts
    injector: Injector
    replaced: int
    violations: Sequence[str]
    left_over: Sequence[str]
    memory: Memory
    server: Server
    living_producers: Sequence[int]

    def table(self, options: argparse.Namespace, seconds: float) -> str:
        """The figures in Markdown."""
        rows = [*self._jobs(), *self._recovery(), *self._waiters(), *self._remains()]
        rows += [(f"fault: {name}", str(count)) for name, count in sorted(self.injector.done.items())]
        rows += [
            ("faults in all", str(sum(self.injector.done.values()))),
            ("processes replaced", str(self.replaced)),
            ("duration of the faults", f"{options.minutes:g} min"),
            ("duration in all", f"{seconds / 60:.1f} min"),
            ("seed", str(options.seed)),
            ("versions", self._versions()),
        ]
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])

    def exit_status(self) -> int:
        """1 when something is wrong."""
        return int(any(True for _ in self.details()))

    def details(self) -> Iterator[str]:
        """Everything that is wrong, a line each."""
        accounts = self.accounts
        yield from (f"lost: {job_id} ({accounts.kinds[job_id]})" for job_id in accounts.lost())
        unexpected = accounts.ended("failed", as_told=False)
        yield from (f"failed without being told to: {job_id}" for job_id in unexpected)
        yield from (f"ran although cancelled: {job_id}" for job_id in accounts.ran_although_cancelled())
        yield from (f"run twice with the same attempt: {job_id}" for job_id in accounts.unexplained_runs())
        yield from (f"waiter unanswered: {job_id}: {why}" for job_id, why in self._unanswered().items())
        yield from (f"audit: {violation}" for violation in self.violations)
        yield from (f"key left over: {key}" for key in self.left_over)
        yield from (f"error: {error!r}" for error in (self.injector.error, accounts.error) if error)

    def _unanswered(self) -> dict[str, str]:
        left = dict.fromkeys(self.accounts.left_waiting(self.living_producers), "no answer")
        delays = self.accounts.answer_delays().items()
        late = {job_id: f"told {delay:.0f} s late" for job_id, delay in delays if delay > LATE}
        return self.accounts.unanswered | left | late

    def _jobs(self) -> Iterator[tuple[str, str]]:
        accounts = self.accounts
        begins = sum(line.what == "begin" for lines in accounts.runs.values() for line in lines)
        yield "jobs accepted", f"{len(accounts.accepted):,}"
        yield "completed", f"{len(accounts.ended('completed')):,}"
        yield "failed as told", f"{len(accounts.ended('failed')):,}"
        yield "failed, not told to", str(len(accounts.ended("failed", as_told=False)))
        yield "cancelled", f"{len(accounts.ended('cancelled')):,}"
        yield "ran although cancelled", str(len(accounts.ran_although_cancelled()))
        yield "**lost**", f"**{len(accounts.lost())}**"
        yield "runs in all", f"{begins:,}"
        yield "runs cut off, and begun again or failed", str(accounts.cut_off())
        yield "**run twice to the end**", f"**{len(accounts.second_ends())}**"
        yield "run twice with the same attempt", str(len(accounts.unexplained_runs()))
        for reason, count in sorted(accounts.refused.items()):
            yield f"calls refused: {reason}", f"{count:,}"

    def _recovery(self) -> Iterator[tuple[str, str]]:
        times = self.accounts.recoveries(self.injector.losses)
        yield "recovered after a kill or freeze", str(len(times))
        if times:
            yield "recovery time, median, p99, max", _spread(times)

    def _waiters(self) -> Iterator[tuple[str, str]]:
        yield "waiters answered", f"{len(self.accounts.answered):,}"
        if delays := self.accounts.answer_delays():
            yield "from the job's end to the answer, median, p99, max", _spread(sorted(delays.values()))
        yield "**waiters unanswered**", f"**{len(self._unanswered())}**"

    def _remains(self) -> Iterator[tuple[str, str]]:
        memory = self.memory
        yield "violations found by the auditor", str(len(self.violations))
        yield "**keys left after all TTLs**", f"**{len(self.left_over)}**"
        yield "server's memory before, after", f"{memory.server_before:,}, {memory.server_after:,} bytes"
        resident = (statistics.mean(sizes) if sizes else 0 for sizes in (memory.workers_before, memory.workers_after))
        yield "workers' resident memory before, after", ", ".join(f"{size:.0f}" for size in resident) + " MB (mean)"

    def _versions(self) -> str:
        return ", ".join(
            [
                f"django-jobqueue {django_jobqueue.__version__}",
                binary_version(self.server.binary),
                f"Python {platform.python_version()}",
                f"Django {django.__version__}",
                f"redis-py {redis.__version__}",
            ]
        )


def _spread(times: Sequence[float]) -> str:
    p99 = times[math.ceil(0.99 * len(times)) - 1]
    return f"{statistics.median(times):.1f}, {p99:.1f}, {times[-1]:.1f} s"
