"""Pages of a queue's parts and the details of one job, in SQL; see ``Storage.page`` and ``details``."""

from __future__ import annotations

from ...exceptions import MalformedMessage
from ...listing import HEAD_BYTES, JobPage, ListedJob, Part
from ...message import JobMessage
from ..base import Details
from .rows import Place, Rows

#: Where a part's jobs are, and the order of its page.
_PLACES = {
    Part.QUEUED: (Place.QUEUE, "rank"),
    Part.SCHEDULED: (Place.SCHEDULED, "rank"),
    Part.PROCESSING: (Place.HELD, "worker, rank, seq"),
    Part.COMPLETED: (Place.COMPLETED, "rank DESC"),
    Part.FAILED: (Place.FAILED, "rank DESC"),
}

#: Parts in which a job's rank is a time.
_TIMED = frozenset({Part.SCHEDULED, Part.COMPLETED, Part.FAILED})

_HEADS = ", ".join(f"substr({name}, 1, {HEAD_BYTES}), length({name})" for name in ("message", "payload"))


def page(rows: Rows, part: Part, offset: int, limit: int) -> JobPage:
    """One page of a part."""
    if part is Part.MALFORMED:
        return _malformed(rows, offset, limit)
    place, order = _PLACES[part]
    found = rows.query(
        f"SELECT id, {_HEADS}, rank, worker FROM jobs WHERE queue = ? AND place = ? "
        f"ORDER BY {order} LIMIT ? OFFSET ?",
        place,
        limit,
        offset,
    )
    jobs = [
        ListedJob(
            job_id,
            bytes(message or b""),
            message_size or 0,
            bytes(outcome or b""),
            outcome_size or 0,
            time=rank if part in _TIMED else None,
            worker_id=worker_id,
        )
        for job_id, message, message_size, outcome, outcome_size, rank, worker_id in found
    ]
    return JobPage(jobs, rows.sizes().get(place, 0))


def _malformed(rows: Rows, offset: int, limit: int) -> JobPage:
    found = rows.query("SELECT message FROM malformed WHERE queue = ? ORDER BY seq LIMIT ? OFFSET ?", limit, offset)
    ((total,),) = rows.query("SELECT COUNT(*) FROM malformed WHERE queue = ?")
    jobs = [ListedJob(_id_of(raw), raw[:HEAD_BYTES], len(raw)) for (raw,) in found]
    return JobPage(jobs, total)


def _id_of(raw: bytes) -> str | None:
    try:
        return JobMessage.decode(raw).id
    except MalformedMessage:
        return None


def details(rows: Rows, job_id: str) -> Details:
    """What is kept of one job besides its record."""
    found = rows.job(job_id, ", message")
    if found is None:
        return Details()
    row, (message,) = found
    return Details(
        None if message is None else bytes(message),
        due_ms=row.rank if row.place is Place.SCHEDULED else None,
        expires_ms=row.rank if row.is_finished else None,
    )


def oldest_queued(rows: Rows) -> int | None:
    """How long ago the job at the head of the queue was enqueued, in ms."""
    for row in rows.first(Place.QUEUE, 1):
        try:
            return max(0, rows.now - JobMessage.decode(rows.message(row)).created_at)
        except MalformedMessage:
            return None
    return None
