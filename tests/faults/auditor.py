"""``Auditor``: reads a queue's keys and names everything that breaks its invariants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import redis

from django_jobqueue.exceptions import MalformedMessage
from django_jobqueue.message import Envelope, JobMessage, JobState, Status
from tests.faults.snapshot import Copy, Snapshot

#: The documented keys and their types; see docs/reference/wire-format.md. Not taken from the code that is audited.
KINDS = {
    "jobs": "hash", "queue": "list", "results": "hash", "errors": "hash", "workers": "hash", "reaper:lock": "string",
    "scheduled": "zset", "scheduled:messages": "hash", "completed": "zset", "failed": "zset", "dead": "hash",
    "cancelled": "hash", "progress": "hash", "worker-info": "hash", "malformed": "list",
}  # fmt: skip

#: Those of each worker, by the beginning of their names.
OF_WORKERS = {"processing:": "list", "ahead:": "set"}

#: What a finished job has besides its state: its index and the hash with its outcome.
ENDINGS = {Status.COMPLETED: ("completed", "results"), Status.FAILED: ("failed", "errors")}


class Auditor:
    """Checks one queue on a server, at any time; workers may run meanwhile.

    Entries that only the Node library writes (finished jobs without index) count as violations.

    Args:
        client: leads to the primary.
        key_prefix: of the queue.
    """

    def __init__(self, client: redis.Redis, key_prefix: str) -> None:
        self._client = client
        self._prefix = key_prefix

    def check(self, accepted_ids: Iterable[str], *, drained: bool = False, max_attempts: int = 3) -> None:
        """Compare the queue with the invariants.

        Args:
            accepted_ids: jobs that a producer was told are in, and that nobody cancelled or deleted.
            drained: whether all jobs must have ended and all workers have left.
            max_attempts: the greatest that any job was enqueued with.

        Raises:
            AssertionError: with every violation on a line of its own, beginning with the job's id or the key.
        """
        found = self.violations(accepted_ids, drained=drained, max_attempts=max_attempts)
        assert not found, f"{len(found)} violations in queue {self._prefix!r}:\n" + "\n".join(found)

    def violations(self, accepted_ids: Iterable[str], *, drained: bool = False, max_attempts: int = 3) -> list[str]:
        """What ``check`` would complain about."""
        snapshot = Snapshot.read(self._client, self._prefix)
        return [
            *_unknown_keys(snapshot),
            *(f"{job_id}: was accepted and is gone" for job_id in accepted_ids if job_id not in snapshot.states),
            *_misplaced_jobs(snapshot),
            *_excessive_attempts(snapshot, max_attempts),
            *_incomplete_endings(snapshot),
            *_orphans(snapshot),
            *(_unfinished(snapshot) if drained else ()),
        ]

    def state(self, job_id: str) -> JobState | None:
        """The state of a job."""
        raw = Snapshot.read(self._client, self._prefix).states.get(job_id)
        return None if raw is None else JobState.parse(raw)

    def copies(self, job_id: str) -> list[Copy]:
        """The messages of a job in queue, scheduled jobs and processing lists, without cancelled ones."""
        return Snapshot.read(self._client, self._prefix).copies[job_id]


def _unknown_keys(snapshot: Snapshot) -> Iterator[str]:
    for name, key in snapshot.keys.items():
        kind = next((kind for start, kind in OF_WORKERS.items() if name.startswith(start)), None) or KINDS.get(name)
        if kind is None:
            yield f"{name}: is a key that nobody documents"
        elif kind != key.kind:
            yield f"{name}: is a {key.kind} and should be a {kind}"
        if key.has_ttl != (name == "reaper:lock" or name.startswith("ahead:")):
            yield f"{name}: {'has a TTL' if key.has_ttl else 'has no TTL, so its owner keeps it for ever'}"


def _misplaced_jobs(snapshot: Snapshot) -> Iterator[str]:
    for job_id, raw in snapshot.states.items():
        try:
            state = JobState.parse(raw)
        except MalformedMessage as error:
            yield f"{job_id}: {error}"
            continue
        copies = snapshot.copies.get(job_id, [])
        if len(copies) != (0 if state.status.is_terminal else 1):
            places = ", ".join(copy.place for copy in copies) or "nowhere"
            yield f"{job_id}: is {raw}, and its message is in {len(copies)} places: {places}"
        elif copies and not _agree(state, copies[0]):
            where = f"{copies[0].place} with {copies[0].message.raw[-160:]!r}"
            yield f"{job_id}: is {raw}, and its message is in {where}"
    for job_id, copies in snapshot.copies.items():
        if job_id not in snapshot.states:
            yield f"{job_id}: has no state, and its message is in {', '.join(copy.place for copy in copies)}"


def _agree(state: JobState, copy: Copy) -> bool:
    message = copy.message
    match state.status:
        case Status.QUEUED:
            # In a processing list: taken by BLMOVE and not yet started.
            return copy.place != "scheduled" and message.created_at == state.timestamp and message.attempts == 0
        case Status.SCHEDULED:
            return copy.place == "scheduled" and message.created_at == state.timestamp and message.attempts == 0
        case Status.FAILING:
            return message.attempts == state.attempts
        case Status.PROCESSING:
            return copy.worker_id == state.worker_id
        case _:
            return False


def _excessive_attempts(snapshot: Snapshot, max_attempts: int) -> Iterator[str]:
    for job_id, copies in snapshot.copies.items():
        for copy in copies:
            allowed = min(copy.message.max_attempts, max_attempts)
            if copy.message.attempts >= allowed:
                yield f"{job_id}: runs again after {copy.message.attempts} attempts, of which {allowed} are allowed"
    for job_id, raw in snapshot.hash("dead").items():
        message = _read(raw)
        if message is None or message.id != job_id:
            yield f"{job_id}: its kept message is not its own: {raw[:160]!r}"
        elif message.attempts >= message.max_attempts:
            yield f"{job_id}: failed after {message.attempts + 1} of {message.max_attempts} attempts"


def _incomplete_endings(snapshot: Snapshot) -> Iterator[str]:
    for job_id, raw in snapshot.states.items():
        ending = ENDINGS.get(Status(raw.partition(":")[0])) if raw.partition(":")[0] in list(Status) else None
        expiry = snapshot.expiries.get(job_id)
        if ending is None:
            if expiry is not None:
                yield f"{job_id}: is {raw}, and has an expiry"
            continue
        index, payloads = ending
        if expiry is None:
            yield f"{job_id}: is {raw} without expiry"
        elif expiry <= snapshot.now:
            continue  # over: what is left of it goes in several steps
        if snapshot.zset(index).get(job_id) != expiry:
            yield f"{job_id}: is {raw} until {expiry}, and indexed until {snapshot.zset(index).get(job_id)}"
        stored = snapshot.hash(payloads).get(job_id)
        if stored is None:
            yield f"{job_id}: is {raw} without entry in {payloads}"
        elif Envelope.open(stored).expires_at != expiry:
            yield f"{job_id}: is {raw} until {expiry}, and its entry in {payloads} says {Envelope.open(stored)}"


def _orphans(snapshot: Snapshot) -> Iterator[str]:
    for status, (index, payloads) in ENDINGS.items():
        finished = {job_id for job_id, raw in snapshot.states.items() if raw.startswith(f"{status}:")}
        # What is due waits for the reaper, and its id may have been used anew.
        indexed = {job_id for job_id, due in snapshot.zset(index).items() if due > snapshot.now}
        kept = {
            job_id
            for job_id, stored in snapshot.hash(payloads).items()
            if (Envelope.open(stored).expires_at or snapshot.now + 1) > snapshot.now
        }
        yield from (f"{job_id}: is in {index} without being it" for job_id in indexed - finished)
        yield from (f"{job_id}: has an entry in {payloads} without being {status}" for job_id in kept - finished)
    for job_id in set(snapshot.hash("dead")) - set(snapshot.zset("failed")):
        yield f"{job_id}: has a kept message without being failed"
    for job_id in set(snapshot.zset("scheduled")) ^ set(snapshot.hash("scheduled:messages")):
        lacking = "message" if job_id in snapshot.zset("scheduled") else "time"
        yield f"{job_id}: is scheduled without {lacking}"
    for job_id in set(snapshot.expiries) - set(snapshot.states):
        yield f"{job_id}: has an expiry without state"
    for job_id, created_at in snapshot.tombstones - snapshot.found_tombstones:
        yield f"{job_id}: is marked as cancelled, and no message of {created_at} is there"
    for worker_id in set(snapshot.hash("worker-info")) - set(snapshot.hash("workers")):
        yield f"worker-info: describes {worker_id}, which is not registered"


def _unfinished(snapshot: Snapshot) -> Iterator[str]:
    for job_id, raw in snapshot.states.items():
        if not raw.startswith(tuple(f"{status}:" for status in ENDINGS)):
            yield f"{job_id}: is {raw}, and the queue should be drained"
    for name in snapshot.lists:
        if name != "malformed":
            yield f"{name}: still holds {len(snapshot.lists[name])} messages"
    for name in ("scheduled", "scheduled:messages", "cancelled", "workers", "worker-info"):
        left = snapshot.hash(name) or snapshot.zset(name)
        if left:
            yield f"{name}: still holds {', '.join(sorted(left))}"
    for job_id in set(snapshot.hash("progress")) - set(snapshot.states):
        yield f"{job_id}: reports progress, and is unknown"


def _read(raw: bytes) -> JobMessage | None:
    try:
        return JobMessage.decode(raw)
    except MalformedMessage:
        return None
