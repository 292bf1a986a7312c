"""Fills queues with what the scripts would leave, in few commands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from django_jobqueue.message import EXPIRY_SUFFIX, Envelope, JobMessage
from django_jobqueue.queue import queues
from django_jobqueue.storage.keys import Keys

from .bare import MAX_ATTEMPTS, RESULT, RESULT_TTL_MS
from .jobs import call

#: Jobs in one command.
CHUNK = 1000

#: Milliseconds until finished jobs are forgotten; longer than any benchmark.
FAR_TTL_MS = 7 * 24 * 3_600_000


def filled(client: Any, alias: str, count: int) -> Keys:
    """The keys of a queue with that many queued and that many finished jobs, made now unless they are there."""
    keys = Keys(f"{alias}:")
    if client.llen(keys.queue) != count or client.zcard(keys.completed) != count:
        client.delete(keys.jobs, keys.queue, keys.results, keys.completed, keys.cancelled)
        add_queued(client, keys, count)
        add_completed(client, keys, count)
        _settle(client, keys)
    return keys


def _settle(client: Any, keys: Keys) -> None:
    """Let the server finish with the growth of its hash tables: it moves a bucket with each access.

    Until then each access looks into two tables; a queue that has its size for a while has one.
    """
    names = [f"name-{n}" for n in range(CHUNK)]
    sizes = {keys.jobs: client.hlen(keys.jobs), keys.results: client.hlen(keys.results)}
    for key, size in sizes.items():
        for _ in range(0, 2 * size, CHUNK):
            client.hmget(key, names)
    for _ in range(0, 2 * client.zcard(keys.completed), CHUNK):
        client.zmscore(keys.completed, names)


def add_queued(client: Any, keys: Keys, count: int) -> None:
    """Put jobs at the tail, under ids that nobody else uses."""
    now = int(time.time() * 1000)
    payload = call("nothing", 1, 2)
    body = queues["default"].dump(payload, "the payload")
    for ids in _chunks(f"queued-{now}-{time.monotonic_ns()}", count):
        messages = [
            JobMessage.encode(
                job_id, payload, body, created_at=now, max_attempts=MAX_ATTEMPTS, result_ttl_ms=RESULT_TTL_MS
            ).raw
            for job_id in ids
        ]
        with client.pipeline(transaction=False) as pipeline:
            pipeline.rpush(keys.queue, *messages)
            pipeline.hset(keys.jobs, mapping=dict.fromkeys(ids, f"queued:{now}"))
            pipeline.execute()


def add_completed(client: Any, keys: Keys, count: int) -> None:
    """Add jobs that have ended."""
    now = int(time.time() * 1000)
    expires_at = now + FAR_TTL_MS
    envelope = Envelope(RESULT, expires_at).seal()
    for ids in _chunks(f"completed-{now}-{time.monotonic_ns()}", count):
        states = dict.fromkeys(ids, f"completed:{now}")
        expiries = dict.fromkeys((job_id + EXPIRY_SUFFIX for job_id in ids), str(expires_at))
        with client.pipeline(transaction=False) as pipeline:
            pipeline.hset(keys.jobs, mapping=states | expiries)
            pipeline.hset(keys.results, mapping=dict.fromkeys(ids, envelope))
            pipeline.zadd(keys.completed, dict.fromkeys(ids, expires_at))
            pipeline.execute()


def _chunks(name: str, count: int) -> Iterator[list[str]]:
    for start in range(0, count, CHUNK):
        yield [f"{name}-{n}" for n in range(start, min(count, start + CHUNK))]
