"""How fast the queue is, each figure beside its floor, on a server of its own.

    python -m benchmarks [--sections enqueue,jobs] [--repetitions 5] [--quick] [--server redis|valkey] [--json FILE]
    python -m benchmarks --peers [OPTIONS]      beside other job queues instead, with the options of that program

Prints Markdown; what is going on goes to the error stream. See ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.speed.environment import FILE_VARIABLE, SETTINGS, URL_VARIABLE
from tests.servers import Server

#: Jobs in a large queue, and in the large queue of a quick run.
MANY, MANY_QUICKLY = 1_000_000, 100_000

#: Hands the other options to the program that measures other job queues.
PEERS = "--peers"


def main() -> int:
    """Measure what the command line names."""
    arguments = sys.argv[1:]
    if PEERS in arguments:
        return _measure_peers([argument for argument in arguments if argument != PEERS])
    options = _parser().parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="jobqueue-bench-") as folder,
        Server(options.server) as server,
    ):
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            URL_VARIABLE: server.url(),
            FILE_VARIABLE: str(Path(folder) / "jobqueue.sqlite3"),
        }
        return _measure(server, options)


def _measure_peers(arguments: list[str]) -> int:
    from benchmarks.peers.__main__ import main as measure  # installs what it measures

    return measure(arguments) or 0


def _measure(server: Server, options: argparse.Namespace) -> int:
    import django

    django.setup()
    from benchmarks.speed.bench import Bench  # these need the settings
    from benchmarks.speed.run import UnknownSection, chosen, run

    bench = Bench(
        server,
        repetitions=options.repetitions,
        seconds=options.seconds,
        many=MANY_QUICKLY if options.quick else MANY,
        idle_seconds=options.idle_seconds,
    )
    try:
        sections = chosen(options.sections)
    except UnknownSection as error:
        print(error, file=sys.stderr)
        return 2
    run(bench, sections, server, options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sections", type=_names, default=[], metavar="NAME,NAME", help="those alone (default: all)")
    parser.add_argument("--repetitions", type=int, default=5, help="of each measurement (default: 5)")
    parser.add_argument(
        "--seconds", type=float, default=0.6, help="that one measurement takes, roughly (default: 0.6)"
    )
    parser.add_argument(
        "--idle-seconds", type=float, default=30.0, help="for which an idle worker is watched (default: 30)"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"large queues have {MANY_QUICKLY:,} jobs instead of {MANY:,}"
    )
    parser.add_argument("--server", choices=["redis", "valkey"], default="redis")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(PEERS, action="store_true", help="instead, measure other job queues beside ours")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    sys.exit(main())
