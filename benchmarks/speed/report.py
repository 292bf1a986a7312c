"""The table, in Markdown and as JSON."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from string import ascii_lowercase
from typing import Any

import django
import redis

import django_jobqueue

from .figures import Row, Spread

HEADER = (
    "| figure | unit | ours: median (min–max) | floor: median (min–max) | ratio (min–max) | target | met |",
    "|---|---|--:|--:|--:|---|---|",
)

#: Processes that others had running on average in the last minute, above which the report gives a warning.
BUSY_LOAD = 0.5

Results = Mapping[str, Sequence[Row]]


def number(value: float) -> str:
    """Three digits that count, with thousands apart: 12,300, 4.56, 0.0789."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):,.{max(0, decimals)}f}"


def markdown(title: str, rows: Sequence[Row]) -> str:
    """The table of one section, and what its floors are."""
    marks = _marks(rows)
    lines = [f"### {title}", "", *HEADER, *(_line(row, marks) for row in rows), "", *_legend(marks)]
    return "\n".join(lines).rstrip() + "\n"


def missed(results: Results) -> list[str]:
    """A line for each target that was not reached."""
    return [f"{section}: {row.name}: {_judged(row)}, target {row.target}" for section, row in _missing(results)]


def as_json(results: Results, about: Mapping[str, Any]) -> dict[str, Any]:
    """All that was measured, for programs."""
    return {
        **about,
        "rows": [
            {
                "section": section,
                "name": row.name,
                "unit": row.unit,
                "figures": list(row.figures),
                "floors": list(row.floors),
                "figure": row.figure.median,
                "floor": row.floor.median if row.floor else None,
                "ratio": row.ratio.median if row.ratio else None,
                "floor_is": row.floor_is,
                "target": str(row.target) if row.target else None,
                "met": row.is_met,
            }
            for section, rows in results.items()
            for row in rows
        ],
    }


def is_busy(facts: Mapping[str, Any]) -> bool:
    """Whether others were using the machine before the first measurement, so that its figures say little."""
    return bool(facts["load"] > BUSY_LOAD)


def about(server: str, repetitions: int) -> dict[str, Any]:
    """When, where and with what this was measured."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "versions": ", ".join(
            [
                f"django-jobqueue {django_jobqueue.__version__}",
                server,
                f"{platform.python_implementation()} {platform.python_version()}",
                f"Django {django.__version__}",
                f"redis-py {redis.__version__}",
            ]
        ),
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg()[0],
        "repetitions": repetitions,
    }


def _marks(rows: Sequence[Row]) -> dict[str, str]:
    """A letter for each kind of floor; none where there is only one kind."""
    kinds = list(dict.fromkeys(row.floor_is for row in rows if row.floor_is))
    return dict(zip(kinds, ascii_lowercase if len(kinds) > 1 else [""], strict=False))


def _legend(marks: Mapping[str, str]) -> Iterator[str]:
    for kind, mark in marks.items():
        yield f"- floor {mark}: {kind}" if mark else f"The floor: {kind}."


def _line(row: Row, marks: Mapping[str, str]) -> str:
    verdict = {True: "yes", False: "**no**", None: ""}[row.is_met]
    floor = f"{_spread(row.floor)} {marks.get(row.floor_is, '')}".strip()
    cells = [row.name, row.unit, _spread(row.figure), floor, _spread(row.ratio)]
    return "| " + " | ".join([*cells, str(row.target or ""), verdict]) + " |"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.least == spread.most:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.least)}–{number(spread.most)})"


def _missing(results: Results) -> Iterator[tuple[str, Row]]:
    for section, rows in results.items():
        yield from ((section, row) for row in rows if row.is_met is False)


def _judged(row: Row) -> str:
    if row.target and row.target.of_ratio and row.ratio:
        return f"{number(row.ratio.median)} ×"
    return f"{number(row.figure.median)} {row.unit}"
