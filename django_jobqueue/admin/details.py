"""A job's page: payload, timeline, result or error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..listing import JobDetails
from ..message import Status
from .display import Block, Moment, block, clean, describe_payload, error_title, moment


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline; without a time when that is not known."""

    label: str
    time: Moment | None
    is_ahead: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A stored error."""

    title: str
    code: str
    traceback: Block | None


@dataclass(frozen=True, slots=True)
class Progress:
    """The last progress report."""

    current: int | float
    total: int | float | None
    message: str


@dataclass(frozen=True, slots=True)
class JobView:
    """The page.

    Attributes:
        payload: ``None`` when the message is gone or was not found.
        payload_note: why there is none.
        facts: pairs of name and value.
    """

    id: str
    state: str
    name: str
    arguments: str
    steps: list[Step]
    facts: list[tuple[str, str]]
    payload: Block | None
    payload_note: str
    result: Block | None
    failure: Failure | None
    progress: Progress | None


def job_view(details: JobDetails) -> JobView:
    """What the page of a job shows."""
    status, message = details.status, details.message
    name, arguments = describe_payload(message.payload) if message else ("", "")
    completed = status.state is Status.COMPLETED
    return JobView(
        id=status.id,
        state=status.state,
        name=name,
        arguments=arguments,
        steps=list(_steps(details, int(time.time() * 1000))),
        facts=list(_facts(details)),
        payload=block(message.payload) if message else None,
        payload_note=_payload_note(status.state),
        result=block(status.result) if completed else None,
        failure=_failure(status.error) if status.state is Status.FAILED else None,
        progress=_progress(status.progress or {}),
    )


def _steps(details: JobDetails, now_ms: int) -> Iterator[Step]:
    status, message = details.status, details.message
    since = moment(status.timestamp, now_ms)
    if message is not None:
        yield Step("Created", moment(message.created_at, now_ms))
    match status.state:
        case Status.QUEUED:
            yield Step("Waiting for a worker", None, is_ahead=True)
        case Status.SCHEDULED:
            yield Step("Due", moment(details.due, now_ms), is_ahead=True)
        case Status.FAILING:
            yield Step(f"Attempt {status.attempts} failed", since)
            due = moment(details.due, now_ms)
            yield Step("Next attempt" if due else "Waiting for a worker, for the next attempt", due, is_ahead=True)
        case Status.PROCESSING:
            yield Step("Running; last sign of life", since)
        case Status.COMPLETED | Status.FAILED:
            yield Step(status.state.capitalize(), since)
            yield Step("Will be forgotten", moment(details.expires, now_ms), is_ahead=True)
        case Status.MALFORMED:
            yield Step("What is stored as its state cannot be read; if its message is in the queue, it runs", None)


def _facts(details: JobDetails) -> Iterator[tuple[str, str]]:
    status, message = details.status, details.message
    if status.worker_id is not None:
        yield "Worker", clean(status.worker_id)
    if message is None:
        return
    if status.state is Status.PROCESSING:
        yield "Attempt", f"{message.attempts + 1} of {message.max_attempts}"
    elif status.attempts is not None:
        yield "Attempts used", f"{status.attempts} of {message.max_attempts}"
    if message.result_ttl_ms is not None:
        yield "Kept after its end", f"{message.result_ttl_ms / 1000:,.10g} s"
    yield "Message size", f"{len(message.raw):,} bytes"


def _payload_note(state: Status) -> str:
    if state is Status.COMPLETED:
        return "The message of a completed job is not kept."
    if state is Status.QUEUED:
        return "The job lies too deep in the queue to be looked for. Its payload shows here as its turn comes near."
    return "The message was not found; the job has perhaps just moved on."


def _failure(error: dict[str, Any] | None) -> Failure:
    if error is None:
        return Failure("The error is not kept any more.", "", None)
    stack = error.get("stack")
    return Failure(error_title(error), clean(error.get("code") or ""), block(str(stack)) if stack else None)


def _progress(report: dict[str, Any]) -> Progress | None:
    match report:
        case {"current": int() | float() as current}:
            total = report.get("total")
            known = isinstance(total, int | float) and total > 0
            return Progress(current, total if known else None, clean(report.get("message") or ""))
        case _:
            return None
