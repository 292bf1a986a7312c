"""What the commands share: naming queues and starting from good settings."""

from __future__ import annotations

from django.core.management.base import CommandError

from django_jobqueue.conf import DEFAULT_ALIAS, InvalidSettings
from django_jobqueue.exceptions import UnknownQueue
from django_jobqueue.queue import Queue, queues


def named_queues(aliases: list[str]) -> list[Queue]:
    """The queues of these aliases; the default one when none is named.

    Raises:
        CommandError: an alias is unknown, or the settings have mistakes.
    """
    try:
        return [queues[alias] for alias in dict.fromkeys(aliases or [DEFAULT_ALIAS])]
    except (UnknownQueue, InvalidSettings) as error:
        raise CommandError(str(error)) from error
