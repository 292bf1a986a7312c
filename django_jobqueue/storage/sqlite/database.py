"""Connections and transactions: in a file shared by processes, or in memory shared by threads."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from ...exceptions import StorageError, StorageFullError
from .schema import inspect, prepare

T = TypeVar("T")

#: Seconds to wait for another writer. Transactions last milliseconds, so this is long.
PATIENCE = 10.0

#: Seconds between two attempts to become the writer; about as long as a transaction.
TURN_INTERVAL = 0.002

#: Idle connections kept for the next transactions.
IDLE_KEPT = 8

#: Seconds that a fork waits for transactions of other threads.
FORK_PATIENCE = 5.0

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_ACCESS = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)


class Database(ABC):
    """One SQLite database. Threads take turns in writing, guarded by ``_turn``."""

    #: Seconds between looks for what other processes have written.
    poll_interval: float

    def __init__(self, name: str) -> None:
        self.name = name
        self._turn = threading.Lock()
        self._observers: list[weakref.WeakMethod[Callable[[], None]]] = []

    @abstractmethod
    def _connection(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection for one transaction of this thread; it is dropped when the block raises."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections; they open again when needed."""

    @abstractmethod
    def has_changed(self) -> bool:
        """Whether anybody may have written since the last call; cheap."""

    def observe(self, committed: Callable[[], None]) -> None:
        """Call a method after each commit of this process, as long as its object lives."""
        self._observers = [one for one in self._observers if one() is not None]
        self._observers.append(weakref.WeakMethod(committed))

    @contextmanager
    def reading(self, what: str) -> Iterator[sqlite3.Connection]:
        """A block that sees one state of the database.

        Raises:
            StorageError: ``what`` could not be done.
        """
        with self._translating(what), self._connection() as connection:
            patiently(lambda: _begin_reading(connection))
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def writing(self, what: str) -> Iterator[sqlite3.Connection]:
        """A block that happens as a whole or not at all, and alone.

        Raises:
            StorageError: ``what`` could not be done.
            StorageFullError: the disk is full.
        """
        with self._translating(what), self._turn, self._connection() as connection:
            patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
            yield connection
            connection.execute("COMMIT")
        for observer in self._observers:
            if (committed := observer()) is not None:
                committed()

    @contextmanager
    def _translating(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a fault of ours
        except sqlite3.Error as error:
            raise translated(error, what, self.name) from error


class FileDatabase(Database):
    """A database in a file, in WAL mode: readers and the one writer don't block each other.

    Transactions borrow a connection. ``_state`` guards who has one.

    A commit is on the disk when it returns (``synchronous=FULL``), so that an acknowledged job
    survives not only a kill but also a loss of power. That costs one fsync a transaction.
    """

    #: A waiter may be late by this and a little more; it costs about half a percent of a core.
    poll_interval = 0.025

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._state = threading.Condition()
        self._idle: list[_Connection] = []
        self._watcher: _Connection | None = None
        self._version = 0
        self._borrowed = 0
        self._frozen = False
        _databases.add(self)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = self._borrow()
        sound = False
        try:
            yield connection
            sound = True
        finally:
            self._give_back(connection, sound)

    def has_changed(self) -> bool:
        with self._state:
            if self._frozen:
                return False
            try:
                if self._watcher is None:
                    self._watcher = self._open()
                # A number that changes with every commit on another connection.
                (version,) = self._watcher.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error as error:
                self._unwatch()
                raise translated(error, "looking for changes", self.name) from error
            changed, self._version = version != self._version, version
            return bool(changed)

    def close(self) -> None:
        with self._state:
            self._unwatch()
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _unwatch(self) -> None:
        with self._state:
            if self._watcher is not None:
                self._watcher.close()
            self._watcher, self._version = None, 0

    def _borrow(self) -> _Connection:
        with self._state:
            self._state.wait_for(lambda: not self._frozen)
            self._borrowed += 1
            connection = self._idle.pop() if self._idle else None
        try:
            # Whoever deletes or replaces the file must not leave us writing into the old one.
            if connection is not None and connection.identity != _identity(self.name):
                connection.close()
                connection = None
                self._unwatch()
            return connection or self._open()
        except BaseException:
            self._give_back(None, False)
            raise

    def _give_back(self, connection: _Connection | None, sound: bool) -> None:
        keep = False
        with self._state:
            self._borrowed -= 1
            if connection is not None and sound and len(self._idle) < IDLE_KEPT:
                self._idle.append(connection)
                keep = True
            self._state.notify_all()
        if connection is not None and not keep:
            connection.close()

    def _open(self) -> _Connection:
        connection = sqlite3.connect(
            self.name, timeout=0, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        try:
            patiently(lambda: self._prepare(connection))
            connection.identity = _identity(self.name)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # First, since the next line changes the file of whoever owns it.
        inspect(connection, self.name)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StorageError(
                f"{self.name} cannot be used in WAL mode, for its file system has no shared memory; set PATH to a "
                "file on a local disk"
            )
        connection.execute("PRAGMA synchronous = FULL")
        prepare(connection, self.name)

    # SQLite keeps the locks of a process in its own memory, where a forked child would find locks
    # that it does not have. So a fork happens while nothing is open.

    def freeze(self) -> None:
        """Close everything, and let nobody in until ``thaw``."""
        with self._state:
            self._frozen = True
            self._state.wait_for(lambda: self._borrowed == 0, FORK_PATIENCE)
        self.close()

    def thaw(self) -> None:
        """Go on after ``freeze``."""
        with self._state:
            self._frozen = False
            self._state.notify_all()


class MemoryDatabase(Database):
    """A database in the memory of this process: one connection, used by one thread at a time."""

    poll_interval = 1.0

    def __init__(self) -> None:
        super().__init__("the queue in memory")
        self._lock = threading.Lock()
        self._open = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        prepare(self._open, self.name)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._open
            except BaseException:
                self._open.rollback()
                raise

    def has_changed(self) -> bool:
        return True  # there are no other processes, so this is asked once a second

    def close(self) -> None:
        """Nothing: the jobs would be gone."""


def _begin_reading(connection: sqlite3.Connection) -> None:
    if not connection.in_transaction:
        connection.execute("BEGIN")
    # BEGIN alone does not fix the view, the first look does; and only that one may have to wait.
    connection.execute("PRAGMA user_version")


class _Connection(sqlite3.Connection):
    """A connection that knows which file it was opened on."""

    identity: tuple[int, int] | None = None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def patiently(action: Callable[[], T]) -> T:
    """Do something as soon as other writers let us.

    SQLite's own waiting (``timeout``) sleeps up to a tenth of a second at a time, and not in all cases.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if _primary(error) not in _BUSY or time.monotonic() > deadline:
                raise
        time.sleep(TURN_INTERVAL)


def _primary(error: sqlite3.Error) -> int:
    # The low byte is the kind; the rest says more.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def translated(error: sqlite3.Error, what: str, name: str) -> StorageError:
    """The error as ours, with the remedy."""
    code = _primary(error)
    if code == sqlite3.SQLITE_FULL:
        return StorageFullError(f"{what}: the disk of {name} is full ({error}); make room there")
    if code in _BUSY:
        remedy = "another process has been writing for long; look for a stopped process or a backup in progress"
    elif code in _CORRUPT:
        remedy = "the file is damaged or no database; stop all workers and restore it, or move it away to start anew"
    elif code in _ACCESS:
        remedy = "PATH must name a file in an existing folder, and both must be writable by this process"
    elif code == sqlite3.SQLITE_IOERR:
        remedy = "the disk failed; look into the system's log"
    else:
        remedy = "nothing was changed; trying again is safe"
    return StorageError(f"{what}: {name}: {error}; {remedy}")


_databases: weakref.WeakSet[FileDatabase] = weakref.WeakSet()
_frozen: list[FileDatabase] = []


def _before_fork() -> None:
    _frozen[:] = _databases
    for database in _frozen:
        database.freeze()


def _after_fork() -> None:
    for database in _frozen:
        database.thaw()
    _frozen.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_frozen.clear)
