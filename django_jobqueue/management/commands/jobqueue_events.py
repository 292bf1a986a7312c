"""``manage.py jobqueue_events``: what happens in a queue, as it happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_jobqueue.exceptions import StorageError
from django_jobqueue.stopping import stop_waiter

from ._queues import QueueCommand, named_queues, pipe_end

#: Every event there is; see ``Queue.subscribe``.
EVENTS = ("queued", "processing", "completed", "failed", "failing", "cancelled", "stalled")


class Command(QueueCommand):
    """Follow the events of a queue."""

    help = """Write a line for each event of a queue, as it happens: time, event, job id.

Events: queued, processing, completed, failing (an attempt failed), failed, cancelled, stalled (the
worker was lost). The time is when the event arrived here. Nothing is kept for those who come late,
and events are missed while the connection is down: this is for looking, not for counting.

--json writes one JSON object a line, with the keys time (ISO 8601), queue, id and event.

Exit status: 0 stopped by SIGTERM, Ctrl-C, or the end of the program it writes to; 1 an error.

Examples:
  manage.py jobqueue_events
  manage.py jobqueue_events emails --event failed stalled
  manage.py jobqueue_events --id 'report-*-2026' --json"""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "alias", nargs="?", default="default", help="queue of settings.JOBQUEUE (default: default)"
        )
        parser.add_argument(
            "--event", nargs="+", action="extend", choices=EVENTS, metavar="NAME", help="only these events"
        )
        parser.add_argument(
            "--id", metavar="PATTERN", help="only jobs whose id begins so, or matches it when it has *, ? or [...]"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def handle(self, *, alias: str, event: list[str] | None, id: str | None, json: bool, **_: Any) -> None:
        """Write until told to stop."""
        (queue,) = named_queues([alias])
        matches, wanted = _matcher(id), event or EVENTS
        with pipe_end(), stop_waiter() as waiter:
            broken: list[BrokenPipeError] = []

            def on_event(job_id: str, name: str) -> None:
                if broken or not _is_wanted(name, wanted) or not matches(job_id):
                    return
                try:
                    self.stdout.write(_json_line(alias, job_id, name) if json else _line(job_id, name))
                    self.stdout.flush()
                except BrokenPipeError as error:
                    broken.append(error)
                    waiter.done()

            try:
                end = queue.subscribe(on_event)
            except StorageError as error:
                raise CommandError(str(error)) from error
            self.stderr.write(f"Following queue {alias!r}. Stop with Ctrl-C or SIGTERM.")
            waiter.wait(lambda _: waiter.done())
            end()
            if broken:
                raise broken[0]


def _is_wanted(name: str, wanted: Collection[str]) -> bool:
    # A newer library may know further events: they are shown unless some were asked for.
    return wanted is EVENTS or name in wanted


def _matcher(pattern: str | None) -> Callable[[str], bool]:
    if pattern is None:
        return lambda _: True
    if any(char in pattern for char in "*?["):
        return lambda job_id: fnmatchcase(job_id, pattern)
    return lambda job_id: job_id.startswith(pattern)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def _line(job_id: str, event: str) -> str:
    # Ids of the Node library may hold anything, and must not command the terminal.
    return f"{_now()}  {event:<10}  {job_id if job_id.isprintable() else ascii(job_id)}"


def _json_line(alias: str, job_id: str, event: str) -> str:
    return json.dumps({"time": _now(), "queue": alias, "id": job_id, "event": event})
