"""The peers: what is installed, how each is run, and what its rows configure."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ADAPTERS = HERE / "adapters"
CACHE = HERE / ".peers"
NODE_CACHE = CACHE / "node"


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """One library.

    Attributes:
        name: as its authors write it.
        adapter: the file that drives it.
        requirements: pinned packages for pip; of a Node.js library none (see ``package.json``).
        rows: what each configuration says, for the table's legend.
        default_return: when its documentation, or else its source, lets the job of a dead worker come back.
    """

    name: str
    adapter: str
    requirements: tuple[str, ...]
    rows: Mapping[str, str]
    default_return: str

    @property
    def is_node(self) -> bool:
        return self.adapter.endswith(".mjs")

    @property
    def is_ours(self) -> bool:
        return self.adapter == "jobqueue_peer.py"

    @property
    def _venv(self) -> Path:
        return CACHE / Path(self.adapter).stem.removesuffix("_peer")

    def command(self, *arguments: str) -> list[str]:
        """The command line of its adapter."""
        if self.is_node:
            # The adapters are copied there: Node.js seeks packages beside the importing file.
            return [str(NODE_CACHE / "node_modules" / ".bin" / "node"), str(NODE_CACHE / self.adapter), *arguments]
        python = sys.executable if self.is_ours else str(self._venv / "bin" / "python")
        return [python, str(ADAPTERS / self.adapter), *arguments]

    def install(self) -> None:
        """Make the environment it runs in, unless it is there."""
        if self.is_ours:
            return
        if self.is_node:
            _install_node()
        elif not (self._venv / "installed").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", self._venv], check=True)
            pip = [self._venv / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "install", *self.requirements], check=True)
            (self._venv / "installed").touch()


def _install_node() -> None:
    NODE_CACHE.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package.json").read_text("utf-8")
    manifest = NODE_CACHE / "package.json"
    if not (NODE_CACHE / "node_modules").exists() or manifest.read_text("utf-8") != wanted:
        manifest.write_text(wanted, "utf-8")
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=NODE_CACHE, check=True)
    for adapter in ADAPTERS.glob("*.mjs"):
        shutil.copy(adapter, NODE_CACHE)


def node_versions() -> dict[str, str]:
    """The pinned npm packages."""
    pinned: dict[str, str] = json.loads((HERE / "package.json").read_text("utf-8"))["dependencies"]
    return pinned


PEERS = (
    Peer(
        "django-jobqueue",
        "jobqueue_peer.py",
        (),
        {"default": "no setting", "tuned": "`VISIBILITY_TIMEOUT` 3 s, `RETRY_BACKOFF` 0"},
        "30 to 45 s",
    ),
    Peer(
        "RQ 3.0.0",
        "rq_peer.py",
        ("rq==3.0.0", "redis==8.1.0"),
        {
            "default": "no setting",
            "tuned": "`Retry(max=2)` on the job; `job_monitoring_interval` 5 s, `maintenance_interval` 5 s, "
            "`worker_ttl` 20 s",
        },
        "marked as failed, not run again, after 90 s and the next maintenance, every 10 min",
    ),
    Peer(
        "Celery 5.7.0",
        "celery_peer.py",
        ("celery[redis]==5.7.0", "kombu[redis]==5.7.0", "packaging==26.3", "redis==8.1.0"),
        {
            "default": "no setting",
            "tuned": "`task_acks_late`, `task_reject_on_worker_lost`; `visibility_timeout` 5 s, "
            "`unacked_restore_interval` 1 s, `unacked_restore_throttle` 1",
        },
        "never once started; a prefetched one after 1 h",
    ),
    Peer(
        "Dramatiq 2.2.1",
        "dramatiq_peer.py",
        ("dramatiq==2.2.1", "redis==8.1.0"),
        {"default": "no setting", "tuned": "`heartbeat_timeout` 5 s, `maintenance_chance` every command"},
        "60 s, and then by chance, one command in a thousand",
    ),
    Peer(
        "BullMQ 6.7.0",
        "bullmq_peer.mjs",
        (),
        {
            "default": "no setting",
            "tuned": "`lockDuration` 3 s, `stalledInterval` 3 s, `maxStalledCount` 2, `attempts` 3",
        },
        "30 to 60 s, once",
    ),
    Peer(
        "@platformatic/job-queue 0.5.0",
        "platformatic_peer.mjs",
        (),
        {
            "default": "no setting, with a `Reaper` with leader election",
            "tuned": "`visibilityTimeout` 3 s, the reaper's too, `lockTTL` 3 s",
        },
        "30 s",
    ),
)
