"""A queue on a real server, and processes that work on it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_jobqueue.queue import Queue, queues
from tests.faults.processes import CommandProcess


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


@pytest.fixture
def start_command(queue: Queue) -> Iterator[Callable[..., CommandProcess]]:
    """Start a management command on the queue's server: ``start_command("jobqueue_worker", "--burst")``."""
    started: list[CommandProcess] = []

    def start(*arguments: str, **environment: str) -> CommandProcess:
        process = CommandProcess(queue.config.url or "", queue.config.key_prefix, *arguments, **environment)
        started.append(process)
        return process

    yield start

    for process in started:
        process.close()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A file in which jobs note that they began and ended."""
    path = tmp_path / "journal"
    path.touch()
    return path


def noted(journal: Path, what: str) -> list[str]:
    """The lines of one kind, ``begin`` or ``end``: which jobs, in order."""
    return [line.split()[1] for line in journal.read_text().splitlines() if line.startswith(f"{what} ")]
