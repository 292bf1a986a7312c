"""The jobs in a worker's hands, as its threads share them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from .message import JobMessage
from .runner import Finished, Lease


class Leases:
    """What a worker holds, and what of it has finished but is not stored yet.

    Shared by the fetcher, the executors and the heartbeat; everything is guarded by ``changed``,
    which is notified when a job has finished or when the fetcher should look up.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._held: dict[bytes, Lease] = {}
        self._finished: deque[Finished] = deque()
        self._fetcher_waits = False
        self._flushing = False
        self._enough = 1

    def __len__(self) -> int:
        return len(self._held)

    def running(self) -> int:
        """How many have not ended."""
        with self.changed:
            return sum(not lease.has_ended for lease in self._held.values())

    def __contains__(self, raw: object) -> bool:
        return raw in self._held

    def messages(self) -> tuple[list[JobMessage], list[JobMessage]]:
        """The messages of the jobs that have begun, and of those that are held ready."""
        begun, ready = list[JobMessage](), list[JobMessage]()
        with self.changed:
            for lease in self._held.values():
                (ready if lease.is_ready else begun).append(lease.message)
        return begun, ready

    def has_finished(self) -> bool:
        """Whether a finished job waits to be stored. Call with ``changed`` held."""
        return bool(self._finished)

    def await_finished(self, count: int, timeout: float) -> bool:
        """Wait until so many finished jobs wait to be stored; false after ``timeout`` seconds."""
        with self.changed:
            self._enough = count
            if len(self._finished) < count:
                self.changed.wait(timeout)
            self._enough = 1
            return len(self._finished) >= count

    def add(self, leases: Iterable[Lease]) -> None:
        """Jobs were started."""
        with self.changed:
            for lease in leases:
                raw = lease.message.raw
                if raw in self._held:
                    # It was lost, went back, and came again; the first one must not be run or stored as this one.
                    self._held[raw].given_back = True
                self._held[raw] = lease

    def finish(self, finished: Finished) -> bool:
        """A job has finished; whether the caller must store it, as the fetcher waits for new jobs."""
        with self.changed:
            if finished.lease.given_back:
                return False
            finished.lease.has_ended = True
            self._finished.append(finished)
            if self._fetcher_waits and not self._flushing:
                self._flushing = True
                return True
            if len(self._finished) >= self._enough:
                self.changed.notify_all()
            return False

    def take_finished(self) -> list[Finished]:
        """What has finished, to be stored by the caller; it stays held until ``remove``."""
        with self.changed:
            taken = list(self._finished)
            self._finished.clear()
            return taken

    def take_finished_or_end_flush(self) -> list[Finished]:
        """For the executor that stores: what has finished, or nothing, and then its duty ends."""
        with self.changed:
            taken = list(self._finished)
            self._finished.clear()
            self._flushing = bool(taken)
            return taken

    def keep(self, finished: Iterable[Finished]) -> None:
        """It could not be stored now: keep it for the next time, in its order."""
        with self.changed:
            self._finished.extendleft(reversed(list(finished)))
            self._flushing = False
            self.changed.notify_all()

    def remove(self, leases: Iterable[Lease]) -> None:
        """Jobs are stored, given back or lost: no longer held."""
        with self.changed:
            for lease in leases:
                if self._held.get(lease.message.raw) is lease:
                    del self._held[lease.message.raw]
            self.changed.notify_all()

    def give_back_all(self) -> list[Lease]:
        """Every job still held; whatever their runs return from now on is ignored."""
        with self.changed:
            leases = list(self._held.values())
            for lease in leases:
                lease.given_back = True
                lease.context.cancel()
            self._finished.clear()
            return leases

    def mark_lost(self, lost: Iterable[bytes]) -> list[Lease]:
        """Tell jobs that their lease is gone; returns those that had not been told."""
        with self.changed:
            # A job that has ended gives its lease back when it is stored, just now perhaps.
            leases = [self._held[raw] for raw in lost if raw in self._held]
            told = [lease for lease in leases if not (lease.has_ended or lease.context.is_cancelled())]
            for lease in told:
                lease.context.cancel()
            return told

    def fetcher_waits(self, waits: bool) -> bool:
        """The fetcher begins or ends to wait for new jobs; false when finished ones come first."""
        with self.changed:
            if waits and self._finished:
                return False
            self._fetcher_waits = waits
            return True
