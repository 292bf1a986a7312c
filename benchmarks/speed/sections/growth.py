"""What the hot operations cost in a queue with few jobs and with many."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django_jobqueue.message import EXPIRY_SUFFIX, JobMessage
from django_jobqueue.queue import Queue, queues
from django_jobqueue.storage.base import Complete

from ..bare import RESULT
from ..bench import Bench
from ..figures import Row, at_most, interleave
from ..filling import add_queued, filled
from ..jobs import call

#: Jobs in the queue that the others are compared with, and in the one between.
FEW, SOME = 1_000, 100_000

#: Jobs in one round, and rounds in one repetition for each second that it should take.
ROUND = 400
ROUNDS_A_SECOND = 10

#: Jobs in one claim, and in one commit of finished jobs.
BATCH = 10

#: Ids in one look at states.
LOOK = 100

#: Most jobs in one step of the expiry.
EXPIRE = 100

PAYLOAD = call("nothing", 1, 2)
WORKER = "growth"

#: What no queue can do without: the server's own table grows out of the processor's caches.
BARE = "a bare HMGET of the same fields"

OPERATIONS = ("enqueue", "get_job_states", BARE, "cancel", "claim", "complete", "expire")


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds a job: as the caller sees it, and of the server's time."""

    caller: float
    server: float


class Rounds:
    """Rounds of all operations on one queue, each of which leaves it as it was.

    Args:
        bench: the run.
        alias: of the queue.
        count: queued jobs, and finished jobs, that it has.
    """

    def __init__(self, bench: Bench, alias: str, count: int) -> None:
        self._client = bench.client
        self._keys = filled(bench.client, alias, count)
        self._queue: Queue = queues[alias]

    def __call__(self) -> dict[str, Cost]:
        """The cost of each operation in one round."""
        queue, storage = self._queue, self._queue.storage
        ids = [str(uuid.uuid4()) for _ in range(ROUND)]
        # Each looks at ids of its own: what the other has looked at is in the caches.
        for_ours, for_bare = _parts(ids[: ROUND // 2], LOOK), _parts(ids[ROUND // 2 :], LOOK)
        taken: list[bytes] = []
        costs = {
            "enqueue": self._cost(ROUND, [lambda one=one: queue.enqueue(one, PAYLOAD) for one in ids]),
            "get_job_states": self._cost(
                ROUND // 2, [lambda part=part: queue.get_job_states(part) for part in for_ours]
            ),
            BARE: self._cost(ROUND // 2, [lambda part=part: self._bare_states(part) for part in for_bare]),
            "cancel": self._cost(ROUND, [lambda one=one: queue.cancel(one) for one in ids]),
        }
        self._remove_cancelled()
        costs["claim"] = self._cost(
            ROUND, [lambda: taken.extend(storage.claim(WORKER, BATCH).messages)] * (ROUND // BATCH)
        )
        outcomes = [Complete(JobMessage.decode(raw), RESULT, 1) for raw in taken]
        commits = [lambda part=part: storage.commit(WORKER, part) for part in _parts(outcomes, BATCH)]
        costs["complete"] = self._cost(ROUND, commits)
        time.sleep(0.005)  # longer than the TTL
        costs["expire"] = self._cost(ROUND, [lambda: storage.expire(EXPIRE)] * (ROUND // EXPIRE))
        add_queued(self._client, self._keys, len(taken))
        return costs

    def _bare_states(self, ids: Sequence[str]) -> None:
        self._client.hmget(self._keys.jobs, [field for one in ids for field in (one, one + EXPIRY_SUFFIX)])

    def _remove_cancelled(self) -> None:
        """Their messages lie at the tail until a worker meets them."""
        self._client.ltrim(self._keys.queue, 0, -ROUND - 1)
        self._client.delete(self._keys.cancelled)

    def _cost(self, jobs: int, actions: Sequence[Callable[[], Any]]) -> Cost:
        self._client.config_resetstat()
        began = time.perf_counter()
        for action in actions:
            action()
        passed = time.perf_counter() - began
        used = sum(
            entry["usec"]
            for name, entry in self._client.info("commandstats").items()
            if name in ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_hmget")
        )
        return Cost(passed * 1e6 / jobs, used / jobs)


def _parts(all_of_them: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [all_of_them[start : start + size] for start in range(0, len(all_of_them), size)]


def _median(rounds: Sequence[dict[str, Cost]]) -> dict[str, Cost]:
    """The median cost of each operation."""
    return {
        name: Cost(
            statistics.median(one[name].caller for one in rounds),
            statistics.median(one[name].server for one in rounds),
        )
        for name in OPERATIONS
    }


def rows(bench: Bench) -> Iterator[Row]:
    """Microseconds a job, with many jobs beside few."""
    sizes = {"small": FEW, "medium": SOME, "large": bench.many}
    sizes = {alias: size for alias, size in sizes.items() if alias != "medium" or size < bench.many}
    contenders = {alias: Rounds(bench, alias, size) for alias, size in sizes.items()}
    rounds = max(1, int(ROUNDS_A_SECOND * bench.seconds))
    found: dict[str, list[dict[str, Cost]]] = {alias: [] for alias in sizes}
    for _ in range(bench.repetitions):
        # The queues take turns round by round: a slow moment of the machine must not hit one of them alone.
        for alias, costs in interleave(contenders, rounds).items():
            found[alias].append(_median(costs))
    few = found.pop("small")
    floor_is = f"the same with {FEW:,} jobs of both kinds"
    for name in OPERATIONS:
        for alias, costs in found.items():
            where = f"{name}, {sizes[alias]:,} queued and {sizes[alias]:,} finished"
            for view in ("caller", "server"):
                figures, floors = ([getattr(one[name], view) for one in group] for group in (costs, few))
                title = where if view == "caller" else f"{where}, of the server's time"
                target = None if name == BARE else at_most(1.2)
                yield Row(title, "µs/job", figures, floors, floor_is, target)
