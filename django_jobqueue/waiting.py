"""Waiting for results: every waiter of a queue, woken by notifications or by a look at the state."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .exceptions import JobCancelledError, JobTimeoutError, StorageError
from .storage.base import Record, Storage

logger = logging.getLogger(__name__)

#: Seconds between attempts to look at all states after the subscriber came back.
RECHECK_DELAY = 0.5


class Waiter:
    """One caller's wait for one job. Owned by that caller; others only call ``notify`` and ``deliver``."""

    def __init__(self, job_id: str, lookup: Callable[[], Record | None]) -> None:
        self.job_id = job_id
        self._lookup = lookup
        self._woken = threading.Event()
        self._cancelled = False
        self._delivered: list[Record | None] = []

    def notify(self, event: str) -> None:
        """A notification of the job has come."""
        if event == "cancelled":
            self._cancelled = True
        if event in ("completed", "failed", "cancelled"):
            self._woken.set()

    def deliver(self, record: Record | None) -> None:
        """Somebody has looked the job up for this waiter."""
        self._delivered.append(record)
        self._woken.set()

    def record(self, timeout: float | None) -> Record | None:
        """Wait until the job has ended.

        Args:
            timeout: seconds; ``None`` waits without limit.

        Returns:
            The record of the finished job; ``None`` when the queue does not know it any more.

        Raises:
            JobCancelledError: it was cancelled.
            JobTimeoutError: it has not ended in time.
            StorageError: the storage could not be asked.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            in_time = self._woken.wait(left)
            self._woken.clear()
            if self._cancelled:
                raise JobCancelledError(self.job_id)
            # At the end of the time a last look, in case that the notification was lost.
            record = self._delivered.pop() if self._delivered else self._lookup()
            if record is None or record.state.status.is_terminal:
                return record
            if not in_time:
                raise JobTimeoutError(self.job_id, timeout or 0.0)


class WaitingRoom:
    """All waiters of one queue. ``_waiters`` is guarded by ``_lock``."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._waiters: dict[str, list[Waiter]] = {}
        self._rechecking = False

    @contextmanager
    def expecting(self, job_id: str) -> Iterator[Waiter]:
        """A waiter that from now on hears of the job.

        Raises:
            StorageError: the subscription could not be made.
        """
        waiter = Waiter(job_id, lambda: self._storage.lookup([job_id])[0])
        with self._lock:
            self._waiters.setdefault(job_id, []).append(waiter)
        try:
            end = self._storage.listen_job(job_id, waiter.notify, self._resynced)
            try:
                yield waiter
            finally:
                end()
        finally:
            with self._lock:
                self._waiters[job_id].remove(waiter)
                if not self._waiters[job_id]:
                    del self._waiters[job_id]

    def _resynced(self) -> None:
        """The subscription was lost and is back: look at the states of all waiting jobs at once."""
        with self._lock:
            if self._rechecking or not self._waiters:
                return
            self._rechecking = True
        # Not in the subscriber's thread: that one must go on delivering.
        threading.Thread(target=self._recheck, name="jobqueue-recheck", daemon=True).start()

    def _recheck(self) -> None:
        while True:
            with self._lock:
                ids = list(self._waiters)
                if not ids:
                    self._rechecking = False
                    return
            try:
                records = self._storage.lookup(ids)
            except StorageError as error:
                logger.warning("waiters cannot look at their jobs yet: %s", error)
                time.sleep(RECHECK_DELAY)
                continue
            with self._lock:
                self._rechecking = False
                for job_id, record in zip(ids, records, strict=True):
                    if record is None or record.state.status.is_terminal:
                        for waiter in self._waiters.get(job_id, ()):
                            waiter.deliver(record)
            return
