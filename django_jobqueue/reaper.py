"""``Reaper``: brings back abandoned jobs, queues due ones, forgets finished ones."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack

from . import signals
from .backoff import outage_delays
from .exceptions import StorageError, StorageFullError, UnsupportedServer
from .outage import Outage
from .queue import Queue
from .recovery import Recovery
from .storage.base import Heartbeat, Suspect, SuspectKind

logger = logging.getLogger(__name__)

#: Seconds between looks at the scheduled jobs when none is due sooner: that one is, is told, but could be missed.
PROMOTE_INTERVAL = 5.0

#: The same where another library shares the queue; see ``Storage.is_shared``.
SHARED_PROMOTE_INTERVAL = 0.9

#: Seconds between two rounds of forgetting.
EXPIRE_INTERVAL = 10.0

#: Longest time between two steps of the sweep, in seconds.
LONGEST_SWEEP_INTERVAL = 30.0

#: Looks at the workers in one visibility timeout, and the longest time between two, in seconds.
LOOKS_PER_TIMEOUT = 6
LONGEST_LOOK_INTERVAL = 5.0

#: The part of that interval after which a lease that has run out is looked at once more. Its worker may live, and
#: could not renew it: the server was away, or its clock was set, or the machine stood still.
SECOND_LOOK = 0.5

#: Jobs moved or forgotten by one script; many small steps let other clients in between.
BATCH = 200


class LeaderLock:
    """The lock of one queue's reapers, as one of them holds it or tries to. Used by one thread."""

    def __init__(self, queue: Queue, owner: str) -> None:
        self._storage = queue.storage
        self._config = queue.config.reaper
        self._owner = owner
        self._next_try = 0.0
        self.is_held = False

    @property
    def wait(self) -> float:
        """Seconds until the next ``refresh`` is due."""
        return max(0.0, self._next_try - time.monotonic())

    def retry_now(self) -> None:
        """Let the next ``refresh`` try at once: a leader has given the lock up."""
        self._next_try = 0.0

    def refresh(self) -> bool:
        """Renew the lock, or try to take it, when that is due; whether it is held now."""
        if self.wait > 0:
            return self.is_held
        config, asked_at = self._config, time.monotonic()
        ask = self._storage.renew_lock if self.is_held else self._storage.acquire_lock
        try:
            self.is_held = ask(self._owner, config.lock_ttl)
        except StorageError:
            self.is_held = False  # nothing is known about it
            raise
        self._next_try = asked_at + (config.renew_interval if self.is_held else config.acquire_interval)
        return self.is_held

    def release(self) -> None:
        """Give the lock up, so that another takes over at once."""
        if self.is_held:
            self.is_held = False
            self._storage.release_lock(self._owner)


class Reaper:
    """Keeps one queue in order. Several may run; with leader election one of them works.

    Whatever a reaper does is safe to do twice or at the same time as another: each step is one
    script that looks at the job's exact state. The lock only saves work.
    """

    def __init__(self, queue: Queue, *, leader_election: bool = True, outage: Outage | None = None) -> None:
        self.queue = queue
        self.id = str(uuid.uuid4())
        self._elects = leader_election and queue.config.reaper.leader_election
        self._lock = LeaderLock(queue, self.id)
        self._recovery = Recovery(queue)
        self._outage = outage or Outage(f"reaper of queue {queue.alias!r}")
        self._stopping = False
        self._woken = threading.Event()
        # Set by the subscriber's thread: a job is due sooner than was known.
        self._due_sooner = threading.Event()
        self._listening: ExitStack | None = None
        self._thread: threading.Thread | None = None
        self._is_leader = False
        #: Why the thread of ``start`` has ended, when it was not told to.
        self.error: UnsupportedServer | None = None
        visibility = queue.config.visibility_timeout
        self._look_interval = min(LONGEST_LOOK_INTERVAL, visibility / LOOKS_PER_TIMEOUT)
        self._sweep_interval = min(LONGEST_SWEEP_INTERVAL, visibility / 2)
        self._next_sweep = self._next_look = self._next_promote = self._next_expire = 0.0
        # Workers that hold messages but are not listed, as the sweep found them.
        self._vanished: set[str] = set()
        # What was suspect at the last look, and since which one.
        self._suspect_since: dict[tuple[str, bytes], float] = {}
        self._looks_again = False

    @property
    def is_leader(self) -> bool:
        """Whether this reaper does the work now."""
        return self._is_leader

    def run(self) -> None:
        """Work until ``stop`` is called from another thread or a signal handler.

        Raises:
            UnsupportedServer: the server is too old.
        """
        logger.info("reaper %s of queue %r starts", self.id, self.queue.alias)
        delays = outage_delays()
        try:
            while not self._stopping:
                try:
                    if self._listening is None:
                        self._listening = self._listen()
                    wait = self._step()
                except UnsupportedServer:
                    raise
                except StorageError as error:
                    self._outage.failed("reaper", error)
                    self._lead(self._lock.is_held or not self._elects)
                    wait = next(delays)
                except Exception:
                    # A fault of ours in one job's case must not end the recovery of all others.
                    logger.exception("reaper %s met an unexpected error and goes on", self.id)
                    wait = next(delays)
                else:
                    self._outage.works("reaper")
                    delays = outage_delays()
                self._woken.wait(wait)
                self._woken.clear()
        finally:
            if self._listening is not None:
                self._listening.close()
                self._listening = None
            self._resign()
            logger.info("reaper %s of queue %r has stopped", self.id, self.queue.alias)

    def start(self) -> None:
        """Work in a thread of its own."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run_quietly, name="jobqueue-reaper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and give the lock up; returns when that is done."""
        self.request_stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def join(self) -> None:
        """Wait until the thread of ``start`` has ended.

        Raises:
            UnsupportedServer: that is why it ended.
        """
        if self._thread is not None:
            self._thread.join()
        if self.error is not None:
            raise self.error

    def request_stop(self) -> None:
        """Let ``run`` return soon."""
        self._stopping = True
        self._woken.set()

    def run_once(self) -> int:
        """Do one full round now, without asking for the lock.

        A lease that has run out is settled at once, which ``run`` does only when it finds it twice. A message that
        was taken but not started is settled only when an earlier round of this reaper has seen it, too: for a
        worker of the Node library that state is ordinary for an instant.

        Returns:
            The number of abandoned jobs settled and due jobs queued.
        """
        heartbeats = self.queue.storage.heartbeats()
        self._sweep(heartbeats)
        settled = self._look_after_workers(heartbeats, looks_once=True)
        self._expire()
        moved, _ = self._promote()
        return settled + moved

    # The thread

    def _run_quietly(self) -> None:
        try:
            self.run()
        except UnsupportedServer as error:
            self.error = error
            logger.error("reaper %s ends: %s", self.id, error)

    def _listen(self) -> ExitStack:
        """Listen to other processes until the stack is closed: to all of it, or to nothing."""
        with ExitStack() as listening:
            listening.callback(self.queue.storage.listen_schedule(self._hear_of_schedule))
            if self._elects:
                listening.callback(self.queue.storage.listen_lock(self._leader_left))
            return listening.pop_all()

    def _hear_of_schedule(self) -> None:
        self._due_sooner.set()
        self._woken.set()

    def _leader_left(self) -> None:
        self._lock.retry_now()
        self._woken.set()

    def _step(self) -> float:
        """Do what is due; returns the seconds until the next thing is."""
        if self._elects and not self._lead(self._lock.refresh()):
            return self._lock.wait
        if not self._elects:
            self._lead(True)
        now = time.monotonic()
        if now >= self._next_look:
            heartbeats = self.queue.storage.heartbeats()
            if now >= self._next_sweep:
                self._sweep(heartbeats)
                self._next_sweep = now + self._sweep_interval
            self._look_after_workers(heartbeats)
            self._next_look = time.monotonic() + self._look_interval * (SECOND_LOOK if self._looks_again else 1)
        # Before promoting, which a server without memory refuses: this makes room.
        if now >= self._next_expire:
            self._expire()
            self._next_expire = now + EXPIRE_INTERVAL
        if self._due_sooner.is_set():
            self._due_sooner.clear()
            self._next_promote = 0.0
        if now >= self._next_promote:
            self._next_promote = now + self._promote_if_room()
        due = min(self._next_look, self._next_expire, self._next_promote) - time.monotonic()
        return max(0.0, min(due, self._lock.wait) if self._elects else due)

    def _promote_if_room(self) -> float:
        """Queue what is due; returns the seconds until the next look."""
        try:
            _, next_due = self._promote()
        except StorageFullError as error:
            self._outage.failed("promotion", error)
            return SHARED_PROMOTE_INTERVAL
        self._outage.works("promotion")
        longest = SHARED_PROMOTE_INTERVAL if self.queue.storage.is_shared else PROMOTE_INTERVAL
        return longest if next_due is None else min(longest, next_due)

    def _lead(self, leads: bool) -> bool:
        if leads and not self._is_leader:
            self._next_sweep = self._next_look = self._next_promote = self._next_expire = 0.0
            self._suspect_since.clear()
            self._is_leader = True
            logger.info("reaper %s leads queue %r", self.id, self.queue.alias)
            signals.leadership_acquired.send_robust(Reaper, reaper=self)
        elif self._is_leader and not leads:
            self._is_leader = False
            logger.info("reaper %s leads queue %r no more", self.id, self.queue.alias)
            signals.leadership_lost.send_robust(Reaper, reaper=self)
        return leads

    def _resign(self) -> None:
        try:
            self._lock.release()
        except StorageError as error:
            logger.warning("reaper %s could not give its lock up, it will run out: %s", self.id, error)
        self._lead(False)

    # The work

    def _look_after_workers(self, heartbeats: Sequence[Heartbeat], looks_once: bool = False) -> int:
        """Settle what workers have abandoned, and take dead workers off the list."""
        storage = self.queue.storage
        ids = [heartbeat.worker_id for heartbeat in heartbeats]
        suspects = storage.suspects([*ids, *self._vanished])
        settled = sum(self._recovery.settle(suspect) for suspect in self._overdue(suspects, looks_once))
        self._vanished = {worker_id for worker_id in self._vanished - set(ids) if storage.held(worker_id)}
        # Later than the settling: an entry with messages left must stay to be found.
        oldest_ms = 2 * self.queue.config.visibility_timeout * 1000
        for heartbeat in heartbeats:
            if heartbeat.age_ms > oldest_ms:
                storage.unregister(heartbeat.worker_id, heartbeat.at_ms)
        return settled

    def _sweep(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Tidy what other libraries left behind, and look for lists of workers that are not listed."""
        storage = self.queue.storage
        storage.sweep()
        known = [heartbeat.worker_id for heartbeat in heartbeats]
        # Each step finds some; they stay until nothing is left in their lists.
        self._vanished |= storage.vanished_workers(known)

    def _overdue(self, suspects: list[Suspect], looks_once: bool) -> list[Suspect]:
        """Those to act on now: what was suspect at an earlier look already.

        A worker whose lease ran out gets the time to renew it. One of the Node library has no heartbeat, and every
        job that it takes is unstarted for an instant.
        """
        # After the answer: the server may have stood still before it.
        now = time.monotonic()
        overdue, since, self._looks_again = [], {}, False
        for suspect in suspects:
            key = (suspect.worker_id, suspect.raw)
            since[key] = self._suspect_since.get(key, now)
            is_stalled = suspect.kind is SuspectKind.STALLED
            patience = self._look_interval * (SECOND_LOOK if is_stalled else 1)
            if now - since[key] >= patience or (is_stalled and looks_once):
                overdue.append(suspect)
            elif is_stalled:
                self._looks_again = True
        self._suspect_since = since
        return overdue

    def _promote(self) -> tuple[int, float | None]:
        total = 0
        while True:
            moved, next_due = self.queue.storage.promote(BATCH)
            total += moved
            if next_due != 0 or self._stopping:
                return total, next_due

    def _expire(self) -> None:
        while self.queue.storage.expire(BATCH) == BATCH and not self._stopping:
            pass
