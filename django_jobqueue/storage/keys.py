"""The names of a queue's keys and channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

#: The channel of the scripts of the Node library 0.5.0, whatever its prefix is.
NODE_EVENTS = "job:events"


class Keys:
    """Every key and channel of one queue, made from its prefix.

    The names are the wire format; see ``docs/reference/wire-format.md``.
    """

    __slots__ = (
        "ahead_prefix",
        "cancelled",
        "completed",
        "dead",
        "errors",
        "events",
        "failed",
        "jobs",
        "lock",
        "malformed",
        "prefix",
        "processing_prefix",
        "progress",
        "queue",
        "results",
        "scheduled",
        "scheduled_messages",
        "worker_info",
        "workers",
    )

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.jobs = f"{prefix}jobs"
        self.queue = f"{prefix}queue"
        self.results = f"{prefix}results"
        self.errors = f"{prefix}errors"
        self.workers = f"{prefix}workers"
        self.worker_info = f"{prefix}worker-info"
        self.scheduled = f"{prefix}scheduled"
        self.scheduled_messages = f"{prefix}scheduled:messages"
        self.completed = f"{prefix}completed"
        self.failed = f"{prefix}failed"
        self.dead = f"{prefix}dead"
        self.cancelled = f"{prefix}cancelled"
        self.progress = f"{prefix}progress"
        self.malformed = f"{prefix}malformed"
        self.lock = f"{prefix}reaper:lock"
        self.processing_prefix = f"{prefix}processing:"
        self.ahead_prefix = f"{prefix}ahead:"
        self.events = f"{prefix}events"

    def processing(self, worker_id: str) -> str:
        """The list of messages that a worker holds."""
        return self.processing_prefix + worker_id

    def ahead(self, worker_id: str) -> str:
        """The set of ids that a worker holds ready and has not begun."""
        return self.ahead_prefix + worker_id

    def notify(self, job_id: str) -> str:
        """The channel that wakes the waiters of a job."""
        return f"{self.prefix}notify:{job_id}"

    @property
    def lock_channel(self) -> str:
        """The channel on which a leader says that it gave up the lock."""
        return f"{self.lock}:released"

    @property
    def schedule_channel(self) -> str:
        """The channel on which it is told that a job is due sooner than all others."""
        return f"{self.scheduled}:first"

    def fixed(self) -> Iterator[str]:
        """All keys but the processing lists."""
        yield from (self.jobs, self.queue, self.results, self.errors, self.workers, self.worker_info)
        yield from (self.scheduled, self.scheduled_messages, self.completed, self.failed, self.dead)
        yield from (self.cancelled, self.progress, self.malformed, self.lock)

    def types(self, others: Iterable[str] = ()) -> dict[str, str]:
        """The type of each of them, as the server's TYPE names it, and of those among others that are a worker's."""
        lists = (self.queue, self.malformed)
        zsets = (self.scheduled, self.completed, self.failed)
        types = {
            name: "list" if name in lists else "zset" if name in zsets else "string" if name == self.lock else "hash"
            for name in self.fixed()
        }
        for name in others:
            if name.startswith((self.processing_prefix, self.ahead_prefix)):
                types[name] = "list" if name.startswith(self.processing_prefix) else "set"
        return types

    def processing_pattern(self) -> str:
        """A glob for SCAN that matches this queue's processing lists."""
        return _literally(self.processing_prefix) + "*"

    def ahead_pattern(self) -> str:
        """A glob for SCAN that matches the sets of what this queue's workers hold ready."""
        return _literally(self.ahead_prefix) + "*"


def _literally(text: str) -> str:
    return "".join(f"\\{char}" if char in "*?[]\\^" else char for char in text)
