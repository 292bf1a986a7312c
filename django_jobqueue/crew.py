"""``Crew``: the workers of one process, one a queue. They start together and stop together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from .exceptions import InvalidOption
from .memory import MemoryWatch
from .queue import Queue
from .worker import Worker

logger = logging.getLogger(__name__)

#: Seconds that running jobs have when their process is only to be replaced: as long as they take
#: (a year), since giving them back would run them twice.
RECYCLING_GRACE = 365 * 24 * 3600.0


class End(Enum):
    """Why a crew has ended."""

    #: It was told to stop, or a burst found nothing more to do.
    DONE = "done"
    #: It did its number of jobs, its process grew too large, or its code is old: another should take its place.
    SPENT = "spent"
    #: A worker ended with an error.
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class CrewOptions:
    """How a crew works.

    Attributes:
        concurrency: jobs at a time of all its queues together; ``None``: of each what its settings say.
        burst: stop when nothing is queued and nothing runs here.
        reaper: whether each worker runs an embedded reaper.
        max_jobs: the crew ends when one of its workers has done so many.
        max_memory: megabytes of resident memory above which it ends.
    """

    concurrency: int | None = None
    burst: bool = False
    reaper: bool = True
    max_jobs: int | None = None
    max_memory: int | None = None

    def __post_init__(self) -> None:
        if self.max_memory is not None and self.max_memory < 1:
            raise InvalidOption(f"max_memory is {self.max_memory!r}; it must be a number of megabytes from 1 up")


class Crew:
    """The workers of some queues.

    When one of them ends (but for a burst that found its queue empty), the others are asked to end
    too, so that a process never goes on with a queue nobody serves.

    Raises:
        InvalidOption: an option is out of its range.
        ImportError: a handler cannot be imported.
    """

    def __init__(self, queues: Sequence[Queue], options: CrewOptions) -> None:
        self._options = options
        self.workers = [
            Worker(queue, concurrency=share, reaper=options.reaper, max_jobs=options.max_jobs)
            for queue, share in zip(queues, shares(options.concurrency, len(queues)), strict=True)
        ]
        self._joins = [threading.Thread(target=self._join, args=(worker,), daemon=True) for worker in self.workers]
        self._watch = None if options.max_memory is None else MemoryWatch(options.max_memory, self._outgrown)
        # Set by any thread, before the workers hear of it.
        self._is_spent = False

    @property
    def errors(self) -> list[BaseException]:
        """Why workers ended that had not been told to."""
        return [worker.error for worker in self.workers if worker.error is not None]

    @property
    def end(self) -> End:
        """Why the crew has ended."""
        if self.errors:
            return End.BROKEN
        return End.SPENT if self._is_spent else End.DONE

    def start(self) -> None:
        """Work in threads; returns at once."""
        for worker, join in zip(self.workers, self._joins, strict=True):
            worker.start(burst=self._options.burst)
            join.start()
        if self._watch is not None:
            self._watch.start()

    def request_stop(self, timeout: float | None = None) -> None:
        """Begin to stop; a second call may shorten the time that running jobs have.

        Args:
            timeout: seconds; ``None`` takes each queue's ``SHUTDOWN_TIMEOUT``.
        """
        for worker in self.workers:
            worker.request_stop(timeout)

    def retire(self, timeout: float = RECYCLING_GRACE) -> None:
        """Begin to stop, for another process to take this one's place. See ``request_stop``."""
        self._is_spent = True
        self.request_stop(timeout)

    def join(self) -> None:
        """Wait until all workers have ended."""
        for join in self._joins:
            join.join()
        if self._watch is not None:
            self._watch.stop()

    def _join(self, worker: Worker) -> None:
        try:
            worker.join()
        except Exception as error:
            # Kept as its ``error``, to be told at the end with those of the others.
            logger.debug("worker %s ended with %r", worker.id, error)
        if worker.jobs_left == 0:
            logger.info("worker %s has done its %s jobs", worker.id, self._options.max_jobs)
            self.retire()
        elif not self._options.burst or worker.error is not None:
            self.request_stop(RECYCLING_GRACE)

    def _outgrown(self, size: float) -> None:
        logger.warning(
            "this process occupies %.0f MB of memory, more than the %d MB allowed: it stops when its jobs have ended",
            size, self._options.max_memory,
        )  # fmt: skip
        self.retire()


def shares(total: int | None, queues: int) -> list[int | None]:
    """The slots of each queue: equal parts, at least one; the first ones get what does not divide.

    Raises:
        InvalidOption: there is nothing to share.
    """
    if total is None:
        return [None] * queues
    if total < 1:
        raise InvalidOption(f"concurrency is {total!r}; it must be a whole number from 1 up")
    each, rest = divmod(total, queues)
    return [max(1, each + (n < rest)) for n in range(queues)]
