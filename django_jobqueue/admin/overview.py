"""The first page: all queues with their counts, leader and workers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ..exceptions import JobQueueError
from ..listing import Part
from ..queue import Queue, queues
from ..results import QueueStats, WorkerInfo
from .display import Moment, clean, moment
from .links import Links

#: Workers shown of one queue, those that hold jobs first.
MAX_WORKERS = 50


@dataclass(frozen=True, slots=True)
class Tab:
    """A part of a queue: its size, and the way to its jobs."""

    part: Part
    count: int
    url: str
    is_current: bool = False

    @property
    def count_text(self) -> str:
        """The size with thousands separators."""
        return f"{self.count:,}"


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """A worker as shown."""

    id: str
    is_alive: bool
    processing: int
    concurrency: int | None
    process: str
    version: str
    heartbeat: Moment | None
    started: Moment | None


@dataclass(frozen=True, slots=True)
class QueueCard:
    """A queue as shown; with a problem when its server could not be asked."""

    alias: str
    url: str
    tabs: list[Tab] = field(default_factory=list)
    workers: list[WorkerLine] = field(default_factory=list)
    alive: int = 0
    hidden_workers: int = 0
    leader: str | None = None
    problem: str = ""


def overview(links: Links) -> list[QueueCard]:
    """All queues; one whose server is down does not hide the others."""
    cards = []
    for alias in queues:
        try:
            cards.append(_card(queues[alias], links))
        except JobQueueError as error:
            cards.append(QueueCard(alias, links.jobs(alias), problem=str(error)))
    return cards


def tabs(stats: QueueStats, alias: str, links: Links, current: Part | None = None) -> list[Tab]:
    """The parts of a queue."""
    return [Tab(part, count_of(stats, part), links.jobs(alias, part), part is current) for part in Part]


def count_of(stats: QueueStats, part: Part) -> int:
    """The size of a part."""
    count: int = getattr(stats, part)
    return count


def _card(queue: Queue, links: Links) -> QueueCard:
    stats, workers = queue.stats(), queue.workers()
    shown = sorted(workers, key=lambda worker: (-worker.processing, not worker.alive))[:MAX_WORKERS]
    now_ms = int(time.time() * 1000)
    return QueueCard(
        queue.alias,
        links.jobs(queue.alias),
        tabs(stats, queue.alias, links),
        [_line(worker, now_ms) for worker in shown],
        alive=sum(worker.alive for worker in workers),
        hidden_workers=len(workers) - len(shown),
        leader=stats.leader,
    )


def _line(worker: WorkerInfo, now_ms: int) -> WorkerLine:
    return WorkerLine(
        worker.id,
        worker.alive,
        worker.processing,
        worker.concurrency,
        clean(f"{worker.host}:{worker.pid}" if worker.host else ""),
        clean(worker.version or ""),
        moment(worker.heartbeat, now_ms),
        moment(worker.started, now_ms),
    )
