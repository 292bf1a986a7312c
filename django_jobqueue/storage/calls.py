"""The script calls of enqueue, claim, commit and sweep: which keys and arguments they need."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from ..exceptions import MalformedMessage
from ..message import JobMessage
from .base import Complete, Fail, NewJob, Outcome, Release, Retry, Suspect
from .keys import Keys
from .replies import exact_bytes
from .scripts import Call, script
from .transport import BATCH

#: Most bytes of messages in one pipeline; the server buffers all of it.
BATCH_BYTES = 8 * 1024 * 1024

#: Fields visited in one step of the sweep.
SWEEP_PAGE = 200

#: Milliseconds after which a tombstone cannot matter: no producer's clock is that far off.
TOMBSTONE_AGE_MS = 24 * 3600 * 1000

#: Milliseconds after which the marks of a worker that fell off the list go. Jobs are held ready for a moment only.
AHEAD_AGE_MS = 24 * 3600 * 1000

#: Bytes of messages in the answer to one claim from which on no further job is held ready. What is held ready saves
#: round trips, and next to the work on large messages these do not show.
AHEAD_BYTES = 64 * 1024

#: The error of a job that was due and whose message is gone, or is not its own.
_UNUSABLE = json.dumps(
    {
        "message": "the message of the job was gone or damaged when it was due; what was left of it is in quarantine",
        "code": MalformedMessage.code,
        "stack": "",
        "type": None,
    }
).encode()


def parts(jobs: Sequence[NewJob]) -> Iterator[list[NewJob]]:
    """The jobs in order, in parts that are few and small enough for one round trip."""
    size, part = 0, list[NewJob]()
    for job in jobs:
        size += len(job.message.raw)
        if part and (size > BATCH_BYTES or len(part) == BATCH):
            yield part
            size, part = len(job.message.raw), []
        part.append(job)
    if part:
        yield part


def enqueue_call(keys: Keys, job: NewJob, resent: bool, replicates: bool) -> Call:
    """Enqueue or schedule a new job.

    Args:
        keys: of the queue.
        job: the job.
        resent: whether the reply to a first sending was lost.
        replicates: whether replicas will be asked for it, even when it is there already.
    """
    message = job.message
    args = (message.id, message.raw, message.created_at, int(resent))
    if job.delay_ms:
        names = (keys.jobs, keys.scheduled, keys.scheduled_messages, keys.cancelled)
        return Call(script("schedule"), names, (*args, job.delay_ms, int(replicates), keys.schedule_channel))
    return Call(script("enqueue"), (keys.jobs, keys.queue, keys.cancelled), (*args, keys.events, int(replicates)))


def claim_call(keys: Keys, worker_id: str, limit: int, ahead: int = 0) -> Call:
    """Claim up to ``limit`` jobs, and ``ahead`` more to hold ready."""
    names = (keys.jobs, keys.queue, keys.processing(worker_id), keys.cancelled, keys.ahead(worker_id))
    return Call(script("claim"), names, (limit, worker_id, keys.events, ahead, AHEAD_AGE_MS, AHEAD_BYTES))


def hold_call(keys: Keys, worker_id: str) -> Call:
    """Hold ready what BLMOVE has just brought."""
    names = (keys.jobs, keys.processing(worker_id), keys.cancelled, keys.queue, keys.ahead(worker_id))
    return Call(script("hold"), names, (worker_id, keys.events, AHEAD_AGE_MS))


def start_call(keys: Keys, worker_id: str, message: JobMessage) -> Call:
    """Start what BLMOVE has brought, or drop it."""
    names = (keys.jobs, keys.processing(worker_id), keys.cancelled, keys.queue, keys.ahead(worker_id))
    args = (message.id, message.raw, message.created_at, message.attempts, worker_id, keys.events)
    return Call(script("start"), names, args)


def outcome_call(keys: Keys, worker_id: str, outcome: Outcome) -> Call:
    """Store how a job ended, or give it back."""
    message = outcome.message
    processing, channels = keys.processing(worker_id), (keys.notify(message.id), keys.events)
    match outcome:
        case Complete():
            names = (keys.jobs, keys.results, processing, keys.completed)
            args = (message.id, message.raw, outcome.result, outcome.ttl_ms, *channels)
            return Call(script("complete"), names, args)
        case Fail():
            names_fail = (keys.jobs, keys.errors, processing, keys.failed, keys.dead)
            args_fail = (
                message.id,
                message.raw,
                outcome.error,
                outcome.ttl_ms,
                *channels,
                outcome.expected,
            )
            return Call(script("fail"), names_fail, args_fail)
        case Retry():
            names_retry = (keys.jobs, keys.queue, processing, keys.scheduled, keys.scheduled_messages)
            following = outcome.following
            args_retry = (
                message.id, message.raw, following.raw, following.attempts, outcome.delay_ms, *channels,
                keys.schedule_channel,
            )  # fmt: skip
            return Call(script("retry"), names_retry, args_retry)
        case Release():
            args_release = (
                message.id, message.raw, message.created_at, message.attempts, worker_id, keys.events
            )  # fmt: skip
            names_release = (keys.jobs, keys.queue, processing, keys.cancelled, keys.ahead(worker_id))
            return Call(script("release"), names_release, args_release)


def recover_call(keys: Keys, suspect: Suspect, message: JobMessage, following: JobMessage) -> Call:
    """Put a suspect's job back at the head."""
    names = (keys.jobs, keys.queue, keys.processing(suspect.worker_id), keys.ahead(suspect.worker_id))
    counted = following.attempts if following.attempts != message.attempts else ""
    args = (
        message.id, suspect.raw, following.raw, exact_bytes(suspect.state), counted, keys.notify(message.id),
        keys.events, message.created_at, message.attempts,
    )  # fmt: skip
    return Call(script("recover"), names, args)


def promote_call(keys: Keys, limit: int, ttl_ms: int, quarantine_limit: int) -> Call:
    """Queue up to ``limit`` due jobs; those without a usable message fail."""
    names = (
        keys.jobs, keys.queue, keys.scheduled, keys.scheduled_messages, keys.results, keys.errors,
        keys.failed, keys.malformed,
    )  # fmt: skip
    args = (limit, keys.events, keys.notify(""), _UNUSABLE, ttl_ms, quarantine_limit)
    return Call(script("promote"), names, args)


def sweep_calls(keys: Keys, cursors: Mapping[str, bytes], ttl_ms: int) -> list[Call]:
    """One step of each walk of the sweep: jobs, results with errors, and cancelled with progress."""
    return [
        Call(script("sweep_jobs"), (keys.jobs, keys.completed, keys.failed), (cursors["jobs"], SWEEP_PAGE, ttl_ms)),
        Call(
            script("sweep_payloads"), (keys.results, keys.errors), (cursors["results"], cursors["errors"], SWEEP_PAGE)
        ),
        Call(
            script("sweep_marks"),
            (keys.cancelled, keys.progress, keys.jobs),
            (cursors["cancelled"], cursors["progress"], SWEEP_PAGE, TOMBSTONE_AGE_MS),
        ),
    ]
