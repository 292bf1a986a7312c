"""``Inbox``: the jobs for which no thread is free yet, and the fetcher's duty, as the executors share them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from .runner import Lease

#: Seconds between two looks at the job that the one on duty runs.
LOOK_INTERVAL = 0.004

#: Looks that find the same job until another takes the duty over; one is not enough: machines stand still at times.
LOOKS = 2


class Duty(Enum):
    """What an executor can do but running jobs.

    ``TAKE_OVER`` is to fetch, too: the one that had the duty is busy with a job that takes long.
    """

    FETCH = "fetch"
    TAKE_OVER = "take over"


@dataclass(slots=True, eq=False)
class Errand:
    """Jobs that the one on duty runs itself. While one takes too long, the duty may be given to another.

    Attributes:
        looks: how many have found the job that runs now.
    """

    looks: int = 0


class Inbox:
    """What an executor takes, guarded by ``_changed``; and a thread that watches over errands.

    One executor is woken when jobs come, and it wakes the next one when it leaves some. Jobs that end sooner than a
    thread wakes are left to the one that is on duty. The duty lies here, too, while it passes from one to another,
    and is taken first.

    Args:
        limit: jobs that may run at a time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[Lease] = deque()
        self._free_duty: Duty | None = Duty.FETCH
        self._errand: Errand | None = None
        self._spreads = True
        self._idle = 0
        self._busy = 0
        self._is_waking = False
        self._is_closed = False
        self._is_watched = threading.Event()

    def watch(self) -> None:
        """Begin to watch over errands, in a thread that sleeps while there are none."""
        threading.Thread(target=self._watch, name="jobqueue-watch", daemon=True).start()

    def put(self, leases: Iterable[Lease], spreads: bool) -> None:
        """Jobs to run, in this order.

        Args:
            leases: the jobs.
            spreads: whether executors shall take them; if not, the one on duty runs them, or calls ``spread``.
        """
        with self._changed:
            self._waiting.extend(leases)
            self._spreads = spreads
            self._wake_one()

    def spread(self) -> None:
        """Let executors take what waits after all: it takes longer than was thought."""
        with self._changed:
            self._spreads = True
            self._wake_one()

    def pass_duty(self) -> bool:
        """Give the duty to an idle executor, as the caller has a job to run; false when none is idle."""
        with self._changed:
            if not self._idle:
                return False
            self._free_duty = Duty.FETCH
            self._busy += 1
            self._wake_one()
            return True

    def get(self, had_job: bool) -> Lease | Duty | None:
        """The duty or the next job, as soon as there is one; ``None`` when there will be none.

        Args:
            had_job: whether this executor has run a job since its last call.
        """
        with self._changed:
            self._busy -= had_job
            while not (self._free_duty or self._has_job()):
                if self._is_closed:
                    return None
                self._idle += 1
                self._changed.wait()
                self._is_waking = False
            taken: Lease | Duty
            if self._free_duty is not None:
                taken, self._free_duty = self._free_duty, None
            else:
                taken = self._waiting.popleft()
                self._busy += 1
            self._wake_one()
            return taken

    def begin_errand(self) -> Errand:
        """The one on duty is about to run jobs."""
        errand = Errand()
        with self._changed:
            self._errand = errand
        if not self._is_watched.is_set():
            self._is_watched.set()
        return errand

    def take(self, errand: Errand, had_job: bool) -> Lease | None:
        """The next job of an errand; ``None`` when there is none, or the duty is another's.

        Args:
            errand: the caller's.
            had_job: whether the last call got a job, with which the caller is done.
        """
        with self._changed:
            self._busy -= had_job
            if self._errand is not errand or not self._waiting or self._busy >= self._limit:
                return None
            errand.looks = 0
            self._busy += 1
            return self._waiting.popleft()

    def end_errand(self, errand: Errand, had_job: bool) -> bool:
        """Whether the caller is still on duty.

        Args:
            errand: the caller's.
            had_job: as for ``take``.
        """
        with self._changed:
            self._busy -= had_job
            if self._errand is not errand:
                self._wake_one()
                return False
            self._errand = None
            return True

    @property
    def has_slot(self) -> bool:
        """Whether another job may run."""
        return self._busy < self._limit

    def __len__(self) -> int:
        return len(self._waiting)

    def take_back(self) -> list[Lease]:
        """The jobs that nobody has taken."""
        with self._changed:
            leases, self._waiting = list(self._waiting), deque()
            return leases

    def close(self) -> None:
        """Tell the executors that nothing comes any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._is_watched.set()

    def _has_job(self) -> bool:
        return bool(self._waiting) and self._spreads and self._busy < self._limit

    def _wake_one(self) -> None:
        if self._idle and not self._is_waking and (self._free_duty or self._has_job()):
            self._idle -= 1
            self._is_waking = True
            self._changed.notify()

    def _watch(self) -> None:
        while not self._is_closed:
            self._is_watched.wait()
            time.sleep(LOOK_INTERVAL)
            self._is_watched.clear()
            if self._errand_goes_on():
                self._is_watched.set()

    def _errand_goes_on(self) -> bool:
        """Whether there is an errand; one that takes too long ends here, and its duty is free."""
        with self._changed:
            if self._errand is None:
                return False
            self._errand.looks += 1
            if self._errand.looks < LOOKS:
                return True
            self._errand = None
            self._free_duty = Duty.TAKE_OVER
            self._spreads = True
            self._wake_one()
            return False
