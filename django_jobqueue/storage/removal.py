"""Cancelling and deleting a job on the server, also when a reply is lost on the way.

A command that is sent again must not hit another job that has got the id meanwhile, and must say what its
first sending did. So it carries the state that the job had before.
"""

from __future__ import annotations

from typing import Any

from ..exceptions import MalformedMessage
from ..message import JobMessage, Status
from . import scripts
from .keys import Keys
from .scripts import Call, script
from .transport import Transport

#: Messages read at a time when a cancelled retry is searched through the whole queue.
SEARCH_PAGE = 1000

#: What can be cancelled, as far as the state tells.
WAITING = (Status.QUEUED, Status.SCHEDULED, Status.FAILING)

#: What can be deleted.
FINISHED = (Status.COMPLETED, Status.FAILED)


def cancel(transport: Transport, keys: Keys, job_id: str) -> str:
    """Cancel a job that has not started; see ``Storage.cancel``."""
    seen = _state(transport, keys, job_id)
    if seen is None:
        return "not_found"
    reply = _cancel(transport, keys, job_id, seen, b"")
    if reply == "unlocated":
        located = _locate(transport, keys, job_id)
        reply = _cancel(transport, keys, job_id, seen, located) if located else reply
    # Not in the list any more: a worker has just taken it.
    return "processing" if reply == "unlocated" else reply


def delete(transport: Transport, keys: Keys, job_id: str) -> str:
    """Forget a finished job; see ``Storage.delete``."""
    seen = _state(transport, keys, job_id)
    if seen is None:
        return "not_found"
    names = (keys.jobs, keys.results, keys.errors, keys.completed, keys.failed, keys.dead, keys.progress)

    def send(client: Any, resent: bool) -> bytes:
        call = Call(script("delete"), names, (job_id, _if_resent(resent, seen, FINISHED)))
        reply: bytes = scripts.run(client, call)
        return reply

    return transport.send(f"deleting job {job_id!r}", send).decode()


def _cancel(transport: Transport, keys: Keys, job_id: str, seen: bytes, located: bytes) -> str:
    names = (keys.jobs, keys.queue, keys.scheduled, keys.scheduled_messages, keys.cancelled)

    def send(client: Any, resent: bool) -> bytes:
        args = (job_id, keys.notify(job_id), keys.events, located, _if_resent(resent, seen, WAITING))
        reply: bytes = scripts.run(client, Call(script("cancel"), names, args))
        return reply

    return transport.send(f"cancelling job {job_id!r}", send).decode()


def _state(transport: Transport, keys: Keys, job_id: str) -> bytes | None:
    state: bytes | None
    (state,) = transport.commands(f"reading the state of job {job_id!r}", ("HGET", keys.jobs, job_id))
    return state


def _if_resent(resent: bool, seen: bytes, changeable: tuple[Status, ...]) -> bytes:
    """The state before the first sending, if that can have changed it; else nothing."""
    can_have_changed = seen.partition(b":")[0].decode("utf-8", "replace") in changeable
    return seen if resent and can_have_changed else b""


def _locate(transport: Transport, keys: Keys, job_id: str) -> bytes | None:
    """Search the whole queue for a retried job's message; slow, and hardly ever needed."""
    start = 0
    while True:
        (page,) = transport.commands(
            f"looking for job {job_id!r}", ("LRANGE", keys.queue, start, start + SEARCH_PAGE - 1)
        )
        for raw in page:
            try:
                if JobMessage.decode(raw).id == job_id:
                    return bytes(raw)
            except MalformedMessage:
                continue  # for whoever takes it to quarantine
        if len(page) < SEARCH_PAGE:
            return None
        # Pages overlap by half, since workers take from the head meanwhile.
        start += SEARCH_PAGE // 2
