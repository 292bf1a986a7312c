"""What the fault tests read back from the journal of their jobs, and hear of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_jobqueue import signals

# Modules that assert on behalf of tests.
pytest.register_assert_rewrite("tests.faults.load", "tests.faults.rig", "tests.faults.transitions")


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The ids of the jobs whose completion was told."""
    ids: list[str] = []

    def note(sender: Any, job_id: str, **news: Any) -> None:
        ids.append(job_id)

    signals.job_completed.connect(note)
    yield ids
    signals.job_completed.disconnect(note)


def noted(journal: Path, what: str) -> list[str]:
    """The lines of one kind, ``begin`` or ``end``: which jobs, in order."""
    return [line.split()[1] for line in whole_lines(journal) if line.startswith(f"{what} ")]


def whole_lines(journal: Path) -> list[str]:
    """The lines of a journal but for one that is still being written."""
    return [line for line in journal.read_text().splitlines(keepends=True) if line.endswith("\n")]
