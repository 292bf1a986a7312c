"""``manage.py jobqueue_health``: an exit status for probes."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from django_jobqueue.health import Limits, QueueHealth, examine

from ._queues import QueueCommand, all_or_named_queues


class Command(QueueCommand):
    """Tell whether queues are worked on."""

    help = """Tell in a line for each queue whether it is healthy: the server answers, a worker is alive,
a reaper leads, and no job has waited too long.

A worker is alive while its heartbeat is younger than the visibility timeout. Workers of the Node
library send none: pass --no-workers-ok where they do the work. A retried or delayed job counts from
when it was first enqueued, so choose --max-age above the delays you use.

Starting Django for each probe takes a second or so. A web process that runs anyway answers the same
over HTTP: path("health/jobqueue/", include("django_jobqueue.urls")).

Exit status: 0 healthy; 1 not, or an error.

Examples:
  manage.py jobqueue_health                        all queues
  manage.py jobqueue_health emails --max-age 300   one, whose jobs must start within five minutes"""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("aliases", nargs="*", metavar="alias", help="queues of settings.JOBQUEUE (default: all)")
        parser.add_argument(
            "--max-age",
            type=float,
            metavar="SECONDS",
            help="how old the oldest queued job may be (default: no limit)",
        )
        parser.add_argument("--no-workers-ok", action="store_true", help="do not ask for a living worker")
        parser.add_argument("--no-leader-ok", action="store_true", help="do not ask for a leading reaper")

    def handle(
        self, *, aliases: list[str], max_age: float | None, no_workers_ok: bool, no_leader_ok: bool, **_: Any
    ) -> None:
        """Examine each queue."""
        limits = Limits(max_age=max_age, workers=not no_workers_ok, leader=not no_leader_ok)
        found = [examine(queue, limits) for queue in all_or_named_queues(aliases)]
        for one in found:
            self.stdout.write(_line(one))
        if any(one.problems for one in found):
            sys.exit(1)


def _line(one: QueueHealth) -> str:
    if one.problems:
        return f"Queue {one.alias!r} is unhealthy: {'; '.join(problem.message for problem in one.problems)}."
    assert one.snapshot is not None
    age = one.snapshot.oldest_age
    return (
        f"Queue {one.alias!r} is healthy: {one.snapshot.alive_workers} workers alive, "
        f"{one.snapshot.stats.queued} queued" + ("." if age is None else f", the oldest for {age:.1f} s.")
    )
