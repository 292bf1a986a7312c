"""The arithmetic of the comparison with other job queues."""

from __future__ import annotations

from benchmarks.installed import NodeLibrary
from benchmarks.peers.cells import CELLS, Run
from benchmarks.peers.peers import PEERS
from benchmarks.peers.report import Report
from benchmarks.peers.stage import Effort

OURS = next(peer for peer in PEERS if peer.is_ours)
# Its versions are known without an installation.
OTHER = next(peer for peer in PEERS if isinstance(peer.library, NodeLibrary))


def report(*samples: tuple[float, float]) -> Report:
    made = Report("Redis 7", seconds=1, repetitions=len(samples))
    for ours, other in samples:
        made.add(OURS, {"enqueue/s": ours})
        made.add(OTHER, {"enqueue/s": other})
    return made


def test_a_ratio_is_that_of_the_medians() -> None:
    made = report((100, 10), (200, 50), (900, 60))

    figure = next(peer for peer in made.json()["peers"] if peer["name"] == OURS.name)["figures"]["enqueue/s"]

    assert (figure["median"], figure["low"], figure["high"], figure["ratio"]) == (200, 100, 900, 1)
    assert f"| {OTHER.name} | **50.0** (10.0–60.0) 0.25× |" in made.markdown()


def test_a_cell_that_was_not_measured_is_a_gap() -> None:
    made = report((100, 10))

    row = next(line for line in made.markdown().splitlines() if line.startswith(f"| {OURS.name}"))

    assert row.count("–|") + row.count("– |") == 5


def test_without_our_own_row_there_is_no_ratio() -> None:
    made = Report("Redis 7", seconds=1, repetitions=1)
    made.add(OTHER, {"enqueue/s": 10})

    assert f"| {OTHER.name} | **10.0** (10.0–10.0) |" in made.markdown()


def test_efforts_are_subtracted_field_by_field() -> None:
    assert Effort(9, 8, 7, 1.5) - Effort(1, 2, 3, 0.5) == Effort(8, 6, 4, 1.0)


def test_a_worker_that_runs_one_job_at_a_time_is_left_out_of_ten() -> None:
    ten = next(cell for cell in CELLS if isinstance(cell, Run) and cell.concurrency == 10)

    assert {peer.mode for peer in PEERS if not ten.suits(peer)} == {"simple", "fork", ""}
    assert ten.suits(OURS)
