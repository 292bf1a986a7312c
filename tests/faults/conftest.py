"""What the fault tests read back from the journal of their jobs."""

from pathlib import Path


def noted(journal: Path, what: str) -> list[str]:
    """The lines of one kind, ``begin`` or ``end``: which jobs, in order."""
    return [line.split()[1] for line in journal.read_text().splitlines() if line.startswith(f"{what} ")]
