"""The peers: what is installed, how its worker runs, and which settings it gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import installed

ADAPTERS = Path(__file__).parent / "adapters"


@dataclass(frozen=True, slots=True, eq=False)
class Peer(installed.Adapted):
    """One library with one kind of worker: a row of the table.

    Attributes:
        settings: what differs from the library's defaults, for the table's legend.
        survival: whether the job of a worker that gets SIGKILL is run again, by default, for the legend.
        mode: the kind of worker, where the library has several.
        concurrency: the most jobs that one worker process runs at a time, of those measured.
        can_wait: whether its API can wait for a result.
    """

    settings: str
    survival: str
    mode: str = ""
    concurrency: int = 10
    can_wait: bool = True

    @property
    def name(self) -> str:
        return f"{self.library.name}, {self.mode}" if self.mode else self.library.name


_RQ = Peer(
    installed.RQ,
    ADAPTERS / "rq_peer.py",
    "`Retry(max=2)` on each job, so that a lost one is run again; the jobs' module imported beforehand",
    "no: marked as failed, by a maintenance every 10 min; with `Retry` it is run again then",
    mode="simple",
    concurrency=1,
)
_CELERY = Peer(
    installed.CELERY,
    ADAPTERS / "celery_peer.py",
    "`task_acks_late`, `task_reject_on_worker_lost`; `worker_prefetch_multiplier` 64",
    "no; with these settings yes, at once when a child of the prefork pool dies, or else after 1 h",
    mode="prefork",
)

PEERS = (
    Peer(
        installed.JOBQUEUE,
        ADAPTERS / "jobqueue_peer.py",
        "none; `manage.py jobqueue_worker`, with its reaper in the process",
        "yes, within 45 s",
    ),
    _RQ,
    replace(_RQ, mode="fork"),
    _CELERY,
    replace(_CELERY, mode="threads"),
    Peer(
        installed.DRAMATIQ,
        ADAPTERS / "dramatiq_peer.py",
        "results stored; `--processes 1`; `dramatiq_queue_prefetch` 128 instead of two a thread",
        "by chance: looked for in one command of a thousand, once the worker is silent for 60 s",
    ),
    Peer(
        installed.HUEY,
        ADAPTERS / "huey_peer.py",
        "`RedisExpireHuey`, threads; `notify_result` for request and response only",
        "no",
    ),
    Peer(
        installed.ARQ,
        ADAPTERS / "arq_peer.py",
        "`poll_delay` 1 ms instead of 0.5 s, and that of waiters too; each poll takes what may run at a time",
        "yes, after `job_timeout` and 10 s: 310 s",
    ),
    Peer(installed.STREAQ, ADAPTERS / "streaq_peer.py", "none (asyncio)", "yes, after `idle_timeout`, 60 s"),
    Peer(
        installed.TASKIQ,
        ADAPTERS / "taskiq_peer.py",
        "the stream broker; results for 1 h; a waiter asks every 1 ms instead of 0.2 s",
        "yes, after `idle_timeout`, 10 min",
    ),
    Peer(
        installed.DJANGO_TASKS_REDIS,
        ADAPTERS / "django_tasks_redis_peer.py",
        "none; `manage.py run_redis_tasks --continuous`",
        "yes, after `REDIS_CLAIM_TIMEOUT`, 5 min",
        concurrency=1,
        can_wait=False,
    ),
    Peer(
        installed.PLATFORMATIC,
        ADAPTERS / "platformatic_peer.mjs",
        "a `Reaper` with leader election, in the worker's process",
        "yes, after 30 s",
    ),
)
