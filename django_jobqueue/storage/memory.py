"""The ``Storage`` in the memory of one process, for tests and for trying things out."""

from __future__ import annotations

import os

from .sqlite.database import MemoryDatabase
from .sqlite.storage import SQLiteStorage

# By process id, so that a forked child, which must not use its parent's connection, begins anew.
_databases: dict[int, MemoryDatabase] = {}


class MemoryStorage(SQLiteStorage):
    """Jobs that end with the process.

    All storages of a process with the same ``KEY_PREFIX`` are one queue, in any number of threads;
    ``clear()`` empties it. Another process, also a forked one, has its own. It is what
    ``FileStorage`` is, on a database in memory, and keeps the same promises while the process lives.
    """

    def _connect(self) -> MemoryDatabase:
        # setdefault is atomic; of two made at once, one is dropped.
        return _databases.get(os.getpid()) or _databases.setdefault(os.getpid(), MemoryDatabase())
