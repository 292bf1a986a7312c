"""What the commands share: naming queues, help that keeps its lines, and output into a pipe."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_jobqueue.conf import DEFAULT_ALIAS, InvalidSettings
from django_jobqueue.exceptions import UnknownQueue
from django_jobqueue.queue import Queue, queues


class QueueCommand(BaseCommand):
    """A command about queues."""

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """Keep the line breaks of the help text."""
        return super().create_parser(*args, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)


def named_queues(aliases: list[str]) -> list[Queue]:
    """The queues of these aliases; the default one when none is named.

    Raises:
        CommandError: an alias is unknown, or the settings have mistakes.
    """
    try:
        return [queues[alias] for alias in dict.fromkeys(aliases or [DEFAULT_ALIAS])]
    except (UnknownQueue, InvalidSettings) as error:
        raise CommandError(str(error)) from error


def all_or_named_queues(aliases: list[str]) -> list[Queue]:
    """The queues of these aliases; all of them when none is named.

    Raises:
        CommandError: an alias is unknown, or the settings have mistakes.
    """
    try:
        return named_queues(aliases or list(queues))
    except InvalidSettings as error:
        raise CommandError(str(error)) from error


@contextmanager
def pipe_end() -> Iterator[None]:
    """Let a command end well when the program that reads its output has ended: ``... | head -1``."""
    try:
        yield
    except BrokenPipeError:
        # Python flushes at exit once more, and would complain.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
