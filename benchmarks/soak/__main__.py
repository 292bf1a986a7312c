"""A queue under load and random faults, and what became of every job.

    python -m benchmarks.soak [--minutes 20] [--seed N] [--server redis|valkey] [--jobs-per-second 20]

Starts a server of its own (appendonly, always), four workers, two reapers and three producers, half of them behind
a relay that can be cut. At the end the faults stop, the queue drains, and the table is printed. Exit status: 1 when
a job was lost, a key is left over, a waiter got no answer, or a promise about runs was broken; else 0.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.servers import Server

from .journal import FOLDER_VARIABLE

PREFIX = "soak:"


def main() -> int:
    """Run the soak."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, help="of the faults and the orders; random when not given")
    parser.add_argument("--server", choices=["redis", "valkey"], default="redis")
    parser.add_argument("--jobs-per-second", type=float, default=20)
    parser.add_argument("--keep-journals", type=Path, metavar="FOLDER", help="copy the journals there")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.randrange(1_000_000)

    with (
        tempfile.TemporaryDirectory(prefix="jobqueue-soak-") as folder,
        Server(options.server, appendonly=True) as server,
    ):
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "benchmarks.soak.settings",
            "JOBQUEUE_PROCESS_URL": server.url(),
            "JOBQUEUE_PROCESS_PREFIX": PREFIX,
            FOLDER_VARIABLE: folder,
        }
        import django

        django.setup()
        from .play import Play  # needs the settings

        began = time.monotonic()
        with Play(server, Path(folder), PREFIX, options) as play:
            report = play.run()
        print(report.table(options, time.monotonic() - began))
        for line in report.details():
            print(line, file=sys.stderr)
        return report.exit_status()


if __name__ == "__main__":
    sys.exit(main())
