"""The floor: redis-py with hiredis sends our scripts with our bytes, and does nothing else.

    python -m benchmarks.speed.bare URL PREFIX work|hand-over      a worker of the floor, until it is killed

Commands are made once by the library's own code and then only filled in, so that the floor sends what the library
sends without paying for the library.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from django_jobqueue.message import JobMessage
from django_jobqueue.storage.base import Complete, NewJob
from django_jobqueue.storage.calls import claim_call, enqueue_call, hold_call, outcome_call
from django_jobqueue.storage.keys import Keys
from django_jobqueue.storage.replies import APPLIED
from django_jobqueue.storage.scripts import Call, load, script

#: Jobs in one claim, and outcomes in one pipeline, of the floor.
BATCH = 100

RESULT_TTL_MS = 3_600_000
MAX_ATTEMPTS = 3
RESULT = b"null"
WORKER = "bare-worker"


class Template:
    """A command with places to fill.

    Args:
        command: with marks in the places.
        marks: what stands in the places; ``fill`` takes values in this order.
    """

    def __init__(self, command: Sequence[Any], marks: Sequence[Any]) -> None:
        self._parts = list(command)
        self._places = [(place, marks.index(part)) for place, part in enumerate(self._parts) if part in marks]
        if {which for _, which in self._places} != set(range(len(marks))):
            raise ValueError(f"not all of {marks!r} are in {command!r}")

    def fill(self, *values: Any) -> list[Any]:
        """The command with these values."""
        parts = self._parts.copy()
        for place, which in self._places:
            parts[place] = values[which]
        return parts


class Bare:
    """One connection of redis-py, without retries, and the commands of one queue.

    Args:
        url: of the server.
        prefix: of the queue's keys.
    """

    def __init__(self, url: str, prefix: str) -> None:
        # A pool from a URL never retries, unlike a client that makes its own.
        self.client: Any = redis.Redis(connection_pool=redis.ConnectionPool.from_url(url))
        self.keys = keys = Keys(prefix)
        for name in ("enqueue", "claim", "hold", "complete", "lookup"):
            load(self.client, script(name))
        marked = JobMessage.encode("\0", None, b"null", created_at=-1, max_attempts=1, result_ttl_ms=1)
        ids = (marked.id, marked.raw)
        notify = keys.notify(marked.id)
        self._enqueue = Template(enqueue_call(keys, NewJob(marked), False, False).command(), (*ids, -1))
        outcome = Complete(marked, RESULT, RESULT_TTL_MS)
        self._complete = Template(outcome_call(keys, WORKER, outcome).command(), (*ids, notify))
        names = (keys.jobs, keys.results, keys.errors, keys.dead, keys.progress)
        self._lookup = Template(Call(script("lookup"), names, (marked.id,)).command(), (marked.id,))
        #: Where ``hand_over`` puts its answers.
        self.answers = f"{prefix}answers"
        self.claim = claim_call(keys, WORKER, BATCH).command()
        self._wait = ("BLMOVE", keys.queue, keys.processing(WORKER), "LEFT", "RIGHT", 1)
        self._hold = hold_call(keys, WORKER).command()

    # Producer

    def enqueue_command(self, job_id: str, payload: Any) -> list[Any]:
        """The EVALSHA of a new job."""
        now = int(time.time() * 1000)
        body = json.dumps(payload, separators=(",", ":"))
        raw = (
            f'{{"id":"{job_id}","payload":{body},"createdAt":{now},"attempts":0,"maxAttempts":{MAX_ATTEMPTS},'
            f'"resultTTL":{RESULT_TTL_MS}}}'
        )
        return self._enqueue.fill(job_id, raw, now)

    def enqueue(self, payload: Any) -> str:
        """Enqueue one job under a random id."""
        job_id = str(uuid.uuid4())
        reply = self.client.execute_command(*self.enqueue_command(job_id, payload))
        assert reply == b"queued", reply
        return job_id

    def enqueue_many(self, payload: Any, count: int) -> list[str]:
        """Enqueue in one pipeline."""
        ids = [str(uuid.uuid4()) for _ in range(count)]
        self.pipelined([self.enqueue_command(job_id, payload) for job_id in ids])
        return ids

    def lookup_command(self, job_id: str) -> list[Any]:
        """The EVALSHA that reads a result."""
        return self._lookup.fill(job_id)

    def lookup(self, job_id: str) -> Any:
        """The result of a job that has ended."""
        ((state, result, *_),) = self.client.execute_command(*self.lookup_command(job_id))
        assert state.startswith(b"completed:"), state
        return json.loads(result[8:])

    # Worker

    def drain(self) -> int:
        """Claim and complete batches until nothing is queued; how many jobs that were."""
        done = 0
        messages: list[bytes] = []
        while True:
            outcomes = [self.complete_command(json.loads(raw), raw) for raw in messages]
            *stored, (backlog, messages, *_) = self.pipelined([*outcomes, self.claim])
            if stored.count(APPLIED) != len(outcomes):
                raise RuntimeError(f"jobs were not completed: {stored}")
            done += len(outcomes)
            if not messages and not backlog:
                return done

    def complete_command(self, fields: Mapping[str, Any], raw: bytes) -> list[Any]:
        """The EVALSHA that stores a result."""
        job_id = fields["id"]
        return self._complete.fill(job_id, raw, self.keys.notify(job_id))

    def work(self) -> None:
        """Take one job after the other, and batches when there are more."""
        while True:
            raw, (backlog, *held) = self.pipelined([self._wait, self._hold])
            if raw is None:
                continue
            assert held == [raw], held
            fields = json.loads(raw)
            begin = ("SREM", self.keys.ahead(WORKER), fields["id"])
            self.pipelined([begin, self.complete_command(fields, raw)])
            if backlog:
                self.drain()

    def hand_over(self) -> None:
        """Answer each message with the moment at which BLMOVE brought it, by the clock that processes share."""
        processing = self.keys.processing(WORKER)
        while True:
            raw = self.client.blmove(self.keys.queue, processing, 1, "LEFT", "RIGHT")
            if raw is not None:
                now = time.monotonic_ns()
                with self.client.pipeline(transaction=False) as pipeline:
                    pipeline.lpop(processing)
                    pipeline.rpush(self.answers, now)
                    pipeline.execute()

    def pipelined(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands in one pipeline; their replies."""
        with self.client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Any] = pipeline.execute()
            return replies


def main() -> None:
    """Be the worker of the floor."""
    url, prefix, role = sys.argv[1:]
    bare = Bare(url, prefix)
    {"work": bare.work, "hand-over": bare.hand_over}[role]()


if __name__ == "__main__":
    main()
