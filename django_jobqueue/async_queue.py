"""The ``a``-prefixed twins of every ``Queue`` call that does I/O.

Short calls run in a few threads; waiting for a result holds none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Unpack, cast

from asgiref.sync import sync_to_async

from .listing import JobDetails, JobPage, Part
from .message import JobState, validate_job_id
from .options import Duration, EnqueueOptions, wait_seconds
from .results import EnqueueResult, JobStatus, QueueStats, WorkerInfo
from .threads import in_thread
from .waiting import is_over

if TYPE_CHECKING:
    from .queue import Queue


class AsyncCalls:
    """What ``Queue`` offers to coroutines; each method does and raises what its twin does.

    A task that is cancelled meanwhile leaves no waiter and no subscription behind. A call to the
    server that was under way is finished: the job may be enqueued.
    """

    @property
    def _queue(self) -> Queue:
        # Only Queue derives from this class.
        return cast("Queue", self)

    async def aenqueue(self, id: str, payload: Any = None, **options: Unpack[EnqueueOptions]) -> EnqueueResult:
        """See ``Queue.enqueue``."""
        return (await self.aenqueue_many([(id, payload)], **options))[0]

    async def aenqueue_many(
        self, jobs: Iterable[tuple[str, Any]], **options: Unpack[EnqueueOptions]
    ) -> list[EnqueueResult]:
        """See ``Queue.enqueue_many``."""
        if options.get("on_commit"):
            # Transactions live in the thread that Django's async code uses for the database.
            return await sync_to_async(self._queue.enqueue_many)(jobs, **options)
        return await in_thread(self._queue.enqueue_many, jobs, **options)

    async def aenqueue_and_wait(
        self,
        id: str,
        payload: Any = None,
        *,
        timeout: Duration | None = 30,
        **options: Unpack[EnqueueOptions],
    ) -> Any:
        """See ``Queue.enqueue_and_wait``."""
        job = self._queue._prepare_awaited(id, payload, options)
        wait_s = wait_seconds(timeout)
        async with self._queue._waiting.aexpecting(id) as waiter:
            (accepted,) = await in_thread(self._queue.storage.enqueue, [job])
            if accepted.standing is None:
                self._queue._announce(job)
            elif accepted.standing.status.is_terminal:
                return self._queue._outcome(id, (await in_thread(self._queue.storage.lookup, [id]))[0])
            return self._queue._outcome(id, await waiter.record(wait_s))

    async def await_result(self, id: str, timeout: Duration | None = 30) -> Any:
        """See ``Queue.wait``; ``await`` is a word of the language, so its twin has another name."""
        validate_job_id(id)
        wait_s = wait_seconds(timeout)
        async with self._queue._waiting.aexpecting(id) as waiter:
            record = (await in_thread(self._queue.storage.lookup, [id]))[0]
            if not is_over(record):
                record = await waiter.record(wait_s)
            return self._queue._outcome(id, record)

    async def acancel(self, id: str) -> str:
        """See ``Queue.cancel``."""
        return await in_thread(self._queue.cancel, id)

    async def aretry(self, id: str) -> bool:
        """See ``Queue.retry``."""
        return await in_thread(self._queue.retry, id)

    async def adelete(self, id: str) -> str:
        """See ``Queue.delete``."""
        return await in_thread(self._queue.delete, id)

    async def alist_jobs(self, part: Part | str, offset: int = 0, limit: int = 50) -> JobPage:
        """See ``Queue.list_jobs``."""
        return await in_thread(self._queue.list_jobs, part, offset, limit)

    async def ainspect(self, id: str) -> JobDetails | None:
        """See ``Queue.inspect``."""
        return await in_thread(self._queue.inspect, id)

    async def aupdate_result_ttl(self, id: str, ttl: Duration) -> str:
        """See ``Queue.update_result_ttl``."""
        return await in_thread(self._queue.update_result_ttl, id, ttl)

    async def aget_result(self, id: str, default: Any = None) -> Any:
        """See ``Queue.get_result``."""
        return await in_thread(self._queue.get_result, id, default)

    async def aget_status(self, id: str) -> JobStatus | None:
        """See ``Queue.get_status``."""
        return await in_thread(self._queue.get_status, id)

    async def aget_job_state(self, id: str) -> JobState | None:
        """See ``Queue.get_job_state``."""
        return await in_thread(self._queue.get_job_state, id)

    async def aget_job_states(self, ids: Sequence[str]) -> dict[str, JobState | None]:
        """See ``Queue.get_job_states``."""
        return await in_thread(self._queue.get_job_states, ids)

    async def astats(self) -> QueueStats:
        """See ``Queue.stats``."""
        return await in_thread(self._queue.stats)

    async def aworkers(self) -> list[WorkerInfo]:
        """See ``Queue.workers``."""
        return await in_thread(self._queue.workers)

    async def asubscribe(self, handler: Callable[[str, str], None]) -> Callable[[], None]:
        """See ``Queue.subscribe``: the handler is called in the subscriber's thread, not in the event loop."""
        return await in_thread(self._queue.subscribe, handler)

    async def aclear(self) -> int:
        """See ``Queue.clear``."""
        return await in_thread(self._queue.clear)
