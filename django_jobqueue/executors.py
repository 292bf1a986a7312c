"""The threads that run a worker's jobs, and the storing of what has finished."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from django.db import connections

from .exceptions import StorageError
from .inbox import Duty, Inbox
from .leases import Leases
from .loop import JobLoop
from .outage import Outage
from .queue import Queue
from .runner import Finished, JobRunner, Lease
from .storage.base import Claim
from .threads import in_thread

logger = logging.getLogger(__name__)


class Executors:
    """Runs leases: ``async def`` jobs on an event loop, others in threads, each of which takes the next from the
    inbox. One more than ``concurrency`` of them, as one is on the fetcher's duty. That claims no more than
    ``concurrency`` jobs of both together, and a few more for the threads to be held ready.

    An executor stores what it finished only while the fetcher waits for new jobs. Otherwise the
    fetcher stores it, together with what others finished and with its next claim.

    Args:
        on_error: called with a fault of ours that ended a thread.
    """

    def __init__(
        self,
        runner: JobRunner,
        queue: Queue,
        worker_id: str,
        concurrency: int,
        leases: Leases,
        outage: Outage,
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._runner = runner
        self._queue = queue
        self._worker_id = worker_id
        self._leases = leases
        self._outage = outage
        self._on_error = on_error
        self._inbox = Inbox(concurrency)
        self._loop = JobLoop(self._run_on_loop, on_error)
        self._threads = [
            threading.Thread(target=self._run, name=f"jobqueue-executor-{n}", daemon=True)
            for n in range(concurrency + 1)
        ]

    def start(self, attend: Callable[[Duty], Lease | None]) -> None:
        """Start the threads.

        Args:
            attend: what the executor on duty does; returns a job that it shall run.
        """
        self._attend = attend
        self._inbox.watch()
        for thread in self._threads:
            thread.start()

    def put(self, leases: Iterable[Lease], spreads: bool = True) -> list[Lease]:
        """Run jobs: on the event loop, or as soon as threads are free.

        Args:
            leases: the jobs.
            spreads: whether they need threads; if not, ``run_waiting`` or ``spread`` must be called soon.

        Returns:
            Those that cannot be held ready: the event loop would run them beside the others at once.
        """
        for_threads, refused = [], []
        for lease in leases:
            if not self._runner.is_async(lease):
                for_threads.append(lease)
            elif lease.is_ready:
                refused.append(lease)
            else:
                self._loop.put(lease)
        self._inbox.put(for_threads, spreads)
        return refused

    def takes_thread(self, lease: Lease) -> bool:
        """Whether a job needs a thread."""
        return not self._runner.is_async(lease)

    def pass_duty(self) -> bool:
        """Give the fetcher's duty to an idle executor; false when none is."""
        return self._inbox.pass_duty()

    def spread(self) -> None:
        """Wake threads for what waits: the jobs take longer than was thought."""
        self._inbox.spread()

    @property
    def has_slot(self) -> bool:
        """Whether another job may run."""
        return self._inbox.has_slot

    def run_waiting(self, count: int, seconds: float) -> bool:
        """Run jobs that wait for a thread, in the calling one, which is on duty.

        Args:
            count: most jobs.
            seconds: after which no further one begins.

        Returns:
            Whether the caller is still on duty. When a job takes long another gets the duty.
        """
        until = time.monotonic() + seconds
        errand, lease = self._inbox.begin_errand(), None
        while count and (lease := self._inbox.take(errand, lease is not None)) is not None:
            self._run_one(lease)
            count = count - 1 if time.monotonic() < until else 0
        return self._inbox.end_errand(errand, lease is not None)

    @property
    def waiting(self) -> int:
        """How many jobs no thread has begun."""
        return len(self._inbox)

    def take_back(self) -> list[Lease]:
        """The jobs that no thread has begun; they will not be run."""
        waiting = self._inbox.take_back()
        for lease in waiting:
            lease.given_back = True
        return waiting

    def cancel_given_back(self) -> None:
        """End the runs of jobs that were given back, where that can be done: on the event loop."""
        self._loop.cancel_given_back()

    def stop(self) -> None:
        """Let each thread end after its job. A thread whose job never ends ends with the process."""
        self._loop.stop()
        self._inbox.close()

    def commit(self, finished: Sequence[Finished]) -> None:
        """Store finished jobs.

        Raises:
            StorageError: not now; the finished jobs are kept for the next time.
        """
        self.begin_commit(finished)()

    def begin_commit(self, finished: Sequence[Finished], wanted: int = 0, ahead: int = 0) -> Callable[[], Claim]:
        """Store finished jobs, claim up to ``wanted`` new ones and ``ahead`` more to hold ready, in one round trip.

        Returns:
            What waits for the answer, to be called once, by any thread. It returns what was claimed, and raises the
            same.

        Raises:
            StorageError: not now; the finished jobs are kept for the next time.
        """
        with self._keeping(finished):
            outcomes = [one.outcome for one in finished]
            read = self._queue.storage.begin_commit(self._worker_id, outcomes, wanted, ahead)

        def end() -> Claim:
            with self._keeping(finished):
                stored, claim = read()
            self._leases.remove(one.lease for one in finished)
            for one, applied in zip(finished, stored, strict=True):
                self._tell(one, applied)
            return claim

        return end

    @contextmanager
    def _keeping(self, finished: Sequence[Finished]) -> Iterator[None]:
        """Keep finished jobs for the next time when they cannot be stored now."""
        try:
            yield
        except StorageError:
            for one in finished:
                one.outcome = replace(one.outcome, resent=True)
            self._leases.keep(finished)
            raise

    def _run(self) -> None:
        try:
            had_job = False
            while (taken := self._inbox.get(had_job)) is not None:
                lease = self._attend(taken) if isinstance(taken, Duty) else taken
                had_job = lease is not None
                if lease is not None:
                    self._run_one(lease)
        except BaseException as error:
            self._on_error(error)
        finally:
            connections.close_all()

    def _run_one(self, lease: Lease) -> None:
        if lease.given_back or (lease.is_ready and not self._begin(lease)):
            return
        if self._leases.finish(self._runner.run(lease)):
            self._flush()

    def _begin(self, lease: Lease) -> bool:
        """Whether a job that was held ready may run.

        Its lease may have been lost meanwhile, and this process may have been frozen: then it runs elsewhere, or is
        still held, and the fetcher comes upon it.
        """
        age = time.monotonic() - lease.held_since
        if lease.context.is_cancelled() or age > self._queue.config.visibility_timeout / 2:
            self._leases.remove([lease])
            return False
        lease.is_ready = False
        self._queue.storage.begin(self._worker_id, lease.message.id)
        return True

    async def _run_on_loop(self, lease: Lease) -> None:
        if not lease.given_back and self._leases.finish(await self._runner.arun(lease)):
            await in_thread(self._flush)

    def _flush(self) -> None:
        """Store finished jobs while the fetcher waits, until there are none."""
        while finished := self._leases.take_finished_or_end_flush():
            try:
                self.commit(finished)
            except StorageError as error:
                # Kept; the fetcher stores them when its wait is over.
                self._outage.failed("fetcher", error)
                return

    def _tell(self, one: Finished, applied: bool) -> None:
        queue, job_id = self._queue, one.lease.message.id
        if one.lease.context.reported:
            try:
                queue.storage.set_progress(job_id, None)
            except StorageError as error:
                logger.debug("the progress of job %s stays until the next sweep: %s", job_id, error)
        if applied:
            one.signal.send_robust(Queue, queue=queue, job_id=job_id, **one.news)
        else:
            logger.warning(
                "job %s ended after its lease was lost; this run's outcome is dropped",
                job_id,
                extra={"job_id": job_id, "queue": queue.alias},
            )
