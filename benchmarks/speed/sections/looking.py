"""Looking at jobs: states, counts, and the admin's list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client

from django_jobqueue.message import EXPIRY_SUFFIX
from django_jobqueue.queue import queues
from django_jobqueue.storage.keys import Keys

from ..bench import Bench, median_ms
from ..figures import Row, Target, at_most
from ..filling import filled

#: Jobs in the small queue.
FEW = 1000

#: Ids asked for at once.
BATCHES = (100, 10_000)

HMGET = "a bare HMGET of the same fields, each state split and its numbers read"
COUNTS = "the same commands in one pipeline each"

State = tuple[str, int, str | None] | None


def rows(bench: Bench) -> Iterator[Row]:
    """Milliseconds a call."""
    few = filled(bench.client, "small", FEW)
    many = filled(bench.client, "large", bench.many)
    ids = _some_ids(bench.client, many, max(BATCHES))
    for batch in BATCHES:
        yield _states(bench, many, ids[:batch], at_most(1.3) if batch == max(BATCHES) else None)
    yield _stats(bench, many)
    yield from _admin(bench, few, many)


def _some_ids(client: Any, keys: Keys, count: int) -> list[str]:
    """Ids of queued and finished jobs, in no order."""
    fields = (field.decode() for field, _ in client.hscan_iter(keys.jobs, count=1000))
    return list(islice((field for field in fields if not field.endswith(EXPIRY_SUFFIX)), count))


def _states(bench: Bench, keys: Keys, ids: Sequence[str], target: Target | None) -> Row:
    queue, client = queues["large"], bench.bare.client

    def floor() -> dict[str, State]:
        fields = [field for job_id in ids for field in (job_id, job_id + EXPIRY_SUFFIX)]
        values = client.hmget(keys.jobs, fields)
        return {
            job_id: _read(state, expires_at)
            for job_id, state, expires_at in zip(ids, values[::2], values[1::2], strict=True)
        }

    return bench.compare(
        f"get_job_states, {len(ids):,} ids",
        "ms",
        lambda: median_ms(lambda: queue.get_job_states(ids), bench.slice_seconds),
        lambda: median_ms(floor, bench.slice_seconds),
        floor_is=HMGET,
        target=target,
    )


def _read(state: bytes | None, expires_at: bytes | None) -> State:
    if state is None:
        return None
    word, _, rest = state.decode().partition(":")
    timestamp, _, detail = rest.partition(":")
    if expires_at is not None:
        int(expires_at)
    return word, int(timestamp), detail or None


def _stats(bench: Bench, keys: Keys) -> Row:
    queue, client = queues["large"], bench.bare.client

    def floor() -> None:
        with client.pipeline(transaction=False) as pipeline:
            pipeline.llen(keys.queue).zcard(keys.scheduled).zcard(keys.completed).zcard(keys.failed)
            pipeline.llen(keys.malformed).get(keys.lock).execute()
        with client.pipeline(transaction=False) as pipeline:
            pipeline.time().hgetall(keys.workers).execute()
        with client.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(keys.worker_info).execute()

    return bench.compare(
        "stats()",
        "ms",
        lambda: median_ms(queue.stats, bench.slice_seconds),
        lambda: median_ms(floor, bench.slice_seconds),
        floor_is=COUNTS,
    )


def _admin(bench: Bench, few: Keys, many: Keys) -> Iterator[Row]:
    call_command("migrate", verbosity=0)
    browser = Client()
    browser.force_login(get_user_model().objects.create_superuser("boss"))

    def page(keys: Keys, part: str) -> float:
        query = urlencode({"queue": keys.prefix.removesuffix(":"), "part": part})
        url = f"/admin/django_jobqueue/job/list/?{query}"

        def get() -> None:
            response = browser.get(url)
            assert response.status_code == 200, response

        return median_ms(get, bench.slice_seconds)

    for part in ("queued", "completed"):
        yield bench.compare(
            f"the admin's list of {bench.many:,} {part} jobs",
            "ms",
            lambda part=part: page(many, part),
            lambda part=part: page(few, part),
            floor_is=f"the same page of a queue with {FEW:,} jobs",
        )
