"""What the fault tests read back from the journal of their jobs."""

from pathlib import Path

import pytest

# Modules that assert on behalf of tests.
pytest.register_assert_rewrite("tests.faults.rig", "tests.faults.transitions")


def noted(journal: Path, what: str) -> list[str]:
    """The lines of one kind, ``begin`` or ``end``: which jobs, in order."""
    return [line.split()[1] for line in journal.read_text().splitlines() if line.startswith(f"{what} ")]
