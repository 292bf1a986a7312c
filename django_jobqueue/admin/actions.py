"""What can be done to jobs: retry, cancel, delete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..exceptions import MalformedMessage, StorageError
from ..listing import Part
from ..message import Status
from ..queue import Queue


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do to a job, by its id.

    Attributes:
        name: its value in forms.
        label: the word on the button.
        permission: the right it needs: ``change`` or ``delete``.
        effect: what happens, for the confirmation.
        done: the past participle; also the outcome that ``run`` returns when it happened.
        leaves: whether the job has a page afterwards.
        run: does it; returns the outcome.
    """

    name: str
    label: str
    permission: str
    effect: str
    done: str
    leaves: bool
    run: Callable[[Queue, str], str]


RETRY = Action(
    "retry",
    "Retry",
    "change",
    "Each goes to the end of the queue with the payload it had, and may use all its attempts again.",
    "retried",
    True,
    lambda queue, job_id: "retried" if queue.retry(job_id) else "not_failed",
)
CANCEL = Action(
    "cancel",
    "Cancel",
    "change",
    "Each is taken out of the queue and will not run. Whoever waits for it is told.",
    "cancelled",
    False,
    lambda queue, job_id: queue.cancel(job_id),
)
DELETE = Action(
    "delete",
    "Delete",
    "delete",
    "State, result, error and kept message are forgotten now. The id is free again: enqueueing it runs a new job.",
    "deleted",
    False,
    lambda queue, job_id: queue.delete(job_id),
)

ACTIONS = {action.name: action for action in (RETRY, CANCEL, DELETE)}

_BY_STATUS = {
    Status.QUEUED: (CANCEL,),
    Status.SCHEDULED: (CANCEL,),
    Status.FAILING: (CANCEL,),
    Status.PROCESSING: (),
    Status.COMPLETED: (DELETE,),
    Status.FAILED: (RETRY, DELETE),
    Status.MALFORMED: (DELETE,),
}

#: Why an action did not happen, by outcome.
_REASONS = {
    "not_found": "the queue does not know it (any more)",
    "not_failed": "it is not failed (any more), or its message is gone",
    "queued": "it waits in the queue; cancel it instead",
    "scheduled": "it is scheduled; cancel it instead",
    "failing": "it waits for its next attempt; cancel it instead",
    "processing": "it is running",
    "completed": "it has completed",
    "failed": "it has failed already",
    "malformed": "its kept message cannot be read",
}


def actions_for(place: Part | Status) -> tuple[Action, ...]:
    """What may be done to a job in that state, or in that part of a queue."""
    # What is in quarantine are messages, not jobs in the state of the same name.
    return () if place is Part.MALFORMED else _BY_STATUS.get(Status(place), ())


@dataclass(slots=True)
class Report:
    """What became of an action on some jobs.

    Attributes:
        done: ids of the jobs to which it happened.
        refused: for each reason why not, the ids.
        failure: the error that ended it early.
    """

    done: list[str] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)
    failure: StorageError | None = None


def perform(action: Action, queue: Queue, job_ids: Sequence[str]) -> Report:
    """Act on jobs, one after the other, until the server fails."""
    report = Report()
    for job_id in job_ids:
        try:
            outcome = action.run(queue, job_id)
        except StorageError as error:
            report.failure = error
            return report
        except MalformedMessage:
            outcome = "malformed"
        if outcome == action.done:
            report.done.append(job_id)
        else:
            report.refused.setdefault(_REASONS.get(outcome, outcome), []).append(job_id)
    return report


def jobs_named(job_ids: Sequence[str]) -> str:
    """Some jobs, short enough for a sentence."""
    if len(job_ids) > 1:
        return f"{len(job_ids)} jobs"
    (job_id,) = job_ids
    return f"Job {job_id if len(job_id) <= 80 else job_id[:79] + '…'}"
