"""What the transitions do to a job, within a transaction that the storage has begun.

The counterpart of ``lua/``; the semantics are the same.
"""

from __future__ import annotations

from ...message import JobMessage, JobState, Status
from ..base import (
    Accepted,
    Complete,
    Fail,
    NewJob,
    Outcome,
    Record,
    Release,
    Retry,
    Suspect,
    SuspectKind,
)
from .rows import Place, Row, Rows

#: Malformed messages kept for inspection; the oldest go first.
QUARANTINE_LIMIT = 10_000

#: The event of the schedule: a job is due sooner than all others that wait.
FIRST = "first"


def enqueue(rows: Rows, job: NewJob) -> Accepted:
    """Queue or schedule a new job, unless its id is taken."""
    message = job.message
    found = rows.job(message.id)
    if found is not None:
        return Accepted(state_of(found[0]))
    if job.delay_ms:
        state = JobState(Status.SCHEDULED, message.created_at)
        rows.add(message.id, Place.SCHEDULED, rows.now + job.delay_ms, str(state), message.raw)
        _tell_if_first(rows, message.id)
    else:
        state = JobState(Status.QUEUED, message.created_at)
        rows.add(message.id, Place.QUEUE, rows.tail, str(state), message.raw)
        rows.publish(message.id, "queued")
    return Accepted()


def cancel(rows: Rows, job_id: str) -> str:
    """Cancel a job that has not started; see ``Storage.cancel`` for what it returns."""
    found = rows.job(job_id)
    if found is None:
        return "not_found"
    row, _ = found
    if row.is_finished or row.status is Status.PROCESSING:
        return str(row.status)
    if row.place is Place.HELD and row.status is Status.FAILING:
        return "processing"  # taken for its next attempt
    if row.place is Place.HELD:
        rows.change(row, state=None)  # whoever holds the message drops it
    else:
        rows.remove([row])
    rows.publish(job_id, "cancelled")
    return "cancelled"


def retry_dead(rows: Rows, job_id: str) -> bool:
    """Queue a failed job anew from its kept message; whether there was one."""
    found = rows.job(job_id, ", message")
    if found is None or found[0].place is not Place.FAILED or found[1][0] is None:
        return False
    row, (kept,) = found
    fresh = JobMessage.decode(kept).renewed(rows.now)
    state = JobState(Status.QUEUED, fresh.created_at)
    rows.change(row, place=Place.QUEUE, rank=rows.tail, state=str(state), payload=None, message=fresh.raw)
    rows.publish(job_id, "queued")
    return True


def promote(rows: Rows, row: Row) -> None:
    """Queue a job whose time has come: a delayed one at the tail, a retry at the head."""
    state = state_of(row)
    if state.status is Status.SCHEDULED:
        queued = JobState(Status.QUEUED, state.timestamp)
        rows.change(row, place=Place.QUEUE, rank=rows.tail, state=str(queued))
    else:
        rows.change(row, place=Place.QUEUE, rank=rows.head)
    rows.publish(row.id, "queued")


def record(rows: Rows, job_id: str) -> Record | None:
    """All that is known about a job."""
    found = rows.job(job_id, ", progress, payload, message")
    if found is None:
        return None
    row, (progress, payload, message) = found
    state = state_of(row)
    if not row.is_finished:
        return Record(state, progress=progress)
    return Record(state, payload, message)


def state_of(row: Row) -> JobState:
    """The state of a job, in parts."""
    assert row.state is not None
    return JobState.read(row.state)


# What a worker does with what it holds


def start(rows: Rows, row: Row, worker_id: str) -> None:
    """A worker takes a job, or has taken it, and starts it."""
    state = JobState(Status.PROCESSING, rows.now, worker_id=worker_id)
    rows.change(row, place=Place.HELD, rank=rows.now, state=str(state), worker=worker_id)
    rows.publish(row.id, "processing")


def renew(rows: Rows, worker_id: str, message: JobMessage) -> bool:
    """Begin a lease anew; false when it is lost."""
    row = lease(rows, worker_id, message)
    if row is None:
        return False
    rows.change(row, state=str(JobState(Status.PROCESSING, rows.now, worker_id=worker_id)))
    return True


def lease(rows: Rows, worker_id: str, message: JobMessage) -> Row | None:
    """The job that a worker holds with exactly this message."""
    held = rows.held(worker_id, message.id, message.raw)
    return held[-1] if held and held[-1].state is not None else None


def apply(rows: Rows, worker_id: str, outcome: Outcome) -> bool:
    """Store how a job ended, or give it back; false when its lease is lost."""
    row = lease(rows, worker_id, outcome.message)
    match outcome:
        case Complete():
            if row is None:
                return outcome.resent and _has_state(rows, outcome, Status.COMPLETED)
            finish(rows, row, Place.COMPLETED, outcome.ttl_ms, outcome.result, None)
        case Fail():
            if row is None:
                return outcome.resent and _has_state(rows, outcome, Status.FAILED)
            if outcome.expected and row.state != outcome.expected:
                return False
            finish(rows, row, Place.FAILED, outcome.ttl_ms, outcome.error, outcome.message.raw)
        case Retry():
            attempts = outcome.following.attempts
            if row is None:
                return outcome.resent and _has_state(rows, outcome, Status.FAILING, attempts)
            _retry(rows, row, outcome)
        case Release():
            return _release(rows, worker_id, row, outcome.message)
    return True


def finish(rows: Rows, row: Row, place: Place, ttl_ms: int, payload: bytes, kept: bytes | None) -> None:
    """End a job with its result or error, until its TTL is over."""
    rows.change(
        row,
        place=place,
        rank=rows.now + ttl_ms,
        state=f"{place}:{rows.now}",
        worker=None,
        progress=None,
        payload=payload,
        message=kept,
    )
    rows.publish(row.id, place)


def quarantine(rows: Rows, row: Row, raw: bytes, error: bytes, ttl_ms: int) -> None:
    """Put a message that cannot be read aside; its job has failed."""
    rows.write("INSERT INTO malformed (queue, message) VALUES (?, ?)", raw)
    rows.write(
        "DELETE FROM malformed WHERE seq IN "
        "(SELECT seq FROM malformed WHERE queue = ? ORDER BY seq DESC LIMIT -1 OFFSET ?)",
        QUARANTINE_LIMIT,
    )
    if row.state is None:
        rows.remove([row])
    else:
        finish(rows, row, Place.FAILED, ttl_ms, error, None)


def _has_state(rows: Rows, outcome: Outcome, status: Status, attempts: int | None = None) -> bool:
    """Whether a job is already what an outcome, sent again, would make of it."""
    found = rows.job(outcome.message.id)
    if found is None:
        return False
    state = state_of(found[0])
    return state.status is status and state.attempts == attempts


def _retry(rows: Rows, row: Row, outcome: Retry) -> None:
    following = outcome.following
    state = str(JobState(Status.FAILING, rows.now, attempts=following.attempts))
    if outcome.delay_ms:
        due = rows.now + outcome.delay_ms
        rows.change(row, place=Place.SCHEDULED, rank=due, state=state, worker=None, message=following.raw)
        _tell_if_first(rows, row.id)
    else:
        _to_head(rows, row, state, following)
    rows.publish(row.id, "failing")


def _tell_if_first(rows: Rows, job_id: str) -> None:
    """Tell the reaper when a job that has just been scheduled is due sooner than all others."""
    if [row.id for row in rows.first(Place.SCHEDULED, 1)] == [job_id]:
        rows.publish("", FIRST)


def _release(rows: Rows, worker_id: str, row: Row | None, message: JobMessage) -> bool:
    if row is None:
        cancelled = rows.held(worker_id, message.id, message.raw)
        rows.remove(cancelled)
        return bool(cancelled)
    state = row.state
    if row.status is Status.PROCESSING and message.attempts:
        state = str(JobState(Status.FAILING, rows.now, attempts=message.attempts))
    elif row.status is Status.PROCESSING:
        state = str(JobState(Status.QUEUED, message.created_at))
    _to_head(rows, row, state, message)
    rows.publish(row.id, "queued")
    return True


def _to_head(rows: Rows, row: Row, state: str | None, message: JobMessage) -> None:
    rows.change(row, place=Place.QUEUE, rank=rows.head, state=state, worker=None, message=message.raw)


# What the reaper does with what others hold


def suspects(rows: Rows, worker_id: str, oldest: int) -> list[Suspect]:
    """What a worker holds without being seen to work on it since ``oldest``."""
    beats = rows.query("SELECT heartbeat FROM workers WHERE queue = ? AND id = ?", worker_id)
    overdue = not beats or beats[0][0] <= oldest
    found = []
    for state, raw in rows.query("SELECT state, message FROM jobs WHERE queue = ? AND worker = ?", worker_id):
        kind = _suspicion(state, oldest, overdue)
        if kind is not None:
            found.append(Suspect(worker_id, kind, bytes(raw), state or ""))
    return found


def _suspicion(state: str | None, oldest: int, overdue: bool) -> SuspectKind | None:
    parsed = None if state is None else JobState.read(state)
    if parsed is not None and parsed.status is Status.PROCESSING:
        return SuspectKind.STALLED if parsed.timestamp <= oldest else None
    if not overdue:
        return None
    return SuspectKind.OUTDATED if parsed is None else SuspectKind.UNSTARTED


def recover(rows: Rows, suspect: Suspect, message: JobMessage, following: JobMessage) -> bool:
    """Put a suspect's job back at the head; false when its worker has moved on."""
    row = lease(rows, suspect.worker_id, message)
    # A renewal writes a new time into the state, so this fences off a leader that slept.
    if row is None or row.state != suspect.state:
        return False
    if following.attempts == message.attempts:
        _to_head(rows, row, row.state, following)
        rows.publish(message.id, "queued")
    else:
        state = JobState(Status.FAILING, rows.now, attempts=following.attempts)
        _to_head(rows, row, str(state), following)
        rows.publish(message.id, "stalled")
    return True
