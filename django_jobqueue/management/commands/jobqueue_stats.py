"""``manage.py jobqueue_stats``: the sizes of queues, once or again and again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_jobqueue.exceptions import StorageError
from django_jobqueue.health import Snapshot
from django_jobqueue.queue import Queue
from django_jobqueue.stopping import stop_waiter

from ._queues import QueueCommand, all_or_named_queues, pipe_end

#: Seconds between two looks of a plain ``--watch``.
WATCH_INTERVAL = 2.0

_COLUMNS = (
    "queue", "queued", "oldest", "scheduled", "processing", "completed", "failed", "malformed", "workers", "leader",
)  # fmt: skip


class Command(QueueCommand):
    """Show the sizes of queues."""

    help = """Show how many jobs wait, run and have ended, and who works on them.

The cost does not grow with the number of jobs, so it may be run at any time. Columns: "oldest" is
how long ago the job at the head was enqueued (a retried or delayed one counts from when it was
first enqueued); "workers" are those alive of those registered; "leader" tells whether a reaper
leads.

--json writes one JSON object a line for each queue, with the keys queue, time (ISO 8601, UTC),
queued, oldest_queued_age (seconds or null), scheduled, processing, completed, failed, malformed,
workers, alive_workers, and leader (the reaper's id or null). Keys may be added, but none goes.

Exit status: 0 shown, or watched until SIGTERM or Ctrl-C; 1 an error. While watching, a server that
cannot be reached is told of and asked again.

Examples:
  manage.py jobqueue_stats
  manage.py jobqueue_stats default emails --watch 5
  manage.py jobqueue_stats --json | jq .queued"""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("aliases", nargs="*", metavar="alias", help="queues of settings.JOBQUEUE (default: all)")
        parser.add_argument(
            "--watch",
            nargs="?",
            type=float,
            const=WATCH_INTERVAL,
            metavar="SECONDS",
            help=f"again and again until stopped (default: every {WATCH_INTERVAL:g} seconds)",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object a line for each queue")

    def handle(self, *, aliases: list[str], watch: float | None, json: bool, **_: Any) -> None:
        """Show once, or until told to stop."""
        if watch is not None and not 0 < watch < 1e6:
            raise CommandError(f"watch is {watch:g}; it must be a number of seconds above 0")
        chosen = all_or_named_queues(aliases)
        with pipe_end():
            if watch is None:
                try:
                    self._show(chosen, json)
                except StorageError as error:
                    raise CommandError(str(error)) from error
                return
            with stop_waiter() as waiter:
                self._show_or_tell(chosen, json)
                while not waiter.pause(watch):
                    if not json:
                        self.stdout.write("")
                    self._show_or_tell(chosen, json)

    def _show_or_tell(self, chosen: Sequence[Queue], as_json: bool) -> None:
        try:
            self._show(chosen, as_json)
        except StorageError as error:
            self.stderr.write(str(error))

    def _show(self, chosen: Sequence[Queue], as_json: bool) -> None:
        snapshots = {queue.alias: Snapshot.of(queue) for queue in chosen}
        if as_json:
            for alias, snapshot in snapshots.items():
                self.stdout.write(json.dumps(_fields(alias, snapshot)))
        else:
            for line in _table([_COLUMNS, *(_row(alias, one) for alias, one in snapshots.items())]):
                self.stdout.write(line)
        self.stdout.flush()


def _fields(alias: str, snapshot: Snapshot) -> dict[str, Any]:
    stats = snapshot.stats
    return {
        "queue": alias,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "queued": stats.queued,
        "oldest_queued_age": snapshot.oldest_age,
        "scheduled": stats.scheduled,
        "processing": stats.processing,
        "completed": stats.completed,
        "failed": stats.failed,
        "malformed": stats.malformed,
        "workers": stats.workers,
        "alive_workers": snapshot.alive_workers,
        "leader": stats.leader,
    }


def _row(alias: str, snapshot: Snapshot) -> tuple[str, ...]:
    stats, age = snapshot.stats, snapshot.oldest_age
    return (
        alias,
        str(stats.queued),
        "-" if age is None else f"{age:.1f} s",
        str(stats.scheduled),
        str(stats.processing),
        str(stats.completed),
        str(stats.failed),
        str(stats.malformed),
        f"{snapshot.alive_workers}/{stats.workers}",
        "none" if stats.leader is None else "yes",
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines: the first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
