"""The script calls of enqueue, claim and commit: which keys and arguments they need."""

from __future__ import annotations

from .base import Complete, Fail, NewJob, Outcome, Release, Retry
from .keys import Keys
from .scripts import Call, script


def enqueue_call(keys: Keys, job: NewJob, resent: bool) -> Call:
    """Enqueue or schedule a new job; ``resent`` when the reply to a first sending was lost."""
    message = job.message
    args = (message.id, message.raw, message.created_at, int(resent))
    if job.delay_ms:
        names = (keys.jobs, keys.scheduled, keys.scheduled_messages, keys.cancelled)
        return Call(script("schedule"), names, (*args, job.delay_ms))
    return Call(script("enqueue"), (keys.jobs, keys.queue, keys.cancelled), (*args, keys.events))


def claim_call(keys: Keys, worker_id: str, limit: int) -> Call:
    """Claim up to ``limit`` jobs."""
    names = (keys.jobs, keys.queue, keys.processing(worker_id), keys.cancelled)
    return Call(script("claim"), names, (limit, worker_id, keys.events))


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
                message.id, message.raw, following.raw, following.attempts, outcome.delay_ms, *channels
            )  # fmt: skip
            return Call(script("retry"), names_retry, args_retry)
        case Release():
            args_release = (
                message.id, message.raw, message.created_at, message.attempts, worker_id, keys.events
            )  # fmt: skip
            return Call(script("release"), (keys.jobs, keys.queue, processing), args_release)
