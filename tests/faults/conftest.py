"""A queue on a real server, and processes that work on it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_jobqueue.queue import Queue, queues


@pytest.fixture
def configure(jobqueue_settings: dict[str, Any], settings: Any) -> Callable[..., Queue]:
    """Change settings of the default queue, and return the queue."""

    def change(**changed: Any) -> Queue:
        settings.JOBQUEUE = {"default": {**jobqueue_settings, **changed}}
        return queues["default"]

    return change


@pytest.fixture
def queue(configure: Callable[..., Queue]) -> Iterator[Queue]:
    """The default queue, empty."""
    yield configure()
    queues.close()


def noted(journal: Path, what: str) -> list[str]:
    """The lines of one kind, ``begin`` or ``end``: which jobs, in order."""
    return [line.split()[1] for line in journal.read_text().splitlines() if line.startswith(f"{what} ")]
