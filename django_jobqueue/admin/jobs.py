"""The list: one page of the jobs in one part of a queue."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..exceptions import InvalidJobId
from ..listing import ListedJob, Part
from ..message import JobState, Status, validate_job_id
from ..queue import Queue
from .display import Moment, describe_error, describe_message, describe_result, moment
from .links import Links
from .overview import Tab, count_of, tabs

#: Jobs on a page.
PAGE = 50

#: The column that only this part has.
_OWN_COLUMN = {
    Part.SCHEDULED: "Due",
    Part.PROCESSING: "Worker",
    Part.COMPLETED: "Forgotten",
    Part.FAILED: "Forgotten",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A job in the list.

    Attributes:
        id: its id; empty for a message that names none.
        url: its page; empty when it has none, being cancelled, forgotten or named as none of ours can be.
        state: a word for the badge.
        name: the function it calls.
        arguments: those of the call, or the payload; of a completed job, the result.
        error: what a failed job failed with.
        since: how long it is in its state.
        time: when it is due, or forgotten.
        worker_id: who holds it.
        size: bytes of its message; of its result when completed.
    """

    id: str
    url: str
    state: str
    name: str
    arguments: str
    error: str
    since: Moment | None
    time: Moment | None
    worker_id: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Pager:
    """Where in the list a page is, and the ways to others (empty where there is none)."""

    page: int
    span: str
    previous: str
    next: str
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class JobList:
    """The page."""

    part: Part
    tabs: list[Tab]
    rows: list[Row]
    pager: Pager
    own_column: str | None


def job_list(queue: Queue, part: Part, page: int, links: Links) -> JobList:
    """One page, and the states of its jobs in one batch. A page behind the last becomes the last."""
    stats = queue.stats()
    last = max(1, -(-count_of(stats, part) // PAGE))
    page = min(max(page, 1), last)
    listed = queue.list_jobs(part, (page - 1) * PAGE, PAGE)
    states = queue.get_job_states([job.id for job in listed.jobs if job.id is not None and _is_valid(job.id)])
    now_ms = int(time.time() * 1000)
    rows = [_row(job, part, states, queue.alias, now_ms, links) for job in listed.jobs]
    return JobList(
        part,
        tabs(stats, queue.alias, links, part),
        rows,
        _pager(queue.alias, part, page, last, len(rows), listed.total, links),
        _OWN_COLUMN.get(part),
    )


def _is_valid(job_id: str) -> bool:
    """Whether our methods accept the id; other libraries have other rules."""
    try:
        validate_job_id(job_id)
    except InvalidJobId:
        return False
    return True


def _row(
    job: ListedJob, part: Part, states: dict[str, JobState | None], alias: str, now_ms: int, links: Links
) -> Row:
    state = states.get(job.id or "")
    name, arguments = describe_message(job.message, job.message_size) if job.message else ("", "")
    return Row(
        id=job.id or "",
        url=links.job(alias, job.id) if job.id and state else "",
        state=_word(part, state),
        name=name,
        arguments=describe_result(job.outcome) if part is Part.COMPLETED else arguments,
        error=describe_error(job.outcome, job.outcome_size) if part is Part.FAILED else "",
        since=moment(state.timestamp, now_ms) if state and state.status is not Status.MALFORMED else None,
        time=moment(job.time, now_ms),
        worker_id=job.worker_id,
        size=job.outcome_size if part is Part.COMPLETED else job.message_size,
    )


def _word(part: Part, state: JobState | None) -> str:
    if part is Part.MALFORMED:
        return "malformed"
    if state is not None:
        return state.status
    # The message lies in the queue until a worker meets it; the index, until the reaper does.
    return "forgotten" if part in (Part.COMPLETED, Part.FAILED) else "cancelled"


def _pager(alias: str, part: Part, page: int, last: int, rows: int, total: int, links: Links) -> Pager:
    begin = (page - 1) * PAGE
    return Pager(
        page,
        f"{begin + 1:,}–{begin + rows:,} of {total:,}" if rows else "none",
        previous=links.jobs(alias, part, page - 1) if page > 1 else "",
        next=links.jobs(alias, part, page + 1) if page < last else "",
        first=links.jobs(alias, part) if page > 1 else "",
        last=links.jobs(alias, part, last) if page < last else "",
    )


def part_of(status: Status) -> Part:
    """Where jobs of that state are listed."""
    return Part.SCHEDULED if status is Status.FAILING else Part(status.value)
