"""``Worker``: claims jobs, runs them in threads, stores how they ended.

Its parts, each a thread with a state of its own:

* the *fetcher* claims messages, hands them to the executors and commits finished jobs together
  with the next claim; when there is nothing to do it waits in BLMOVE;
* the *executors* run jobs;
* the *heartbeat* renews leases;
* the *reaper*, embedded, keeps the queue in order.

They share the ``Leases`` (what is in hand) and the inbox of the executors.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from . import signals
from .backoff import outage_delays
from .context import JobContext
from .exceptions import StorageError, StorageFullError, UnsupportedServer
from .executors import Executors
from .heartbeat import Heartbeat
from .leases import Leases
from .message import JobMessage, Status
from .options import checked_worker_id, count
from .outage import Outage
from .pace import Pace
from .reaper import Reaper
from .recovery import Recovery
from .runner import Finished, Handler, JobRunner, Lease
from .storage.base import Claim, Release, Suspect, SuspectKind, Verdict

if TYPE_CHECKING:
    from .queue import Queue

logger = logging.getLogger(__name__)

#: Seconds between claims while the server, at maxmemory, refuses BLMOVE.
FULL_POLL_INTERVAL = 0.5

#: Looks in one visibility timeout at what the server says this worker holds.
LOOKS_PER_TIMEOUT = 3

#: Seconds that finished jobs may wait for others, to be stored together, while the executors have work.
GROUP_TIME = 0.002

#: Seconds that jobs held ready wait for a slot; then they go back to the queue.
PATIENCE = 0.1

#: Seconds for which a job counts behind which others waited too long.
STUCK = 1.0

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
        self._jobs_left = None if max_jobs is None else count("max_jobs", max_jobs, 1)
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
        self._fetcher: threading.Thread | None = None
        self._burst = False
        # Written by any thread, read by the fetcher; see request_stop.
        self._stopping = threading.Event()
        self._give_back_at: float | None = None
        #: Why the worker stopped, when it was not told to.
        self.error: BaseException | None = None
        # Owned by the fetcher.
        self._backlog = 0
        self._pace = Pace(holds_ready=queue.storage.gives_ready)
        self._must_reconcile = False
        self._next_look = 0.0
        self._is_registered = False

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
        self._burst = burst
        if self._fetcher is not None:
            raise RuntimeError(f"{self!r} was started before; make a new one")
        self._fetcher = threading.Thread(target=self._fetch, name=f"jobqueue-fetcher-{self.id}", daemon=True)
        self._fetcher.start()

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
        fetcher = self._fetcher
        if fetcher is None:
            return
        self._stopping.wait()
        while fetcher.is_alive():
            # It may be waiting in BLMOVE, or just about to.
            try:
                self._storage.wake()
            except StorageError as error:
                logger.debug("the blocked connection could not be woken, it will time out: %s", error)
            fetcher.join(0.1)
        if self.error is not None:
            raise self.error

    @property
    def is_alive(self) -> bool:
        """Whether the worker has started and not stopped yet."""
        return self._fetcher is not None and self._fetcher.is_alive()

    @property
    def jobs_left(self) -> int | None:
        """How many more jobs the worker takes; ``None`` for no limit."""
        return self._jobs_left

    # The fetcher

    def _fetch(self) -> None:
        try:
            if self._attempt_until_stopped(self._register):
                self._heartbeat.start()
                if self._reaper is not None:
                    self._reaper.start()
                self._executors.start()
                logger.info(
                    "worker %s runs %d jobs at a time of queue %r",
                    self.id,
                    self.concurrency,
                    self.queue.alias,
                )
                signals.worker_started.send_robust(Worker, worker=self)
                while self._attempt_until_stopped(self._step):
                    pass
        except BaseException as error:
            # A fault of ours, or a server we cannot work with: stop in good order, and say so.
            self.error = error
            if not isinstance(error, UnsupportedServer):
                logger.exception("worker %s ends because of an unexpected error", self.id)
        finally:
            self._shut_down()

    def _attempt_until_stopped(self, action: Any) -> bool:
        """Do something as soon as the storage lets us; false when the worker stops, or is done."""
        delays = outage_delays()
        while not self._stopping.is_set():
            try:
                goes_on: bool = action()
            except UnsupportedServer:
                raise
            except StorageError as error:
                # The server may have moved a message to us although the reply was lost.
                self._must_reconcile = True
                self._outage.failed("fetcher", error)
                self._stopping.wait(next(delays))
            else:
                self._outage.works("fetcher")
                return goes_on
        return False

    def _register(self) -> bool:
        """Say hello, and settle what an earlier process of the same id left behind."""
        self._heartbeat.beat()
        self._is_registered = True
        ready = self._storage.held_ready(self.id)
        for raw in self._storage.held(self.id):
            self._settle_own(raw, ready)
        self._must_reconcile = True
        return True

    def _settle_own(self, raw: bytes, ready: Collection[str]) -> None:
        """A message held before this process began: a job that was begun has used an attempt."""
        message = self._recovery.decode(self.id, raw)
        if message is None:
            return
        (state,) = self._storage.states([message.id])
        if state is not None and state.status is Status.PROCESSING:
            kind = SuspectKind.UNSTARTED if message.id in ready else SuspectKind.STALLED
            self._recovery.settle(Suspect(self.id, kind, raw, str(state)))

    def _step(self) -> bool:
        """Commit, claim, or wait; false when there is nothing left to do."""
        if self._must_reconcile or self._time_to_look() <= 0:
            self._reconcile()
        if self._executors.waiting:
            # They have work, and outcomes stored together cost less than one by one.
            self._leases.await_finished(self._executors.waiting // 2, GROUP_TIME)
        finished = self._leases.take_finished()
        self._pace.note(one.seconds for one in finished)
        free, ahead = self._room(len(finished))
        claims = bool((self._backlog or self._burst) and (free or ahead))
        if finished or claims:
            return self._commit_and_claim(finished, *((free, ahead) if claims else (0, 0)))
        if free == 0:
            if self._jobs_left == 0 and not len(self._leases):
                return False
            self._await_slot()
            return True
        self._wait_and_take()
        return True

    def _time_to_look(self) -> float:
        return self._next_look - time.monotonic()

    def _room(self, finished: int) -> tuple[int, int]:
        """How many more jobs may run now, and how many may be held ready beyond those."""
        held = len(self._leases) - finished
        free = max(0, self.concurrency - held)
        ahead = max(0, self._pace.ready(self.concurrency) - max(0, held - self.concurrency))
        if self._jobs_left is None:
            return free, ahead
        free = min(free, self._jobs_left)
        return free, min(ahead, self._jobs_left - free)

    def _commit_and_claim(self, finished: list[Finished], wanted: int, ahead: int) -> bool:
        asked_at = time.monotonic()
        claim = self._executors.commit(finished, wanted, ahead)
        if wanted or ahead:
            if time.monotonic() - asked_at > self.queue.config.visibility_timeout / 2:
                # This process was frozen, or the server: what it gave may be another's by now. Look what is held.
                self._must_reconcile, self._backlog = True, claim.backlog
            else:
                self._take_on(claim)
        # What was committed may have put a job back at the head, after the claim if its script had to
        # be loaded first; so only a claim on its own tells that nothing is left.
        if self._burst and not finished and not (claim.messages or claim.unread or claim.ready or claim.backlog):
            if not len(self._leases):
                return False
            self._await_change(self._time_to_look())
        return True

    def _await_slot(self) -> None:
        """Wait until a job has finished. Jobs held ready that cannot begin soon go back meanwhile."""
        if not self._executors.waiting:
            self._await_change(self._time_to_look())
        elif not self._await_change(PATIENCE):
            self._pace.note([STUCK])
            self._give_up_ready(self._executors.take_back())

    def _give_up_ready(self, leases: Sequence[Lease]) -> None:
        self._leases.remove(leases)
        if self._jobs_left is not None:
            self._jobs_left += len(leases)
        self._backlog += len(leases)
        # Reversed, since each goes to the head.
        self._storage.commit(self.id, [Release(lease.message) for lease in reversed(leases)])

    def _wait_and_take(self) -> None:
        if not self._leases.fetcher_waits(True):
            return
        server_is_full, raw = False, None
        try:
            raw = self._storage.wait_and_take(self.id, self.queue.config.block_timeout)
        except StorageFullError:
            server_is_full = True
        finally:
            self._leases.fetcher_waits(False)
        if server_is_full:
            self._poll_full_server()
        elif raw is not None:
            self._start_taken(raw)

    def _poll_full_server(self) -> None:
        """At maxmemory the server refuses BLMOVE, but not our scripts: go on draining."""
        claim = self._storage.claim(self.id, self._room(0)[0])
        self._take_on(claim)
        if not claim.messages:
            self._await_change(FULL_POLL_INTERVAL)

    def _start_taken(self, raw: bytes) -> None:
        message = self._recovery.decode(self.id, raw)
        if message is None:
            return
        verdict, self._backlog = self._storage.start(self.id, message)
        if verdict is Verdict.STARTED:
            self._run([message])

    def _reconcile(self) -> None:
        """Start what the server has moved to our list without our knowing, or give it back when there is no room.

        After a lost reply, and now and then: a command whose connection was given up may arrive after that look,
        from a network that was cut.
        """
        for raw in self._storage.held(self.id):
            if raw in self._leases:
                continue
            if self._room(0)[0]:
                self._start_taken(raw)
            elif (message := self._recovery.decode(self.id, raw)) is not None:
                self._storage.commit(self.id, [Release(message)])
        self._must_reconcile = False
        self._next_look = time.monotonic() + self.queue.config.visibility_timeout / LOOKS_PER_TIMEOUT

    def _take_on(self, claim: Claim) -> None:
        self._dispatch(claim.messages)
        for raw in claim.unread:
            self._start_taken(raw)
        self._dispatch(claim.ready, are_ready=True)
        self._backlog = claim.backlog

    def _dispatch(self, claimed: Sequence[bytes], are_ready: bool = False) -> None:
        messages = []
        try:
            for raw in claimed:
                if (message := self._recovery.decode(self.id, raw)) is not None:
                    messages.append(message)
        finally:
            # Also when a malformed one could not be quarantined: these are claimed.
            self._run(messages, are_ready)

    def _run(self, messages: Sequence[JobMessage], are_ready: bool = False) -> None:
        leases = [Lease(message, JobContext.of(message, self.queue, self.id), are_ready) for message in messages]
        self._leases.add(leases)
        if self._jobs_left is not None:
            self._jobs_left -= len(leases)
        if refused := self._executors.put(leases):
            self._pace.hold_none()
            self._give_up_ready(refused)

    def _await_change(self, timeout: float) -> bool:
        """Wait until a job has finished or the worker is to stop; false when the time is over."""
        with self._leases.changed:
            # request_stop notifies with the lock held, so a stop cannot slip in between.
            if self._leases.has_finished() or self._stopping.is_set():
                return True
            return self._leases.changed.wait(max(0.0, timeout))

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
        self._release(leases, strays=self._is_registered)

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
            if self._is_registered:
                self._storage.unregister(self.id)
        except StorageError as error:
            logger.warning("worker %s stays listed until the reaper removes it: %s", self.id, error)
        logger.info("worker %s has stopped", self.id)
        signals.worker_stopped.send_robust(Worker, worker=self)
