"""Events, from the ``events`` table to whoever listens in this process."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ...exceptions import StorageError
from .database import Database

logger = logging.getLogger(__name__)

#: Seconds without any listener after which the thread ends.
LINGER = 5.0

#: Seconds between attempts to read while the database cannot be read.
RETRY_INTERVAL = 1.0

#: Events read at a time.
PAGE = 1000


@dataclass(frozen=True, eq=False, slots=True)
class Listener:
    """Who is called with (job id, event), and of what.

    Attributes:
        on_event: the callback, in the feed's thread.
        events: the events to hear of; ``None`` for all.
        job_id: the only job to hear of; ``None`` for all.
        on_gap: called when events were missed.
    """

    on_event: Callable[[str, str], None]
    events: frozenset[str] | None = None
    job_id: str | None = None
    on_gap: Callable[[], None] | None = None

    def hears(self, job_id: str, event: str) -> bool:
        """Whether an event is for this one."""
        return (self.job_id is None or self.job_id == job_id) and (self.events is None or event in self.events)


class Feed:
    """Delivers the events of one queue, in one thread that lives while somebody listens.

    What this process commits is delivered at once; what others commit is found by looking at the
    newest number every ``poll_interval``. ``_lock`` guards the listeners, each with the number of
    the last event before it began to listen, and the life of the thread. ``_seen`` is the thread's.
    """

    def __init__(self, database: Database, queue_name: str) -> None:
        self._database = database
        self._queue = queue_name
        self._lock = threading.Lock()
        self._listeners: dict[Listener, int] = {}
        self._thread: threading.Thread | None = None
        # An Event would do, but waiting for one costs more than all the rest of a look.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._seen = 0
        self._failing = False
        database.observe(self.wake)

    def wake(self) -> None:
        """Look at once."""
        if self._wakes.empty():
            self._wakes.put(None)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call a listener for each event from now on.

        Returns:
            A callable that ends it. It may be called more than once.

        Raises:
            StorageError: the database cannot be read.
        """
        since = self._newest()
        with self._lock:
            self._listeners[listener] = since
            if self._thread is None:
                self._seen = since
                self._thread = threading.Thread(target=self._run, name="jobqueue-feed", daemon=True)
                self._thread.start()

        def end() -> None:
            with self._lock:
                self._listeners.pop(listener, None)

        return end

    def close(self) -> None:
        """End the thread; listeners hear no more."""
        with self._lock:
            self._listeners.clear()
            thread, self._thread = self._thread, None
        self.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # The thread

    def _run(self) -> None:
        quiet_since = time.monotonic()
        while self._goes_on(quiet_since):
            try:
                if self._is_woken() or self._failing or self._database.has_changed():
                    self._deliver()
                self._failing = False
            except StorageError as error:
                if not self._failing:
                    logger.warning("events cannot be read, waiters hear of them later: %s", error)
                self._failing = True
            if self._listeners:
                quiet_since = time.monotonic()

    def _is_woken(self) -> bool:
        try:
            self._wakes.get(timeout=RETRY_INTERVAL if self._failing else self._database.poll_interval)
        except queue.Empty:
            return False
        return True

    def _goes_on(self, quiet_since: float) -> bool:
        with self._lock:
            if self._thread is not threading.current_thread():
                return False  # closed
            if self._listeners or time.monotonic() - quiet_since < LINGER:
                return True
            self._thread = None
            return False

    def _deliver(self) -> None:
        newest = self._newest()
        if newest < self._seen:
            self._tell_of_gap(newest)  # another file has taken the place of ours
        while self._seen < newest:
            with self._database.reading("reading events") as connection:
                page = connection.execute(
                    "SELECT seq, queue, job, event FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (self._seen, PAGE)
                ).fetchall()
            if not page:
                return
            if page[0][0] > self._seen + 1:
                self._tell_of_gap(page[0][0] - 1)
            for seq, queue_name, job_id, event in page:
                if queue_name == self._queue:
                    self._tell(seq, job_id, event)
                self._seen = seq

    def _newest(self) -> int:
        with self._database.reading("looking for events") as connection:
            (newest,) = connection.execute("SELECT MAX(seq) FROM events").fetchone()
        return int(newest or 0)

    def _tell(self, seq: int, job_id: str, event: str) -> None:
        with self._lock:
            listeners = [one for one, since in self._listeners.items() if seq > since and one.hears(job_id, event)]
        for listener in listeners:
            self._call(lambda one=listener: one.on_event(job_id, event))  # type: ignore[misc]

    def _tell_of_gap(self, seen: int) -> None:
        self._seen = seen
        with self._lock:
            for listener in self._listeners:
                self._listeners[listener] = min(self._listeners[listener], seen)
            callbacks = {one.on_gap for one in self._listeners if one.on_gap is not None}
        self._call(*callbacks)

    @staticmethod
    def _call(*callbacks: Callable[[], None]) -> None:
        for callback in callbacks:
            try:
                callback()
            except Exception:
                # A listener's fault must not silence the others.
                logger.exception("a listener of the queue's events raised")
