"""Journals on disk: what producers were answered, and what workers ran.

The writers are killed, the machine is not. So a line that was written is kept; nothing is synced to the disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Names the folder of the journals in the environment of every process.
FOLDER_VARIABLE = "SOAK_JOURNALS"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what happened, to which job, when (seconds since the epoch), in which process, and a detail."""

    what: str
    job_id: str
    at: float
    pid: int
    detail: str


class Journal:
    """One journal, ``jobs`` or ``runs``, that many processes append to and one reads as it grows."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self._path = (folder or Path(os.environ[FOLDER_VARIABLE])) / name
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._read = 0

    def note(self, what: str, job_id: str, detail: str | int = "") -> None:
        """Append a line."""
        # One write of a short line is atomic between processes.
        os.write(self._descriptor, f"{what} {job_id} {time.time():.3f} {os.getpid()} {detail}\n".encode())

    def new_lines(self) -> Iterator[Line]:
        """The lines since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            for raw in file:
                if not raw.endswith(b"\n"):
                    return  # still being written
                self._read += len(raw)
                what, job_id, at, pid, detail = raw.decode().rstrip("\n").split(" ", 4)
                yield Line(what, job_id, float(at), int(pid), detail)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
