"""The ``Storage`` in a file on this machine: no server, several processes."""

from __future__ import annotations

from ..conf import database_path
from .sqlite.database import FileDatabase
from .sqlite.storage import SQLiteStorage


class FileStorage(SQLiteStorage):
    """Jobs in an SQLite file, shared by all processes of one machine that name the same ``PATH``.

    An enqueue that has returned survives a kill of any process and a loss of power. Several queues
    may share the file; each has its own ``KEY_PREFIX``. There is one writer at a time, so this is for
    hundreds of jobs a second, not thousands; and the file must lie on a local disk, since the
    processes share memory through it.
    """

    def _connect(self) -> FileDatabase:
        return FileDatabase(self.config.path or database_path(None))
