"""What jobs take of the server's memory, and what a worker takes when it has nothing to do."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from django_jobqueue.message import EXPIRY_SUFFIX, Envelope, JobMessage
from django_jobqueue.queue import queues
from django_jobqueue.storage.base import Complete
from django_jobqueue.storage.keys import Keys
from tests.servers.waiting import wait_until

from ..bare import MAX_ATTEMPTS, RESULT, RESULT_TTL_MS
from ..bench import Bench
from ..figures import Row, at_most, limited_to
from ..jobs import call
from ..processes import DEADLINE, WorkerProcesses, program, resident_bytes

#: Jobs whose memory is counted.
JOBS = 10_000

#: Jobs in one claim.
BATCH = 500

#: Jobs that a worker runs before its memory is read.
WARM_UP = 1000

#: Seconds in which a worker that has just worked comes to rest.
SETTLE = 3.0

PAYLOAD = call("nothing", 1, 2)

NODE_QUEUED = "what the Node library writes for the same payload: RPUSH of its message, HSET of the state"
NODE_FINISHED = "what the Node library writes: HSET of state, expiry and result"
JUST_DJANGO = "a process that has the same settings set up, and no worker"


def rows(bench: Bench) -> Iterator[Row]:
    """Bytes a job; bytes, commands and processor of a worker."""
    ids = [str(uuid.uuid4()) for _ in range(JOBS)]
    queued, finished = _ours(bench, ids)
    node_queued, node_finished = _nodes(bench, ids)
    yield Row("a queued job", "bytes", [queued], [node_queued], NODE_QUEUED, at_most(1.05))
    yield Row("a finished job", "bytes", [finished], [node_finished], NODE_FINISHED)
    yield from _worker(bench)


def _ours(bench: Bench, ids: list[str]) -> tuple[float, float]:
    """Bytes of a queued and of a completed job, made by the library."""
    bench.forget("default")
    storage = bench.queue.storage
    bench.queue.enqueue_many([(job_id, PAYLOAD) for job_id in ids])
    queued = _bytes(bench.client, Keys("default:"))
    for _ in range(0, JOBS, BATCH):
        taken = [JobMessage.decode(raw) for raw in storage.claim("memory", BATCH).messages]
        storage.commit("memory", [Complete(message, RESULT, RESULT_TTL_MS) for message in taken])
    finished = _bytes(bench.client, Keys("default:"))
    bench.forget("default")
    return queued, finished


def _nodes(bench: Bench, ids: list[str]) -> tuple[float, float]:
    """The same as the Node library 0.5.0 writes it, in the order of ``producer.js`` and ``complete.lua``."""
    client, keys = bench.client, Keys("bare:")
    bench.forget("bare")
    now = int(time.time() * 1000)
    expires_at = now + RESULT_TTL_MS
    with client.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            message = {
                "id": job_id, "payload": PAYLOAD, "createdAt": now, "attempts": 0,
                "maxAttempts": MAX_ATTEMPTS, "resultTTL": RESULT_TTL_MS,
            }  # fmt: skip
            pipeline.hset(keys.jobs, job_id, f"queued:{now}")
            pipeline.rpush(keys.queue, json.dumps(message, separators=(",", ":")))
        pipeline.execute()
    queued = _bytes(client, keys)
    client.delete(keys.queue)
    with client.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            pipeline.hset(keys.jobs, job_id, f"completed:{now}")
            pipeline.hset(keys.jobs, job_id + EXPIRY_SUFFIX, str(expires_at))
            pipeline.hset(keys.results, job_id, Envelope(RESULT, expires_at).seal())
        pipeline.execute()
    finished = _bytes(client, keys)
    bench.forget("bare")
    return queued, finished


def _bytes(client: Any, keys: Keys) -> float:
    """Bytes of all of a queue's keys, a job."""
    return sum(client.memory_usage(key, samples=0) or 0 for key in keys.fixed()) / JOBS


def _worker(bench: Bench) -> Iterator[Row]:
    with (
        WorkerProcesses("default", 10) as worker,
        program("-c", "import django, time; django.setup(); time.sleep(3600)") as plain,
    ):
        bench.queue.enqueue_many([(str(uuid.uuid4()), PAYLOAD) for _ in range(WARM_UP)])
        wait_until(lambda: bench.queue.stats().completed == WARM_UP, DEADLINE, lambda: RuntimeError("not done"))
        queues.close()
        time.sleep(SETTLE)
        megabytes = ([worker.resident_bytes() / 1e6], [resident_bytes(plain) / 1e6])
        yield Row("a worker's resident memory, concurrency 10", "MB", *megabytes, JUST_DJANGO)
        before = worker.cpu_seconds()
        sent, counted = _commands(bench)
        core = (worker.cpu_seconds() - before) / bench.idle_seconds * 100
    name = "an idle worker with reaper"
    yield Row(f"{name}: commands that it sends", "1/s", [sent], target=limited_to(2))
    yield Row(f"{name}: commands in INFO, those inside scripts too", "1/s", [counted], target=limited_to(2))
    yield Row(f"{name}: processor", "% of a core", [core], target=limited_to(0.3))
    bench.forget("default")


def _commands(bench: Bench) -> tuple[float, float]:
    """Commands a second that the server was sent, and that it ran."""
    client = bench.client
    with client.monitor() as monitor:
        client.config_resetstat()
        time.sleep(bench.idle_seconds)
        stats = client.info("commandstats")
        client.echo("the end")
        sent = 0
        while not (heard := monitor.next_command())["command"].startswith("ECHO"):
            own = heard["command"].startswith(("CONFIG RESETSTAT", "INFO"))
            sent += heard["client_type"] != "lua" and not own
    counted = sum(entry["calls"] for name, entry in stats.items() if name != "cmdstat_config|resetstat")
    return sent / bench.idle_seconds, counted / bench.idle_seconds
