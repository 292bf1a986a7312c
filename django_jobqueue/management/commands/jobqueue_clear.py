"""``manage.py jobqueue_clear``: remove everything of a queue."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_jobqueue.exceptions import StorageError

from ._queues import QueueCommand, named_queues


class Command(QueueCommand):
    """Clear one queue after asking."""

    help = """Remove all jobs, results, errors and worker entries of one queue, and no other keys.

Jobs that run meanwhile finish, but their results are dropped. This cannot be undone.

Exit status: 0 cleared; 1 refused, or an error."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "alias", nargs="?", default="default", help="queue of settings.JOBQUEUE (default: default)"
        )
        parser.add_argument("--noinput", "--no-input", action="store_true", help="do not ask")

    def handle(self, *, alias: str, noinput: bool, **_: Any) -> None:
        """Show what is there, ask, clear."""
        (queue,) = named_queues([alias])
        try:
            stats = queue.stats()
            self.stdout.write(
                f"Queue {alias!r} ({queue.config.key_prefix}*): {stats.queued} queued, {stats.scheduled} scheduled, "
                f"{stats.processing} running, {stats.completed} completed, {stats.failed} failed."
            )
            if not noinput and input("Remove all of it? Type 'yes' to go on: ") != "yes":
                raise CommandError("Nothing was removed.")
            removed = queue.clear()
        except StorageError as error:
            raise CommandError(str(error)) from error
        except EOFError:
            raise CommandError("Nothing was removed: no answer could be read; pass --noinput to go on.") from None
        self.stdout.write(f"Removed {removed} keys.")
