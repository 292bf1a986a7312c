"""``manage.py jobqueue_reaper``: keep queues in order without running jobs."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_jobqueue.exceptions import StorageError, UnsupportedServer
from django_jobqueue.reaper import Reaper
from django_jobqueue.stopping import stop_waiter

from ._queues import QueueCommand, named_queues


class Command(QueueCommand):
    """Reap until told to stop."""

    help = """Bring back the jobs of dead workers, queue delayed jobs when due, forget finished ones.

Workers do this themselves unless started with --no-reaper, so you need this command only where
workers of the Node library run the jobs, or where you want recovery apart from the workers. Any
number may run: one is elected per queue, and another takes over within LOCK_TTL of a crash, at once
after a clean stop.

Exit status: 0 stopped by SIGTERM or Ctrl-C; 1 an error."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "aliases", nargs="*", metavar="alias", help="queues of settings.JOBQUEUE (default: default)"
        )
        parser.add_argument("--once", action="store_true", help="do one round now, whoever leads, and exit")

    def handle(self, *, aliases: list[str], once: bool, verbosity: int, **_: Any) -> None:
        """Run one reaper a queue until a signal ends them."""
        reapers = [Reaper(queue) for queue in named_queues(aliases)]
        if once:
            self._run_once(reapers)
            return
        with stop_waiter() as waiter:
            for reaper in reapers:
                reaper.start()
                if verbosity:
                    self.stdout.write(
                        f"Reaper {reaper.id}: queue {reaper.queue.alias!r}. Stop with Ctrl-C or SIGTERM."
                    )
            waiter.done_after(lambda: _join_all(reapers))
            waiter.wait(lambda _: _stop_all(reapers))
        if errors := [reaper.error for reaper in reapers if reaper.error is not None]:
            raise CommandError("; ".join(str(error) for error in errors)) from errors[0]
        if verbosity:
            self.stdout.write("Stopped.")

    def _run_once(self, reapers: list[Reaper]) -> None:
        for reaper in reapers:
            try:
                settled = reaper.run_once()
            except StorageError as error:
                raise CommandError(str(error)) from error
            self.stdout.write(f"Queue {reaper.queue.alias!r}: {settled} jobs recovered or queued.")


def _stop_all(reapers: list[Reaper]) -> None:
    for reaper in reapers:
        reaper.request_stop()


def _join_all(reapers: list[Reaper]) -> None:
    """Wait for all; when one ends by itself, the others are stopped too."""
    for reaper in reapers:
        try:
            reaper.join()
        except UnsupportedServer:
            _stop_all(reapers)  # told at the end
