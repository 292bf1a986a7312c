"""Whether a queue is being worked on: what a probe asks, and what it answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum

from .exceptions import StorageError
from .queue import Queue
from .results import QueueStats

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a healthy queue has.

    Attributes:
        max_age: seconds that its oldest queued job may be old; ``None`` for no limit.
        workers: whether a living worker is needed. Workers of the Node library do not count, as they
            send no heartbeat.
        leader: whether a reaper must lead; without one, lost and delayed jobs stay where they are.
    """

    max_age: float | None = None
    workers: bool = True
    leader: bool = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A queue at one moment.

    Attributes:
        stats: the sizes of its parts.
        alive_workers: workers with a recent heartbeat.
        oldest_age: seconds since the job at the head was enqueued; ``None`` when there is none.
    """

    stats: QueueStats
    alive_workers: int
    oldest_age: float | None

    @classmethod
    def of(cls, queue: Queue) -> Snapshot:
        """Look at a queue.

        Raises:
            StorageError: it cannot be seen.
        """
        age_ms = queue.storage.oldest_queued()
        alive = sum(worker.alive for worker in queue.workers())
        return cls(queue.stats(), alive, None if age_ms is None else age_ms / 1000)


class Reason(StrEnum):
    """Why a queue is unhealthy."""

    UNREACHABLE = "unreachable"
    NO_WORKERS = "no_workers"
    NO_LEADER = "no_leader"
    TOO_OLD = "too_old"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; the message names no host, no worker and no job."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """The health of one queue.

    Attributes:
        alias: which queue.
        snapshot: what was seen; ``None`` when the server could not be reached.
        problems: why it is unhealthy; empty when it is healthy.
    """

    alias: str
    snapshot: Snapshot | None
    problems: tuple[Problem, ...] = ()


def examine(queue: Queue, limits: Limits) -> QueueHealth:
    """Look whether a queue is healthy. Never raises ``StorageError``: that is an answer too."""
    try:
        snapshot = Snapshot.of(queue)
    except StorageError as error:
        # The details may name hosts, so they go to the log alone.
        logger.warning("queue %r is unhealthy: %s", queue.alias, error)
        problem = Problem(Reason.UNREACHABLE, "the server cannot be reached or refuses to answer; the log tells why")
        return QueueHealth(queue.alias, None, (problem,))
    return QueueHealth(queue.alias, snapshot, tuple(_problems(queue, snapshot, limits)))


def _problems(queue: Queue, snapshot: Snapshot, limits: Limits) -> list[Problem]:
    found = []
    if limits.workers and not snapshot.alive_workers:
        found.append(Problem(Reason.NO_WORKERS, "no worker is alive"))
    if limits.leader and queue.config.reaper.leader_election and snapshot.stats.leader is None:
        found.append(Problem(Reason.NO_LEADER, "no reaper leads, so that lost and delayed jobs do not come back"))
    age = snapshot.oldest_age
    if limits.max_age is not None and age is not None and age > limits.max_age:
        found.append(
            Problem(Reason.TOO_OLD, f"the oldest queued job is {age:.0f} s old, more than {limits.max_age:g} s")
        )
    return found
