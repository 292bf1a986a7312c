"""Pages of a queue's parts on Redis: bounded reads, whatever the number of jobs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ..listing import HEAD_BYTES, JobPage, ListedJob, Part
from ..message import Envelope, readable
from .base import Details
from .keys import Keys
from .replies import text, whole
from .scripts import Call, script
from .transport import Transport

#: How far the message of one job is looked for: messages from either end of a list, and bytes.
SEARCH_MESSAGES = 1000
SEARCH_BYTES = 8 * 1024 * 1024

#: The bytes in front of a stored result or error.
_ENVELOPE_BYTES = 8


def read_page(transport: Transport, keys: Keys, part: Part, offset: int, limit: int) -> JobPage:
    """One page of a part; see ``Storage.page``."""
    match part:
        case Part.QUEUED:
            call = _list_call(keys.queue, offset, limit)
        case Part.MALFORMED:
            call = _list_call(keys.malformed, offset, limit)
        case Part.PROCESSING:
            return _processing(transport, keys, offset, limit)
        case _:
            call = _index_call(keys, part, offset, limit)
    (reply,) = transport.run_all(f"listing {part} jobs", [call])
    total, *entries = reply
    read = _listed if part in (Part.QUEUED, Part.MALFORMED) else _indexed
    return JobPage([read(part, entry) for entry in entries], total)


def read_details(transport: Transport, keys: Keys, job_id: str, worker_id: str | None) -> Details:
    """What is kept of one job; see ``Storage.details``."""
    held_in = keys.queue if worker_id is None else keys.processing(worker_id)
    names = (keys.jobs, keys.scheduled, keys.scheduled_messages, keys.dead, held_in)
    message, due, expires = transport.run(
        f"reading job {job_id!r}", "details", names, job_id, SEARCH_MESSAGES, SEARCH_BYTES
    )
    return Details(message, _whole(due), whole(expires))


def _list_call(name: str, offset: int, limit: int) -> Call:
    return Call(script("page_list"), (name,), (offset, limit, HEAD_BYTES))


def _index_call(keys: Keys, part: Part, offset: int, limit: int) -> Call:
    names = {
        Part.SCHEDULED: (keys.scheduled, keys.scheduled_messages),
        Part.COMPLETED: (keys.completed, keys.results),
        Part.FAILED: (keys.failed, keys.dead, keys.errors),
    }[part]
    descending = int(part is not Part.SCHEDULED)
    return Call(script("page_index"), names, (offset, limit, HEAD_BYTES + _ENVELOPE_BYTES, descending))


def _processing(transport: Transport, keys: Keys, offset: int, limit: int) -> JobPage:
    """The workers' lists, one behind the other."""
    attempted = "listing processing jobs"
    (registered,) = transport.commands(attempted, ("HKEYS", keys.workers))
    workers = sorted(text(raw) for raw in registered)
    lengths = transport.commands(attempted, *(("LLEN", keys.processing(worker)) for worker in workers))
    spans = dict(_spans(workers, lengths, offset, limit))
    calls = [_list_call(keys.processing(worker), first, count) for worker, (first, count) in spans.items()]
    jobs = [
        _listed(Part.PROCESSING, entry, worker)
        for worker, (_, *entries) in zip(spans, transport.run_all(attempted, calls), strict=True)
        for entry in entries
    ]
    return JobPage(jobs, sum(lengths))


def _spans(
    workers: Sequence[str], lengths: Sequence[int], offset: int, limit: int
) -> Iterator[tuple[str, tuple[int, int]]]:
    """For each worker that has a share of the page: its first index and number of messages."""
    begin = 0
    for worker, length in zip(workers, lengths, strict=True):
        first, last = max(offset, begin), min(offset + limit, begin + length)
        if first < last:
            yield worker, (first - begin, last - first)
        begin += length


def _listed(part: Part, entry: Sequence[Any], worker_id: str | None = None) -> ListedJob:
    job_id, size, head = entry
    # Half of a surrogate pair in a payload is JSON to us, but not to the script.
    message = readable(head) if not job_id and size == len(head) else None
    read_id = text(job_id) or None if message is None else message.id
    return ListedJob(read_id, head, size, worker_id=worker_id)


def _indexed(part: Part, entry: Sequence[Any]) -> ListedJob:
    raw_id, score, *kept = entry
    message: tuple[bytes, int] = (b"", 0)
    outcome: tuple[bytes, int] = (b"", 0)
    if part is not Part.COMPLETED:
        size, head, *kept = kept
        message = (head[:HEAD_BYTES], size)
    if kept:
        size, head = kept
        envelope = Envelope.open(head)
        outcome = (envelope.payload[:HEAD_BYTES], size if envelope.expires_at is None else size - _ENVELOPE_BYTES)
    return ListedJob(text(raw_id), *message, *outcome, time=_whole(score))


def _whole(number: bytes | None) -> int | None:
    """A score in ms; ``None`` for none, and for infinity."""
    value = math.inf if number is None else float(number)
    return int(value) if math.isfinite(value) else None
