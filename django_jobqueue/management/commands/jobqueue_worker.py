"""``manage.py jobqueue_worker``: run the jobs of one or more queues."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_jobqueue.exceptions import JobQueueError
from django_jobqueue.registry import registry
from django_jobqueue.worker import Worker

from ._queues import named_queues
from ._signals import signal_waiter

logger = logging.getLogger("django_jobqueue.worker")


class Command(BaseCommand):
    """Run jobs until told to stop."""

    help = """Run the jobs of one or more queues.

Start as many of these as you like, on as many machines as you like: each job is run by one of them.
Each brings back the jobs of workers that died (one is elected to do so), queues delayed jobs when
they are due, and forgets finished ones.

SIGTERM or Ctrl-C: take no more jobs, let running ones finish within SHUTDOWN_TIMEOUT, give the rest
back without counting an attempt, exit 0. A second signal: give them back at once. After SIGKILL,
others run the lost worker's jobs within 1.5 visibility timeouts.

Exit status: 0 stopped as told, or nothing left to do with --burst or --max-jobs; 1 an error.

Examples:
  manage.py jobqueue_worker                          the default queue
  manage.py jobqueue_worker emails --concurrency 20  another one, 20 jobs at a time
  manage.py jobqueue_worker --burst                  until nothing is queued (cron, tests)"""

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """Keep the line breaks of the help text."""
        return super().create_parser(*args, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "aliases", nargs="*", metavar="alias", help="queues of settings.JOBQUEUE (default: default)"
        )
        parser.add_argument(
            "--concurrency", type=int, metavar="N", help="jobs at a time a queue (default: its CONCURRENCY)"
        )
        parser.add_argument("--burst", action="store_true", help="stop when nothing is queued and nothing runs")
        parser.add_argument("--max-jobs", type=int, metavar="N", help="stop after N jobs a queue, to be started anew")
        parser.add_argument("--no-reaper", action="store_true", help="leave recovery and delayed jobs to others")

    def handle(
        self,
        *,
        aliases: list[str],
        concurrency: int | None,
        burst: bool,
        max_jobs: int | None,
        no_reaper: bool,
        verbosity: int,
        **_: Any,
    ) -> None:
        """Run the workers until they are done or a signal ends them."""
        queues = named_queues(aliases)
        try:
            workers = [
                Worker(queue, concurrency=concurrency, reaper=not no_reaper, max_jobs=max_jobs) for queue in queues
            ]
        except (JobQueueError, ImportError) as error:
            raise CommandError(str(error)) from error
        with signal_waiter() as waiter:
            if verbosity:
                for worker in workers:
                    self.stdout.write(
                        f"Worker {worker.id}: queue {worker.queue.alias!r}, {worker.concurrency} jobs at a time, "
                        f"{len(registry.names())} jobs known. Stop with Ctrl-C or SIGTERM."
                    )
            for worker in workers:
                worker.start(burst=burst)
            waiter.done_after(lambda: _join_all(workers))
            told: list[int] = []

            def on_signal() -> None:
                told.append(1)
                if verbosity:
                    self.stdout.write(
                        "Stopping: running jobs may finish; a second signal gives them back at once."
                        if len(told) == 1
                        else "Giving running jobs back now."
                    )
                for worker in workers:
                    worker.request_stop(None if len(told) == 1 else 0)

            waiter.wait(on_signal)
        errors = [worker.error for worker in workers if worker.error is not None]
        if errors:
            raise CommandError("; ".join(str(error) for error in errors)) from errors[0]
        if verbosity:
            self.stdout.write("Stopped.")


def _join_all(workers: list[Worker]) -> None:
    for worker in workers:
        try:
            worker.join()
        except Exception as error:
            # Told at the end, with those of the others.
            logger.debug("worker %s ended with %r", worker.id, error)
