"""``JobContext``: what a running job can know about itself."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .message import JobMessage

if TYPE_CHECKING:
    from .queue import Queue


@dataclass(slots=True)
class JobContext:
    """The job that is running: passed first with ``takes_context=True``, and to a ``HANDLER``.

    Attributes:
        id: the job's id.
        queue: the ``Queue`` it came from.
        payload: its payload, decoded.
        attempts: which run this is, from 1.
        max_attempts: how many runs it may have.
        created_at: when it was enqueued, in ms since the epoch, by the producer's clock.
        worker_id: the worker that runs it.
    """

    id: str
    queue: Queue
    payload: Any
    attempts: int
    max_attempts: int
    created_at: int
    worker_id: str
    reported: bool = field(default=False, init=False)
    _cancelled: bool = field(default=False, init=False, repr=False)

    @classmethod
    def of(cls, message: JobMessage, queue: Queue, worker_id: str) -> JobContext:
        """The context of a message's run."""
        return cls(
            id=message.id,
            queue=queue,
            payload=message.payload,
            attempts=message.attempts + 1,
            max_attempts=message.max_attempts,
            created_at=message.created_at,
            worker_id=worker_id,
        )

    def is_cancelled(self) -> bool:
        """Whether this run is in vain: its lease was lost, or the worker gave the job back.

        A long job should look now and then and return early; what it returns is not stored.
        """
        return self._cancelled

    def cancel(self) -> None:
        """Tell the job that its run is in vain. Called by the worker."""
        self._cancelled = True

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Report how far the job is; ``queue.get_status(id).progress`` shows the last report.

        Args:
            current: how much is done.
            total: how much there is to do.
            message: a short text for people.

        Raises:
            StorageError: the report could not be stored.
        """
        report = {"current": current, "total": total, "message": message, "at": int(time.time() * 1000)}
        self.reported = True
        self.queue.storage.set_progress(self.id, json.dumps(report).encode())
