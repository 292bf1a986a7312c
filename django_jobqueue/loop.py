"""The event loop on which a worker runs its ``async def`` jobs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from .runner import Lease


class JobLoop:
    """An event loop in a thread of its own, started with the first job. ``_tasks`` belongs to that thread.

    Args:
        run: runs one job to its end; never raises, except for faults of ours.
        on_error: called with such a fault.
    """

    def __init__(self, run: Callable[[Lease], Awaitable[None]], on_error: Callable[[BaseException], None]) -> None:
        self._run = run
        self._on_error = on_error
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[Lease, asyncio.Future[None]] = {}

    def put(self, lease: Lease) -> None:
        """Run a job now, beside those that run already. Called by the fetcher alone."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._serve, args=(self._loop,), name="jobqueue-loop", daemon=True).start()
        self._loop.call_soon_threadsafe(self._begin, lease)

    def cancel_given_back(self) -> None:
        """Cancel the tasks of jobs that were given back: others may run them now."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel)

    def stop(self) -> None:
        """End the loop when its jobs have ended."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._finish(), self._loop)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def _begin(self, lease: Lease) -> None:
        task = asyncio.ensure_future(self._run(lease))
        self._tasks[lease] = task
        task.add_done_callback(lambda done: self._ended(lease, done))

    def _ended(self, lease: Lease, task: asyncio.Future[None]) -> None:
        del self._tasks[lease]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(error)

    def _cancel(self) -> None:
        for lease, task in self._tasks.items():
            if lease.given_back:
                task.cancel()

    async def _finish(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks.values())
            await asyncio.sleep(0)  # let their callbacks take them off the list
        asyncio.get_running_loop().stop()
