"""``Fetcher``: claims messages, hands them to the executors, and stores what has finished."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .backoff import outage_delays
from .context import JobContext
from .exceptions import StorageError, StorageFullError, UnsupportedServer
from .executors import Executors
from .heartbeat import Heartbeat
from .inbox import Duty
from .leases import Leases
from .message import JobMessage, Status
from .outage import Outage
from .pace import Pace
from .recovery import Recovery
from .runner import Finished, Lease
from .storage.base import Claim, Release, Suspect, SuspectKind, Verdict

if TYPE_CHECKING:
    from .queue import Queue

#: Seconds between claims while the server, at maxmemory, refuses BLMOVE.
FULL_POLL_INTERVAL = 0.5

#: Looks in one visibility timeout at what the server says this worker holds.
LOOKS_PER_TIMEOUT = 3

#: Seconds that finished jobs may wait for others, to be stored together, while the executors have work.
GROUP_TIME = 0.002

#: Fewest jobs to run before the next exchange, when there are as many.
LEAST_SHARE = 8

#: Seconds that jobs held ready wait for a slot; then they go back to the queue.
PATIENCE = 0.1

#: Seconds for which a job counts behind which others waited too long.
STUCK = 1.0


@dataclass(slots=True)
class Pending:
    """What was sent, and is not answered yet.

    Attributes:
        end: waits for the answer, stores what it says of finished jobs, and returns what was claimed.
        asked_at: when it was sent, by the monotonic clock, in seconds.
        commits, claims: whether it has finished jobs; whether it asks for new ones.
    """

    end: Callable[[], Claim]
    asked_at: float
    commits: bool
    claims: bool


class DutyLost(Exception):
    """The duty is another executor's now, as a job took long in the one that had it."""


class Fetcher:
    """Commits finished jobs together with the next claim; when there is nothing to do, waits in BLMOVE.

    One executor at a time is on duty, and only that one uses this object. When BLMOVE brings a job and there are no
    more, it gives the duty to an idle executor and runs the job itself: to wake another thread for the job takes
    longer than most of what else is between the enqueue and its first line.

    Jobs that are shorter than that it runs without giving the duty away, and some of them while the answer to an
    exchange is on its way. When one of them takes long after all, another takes the duty over, and reads that answer.

    Args:
        worker_id: of the worker.
        concurrency: jobs at a time.
        stopping: set when the worker takes no more jobs.
        jobs_left: how many more it takes; ``None`` for no limit.
    """

    def __init__(
        self,
        queue: Queue,
        worker_id: str,
        concurrency: int,
        leases: Leases,
        executors: Executors,
        heartbeat: Heartbeat,
        recovery: Recovery,
        outage: Outage,
        stopping: threading.Event,
        jobs_left: int | None,
    ) -> None:
        self._queue = queue
        self._storage = queue.storage
        self._worker_id = worker_id
        self._concurrency = concurrency
        self._leases = leases
        self._executors = executors
        self._heartbeat = heartbeat
        self._recovery = recovery
        self._outage = outage
        self._stopping = stopping
        self.jobs_left = jobs_left
        #: Whether to end when nothing is queued and nothing runs here.
        self.is_burst = False
        self.is_registered = False
        #: Set when nobody is on duty any more: the worker stops, or all is done.
        self.ended = threading.Event()
        #: Why, when it was not told to.
        self.error: BaseException | None = None
        self._backlog = 0
        self._pace = Pace(holds_ready=queue.storage.gives_ready)
        self._must_reconcile = False
        self._next_look = 0.0
        # For the executor on duty.
        self._own: Lease | None = None
        self._under_way: Pending | None = None

    def register(self) -> bool:
        """Say hello, as soon as the storage lets us; false when the worker stops before.

        Raises:
            UnsupportedServer: the server is too old.
        """
        return self._attempt_until_stopped(self._register)

    def attend(self, duty: Duty) -> Lease | None:
        """Be on duty.

        Args:
            duty: whether it was passed on, or taken from one that is busy.

        Returns:
            A job for the calling thread, when another has the duty now; ``None`` when it has ended or was taken.
        """
        if duty is Duty.TAKE_OVER:
            self._pace.note([STUCK])
        self._leases.fetcher_waits(False)
        try:
            while self._attempt_until_stopped(self._step):
                if self._own is not None:
                    # Until the other is there, whoever finishes a job stores it.
                    self._leases.fetcher_waits(True)
                    lease, self._own = self._own, None
                    if self._executors.pass_duty():
                        return lease
                    self._leases.fetcher_waits(False)
                    self._executors.put([lease])
        except DutyLost:
            return None
        except BaseException as error:
            self.error = error
        self._end_under_way()
        if self._own is not None:
            # It is given back with what waits for a thread.
            self._executors.put([self._own])
        self.ended.set()
        return None

    def _end_under_way(self) -> None:
        """Let no answer unread when the worker stops; what was claimed is given back with all that it holds."""
        if self._under_way is not None:
            try:
                self._under_way.end()
            except StorageError as error:
                self._outage.failed("fetcher", error)

    def _attempt_until_stopped(self, action: Callable[[], bool]) -> bool:
        """Do something as soon as the storage lets us; false when the worker stops, or is done."""
        delays = outage_delays()
        while not self._stopping.is_set():
            try:
                goes_on = action()
            except UnsupportedServer:
                raise
            except StorageError as error:
                # The server may have moved a message to us although the reply was lost.
                self._must_reconcile = True
                self._outage.failed("fetcher", error)
                self._executors.spread()  # what is in hand can run without it
                self._stopping.wait(next(delays))
            else:
                self._outage.works("fetcher")
                return goes_on
        return False

    def _register(self) -> bool:
        """Say hello, and settle what an earlier process of the same id left behind."""
        self._heartbeat.beat()
        self.is_registered = True
        ready = self._storage.held_ready(self._worker_id)
        for raw in self._storage.held(self._worker_id):
            self._settle_own(raw, ready)
        self._must_reconcile = True
        return True

    def _settle_own(self, raw: bytes, ready: Collection[str]) -> None:
        """A message held before this process began: a job that was begun has used an attempt."""
        message = self._recovery.decode(self._worker_id, raw)
        if message is None:
            return
        (state,) = self._storage.states([message.id])
        if state is not None and state.status is Status.PROCESSING:
            kind = SuspectKind.UNSTARTED if message.id in ready else SuspectKind.STALLED
            self._recovery.settle(Suspect(self._worker_id, kind, raw, str(state)))

    def _step(self) -> bool:
        """Commit, claim, or wait; false when there is nothing left to do."""
        if self._own is not None:
            return True  # the step before had it, and failed at something else
        if self._under_way is not None:
            return self._end_exchange(self._under_way)  # that of an executor which lost the duty
        if self._must_reconcile or self._time_to_look() <= 0:
            self._reconcile()
        waiting, is_quick = self._executors.waiting, self._pace.is_quick
        helps = bool(waiting) and is_quick and self._executors.has_slot
        # While they have work: outcomes stored together cost less than one by one. When none ends, others must help.
        enough = 1 if is_quick else max(1, waiting // 2)
        if waiting and not helps and not self._leases.await_finished(enough, GROUP_TIME):
            self._executors.spread()
        finished = self._leases.take_finished()
        self._pace.note(one.seconds for one in finished)
        share = self._share(waiting, len(finished)) if helps else 0
        free, ahead = self._room()
        # Quick jobs run one after the other: one that kills the process must not take an attempt from the others.
        wanted = (0, free + ahead) if is_quick and self._pace.holds_ready else (free, ahead)
        # Looked at after what has finished: a slot that came free after the order to stop must not be filled.
        claims = bool((self._backlog or self.is_burst) and any(wanted) and not self._stopping.is_set())
        if finished or claims:
            return self._commit_and_claim(finished, *(wanted if claims else (0, 0)), share)
        if share:
            self._help(share)
            return True
        if free == 0:
            if self.jobs_left == 0 and not len(self._leases):
                return False
            self._await_slot()
            return True
        self._wait_and_claim()
        return True

    def _time_to_look(self) -> float:
        return self._next_look - time.monotonic()

    def _share(self, waiting: int, finished: int) -> int:
        """How many of the jobs in hand to run before the next exchange, or while its answer is on its way.

        Half of them: then as many are left for the time of the next one.
        """
        return max(LEAST_SHARE, (waiting + finished + 1) // 2) if self._pace.holds_ready else waiting

    def _help(self, share: int) -> None:
        if not self._executors.run_waiting(share, GROUP_TIME):
            raise DutyLost

    def _room(self) -> tuple[int, int]:
        """How many more jobs may run now, and how many may be held ready beyond those."""
        held = self._leases.running()
        free = max(0, self._concurrency - held)
        ahead = max(0, self._pace.ready(self._concurrency) - max(0, held - self._concurrency))
        if self.jobs_left is None:
            return free, ahead
        free = min(free, self.jobs_left)
        return free, min(ahead, self.jobs_left - free)

    def _commit_and_claim(self, finished: list[Finished], wanted: int, ahead: int, share: int) -> bool:
        asked_at = time.monotonic()
        end = self._executors.begin_commit(finished, wanted, ahead)
        self._under_way = Pending(end, asked_at, commits=bool(finished), claims=bool(wanted or ahead))
        if share:
            self._help(share)
        return self._end_exchange(self._under_way)

    def _end_exchange(self, exchange: Pending) -> bool:
        self._under_way = None
        claim = exchange.end()
        if exchange.claims:
            if self._is_late(exchange.asked_at):
                self._must_reconcile, self._backlog = True, claim.backlog
            else:
                self._take_on(claim)
        # What was committed may have put a job back at the head, after the claim if its script had to
        # be loaded first; so only a claim on its own tells that nothing is left.
        is_all = exchange.claims and not exchange.commits
        if self.is_burst and is_all and not (claim.messages or claim.unread or claim.ready or claim.backlog):
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
        if self.jobs_left is not None:
            self.jobs_left += len(leases)
        self._release([lease.message for lease in leases])

    def _release(self, messages: Sequence[JobMessage]) -> None:
        if not messages:
            return  # as at most looks; a file would be locked for it
        self._backlog += len(messages)
        # Reversed, since each goes to the head.
        self._storage.commit(self._worker_id, [Release(message) for message in reversed(messages)])

    def _wait_and_claim(self) -> None:
        if not self._leases.fetcher_waits(True):
            return
        server_is_full, claim, asked_at = False, Claim(), time.monotonic()
        try:
            claim = self._storage.wait_and_claim(self._worker_id, self._queue.config.block_timeout)
        except StorageFullError:
            server_is_full = True
        finally:
            self._leases.fetcher_waits(False)
        if server_is_full:
            self._poll_full_server()
        elif claim.ready and self._is_late(asked_at):
            self._must_reconcile = True
        else:
            self._begin(claim)

    def _is_late(self, asked_at: float) -> bool:
        """Whether what was claimed since then may be another's by now: this process was frozen, or the server."""
        return time.monotonic() - asked_at > self._queue.config.visibility_timeout / 2

    def _begin(self, claim: Claim) -> None:
        """Run what came while a slot was free."""
        self._backlog = claim.backlog
        for raw in claim.ready:
            if (message := self._recovery.decode(self._worker_id, raw)) is not None:
                self._storage.begin(self._worker_id, message.id)
                self._run_here(message)
        for raw in claim.unread:
            if (message := self._start_taken(raw)) is not None:
                self._run_here(message)

    def _run_here(self, message: JobMessage) -> None:
        """Run a job in the thread that is on duty after this step, or in another while there is more to fetch."""
        (lease,) = leases = self._hold([message])
        if self._pace.is_quick and self._executors.takes_thread(lease):
            self._executors.put(leases, spreads=False)  # the next step runs it
        elif self._own is None and not self._backlog and self._executors.takes_thread(lease):
            self._own = lease
        else:
            self._executors.put(leases)

    def _poll_full_server(self) -> None:
        """At maxmemory the server refuses BLMOVE, but not our scripts: go on draining."""
        claim = self._storage.claim(self._worker_id, self._room()[0])
        self._take_on(claim)
        if not claim.messages:
            self._await_change(FULL_POLL_INTERVAL)

    def _start_taken(self, raw: bytes) -> JobMessage | None:
        """A message to run; ``None`` when there is nothing to run in it."""
        message = self._recovery.decode(self._worker_id, raw)
        if message is None:
            return None
        verdict, self._backlog = self._storage.start(self._worker_id, message)
        return message if verdict is Verdict.STARTED else None

    def _run_taken(self, raw: bytes) -> None:
        if (message := self._start_taken(raw)) is not None:
            self._run([message])

    def _reconcile(self) -> None:
        """Start what the server has moved to our list without our knowing, or give it back when there is no room.

        After a lost reply, and now and then: a command whose connection was given up may arrive after that look,
        from a network that was cut.
        """
        too_many = []
        for raw in self._storage.held(self._worker_id):
            if raw in self._leases:
                continue
            if self._room()[0]:
                self._run_taken(raw)
            elif (message := self._recovery.decode(self._worker_id, raw)) is not None:
                too_many.append(message)
        self._release(too_many)
        self._must_reconcile = False
        self._next_look = time.monotonic() + self._queue.config.visibility_timeout / LOOKS_PER_TIMEOUT

    def _take_on(self, claim: Claim) -> None:
        self._dispatch(claim.messages)
        for raw in claim.unread:
            self._run_taken(raw)
        self._dispatch(claim.ready, are_ready=True)
        self._backlog = claim.backlog

    def _dispatch(self, claimed: Sequence[bytes], are_ready: bool = False) -> None:
        messages = []
        try:
            for raw in claimed:
                if (message := self._recovery.decode(self._worker_id, raw)) is not None:
                    messages.append(message)
        finally:
            # Also when a malformed one could not be quarantined: these are claimed.
            self._run(messages, are_ready)

    def _run(self, messages: Sequence[JobMessage], are_ready: bool = False) -> None:
        if refused := self._executors.put(self._hold(messages, are_ready), not self._pace.is_quick):
            self._pace.hold_none()
            self._give_up_ready(refused)

    def _hold(self, messages: Sequence[JobMessage], are_ready: bool = False) -> list[Lease]:
        leases = [
            Lease(message, JobContext.of(message, self._queue, self._worker_id), are_ready) for message in messages
        ]
        self._leases.add(leases)
        if self.jobs_left is not None:
            self.jobs_left -= len(leases)
        return leases

    def _await_change(self, timeout: float) -> bool:
        """Wait until a job has finished or the worker is to stop; false when the time is over."""
        with self._leases.changed:
            # request_stop notifies with the lock held, so a stop cannot slip in between.
            if self._leases.has_finished() or self._stopping.is_set():
                return True
            return self._leases.changed.wait(max(0.0, timeout))
