"""``Worker``: claims jobs, runs them in threads, stores how they ended.

Its parts, each with a state of its own:

* the *executors*, one thread more than jobs at a time, run jobs;
* the *fetcher* claims messages, hands them to the executors and commits finished jobs together
  with the next claim; when there is nothing to do it waits in BLMOVE. One of the executors is on this duty;
* the *heartbeat* renews leases;
* the *reaper*, embedded, keeps the queue in order.

They share the ``Leases`` (what is in hand) and the inbox of the executors.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import signals
from .backoff import outage_delays
from .exceptions import StorageError, UnsupportedServer
from .executors import Executors
from .fetcher import Fetcher
from .heartbeat import Heartbeat
from .leases import Leases
from .options import checked_worker_id, count
from .outage import Outage
from .reaper import Reaper
from .recovery import Recovery
from .runner import Handler, JobRunner, Lease
from .storage.base import Release

if TYPE_CHECKING:
    from .queue import Queue

logger = logging.getLogger(__name__)

#: Seconds that a stopping worker tries to give jobs back to a server that cannot be reached.
GIVE_BACK_TIMEOUT = 5.0


class Worker:
    """Runs the jobs of one queue in this process.

    Args:
        queue: the ``Queue``.
        handler: one callable for every payload, called as ``handler(job)`` with a ``JobContext``;
            ``None`` runs ``HANDLER`` of the settings, or the registered jobs that payloads name.
        concurrency: jobs at a time, one thread each; ``None`` takes it from the settings.
        worker_id: names the worker; must be its own. Random when left out.
        reaper: whether to run an embedded reaper.
        max_jobs: stop after this many jobs; ``None`` for no limit.

    Raises:
        InvalidOption: a value is out of its range.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        handler: Handler | None = None,
        concurrency: int | None = None,
        worker_id: str | None = None,
        reaper: bool = True,
        max_jobs: int | None = None,
    ) -> None:
        self.queue = queue
        self.concurrency = count("concurrency", concurrency, queue.config.concurrency)
        self.id = checked_worker_id(worker_id)
        self._storage = queue.storage
        self._leases = Leases()
        self._outage = Outage(f"worker {self.id} of queue {queue.alias!r}")
        self._recovery = Recovery(queue)
        self._heartbeat = Heartbeat(queue, self.id, self.concurrency, self._leases, self._outage)
        self._reaper = Reaper(queue, outage=self._outage) if reaper else None
        self._executors = Executors(
            JobRunner(queue, handler),
            queue,
            self.id,
            self.concurrency,
            self._leases,
            self._outage,
            self._broken,
        )
        self._thread: threading.Thread | None = None
        # Written by any thread; see request_stop.
        self._stopping = threading.Event()
        self._fetcher = Fetcher(
            queue,
            self.id,
            self.concurrency,
            self._leases,
            self._executors,
            self._heartbeat,
            self._recovery,
            self._outage,
            self._stopping,
            None if max_jobs is None else count("max_jobs", max_jobs, 1),
        )
        self._give_back_at: float | None = None
        #: Why the worker stopped, when it was not told to.
        self.error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.id} of {self.queue.alias!r}>"

    # Life cycle

    def run(self) -> None:
        """Work until ``stop`` is called, or until ``max_jobs`` are done.

        Raises:
            UnsupportedServer: the server is too old.
        """
        self.start()
        self.join()

    def run_until_empty(self) -> None:
        """Work until nothing is queued and nothing runs here; scheduled jobs are left alone."""
        self.start(burst=True)
        self.join()

    def start(self, *, burst: bool = False) -> None:
        """Work in threads of their own; returns at once.

        Args:
            burst: stop when nothing is queued and nothing runs here.
        """
        if self._thread is not None:
            raise RuntimeError(f"{self!r} was started before; make a new one")
        self._fetcher.is_burst = burst
        self._thread = threading.Thread(target=self._work, name=f"jobqueue-worker-{self.id}", daemon=True)
        self._thread.start()

    def stop(self, timeout: float | None = None) -> None:
        """Take no more jobs, let the running ones finish, give back the rest; returns when done.

        Args:
            timeout: seconds that running jobs have; ``None`` takes ``SHUTDOWN_TIMEOUT``.
        """
        self.request_stop(timeout)
        self.join()

    def request_stop(self, timeout: float | None = None) -> None:
        """Begin to stop, and return at once; a second call may shorten the time. See ``stop``."""
        grace = self.queue.config.shutdown_timeout if timeout is None else timeout
        deadline = time.monotonic() + grace
        if self._give_back_at is None or deadline < self._give_back_at:
            self._give_back_at = deadline
        self._stopping.set()
        with self._leases.changed:
            self._leases.changed.notify_all()

    def join(self) -> None:
        """Wait until the worker has stopped.

        Raises:
            UnsupportedServer: that is why it stopped.
        """
        thread = self._thread
        if thread is None:
            return
        self._stopping.wait()
        while thread.is_alive():
            # It may be waiting in BLMOVE, or just about to.
            try:
                self._storage.wake()
            except StorageError as error:
                logger.debug("the blocked connection could not be woken, it will time out: %s", error)
            thread.join(0.1)
        if self.error is not None:
            raise self.error

    @property
    def is_alive(self) -> bool:
        """Whether the worker has started and not stopped yet."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def jobs_left(self) -> int | None:
        """How many more jobs the worker takes; ``None`` for no limit."""
        return self._fetcher.jobs_left

    def _work(self) -> None:
        try:
            if self._fetcher.register():
                self._heartbeat.start()
                if self._reaper is not None:
                    self._reaper.start()
                logger.info(
                    "worker %s runs %d jobs at a time of queue %r",
                    self.id,
                    self.concurrency,
                    self.queue.alias,
                )
                # Before the executors: a receiver prepares what the first job already needs.
                signals.worker_started.send_robust(Worker, worker=self)
                self._executors.start(self._fetcher.attend)
                self._fetcher.ended.wait()
                if self._fetcher.error is not None:
                    raise self._fetcher.error
        except BaseException as error:
            # A fault of ours, or a server we cannot work with: stop in good order, and say so.
            self.error = error
            if not isinstance(error, UnsupportedServer):
                logger.exception("worker %s ends because of an unexpected error", self.id)
        finally:
            self._shut_down()

    def _broken(self, error: BaseException) -> None:
        """A fault of ours ended an executor; without it the worker would silently run fewer jobs."""
        logger.error("worker %s ends because of an unexpected error", self.id, exc_info=error)
        self.error = error
        self.request_stop()

    # Shutdown

    def _shut_down(self) -> None:
        self._stopping.set()
        if self._give_back_at is None:
            self._give_back_at = time.monotonic() + self.queue.config.shutdown_timeout
        try:
            self._release(self._executors.take_back())
            self._finish_running()
            self._give_back()
        finally:
            self._executors.stop()
            if self._reaper is not None:
                self._reaper.stop()
            self._heartbeat.stop()
            self._say_goodbye()

    def _finish_running(self) -> None:
        """Let running jobs finish, and store them, until the time is over."""
        delays = outage_delays()
        while len(self._leases):
            finished = self._leases.take_finished()
            if finished:
                try:
                    self._executors.commit(finished)
                    self._outage.works("fetcher")
                    continue
                except StorageError as error:
                    self._outage.failed("fetcher", error)
                    time.sleep(max(0.0, min(next(delays), self._time_left())))
            if self._time_left() <= 0:
                return
            self._leases.await_finished(1, self._time_left())

    def _time_left(self) -> float:
        return (self._give_back_at or 0.0) - time.monotonic()

    def _give_back(self) -> None:
        """Put all that is left back at the head, with what the server moved to us unnoticed."""
        leases = self._leases.give_back_all()
        self._executors.cancel_given_back()
        if leases:
            logger.warning(
                "worker %s gives back %d jobs that did not finish in time: %s",
                self.id, len(leases), ", ".join(lease.message.id for lease in leases[:10]),
            )  # fmt: skip
        self._release(leases, strays=self._fetcher.is_registered)

    def _release(self, leases: Sequence[Lease], strays: bool = False) -> None:
        deadline = time.monotonic() + GIVE_BACK_TIMEOUT
        for delay in outage_delays():
            try:
                messages = [lease.message for lease in leases]
                if strays:
                    known = {message.raw for message in messages}
                    unknown = [raw for raw in self._storage.held(self.id) if raw not in known]
                    messages += [
                        message for raw in unknown if (message := self._recovery.decode(self.id, raw)) is not None
                    ]
                # Reversed, since each goes to the head: the oldest must end up first.
                self._storage.commit(self.id, [Release(message) for message in reversed(messages)])
                break
            except StorageError as error:
                if time.monotonic() + delay > deadline:
                    logger.error(
                        "worker %s could not give back %d jobs, the reaper will recover them: %s",
                        self.id, len(leases), error,
                    )  # fmt: skip
                    break
                time.sleep(delay)
        self._leases.remove(leases)

    def _say_goodbye(self) -> None:
        try:
            if self._fetcher.is_registered:
                self._storage.unregister(self.id)
        except StorageError as error:
            logger.warning("worker %s stays listed until the reaper removes it: %s", self.id, error)
        logger.info("worker %s has stopped", self.id)
        signals.worker_stopped.send_robust(Worker, worker=self)
