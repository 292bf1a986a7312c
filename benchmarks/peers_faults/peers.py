"""The peers: what is installed, how each is run, and what its rows configure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import installed

ADAPTERS = Path(__file__).parent / "adapters"


@dataclass(frozen=True, slots=True, eq=False)
class Peer(installed.Adapted):
    """One library.

    Attributes:
        rows: what each configuration says, for the table's legend.
        default_return: when its documentation, or else its source, lets the job of a dead worker come back.
    """

    rows: Mapping[str, str]
    default_return: str

    def install(self) -> None:
        """Make the environment it runs in, unless it is there."""
        self.library.install()


PEERS = (
    Peer(
        installed.JOBQUEUE,
        ADAPTERS / "jobqueue_peer.py",
        {"default": "no setting", "tuned": "`VISIBILITY_TIMEOUT` 3 s, `RETRY_BACKOFF` 0"},
        "30 to 45 s",
    ),
    Peer(
        installed.RQ,
        ADAPTERS / "rq_peer.py",
        {
            "default": "no setting",
            "tuned": "`Retry(max=2)` on the job; `job_monitoring_interval` 5 s, `maintenance_interval` 5 s, "
            "`worker_ttl` 20 s",
        },
        "marked as failed, not run again, after 90 s and the next maintenance, every 10 min",
    ),
    Peer(
        installed.CELERY,
        ADAPTERS / "celery_peer.py",
        {
            "default": "no setting",
            "tuned": "`task_acks_late`, `task_reject_on_worker_lost`; `visibility_timeout` 5 s, "
            "`unacked_restore_interval` 1 s, `unacked_restore_throttle` 1",
        },
        "never once started; a prefetched one after 1 h",
    ),
    Peer(
        installed.DRAMATIQ,
        ADAPTERS / "dramatiq_peer.py",
        {"default": "no setting", "tuned": "`heartbeat_timeout` 5 s, `maintenance_chance` every command"},
        "60 s, and then by chance, one command in a thousand",
    ),
    Peer(
        installed.BULLMQ,
        ADAPTERS / "bullmq_peer.mjs",
        {
            "default": "no setting",
            "tuned": "`lockDuration` 3 s, `stalledInterval` 3 s, `maxStalledCount` 2, `attempts` 3",
        },
        "30 to 60 s, once",
    ),
    Peer(
        installed.PLATFORMATIC,
        ADAPTERS / "platformatic_peer.mjs",
        {
            "default": "no setting, with a `Reaper` with leader election",
            "tuned": "`visibilityTimeout` 3 s, the reaper's too, `lockTTL` 3 s",
        },
        "30 s",
    ),
)
