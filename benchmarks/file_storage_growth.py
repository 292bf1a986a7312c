"""What one job costs a ``FileStorage`` with few jobs in it and with many: the ratio should stay near 1.

    python -m benchmarks.file_storage_growth [--sizes 1000 1000000] [--jobs 500] [--folder /some/disk]

Every transition is a transaction of its own, with its fsync, as for a lone producer and a worker with
one slot. The folder decides how long an fsync takes; where it lies on a RAM disk, the disk costs nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from django_jobqueue.conf import FILE_STORAGE, QueueConfig
from django_jobqueue.message import JobMessage
from django_jobqueue.storage.base import Complete, NewJob
from django_jobqueue.storage.file import FileStorage

#: Jobs put in at a time while the file is filled.
FILL_BATCH = 10_000

TTL_MS = 24 * 3600 * 1000


def new_job(name: str) -> NewJob:
    """A job with a small payload."""
    message = JobMessage.encode(
        name,
        None,
        b'{"job":"shop.jobs.add","args":[1,2],"kwargs":{}}',
        created_at=int(time.time() * 1000),
        max_attempts=3,
        result_ttl_ms=TTL_MS,
    )
    return NewJob(message)


def fill(storage: FileStorage, size: int) -> None:
    """Half of the jobs are queued, half are completed and kept."""
    for start in range(0, size, FILL_BATCH):
        count = min(FILL_BATCH, size - start)
        storage.enqueue([new_job(f"fill-{start + n}") for n in range(count)])
        taken = storage.claim("filler", count // 2).messages
        storage.commit("filler", [Complete(JobMessage.decode(raw), b"3", TTL_MS) for raw in taken])


def median_us(actions: Iterable[Callable[[], object]]) -> float:
    """The median duration in microseconds."""
    durations = []
    for action in actions:
        began = time.perf_counter()
        action()
        durations.append(time.perf_counter() - began)
    return statistics.median(durations) * 1e6


def measure(storage: FileStorage, jobs: int) -> dict[str, float]:
    """The median cost of each transition, in microseconds."""
    taken: list[bytes] = []
    costs = {
        "enqueue": median_us([lambda n=n: storage.enqueue([new_job(f"measured-{n}")]) for n in range(jobs)]),
        "claim": median_us([lambda: taken.extend(storage.claim("worker", 1).messages)] * jobs),
    }
    outcomes = [Complete(JobMessage.decode(raw), b"3", TTL_MS) for raw in taken]
    costs["complete"] = median_us([lambda one=one: storage.commit("worker", [one]) for one in outcomes])
    costs["counts"] = median_us([storage.counts] * jobs)
    return costs


def main() -> None:
    """Measure each size in a file of its own, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 1_000_000], help="jobs in the file")
    parser.add_argument("--jobs", type=int, default=500, help="jobs measured")
    parser.add_argument("--folder", help="where the files are made; the system's temporary folder by default")
    options = parser.parse_args()

    measured = {}
    for size in options.sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "jobqueue.sqlite3"
            storage = FileStorage(QueueConfig(storage=FILE_STORAGE, path=str(path)))
            began = time.perf_counter()
            fill(storage, size)
            print(f"filled {size:,} jobs in {time.perf_counter() - began:.1f} s, {path.stat().st_size / 1e6:,.0f} MB")
            measured[size] = measure(storage, options.jobs)
            storage.close()

    first, last = options.sizes[0], options.sizes[-1]
    print(f"\n{'median µs':<10}" + "".join(f"{size:>14,}" for size in options.sizes) + f"{'ratio':>8}")
    for name in measured[first]:
        row = "".join(f"{measured[size][name]:>14,.0f}" for size in options.sizes)
        print(f"{name:<10}{row}{measured[last][name] / measured[first][name]:>8.2f}")


if __name__ == "__main__":
    main()
