"""The tables, and the version of them that this code knows."""

from __future__ import annotations

import sqlite3

from ...exceptions import StorageError

#: Raised with every change of the tables; ``PRAGMA user_version`` keeps it.
VERSION = 1

#: Marks the file as ours ("djjq"); ``PRAGMA application_id`` keeps it.
APPLICATION_ID = 0x646A6A71

#: Events kept for other processes. A listener that falls further behind looks at all its jobs anew.
EVENTS_KEPT = 10_000

#: Several queues may share the database: ``queue`` is the key prefix of a row's queue.
#:
#: A job is one row, so it is in exactly one place, whatever happens. What ``rank`` means depends on it:
#: the order in the queue, the due time of a scheduled job, the expiry of a finished one. The large
#: columns come last, for SQLite reads a row only as far as it must.
#:
#: A state of NULL marks a message that was cancelled after a worker had taken it: it is no job any
#: more, and waits for its holder to drop it.
_TABLES = f"""
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY,
  queue TEXT NOT NULL,
  id TEXT NOT NULL,
  place TEXT NOT NULL CHECK (place IN ('queue', 'scheduled', 'held', 'completed', 'failed')),
  rank INTEGER NOT NULL,
  state TEXT,
  worker TEXT CHECK ((place = 'held') = (worker IS NOT NULL)),
  progress BLOB,
  payload BLOB,
  message BLOB
);
CREATE UNIQUE INDEX jobs_by_id ON jobs (queue, id) WHERE state IS NOT NULL;
CREATE INDEX jobs_by_place ON jobs (queue, place, rank);
CREATE INDEX jobs_by_worker ON jobs (queue, worker, id) WHERE worker IS NOT NULL;

-- Counting a million rows takes long, so the sizes of the places are kept.
CREATE TABLE sizes (
  queue TEXT NOT NULL, place TEXT NOT NULL, jobs INTEGER NOT NULL, PRIMARY KEY (queue, place)
) WITHOUT ROWID;
CREATE TRIGGER job_added AFTER INSERT ON jobs BEGIN
  INSERT INTO sizes VALUES (NEW.queue, NEW.place, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER job_removed AFTER DELETE ON jobs BEGIN
  UPDATE sizes SET jobs = jobs - 1 WHERE queue = OLD.queue AND place = OLD.place;
END;
CREATE TRIGGER job_moved AFTER UPDATE OF place ON jobs WHEN OLD.place <> NEW.place BEGIN
  UPDATE sizes SET jobs = jobs - 1 WHERE queue = OLD.queue AND place = OLD.place;
  INSERT INTO sizes VALUES (NEW.queue, NEW.place, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;

CREATE TABLE workers (
  queue TEXT NOT NULL, id TEXT NOT NULL, heartbeat INTEGER NOT NULL, info BLOB NOT NULL, PRIMARY KEY (queue, id)
) WITHOUT ROWID;
CREATE TABLE locks (queue TEXT PRIMARY KEY, owner TEXT NOT NULL, expires_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE malformed (seq INTEGER PRIMARY KEY, queue TEXT NOT NULL, message BLOB NOT NULL);
CREATE INDEX malformed_by_queue ON malformed (queue);

-- The numbers of events are without gaps, so that a listener knows when it has missed some.
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, job TEXT NOT NULL, event TEXT NOT NULL
);
CREATE TRIGGER event_added AFTER INSERT ON events BEGIN
  DELETE FROM events WHERE seq <= NEW.seq - {EVENTS_KEPT};
END;
"""


def inspect(connection: sqlite3.Connection, name: str) -> int:
    """The version of the tables; 0 when the database is empty.

    Raises:
        StorageError: it belongs to somebody else, or to a newer version of this package.
    """
    # In one view: another process may be making the tables at this moment.
    is_alone = not connection.in_transaction
    if is_alone:
        connection.execute("BEGIN")
    try:
        (is_empty,) = connection.execute("SELECT COUNT(*) = 0 FROM sqlite_schema").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
    finally:
        if is_alone:
            connection.execute("ROLLBACK")
    if application != APPLICATION_ID and not is_empty:
        raise StorageError(f"{name} holds tables of another program; set PATH to a file of the queue's own")
    if version > VERSION:
        raise StorageError(
            f"{name} has tables of version {version}, this django-jobqueue knows {VERSION}: a newer release made it; "
            "upgrade django-jobqueue here too, or set PATH to another file"
        )
    return 0 if is_empty else int(version)


def prepare(connection: sqlite3.Connection, name: str) -> None:
    """Make the tables where there are none.

    Raises:
        StorageError: as ``inspect``.
    """
    if inspect(connection, name) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if inspect(connection, name) != VERSION:  # else another process was faster
            for statement in _statements():
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _statements() -> list[str]:
    """The statements one by one: ``executescript`` would commit the transaction first."""
    statements, part = [], ""
    for line in _TABLES.splitlines():
        part += line + "\n"
        if sqlite3.complete_statement(part):
            statements.append(part)
            part = ""
    return statements
