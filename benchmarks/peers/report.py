"""What the samples say: medians, spreads and ratios, as Markdown and JSON."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .cells import ANSWERS, EFFORTS, RATES
from .peers import Peer

#: What the legend names of the versions; the JSON has all.
CLIENTS = ("Django", "django-redis", "taskiq-redis", "redis", "hiredis", "coredis", "iovalkey", "node")

Samples = dict[tuple[Peer, str], list[float]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one peer.

    Attributes:
        median, low, high: of the repetitions.
        ratio: its median to that of django-jobqueue; None when that was not measured.
    """

    median: float
    low: float
    high: float
    ratio: float | None

    def __str__(self) -> str:
        spread = f"**{_short(self.median)}** ({_short(self.low)}–{_short(self.high)})"
        return spread if self.ratio is None else f"{spread} {self.ratio:.2f}×"


@dataclass
class Report:
    """The samples of a run, and the circumstances.

    Attributes:
        server: its name and version.
        seconds, repetitions: what was asked for.
        samples: in the order of the repetitions.
    """

    server: str
    seconds: float
    repetitions: int
    samples: Samples = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = time.strftime("%Y-%m-%d %H:%M")
        self._loads = [os.getloadavg()[0]]

    def add(self, peer: Peer, figures: Mapping[str, float]) -> None:
        """Keep what one cell gave."""
        for name, value in figures.items():
            self.samples.setdefault((peer, name), []).append(value)
        self._loads.append(os.getloadavg()[0])

    def markdown(self) -> str:
        """The tables and the legend."""
        lines = [
            f"{self._began}, {self.server}, Python {platform.python_version()}, {os.cpu_count()} cores, load average "
            f"{min(self._loads):.0f} to {max(self._loads):.0f}, {self.repetitions} repetitions, interleaved, "
            f"{self.seconds:g} s a cell.",
            "",
            *self._table((*RATES, *ANSWERS)),
            "",
            *self._table(EFFORTS),
            "",
        ]
        # Rows of one library differ in nothing that the legend tells.
        lines += {peer.library: _legend(peer) for peer in self._peers()}.values()
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """Everything, with the versions."""
        return {
            "began": self._began,
            "server": self.server,
            "python": platform.python_version(),
            "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
            "load": {"low": min(self._loads), "high": max(self._loads)},
            "seconds": self.seconds,
            "repetitions": self.repetitions,
            "peers": [self._peer_as_json(peer) for peer in self._peers()],
        }

    def _peers(self) -> list[Peer]:
        return list(dict.fromkeys(peer for peer, _ in self.samples))

    def _table(self, names: Sequence[str]) -> list[str]:
        lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
        for peer in self._peers():
            figures = (self._figure(peer, name) for name in names)
            lines.append(f"| {peer.name} | " + " | ".join(str(figure or "–") for figure in figures) + " |")
        return lines

    def _figure(self, peer: Peer, name: str) -> Figure | None:
        samples = self.samples.get((peer, name))
        if not samples:
            return None
        median = statistics.median(samples)
        ours = next((of for (other, what), of in self.samples.items() if other.is_ours and what == name), None)
        ratio = median / statistics.median(ours) if ours else None
        return Figure(median, min(samples), max(samples), ratio)

    def _peer_as_json(self, peer: Peer) -> dict[str, Any]:
        figures = {}
        for name in (*RATES, *ANSWERS, *EFFORTS):
            figure = self._figure(peer, name)
            if figure is not None:
                figures[name] = {
                    "median": figure.median,
                    "low": figure.low,
                    "high": figure.high,
                    "ratio": figure.ratio,
                    "samples": self.samples[peer, name],
                }
        return {
            "name": peer.name,
            "settings": peer.settings,
            "survives SIGKILL": peer.survival,
            "versions": peer.library.versions(),
            "figures": figures,
        }


def _legend(peer: Peer) -> str:
    versions = peer.library.versions()
    clients = ", ".join(f"{name} {versions[name]}" for name in CLIENTS if name in versions)
    return (
        f"- {peer.library.name} ({clients}). Settings: {peer.settings}. "
        f"The job of a worker that gets SIGKILL runs again: {peer.survival}."
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
