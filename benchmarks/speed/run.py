"""Measures the sections and prints their tables. Needs the settings."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.servers import Server, binary_version

from .bench import Bench
from .figures import Row
from .report import about, as_json, is_busy, markdown, missed
from .sections import SECTIONS, Section


class UnknownSection(ValueError):
    """There is no section of that name."""


def chosen(names: Sequence[str]) -> list[Section]:
    """The sections of these names, in the order in which they are measured; all when none is named.

    Raises:
        UnknownSection: there is none of a name.
    """
    known = [section.name for section in SECTIONS]
    if unknown := set(names).difference(known):
        raise UnknownSection(f"there is no section {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return [section for section in SECTIONS if not names or section.name in names]


def run(bench: Bench, sections: Sequence[Section], server: Server, json_path: Path | None) -> None:
    """Measure, print each table as soon as it is there, and write the file in the end.

    Raises:
        RuntimeError: a worker did not do what it was started for.
    """
    facts = about(binary_version(server.binary), bench.repetitions)
    print(f"{facts['date']}; {facts['versions']}; {facts['machine']}; {bench.repetitions} repetitions\n", flush=True)
    if is_busy(facts):
        print(f"**The machine is busy (load {facts['load']:.1f}): only the ratios say something, and not much.**\n")
    results: dict[str, list[Row]] = {}
    for section in sections:
        results[section.name] = _measured(section, bench)
        print(markdown(section.title, results[section.name]), flush=True)
    lines = missed(results) or ["all targets are met"]
    print("\n".join(["### Missed targets", "", *(f"- {line}" for line in lines)]))
    if json_path is not None:
        text = json.dumps(as_json(results, facts), indent=2, ensure_ascii=False)
        json_path.write_text(text + "\n", "utf-8")


def _measured(section: Section, bench: Bench) -> list[Row]:
    began, rows = time.monotonic(), []
    for row in section.rows(bench):
        print(f"{time.monotonic() - began:6.1f} s  {section.name}: {row.name}", file=sys.stderr, flush=True)
        rows.append(row)
    return rows
