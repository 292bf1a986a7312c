"""What a failover loses: jobs whose enqueue returned, and that the new primary does not know.

    python -m benchmarks.failover_loss [--kinds redis valkey] [--faults planned] [--rounds 5] [--producers 4]

Each round has a primary with two replicas and three sentinels of its own, on this machine. Producers enqueue as
fast as they can, each id until it is accepted, from a second before the failover to a second after it. ``crash``
is SIGKILL of the primary, ``planned`` is ``SENTINEL FAILOVER``, and ``paused`` the same after ``CLIENT PAUSE`` of
writes on the primary. A network between the machines makes all worse.
"""

from __future__ import annotations

import argparse
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.test.utils import override_settings

from django_jobqueue.conf import QueueConfig
from django_jobqueue.exceptions import StorageError
from django_jobqueue.message import JobMessage
from django_jobqueue.storage.base import NewJob
from django_jobqueue.storage.redis import RedisStorage
from tests.integration.sentinel_cache import sentinel_cache
from tests.servers import SentinelTrio, Server

#: Seconds of load before and after the failover.
MARGIN = 1.0

#: Milliseconds; longer than a failover takes.
PAUSE_MS = 15_000


def pause_and_fail_over(trio: SentinelTrio) -> Server:
    """Let the primary take no more writes, and then have another elected."""
    with trio.primary().client() as client:
        client.client_pause(PAUSE_MS, all=False)
    return trio.fail_over()


FAULTS = {"crash": SentinelTrio.kill_primary, "planned": SentinelTrio.fail_over, "paused": pause_and_fail_over}

MIN_REPLICAS = (0, 1, 2)


@dataclass
class Round:
    """What the producers saw."""

    accepted: list[str] = field(default_factory=list)
    refused: int = 0
    lost: int = 0
    latencies: list[float] = field(default_factory=list)


def produce(storage: RedisStorage, name: str, ending: threading.Event, seen: Round) -> None:
    """Enqueue one job after the other until told to end."""
    number = 0
    while not ending.is_set():
        job_id = f"{name}-{number}"
        message = JobMessage.encode(
            job_id, None, b"null", created_at=int(time.time() * 1000), max_attempts=3, result_ttl_ms=60_000
        )
        began = time.perf_counter()
        try:
            storage.enqueue([NewJob(message)])
        except StorageError:
            seen.refused += 1
            continue
        seen.latencies.append(time.perf_counter() - began)
        seen.accepted.append(job_id)
        number += 1


def measure(trio: SentinelTrio, fault: str, min_replicas: int, producers: int) -> Round:
    """One failover under load."""
    storage = RedisStorage(QueueConfig(key_prefix="jq:", min_replicas=min_replicas))
    seen, ending = Round(), threading.Event()
    threads = [threading.Thread(target=produce, args=(storage, f"job-{n}", ending, seen)) for n in range(producers)]
    for thread in threads:
        thread.start()
    time.sleep(MARGIN)
    old = FAULTS[fault](trio)
    new = trio.wait_for_new_primary(old)
    time.sleep(MARGIN)
    ending.set()
    for thread in threads:
        thread.join()
    storage.close()
    with new.client() as client:
        found = client.hmget("jq:jobs", seen.accepted)
    seen.lost = found.count(None)
    return seen


def run(kind: str, fault: str, min_replicas: int, options: Any) -> None:
    """Some rounds of one combination, and its line of the table."""
    rounds = []
    for _ in range(options.rounds):
        with SentinelTrio(kind) as trio:
            addresses = [f"{host}:{port}" for host, port in trio.sentinels]
            cache = sentinel_cache(f"redis://{trio.service_name}/0", addresses)
            with override_settings(CACHES={"default": cache}):
                rounds.append(measure(trio, fault, min_replicas, options.producers))
    accepted = sum(len(one.accepted) for one in rounds)
    latencies = sorted(latency for one in rounds for latency in one.latencies)
    print(
        f"{kind:<8}{fault:<9}{min_replicas:>12}{options.rounds:>8}{accepted:>10,}"
        f"{sum(one.lost for one in rounds):>7,}"
        f"{max(one.lost for one in rounds):>12,}{sum(one.refused for one in rounds):>9,}"
        f"{latencies[len(latencies) // 2] * 1e6:>12,.0f}",
        flush=True,
    )


def main() -> None:
    """Measure each combination and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=["redis", "valkey"])
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=FAULTS)
    parser.add_argument("--rounds", type=int, default=5, help="failovers for each line of the table")
    parser.add_argument("--producers", type=int, default=4, help="threads that enqueue")
    options = parser.parse_args()
    settings.configure()
    print("server  failover MIN_REPLICAS  rounds  accepted   lost  worst round  refused  median µs")
    for kind in options.kinds:
        for fault in options.faults:
            for min_replicas in MIN_REPLICAS:
                run(kind, fault, min_replicas, options)


if __name__ == "__main__":
    main()
