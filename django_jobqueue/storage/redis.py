"""The ``Storage`` on Redis 7+ or Valkey 7.2+: every transition is one Lua script."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from redis.exceptions import NoScriptError

from ..conf import QueueConfig
from ..exceptions import MalformedMessage
from ..listing import JobPage, Part
from ..message import EXPIRY_SUFFIX, JobMessage, JobState
from . import removal
from .base import (
    Accepted,
    Claim,
    Counts,
    Details,
    Fail,
    Heartbeat,
    Listening,
    NewJob,
    Outcome,
    Record,
    Storage,
    Suspect,
    SuspectKind,
    Verdict,
    WorkerRecord,
)
from .beginnings import Beginnings
from .blocking import BlockingConnection, claim_of
from .calls import (
    claim_call,
    enqueue_call,
    hold_call,
    outcome_call,
    parts,
    promote_call,
    recover_call,
    start_call,
    sweep_calls,
)
from .connections import Connector, storage_errors
from .keys import Keys
from .news import listen_schedule
from .pages import read_details, read_page
from .replication import run_replicated
from .replies import exact_bytes, has_expired, is_applied, kept_message, milliseconds, record, text, whole
from .scripts import Call, load, script
from .subscriber import Subscriber
from .transport import BATCH, Transport

logger = logging.getLogger(__name__)

#: Malformed messages kept for inspection; the oldest go first.
QUARANTINE_LIMIT = 10_000

#: Messages looked at in one processing list; far above any concurrency.
HELD_LIMIT = 10_000

#: Keys visited in one step of the search for lost lists.
SCAN_PAGE = 1000

_TAKEN = Accepted(None)

_storages: weakref.WeakSet[RedisStorage] = weakref.WeakSet()


class RedisStorage(Storage):
    """Jobs on a Redis or Valkey server, in the format shared with the Node library."""

    gives_ready = True

    def __init__(self, config: QueueConfig) -> None:
        super().__init__(config)
        self.keys = Keys(config.key_prefix)
        self._visibility_ms = int(config.visibility_timeout * 1000)
        self._reset()
        _storages.add(self)

    def _reset(self) -> None:
        """Begin without connections; also in a forked child, whose sockets are the parent's."""
        self._lock = threading.Lock()
        self._connector = Connector(self.config)
        self._transport = Transport(self._connector, self.keys)
        self._subscriber: Subscriber | None = None
        self._blocking: BlockingConnection | None = None
        self._beginnings = Beginnings(self._connector)
        self._scan_cursor: bytes | int = 0
        self._is_shared = False
        self._sweep_cursors = dict.fromkeys(("jobs", "results", "errors", "cancelled", "progress"), b"0")

    # Producers

    def enqueue(self, jobs: Sequence[NewJob]) -> list[Accepted]:
        if len(jobs) == 1:
            (reply,) = self._enqueue(jobs)
            return [self._accepted(jobs[0], reply)]
        return [
            self._accepted(job, reply)
            for part in parts(jobs)
            for job, reply in zip(part, self._enqueue(part), strict=True)
        ]

    def _accepted(self, job: NewJob, reply: bytes) -> Accepted:
        while reply == b"clash":
            # A cancelled message of the same millisecond still lies in the list.
            job = NewJob(job.message.created(job.message.created_at + 1), job.delay_ms)
            (reply,) = self._enqueue([job])
        return _TAKEN if reply in (b"queued", b"scheduled") else Accepted(JobState.read(reply))

    def _enqueue(self, jobs: Sequence[NewJob]) -> list[bytes]:
        wanted = self.config.min_replicas

        def send(client: Any, resent: bool) -> list[bytes]:
            calls = [enqueue_call(self.keys, job, resent, wanted > 0) for job in jobs]
            return run_replicated(client, calls, wanted, "enqueueing")

        return self._transport.send("enqueueing", send)

    def cancel(self, job_id: str) -> str:
        return removal.cancel(self._transport, self.keys, job_id)

    def delete(self, job_id: str) -> str:
        return removal.delete(self._transport, self.keys, job_id)

    def retry_dead(self, job_id: str) -> bool:
        keys = self.keys
        names = (keys.jobs, keys.queue, keys.errors, keys.failed, keys.dead, keys.cancelled)
        (kept,) = self._transport.commands(f"reading the message of job {job_id!r}", ("HGET", keys.dead, job_id))
        if kept is None:
            return False
        fresh = kept_message(job_id, kept).renewed(int(time.time() * 1000))
        while True:
            args = (job_id, kept, fresh.raw, fresh.created_at, keys.events, int(self.config.min_replicas > 0))
            reply, resent = self._retry_dead(job_id, Call(script("retry_dead"), names, args))
            if reply != b"clash":
                break
            fresh = fresh.created(fresh.created_at + 1)
        if reply == b"queued" or not resent:
            return reply == b"queued"
        # It was failed and has changed between the sendings. That was our own first one, unless it is gone.
        return self.states([job_id]) != [None]

    def _retry_dead(self, job_id: str, call: Call) -> tuple[bytes, bool]:
        """Its reply, and whether it took more than one sending."""
        attempted = f"retrying job {job_id!r}"

        def send(client: Any, resent: bool) -> tuple[bytes, bool]:
            (reply,) = run_replicated(client, [call], self.config.min_replicas, attempted)
            return reply, resent

        return self._transport.send(attempted, send)

    def update_ttl(self, job_id: str, ttl_ms: int) -> str:
        keys = self.keys
        names = (keys.jobs, keys.results, keys.errors, keys.completed, keys.failed)
        reply: bytes = self._transport.run(f"updating the TTL of job {job_id!r}", "update_ttl", names, job_id, ttl_ms)
        return reply.decode()

    # Observers

    def lookup(self, job_ids: Sequence[str]) -> list[Record | None]:
        keys = self.keys
        names = (keys.jobs, keys.results, keys.errors, keys.dead, keys.progress)
        lua = script("lookup")
        calls = [Call(lua, names, job_ids[start : start + BATCH]) for start in range(0, len(job_ids), BATCH)]
        return [record(entry) for reply in self._transport.run_all("looking up jobs", calls) for entry in reply]

    def states(self, job_ids: Sequence[str]) -> list[JobState | None]:
        if not job_ids:
            return []
        fields = [field for job_id in job_ids for field in (job_id, job_id + EXPIRY_SUFFIX)]
        server_time, values = self._transport.raw("reading job states", ("TIME",), ("HMGET", self.keys.jobs, *fields))
        now = milliseconds(server_time)
        found: list[JobState | None] = []
        for raw, expires_at in zip(values[::2], values[1::2], strict=True):
            state = None if raw is None else JobState.read(raw)
            found.append(None if expires_at is not None and has_expired(state, expires_at, now) else state)
        return found

    def page(self, part: Part, offset: int, limit: int) -> JobPage:
        return read_page(self._transport, self.keys, part, offset, limit)

    def details(self, job_id: str, worker_id: str | None) -> Details:
        return read_details(self._transport, self.keys, job_id, worker_id)

    def counts(self) -> Counts:
        keys = self.keys
        queued, scheduled, completed, failed, malformed, leader = self._transport.commands(
            "reading the counts",
            ("LLEN", keys.queue),
            ("ZCARD", keys.scheduled),
            ("ZCARD", keys.completed),
            ("ZCARD", keys.failed),
            ("LLEN", keys.malformed),
            ("GET", keys.lock),
        )
        return Counts(
            queued=queued,
            scheduled=scheduled,
            completed=completed,
            failed=failed,
            malformed=malformed,
            leader=None if leader is None else leader.decode("utf-8", "replace"),
        )

    def oldest_queued(self) -> int | None:
        server_time, raw = self._transport.commands(
            "reading the oldest job", ("TIME",), ("LINDEX", self.keys.queue, 0)
        )
        try:
            # A client's clock may be ahead of the server's.
            return None if raw is None else max(0, milliseconds(server_time) - JobMessage.decode(raw).created_at)
        except MalformedMessage:
            return None

    def workers(self) -> list[WorkerRecord]:
        keys = self.keys
        heartbeats = self.heartbeats()
        infos, *lengths = self._transport.commands(
            "reading the workers",
            ("HGETALL", keys.worker_info),
            *(("LLEN", keys.processing(heartbeat.worker_id)) for heartbeat in heartbeats),
        )
        return [
            WorkerRecord(heartbeat, length, infos.get(heartbeat.worker_id.encode(), b""))
            for heartbeat, length in zip(heartbeats, lengths, strict=True)
        ]

    def listen_job(self, job_id: str, on_event: Callable[[str], None], resynced: Callable[[], None]) -> Listening:
        return self._subscriptions().listen_early(
            self.keys.notify(job_id), lambda message: on_event(message.decode("utf-8", "replace")), resynced
        )

    def listen_events(self, on_event: Callable[[str, str], None]) -> Callable[[], None]:
        def on_message(message: bytes) -> None:
            job_id, _, event = message.decode("utf-8", "replace").rpartition(":")
            on_event(job_id, event)

        return self._subscriptions().listen(self.keys.events, on_message)

    def listen_lock(self, on_release: Callable[[], None]) -> Callable[[], None]:
        return self._subscriptions().listen(self.keys.lock_channel, lambda _: on_release(), confirm=False)

    def listen_schedule(self, on_first: Callable[[], None]) -> Callable[[], None]:
        return listen_schedule(self._subscriptions(), self.keys, on_first, self._note_node)

    def _note_node(self) -> None:
        self._is_shared = True

    def _subscriptions(self) -> Subscriber:
        with self._lock:
            if self._subscriber is None:
                self._subscriber = Subscriber(self._connector)
            return self._subscriber

    # Workers

    def claim(self, worker_id: str, limit: int) -> Claim:
        return self.commit(worker_id, (), limit)[1]

    def wait_and_take(self, worker_id: str, timeout: float) -> bytes | None:
        return self._wait(worker_id, timeout)[0]

    def wait_and_claim(self, worker_id: str, timeout: float) -> Claim:
        hold = hold_call(self.keys, worker_id)
        moved, reply = self._wait(worker_id, timeout, hold.command())
        if isinstance(reply, NoScriptError):
            with storage_errors("loading a script"):
                load(self._connector.main(), hold.script)
        return claim_of(moved, reply)

    def _wait(self, worker_id: str, timeout: float, then: Sequence[Any] | None = None) -> tuple[bytes | None, Any]:
        attempted, processing = "waiting for a job", self.keys.processing(worker_id)
        with storage_errors(attempted), self._transport.explaining(attempted, [processing]):
            if self._blocking is None:
                self._blocking = BlockingConnection(self._connector, self.config.block_timeout)
            # Not sent again here: the caller must first look whether the server moved a message.
            return self._blocking.move(self.keys.queue, processing, timeout, then)

    def wake(self) -> None:
        with storage_errors("waking the blocked connection"):
            if self._blocking is not None:
                self._blocking.wake()

    def start(self, worker_id: str, message: JobMessage) -> tuple[Verdict, int]:
        call = start_call(self.keys, worker_id, message)
        ((verdict, backlog),) = self._transport.run_all(f"starting job {message.id!r}", [call])
        return Verdict(verdict.decode()), backlog

    def commit(
        self, worker_id: str, outcomes: Sequence[Outcome], limit: int = 0, ahead: int = 0
    ) -> tuple[list[bool], Claim]:
        return self.begin_commit(worker_id, outcomes, limit, ahead)()

    def begin_commit(
        self, worker_id: str, outcomes: Sequence[Outcome], limit: int = 0, ahead: int = 0
    ) -> Callable[[], tuple[list[bool], Claim]]:
        calls = [outcome_call(self.keys, worker_id, outcome) for outcome in outcomes]
        if limit or ahead:
            calls.append(claim_call(self.keys, worker_id, limit, ahead))
        # Not sent again here: the caller must first look what the lost reply brought, and say so.
        read = self._transport.begin_all("committing jobs and claiming the next", calls)

        def end() -> tuple[list[bool], Claim]:
            replies, claim = read(), Claim()
            if limit or ahead:
                backlog, messages, unread, ready = replies.pop()
                claim = Claim(messages, unread, backlog, ready)
            return [is_applied(reply, one.resent) for one, reply in zip(outcomes, replies, strict=True)], claim

        return end

    def held_ready(self, worker_id: str) -> set[str]:
        (ids,) = self._transport.commands("reading what is held ready", ("SMEMBERS", self.keys.ahead(worker_id)))
        return {text(job_id) for job_id in ids}

    def begin(self, worker_id: str, job_id: str) -> None:
        self._beginnings.send(self.keys.ahead(worker_id), job_id)

    def renew(
        self, worker_id: str, info: bytes, begun: Sequence[JobMessage], ready: Sequence[JobMessage] = ()
    ) -> set[bytes]:
        keys = self.keys
        names = (keys.jobs, keys.workers, keys.worker_info, keys.processing(worker_id), keys.ahead(worker_id))
        leases = [part for message in (*begun, *ready) for part in (message.id, message.raw)]
        lost = self._transport.run("renewing leases", "renew", names, worker_id, info, len(begun), *leases)
        return {bytes(raw) for raw in lost}

    def held(self, worker_id: str) -> list[bytes]:
        (messages,) = self._transport.commands(
            "reading the processing list", ("LRANGE", self.keys.processing(worker_id), 0, HELD_LIMIT - 1)
        )
        return [bytes(raw) for raw in messages]

    def quarantine(self, worker_id: str, raw: bytes, error: bytes) -> None:
        keys = self.keys
        names = (keys.processing(worker_id), keys.malformed, keys.jobs, keys.errors, keys.failed, keys.cancelled)
        ttl_ms = int(self.config.result_ttl * 1000)
        args = (raw, QUARANTINE_LIMIT, error, ttl_ms, keys.notify(""), keys.events, worker_id)
        self._transport.run("quarantining a message", "quarantine", names, *args)

    def unregister(self, worker_id: str, heartbeat_ms: int | None = None) -> bool:
        keys = self.keys
        names = (keys.workers, keys.worker_info, keys.processing(worker_id), keys.ahead(worker_id))
        expected = "" if heartbeat_ms is None else heartbeat_ms
        return bool(
            self._transport.run(f"unregistering worker {worker_id!r}", "unregister", names, worker_id, expected)
        )

    def set_progress(self, job_id: str, progress: bytes | None) -> None:
        if progress is None:
            self._transport.commands("removing progress", ("HDEL", self.keys.progress, job_id))
        else:
            self._transport.commands("reporting progress", ("HSET", self.keys.progress, job_id, progress))

    # Reaper

    def heartbeats(self) -> list[Heartbeat]:
        server_time, found = self._transport.commands(
            "reading the heartbeats", ("TIME",), ("HGETALL", self.keys.workers)
        )
        now = milliseconds(server_time)
        return [
            Heartbeat(text(worker_id), beat, now - beat)
            for worker_id, beat in ((worker_id, whole(at) or 0) for worker_id, at in sorted(found.items()))
        ]

    def suspects(self, worker_ids: Iterable[str]) -> list[Suspect]:
        keys, lua = self.keys, script("suspects")
        ids = list(worker_ids)
        calls = [
            Call(
                lua,
                (keys.jobs, keys.workers, keys.processing(worker_id), keys.cancelled, keys.ahead(worker_id)),
                (worker_id, self._visibility_ms, HELD_LIMIT),
            )
            for worker_id in ids
        ]
        found = []
        for worker_id, reply in zip(ids, self._transport.run_all("looking for abandoned jobs", calls), strict=True):
            for kind, raw, state in zip(reply[::3], reply[1::3], reply[2::3], strict=True):
                exact = state.decode("utf-8", "surrogateescape")
                found.append(Suspect(worker_id, SuspectKind(kind.decode()), bytes(raw), exact))
        return found

    def recover(self, suspect: Suspect, message: JobMessage, following: JobMessage) -> bool:
        call = recover_call(self.keys, suspect, message, following)
        (reply,) = self._transport.run_all(f"recovering job {message.id!r}", [call])
        return bool(reply)

    def discard(self, suspect: Suspect, message: JobMessage) -> bool:
        keys = self.keys
        names = (keys.jobs, keys.processing(suspect.worker_id), keys.cancelled)
        args = (message.id, suspect.raw, message.created_at, exact_bytes(suspect.state))
        return bool(self._transport.run(f"discarding a message of job {message.id!r}", "discard", names, *args))

    def fail_stalled(self, suspect: Suspect, outcome: Fail) -> bool:
        (applied,), _ = self.commit(suspect.worker_id, [outcome])
        return applied

    def promote(self, limit: int) -> tuple[int, float | None]:
        keys = self.keys
        ttl_ms = int(self.config.result_ttl * 1000)
        call = promote_call(keys, limit, ttl_ms, QUARANTINE_LIMIT)
        ((moved, next_ms, rejected, had_ttl),) = self._transport.run_all("promoting due jobs", [call])
        if rejected:
            logger.error(
                "%d delayed or retried jobs failed when they were due, for their messages are gone or damaged",
                rejected, extra={"queue": self.config.alias},
            )  # fmt: skip
        self._is_shared = self._is_shared or had_ttl > 0
        return moved, None if next_ms < 0 else next_ms / 1000

    @property
    def is_shared(self) -> bool:
        return self._is_shared

    def expire(self, limit: int) -> int:
        keys = self.keys
        names = (keys.jobs, keys.completed, keys.results, keys.failed, keys.errors, keys.dead)
        looked_at: int = self._transport.run("expiring finished jobs", "expire", names, limit)
        return looked_at

    def sweep(self) -> None:
        keys, cursors = self.keys, self._sweep_cursors
        calls = sweep_calls(keys, cursors, int(self.config.result_ttl * 1000))
        jobs, (results, errors), (cancelled, progress) = self._transport.run_all("sweeping", calls)
        cursors.update(jobs=jobs, results=results, errors=errors, cancelled=cancelled, progress=progress)

    def vanished_workers(self, known: Collection[str]) -> set[str]:
        keys = self.keys
        (reply,) = self._transport.commands(
            "looking for lost processing lists",
            ("SCAN", self._scan_cursor, "MATCH", keys.processing_pattern(), "COUNT", SCAN_PAGE),
        )
        self._scan_cursor, names = reply
        found = {text(name)[len(keys.processing_prefix) :] for name in names}
        return {worker_id for worker_id in found if ":" not in worker_id}.difference(known)

    def acquire_lock(self, owner: str, ttl: float) -> bool:
        # A script, since a server at maxmemory refuses SET, and a reaper is what makes room there.
        args = (owner, int(ttl * 1000))
        return bool(self._transport.run("acquiring the leader lock", "lock_acquire", (self.keys.lock,), *args))

    def renew_lock(self, owner: str, ttl: float) -> bool:
        return bool(
            self._transport.run("renewing the leader lock", "lock_renew", (self.keys.lock,), owner, int(ttl * 1000))
        )

    def release_lock(self, owner: str) -> bool:
        names = (self.keys.lock,)
        return bool(
            self._transport.run("releasing the leader lock", "lock_release", names, owner, self.keys.lock_channel)
        )

    # Life cycle

    def clear(self) -> int:
        keys = self.keys
        removed: int = sum(self._transport.commands("clearing the queue", *(("UNLINK", key) for key in keys.fixed())))
        for pattern in (keys.processing_pattern(), keys.ahead_pattern()):
            removed += self._clear_matching(pattern)
        return removed

    def _clear_matching(self, pattern: str) -> int:
        removed, cursor = 0, b"0"
        while True:
            command = ("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_PAGE)
            ((cursor, names),) = self._transport.commands("clearing the queue", command)
            if names:
                removed += sum(self._transport.commands("clearing the queue", *(("UNLINK", name) for name in names)))
            if int(cursor) == 0:
                return removed

    def close(self) -> None:
        with self._lock:
            subscriber, self._subscriber = self._subscriber, None
            blocking, self._blocking = self._blocking, None
        if subscriber is not None:
            subscriber.close()
        if blocking is not None:
            blocking.close()
        self._beginnings.close()


def _reset_after_fork() -> None:
    for storage in list(_storages):
        storage._reset()


os.register_at_fork(after_in_child=_reset_after_fork)
