"""Waiting for results: every waiter of a queue, woken by notifications or by a look at the state."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from .exceptions import JobCancelledError, JobTimeoutError, StorageError
from .storage.base import Listening, Record, Storage
from .threads import in_thread

logger = logging.getLogger(__name__)

#: Seconds between attempts to look at all states after the subscriber came back.
RECHECK_DELAY = 0.5

#: Seconds until a waiter looks whose subscription was not confirmed when its job was enqueued.
FIRST_LOOK = 0.05

#: Seconds between two looks at all jobs that are waited for. They find what nobody told: the server was
#: emptied, or the Node library removed the job.
LOOK_INTERVAL = 15.0


class Patience:
    """How long a waiter waits before it looks though it was told nothing.

    As long as it has not looked since its subscription stood, a notification may have been missed: then it looks
    soon, and again at longer intervals.

    Args:
        timeout: seconds that it waits in all; ``None`` waits without limit.
        listening: the subscription; ``None`` for one that stood before the job could end.
    """

    def __init__(self, timeout: float | None, listening: Listening | None) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._listening = listening
        self._interval = FIRST_LOOK

    def seconds(self) -> float | None:
        """Seconds to wait now; ``None`` until it is told."""
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        if self._listening is None:
            return left
        interval, self._interval = self._interval, min(2 * self._interval, LOOK_INTERVAL)
        return interval if left is None else min(interval, left)

    def will_look(self) -> bool:
        """The waiter is about to look; whether for the last time."""
        if self._listening is not None and self._listening.stands():
            self._listening = None
        return self._deadline is not None and time.monotonic() >= self._deadline


class News:
    """What a waiter has heard of its job so far."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self._is_cancelled = False
        self._records: list[Record] = []

    def note(self, event: str) -> bool:
        """Note a notification; whether the waiter should look up."""
        if event == "cancelled":
            self._is_cancelled = True
        return event in ("completed", "failed", "cancelled")

    def note_record(self, record: Record | None) -> None:
        """Note what somebody has looked up for this waiter.

        That a job is unknown is not noted: whoever looked may have done so before the job of this
        waiter was enqueued. The waiter looks itself.
        """
        if record is not None:
            self._records.append(record)

    def take(self) -> Record | None:
        """The record that was noted, if any.

        Raises:
            JobCancelledError: the job was cancelled.
        """
        if self._is_cancelled:
            raise JobCancelledError(self.job_id)
        return self._records.pop() if self._records else None


def is_over(record: Record | None) -> bool:
    """Whether there is nothing more to wait for: the job has ended, or is not known any more."""
    return record is None or record.state.status.is_terminal


class Waiter(ABC):
    """One caller's wait for one job. ``notify`` and ``deliver`` are called from other threads."""

    #: The subscription, if it did not stand before the job could end.
    listening: Listening | None = None

    @abstractmethod
    def notify(self, event: str) -> None:
        """A notification of the job has come."""

    @abstractmethod
    def deliver(self, record: Record | None) -> None:
        """Somebody has looked the job up for this waiter."""


class ThreadWaiter(Waiter):
    """A waiter that blocks its thread."""

    def __init__(self, job_id: str, lookup: Callable[[], Record | None]) -> None:
        self._news = News(job_id)
        self._lookup = lookup
        self._woken = threading.Event()

    def notify(self, event: str) -> None:
        if self._news.note(event):
            self._woken.set()

    def deliver(self, record: Record | None) -> None:
        self._news.note_record(record)
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
        patience = Patience(timeout, self.listening)
        while True:
            self._woken.wait(patience.seconds())
            self._woken.clear()
            # At the end of the time a last look, in case that the notification was lost.
            is_last = patience.will_look()
            record = self._news.take() or self._lookup()
            if is_over(record):
                return record
            if is_last:
                raise JobTimeoutError(self._news.job_id, timeout or 0.0)


class TaskWaiter(Waiter):
    """A waiter that suspends its task and holds no thread. Made in the task's event loop."""

    def __init__(self, job_id: str, lookup: Callable[[], Awaitable[Record | None]]) -> None:
        self._news = News(job_id)
        self._lookup = lookup
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()

    def notify(self, event: str) -> None:
        if self._news.note(event):
            self._wake()

    def deliver(self, record: Record | None) -> None:
        self._news.note_record(record)
        self._wake()

    def _wake(self) -> None:
        # A loop that was closed has no tasks left that could wait.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._woken.set)

    async def record(self, timeout: float | None) -> Record | None:
        """As ``ThreadWaiter.record``."""
        patience = Patience(timeout, self.listening)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience.seconds()):
                    await self._woken.wait()
            self._woken.clear()
            is_last = patience.will_look()
            record = self._news.take() or await self._lookup()
            if is_over(record):
                return record
            if is_last:
                raise JobTimeoutError(self._news.job_id, timeout or 0.0)


class WaitingRoom:
    """All waiters of one queue. Everything is guarded by ``_lock``."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._waiters: dict[str, list[Waiter]] = {}
        self._rechecking = False
        self._recheck_again = False
        self._lookout: threading.Thread | None = None

    @contextmanager
    def expecting(self, job_id: str) -> Iterator[ThreadWaiter]:
        """A waiter that from now on hears of the job.

        Raises:
            StorageError: the subscription could not be made.
        """
        waiter = ThreadWaiter(job_id, lambda: self._storage.lookup([job_id])[0])
        with self._listed(job_id, waiter):
            listening = self._storage.listen_job(job_id, waiter.notify, self._resynced)
            try:
                waiter.listening = None if listening.stands() else listening
                yield waiter
            finally:
                listening.end()

    @asynccontextmanager
    async def aexpecting(self, job_id: str) -> AsyncIterator[TaskWaiter]:
        """As ``expecting``, for a task. A task that is cancelled on the way leaves nothing behind."""

        async def lookup() -> Record | None:
            return (await in_thread(self._storage.lookup, [job_id]))[0]

        waiter = TaskWaiter(job_id, lookup)
        subscription = _Subscription()
        with self._listed(job_id, waiter):
            try:
                listening = await in_thread(
                    subscription.open, lambda: self._storage.listen_job(job_id, waiter.notify, self._resynced)
                )
                waiter.listening = None if listening.stands() else listening
                yield waiter
            finally:
                subscription.close()

    @contextmanager
    def _listed(self, job_id: str, waiter: Waiter) -> Iterator[None]:
        with self._lock:
            self._waiters.setdefault(job_id, []).append(waiter)
            self._ensure_lookout()
        try:
            yield
        finally:
            with self._lock:
                self._waiters[job_id].remove(waiter)
                if not self._waiters[job_id]:
                    del self._waiters[job_id]

    def _ensure_lookout(self) -> None:
        # In a forked child the object is there, but its thread is not.
        if self._lookout is None or not self._lookout.is_alive():
            self._lookout = threading.Thread(target=self._look_out, name="jobqueue-lookout", daemon=True)
            self._lookout.start()

    def _look_out(self) -> None:
        """Look now and then, as long as anybody waits."""
        while True:
            time.sleep(LOOK_INTERVAL)
            with self._lock:
                if not self._waiters:
                    self._lookout = None
                    return
            if self._begin_recheck():
                self._recheck()

    def _resynced(self) -> None:
        """The subscription was lost and is back: look at the states of all waiting jobs at once."""
        if self._begin_recheck():
            # Not in the subscriber's thread: that one must go on delivering.
            threading.Thread(target=self._recheck, name="jobqueue-recheck", daemon=True).start()

    def _begin_recheck(self) -> bool:
        """Whether the caller is to look; false when somebody does, or when nobody waits."""
        with self._lock:
            if not self._waiters:
                return False
            # The look that is under way may have been before this gap.
            self._recheck_again = begun = self._rechecking
            self._rechecking = True
            return not begun

    def _recheck(self) -> None:
        while True:
            with self._lock:
                ids = list(self._waiters)
                self._recheck_again = False
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
                self._rechecking = self._recheck_again
                for job_id, record in zip(ids, records, strict=True):
                    if is_over(record):
                        for waiter in self._waiters.get(job_id, ()):
                            waiter.deliver(record)
                if not self._rechecking:
                    return


class _Subscription:
    """A subscription that is made in a thread while the task that wants it may go away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end: Callable[[], None] | None = None
        self._is_closed = False

    def open(self, listen: Callable[[], Listening]) -> Listening:
        """Subscribe; when nobody wants it any more by then, end it at once."""
        listening = listen()
        with self._lock:
            if not self._is_closed:
                self._end = listening.end
                return listening
        listening.end()
        return listening

    def close(self) -> None:
        """End it, now or as soon as it stands."""
        with self._lock:
            self._is_closed = True
            end, self._end = self._end, None
        if end is not None:
            end()
