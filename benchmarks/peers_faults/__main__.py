"""What job queues do when things break: each peer in each fault, with real workers on real servers.

    python -m benchmarks.peers_faults [--server redis|valkey] [--limit 120] [--peers TEXT …] [--faults TEXT …]
                                      [--at-once 6] [--json FILE]

Installs the pinned peers the first time, see ``benchmarks/installed.py`` (pip and npm). Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.servers import binary_version, find_binary

from .faults import FAULTS, Fault
from .peers import PEERS, Peer
from .stage import Stage

Case = tuple[Peer, str, Fault]


def run(case: Case, options: argparse.Namespace) -> str:
    """Inflict one fault on one row of a peer; an error of the measurement is told as such."""
    peer, row, fault = case
    began = time.monotonic()
    try:
        with Stage(peer, row, options.server) as stage:
            outcome = fault.inflict(stage, options.limit)
            if options.logs:
                print(stage.logs(), file=sys.stderr)
    except Exception as error:
        print(f"{peer.name}, {row}, {fault.name}: {error}", file=sys.stderr)
        outcome = f"not measured: {type(error).__name__}"
    print(f"{time.monotonic() - began:5.0f} s  {peer.name}, {row}, {fault.name}: {outcome}", file=sys.stderr)
    return outcome


def markdown(outcomes: dict[Case, str]) -> str:
    """The table, one row a peer and configuration."""
    faults = list(dict.fromkeys(fault for _, _, fault in outcomes))
    rows = list(dict.fromkeys((peer, row) for peer, row, _ in outcomes))
    lines = [
        "| peer | settings | " + " | ".join(fault.name for fault in faults) + " |",
        "|---|---|" + "---|" * len(faults),
    ]
    for peer, row in rows:
        cells = " | ".join(outcomes[peer, row, fault] for fault in faults)
        lines.append(f"| {peer.name} | {row} | {cells} |")
    lines += ["", *(f"- **{fault.name}**: {fault.what}" for fault in faults), ""]
    for peer in dict.fromkeys(peer for peer, _ in rows):
        lines.append(f"- {peer.name}. Default: {peer.rows['default']} (a dead worker's job: {peer.default_return}).")
        lines.append(f"  Tuned: {peer.rows['tuned']}.")
    return "\n".join(lines)


def chosen(options: argparse.Namespace) -> list[Case]:
    """The cases that the command line names."""

    def named(name: str, texts: list[str]) -> bool:
        return not texts or any(text.lower() in name.lower() for text in texts)

    peers = [peer for peer in PEERS if named(peer.name, options.peers)]
    faults = [fault for fault in FAULTS if named(fault.name, options.faults)]
    return [(peer, row, fault) for peer in peers for row in peer.rows for fault in faults if named(row, options.rows)]


def main() -> None:
    """Install what is missing, run the cases, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--server", choices=["redis", "valkey"], default="redis")
    parser.add_argument("--limit", type=float, default=120, help="seconds that a recovery may take")
    parser.add_argument("--peers", nargs="*", default=[], metavar="TEXT", help="parts of the names of peers")
    parser.add_argument("--rows", nargs="*", default=[], metavar="TEXT", help="default, tuned")
    parser.add_argument("--faults", nargs="*", default=[], metavar="TEXT", help="parts of the names of faults")
    parser.add_argument("--at-once", type=int, default=6, help="cases at a time; most of each is waiting")
    parser.add_argument("--logs", action="store_true", help="show the workers' logs")
    parser.add_argument("--json", type=Path, help="write the outcomes there too")
    options = parser.parse_args()

    cases = chosen(options)
    for peer in dict.fromkeys(peer for peer, _, _ in cases):
        peer.install()
    with ThreadPoolExecutor(options.at_once) as pool:
        outcomes = dict(zip(cases, pool.map(lambda case: run(case, options), cases), strict=True))

    print(f"{time.strftime('%Y-%m-%d')}, {binary_version(find_binary(options.server))}, limit {options.limit:g} s\n")
    print(markdown(outcomes))
    if options.json:
        found = [
            {"peer": peer.name, "row": row, "settings": peer.rows[row], "fault": fault.name, "outcome": outcome}
            for (peer, row, fault), outcome in outcomes.items()
        ]
        options.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
