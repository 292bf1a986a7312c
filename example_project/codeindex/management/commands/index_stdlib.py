"""``manage.py index_stdlib``: queue one job for each file of the standard library."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand

from codeindex import sources
from codeindex.enqueueing import enqueue


class Command(BaseCommand):
    """The command."""

    help = "Queue one indexing job for each source file of Python's standard library."

    def handle(self, *args: Any, **options: Any) -> None:
        """Queue them, and say how many were new."""
        paths = sources.library_files()
        statuses = Counter(str(result.status) for batch in enqueue(paths) for result in batch)
        queued = statuses.pop("queued", 0)
        self.stdout.write(self.style.SUCCESS(f"{queued} of {len(paths)} files queued."))
        if statuses:
            known = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
            self.stdout.write(f"Not queued again: {known}. The queue remembers a finished job for an hour.")
