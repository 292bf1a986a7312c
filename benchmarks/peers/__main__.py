"""How fast other job queues are: each peer does the same work on the same server, in turns.

    python -m benchmarks.peers [--seconds 5] [--repetitions 3] [--peers TEXT …] [--cells TEXT …] [--json FILE]

Installs the pinned peers the first time, see ``benchmarks/installed.py`` (pip and npm). Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.installed import CannotInstall
from tests.servers import binary_version, find_binary

from .cells import CELLS, Cell
from .peers import PEERS, Peer
from .report import Report
from .stage import Stage


def measure(stage: Stage, peer: Peer, cell: Cell, report: Report) -> bool:
    """Measure one cell on the empty server; a failure is told, and leaves a gap."""
    began = time.monotonic()
    try:
        stage.clear()
        figures = cell.measure(stage, peer, report.seconds)
    except RuntimeError as error:
        print(f"{peer.name}, {cell.name}: not measured: {error}", file=sys.stderr)
        return False
    report.add(peer, figures)
    found = ", ".join(f"{name} {value:.1f}" for name, value in figures.items())
    print(f"{time.monotonic() - began:5.1f} s  {peer.name}, {cell.name}: {found}", file=sys.stderr)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Install what is missing, measure in turns, print the tables; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="time of a cell; a slow peer gets fewer jobs")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=[], metavar="TEXT", help="parts of the names of peers")
    parser.add_argument("--cells", nargs="*", default=[], metavar="TEXT", help=", ".join(cell.name for cell in CELLS))
    parser.add_argument("--json", type=Path, help="write the figures and all versions there too")
    options = parser.parse_args(arguments)

    def named(name: str, texts: list[str]) -> bool:
        return not texts or any(text.lower() in name.lower() for text in texts)

    peers = [peer for peer in PEERS if named(peer.name, options.peers)]
    cells = [cell for cell in CELLS if named(cell.name, options.cells)]
    missing = set()
    for library in dict.fromkeys(peer.library for peer in peers):
        try:
            library.install()
        except CannotInstall as error:
            print(f"left out: {error}", file=sys.stderr)
            missing.add(library)
    peers = [peer for peer in peers if peer.library not in missing]

    report = Report(binary_version(find_binary("redis")), options.seconds, options.repetitions)
    # Its default action would leave the workers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    gaps = 0
    with Stage() as stage:
        for _ in range(options.repetitions):
            for cell in cells:
                for peer in peers:
                    if cell.suits(peer):
                        gaps += not measure(stage, peer, cell, report)

    print(report.markdown())
    if options.json:
        options.json.write_text(json.dumps(report.json(), indent=2, ensure_ascii=False) + "\n", "utf-8")
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())
