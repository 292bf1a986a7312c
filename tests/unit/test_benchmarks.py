"""The benchmark's own arithmetic: a figure that lies is worse than none."""

import json

import pytest

from benchmarks.speed import report
from benchmarks.speed.bare import Template
from benchmarks.speed.figures import (
    PATIENCE,
    Row,
    Spread,
    at_least,
    at_most,
    done_rate,
    grouped,
    interleave,
    latency_rows,
    limited_to,
    quantile,
    tail_row,
)


def test_a_spread_is_the_median_between_the_extremes() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_a_ratio_compares_the_values_of_one_repetition() -> None:
    # The machine was slow in the second repetition, for both.
    row = Row("enqueue", "jobs/s", [80.0, 40.0, 90.0], [100.0, 50.0, 100.0])

    assert row.ratio == Spread(0.8, 0.8, 0.9)


def test_a_row_without_a_floor_has_no_ratio() -> None:
    row = Row("memory", "MB", [60.0])

    assert (row.floor, row.ratio, row.is_met) == (None, None, None)


def test_figures_and_floors_must_be_of_the_same_repetitions() -> None:
    with pytest.raises(ValueError, match="shorter"):
        _ = Row("enqueue", "jobs/s", [1.0, 2.0], [1.0]).ratio


@pytest.mark.parametrize(
    ("row", "is_met"),
    [
        (Row("rate", "jobs/s", [85.0], [100.0], target=at_least(0.85)), True),
        (Row("rate", "jobs/s", [84.0], [100.0], target=at_least(0.85)), False),
        (Row("time", "ms", [1.6], [1.0], target=at_most(1.6)), True),
        (Row("time", "ms", [1.7], [1.0], target=at_most(1.6)), False),
        (Row("commands", "1/s", [2.0], target=limited_to(2)), True),
        (Row("commands", "1/s", [2.1], target=limited_to(2)), False),
    ],
)
def test_a_target_is_met_up_to_its_limit(row: Row, is_met: bool) -> None:
    assert row.is_met is is_met


def test_a_target_for_a_ratio_needs_a_floor() -> None:
    with pytest.raises(ValueError, match="no floor"):
        _ = Row("enqueue", "jobs/s", [1.0], target=at_least(0.85)).is_met


def test_contenders_take_turns_after_a_run_that_does_not_count() -> None:
    runs: list[str] = []

    found = interleave({"a": lambda: runs.append("a") or len(runs), "b": lambda: runs.append("b") or len(runs)}, 2)  # type: ignore[func-returns-value]

    assert "".join(runs) == "ab" + "ab" + "ba"
    assert found == {"a": [3, 6], "b": [4, 5]}


def test_slices_of_a_repetition_stay_together() -> None:
    assert grouped([1, 2, 3, 4], 2) == [[1, 2], [3, 4]]


def test_a_quantile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]

    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)) == (50.0, 99.0, 7.0)


def test_latencies_are_told_in_milliseconds() -> None:
    p50, p99 = latency_rows("wait", [[[0.002, 0.001], [0.004]]], [[[0.001], [0.001, 0.002]]], "by hand", at_most(2))

    assert (p50.name, p50.figures, p50.floors, p50.is_met) == ("wait, p50", [2.0], [1.0], True)
    assert (p99.name, p99.figures, p99.floors) == ("wait, p99", [4.0], [2.0])


def test_a_tail_is_compared_with_the_median_of_its_own_samples() -> None:
    row = tail_row("wait", [[[0.001, 0.001, 0.005]]], at_most(3))

    assert row.ratio == Spread(5.0, 5.0, 5.0)
    assert row.is_met is False


def test_neither_start_nor_end_of_a_run_counts() -> None:
    looks = iter([(0.0, 0), (9.0, 5), (10.0, 10), (11.0, 60), (12.0, 96), (50.0, 100)])

    assert done_rate(looks, 100) == pytest.approx(86 / 2)


def test_a_run_that_stands_still_is_given_up() -> None:
    looks = iter([(0.0, 0), (1.0, 20), (2.0 + PATIENCE, 20)])

    with pytest.raises(RuntimeError, match="20 of 100 jobs"):
        done_rate(looks, 100)


def test_a_template_fills_its_places_and_nothing_else() -> None:
    template = Template(("EVALSHA", "sha", 1, "jobs", "ID", "MESSAGE", 0), ("MESSAGE", "ID"))

    assert template.fill(b"message", "job-1") == ["EVALSHA", "sha", 1, "jobs", "job-1", b"message", 0]


def test_a_template_fills_every_place_of_a_value() -> None:
    assert Template(("SET", "ID", "ID"), ("ID",)).fill("job-1") == ["SET", "job-1", "job-1"]


def test_a_template_without_one_of_its_places_is_refused() -> None:
    with pytest.raises(ValueError, match="MESSAGE"):
        Template(("EVALSHA", "ID"), ("ID", "MESSAGE"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.07891, "0.0789"), (0.5, "0.500"), (4.567, "4.57"), (123.4, "123"), (12345.6, "12,300")],
)
def test_a_number_has_three_digits_that_count(value: float, text: str) -> None:
    assert report.number(value) == text


ROWS = [
    Row("enqueue", "jobs/s", [70.0, 80.0, 75.0], [100.0, 100.0, 100.0], "one EVALSHA a job", at_least(0.85)),
    Row("memory", "MB", [60.0]),
]


def test_the_table_shows_figure_floor_ratio_and_verdict() -> None:
    lines = report.markdown("Enqueueing", ROWS).splitlines()

    assert lines[0] == "### Enqueueing"
    assert "| enqueue | jobs/s | 75.0 (70.0–80.0) | 100 | 0.750 (0.700–0.800) | ≥ 0.85 × | **no** |" in lines
    assert "| memory | MB | 60.0 |  |  |  |  |" in lines
    assert lines[-1] == "The floor: one EVALSHA a job."


def test_floors_of_several_kinds_are_told_apart() -> None:
    other = Row("states", "ms", [2.0], [1.0], "a bare HMGET")

    lines = report.markdown("Enqueueing", [*ROWS, other]).splitlines()

    assert "| states | ms | 2.00 | 1.00 b | 2.00 |  |  |" in lines
    assert lines[-2:] == ["- floor a: one EVALSHA a job", "- floor b: a bare HMGET"]


def test_missed_targets_are_told_with_what_was_reached() -> None:
    assert report.missed({"enqueue": ROWS}) == ["enqueue: enqueue: 0.750 ×, target ≥ 0.85 ×"]


def test_the_file_holds_every_value() -> None:
    found = json.loads(json.dumps(report.as_json({"enqueue": ROWS}, {"date": "today"})))

    first, second = found["rows"]
    assert found["date"] == "today"
    assert first["figures"] == [70.0, 80.0, 75.0]
    assert (first["section"], first["ratio"], first["target"], first["met"]) == ("enqueue", 0.75, "≥ 0.85 ×", False)
    assert (second["floors"], second["ratio"], second["met"]) == ([], None, None)
