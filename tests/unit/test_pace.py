"""How many jobs a worker holds ready."""

import pytest

from django_jobqueue.pace import MAX_IN_HAND, Pace


def test_nothing_is_held_ready_before_the_first_job_has_run() -> None:
    assert Pace().ready(10) == 0


@pytest.mark.parametrize(
    ("seconds", "concurrency", "ready"),
    [(0.00001, 1, MAX_IN_HAND - 1), (0.00001, 10, MAX_IN_HAND - 10), (0.001, 1, 10), (0.02, 10, 5), (0.02, 1, 0)],
)
def test_about_ten_milliseconds_of_work_are_held_ready(seconds: float, concurrency: int, ready: int) -> None:
    pace = Pace()

    pace.note([seconds])

    assert pace.ready(concurrency) == ready


def test_no_more_are_held_ready_than_many_slots_run_anyway() -> None:
    pace = Pace()

    pace.note([0.0])

    assert pace.ready(MAX_IN_HAND + 1) == 0


def test_a_long_job_counts_at_once_and_short_ones_slowly() -> None:
    pace = Pace()
    pace.note([0.0001] * 100)

    pace.note([1.0])
    after_the_long_one = pace.ready(1)
    pace.note([0.0001] * 20)
    soon_after = pace.ready(1)
    pace.note([0.0001] * 200)

    assert (after_the_long_one, soon_after) == (0, 0)
    assert pace.ready(1) > 0


def test_none_is_held_ready_where_that_cannot_be() -> None:
    never, no_more = Pace(holds_ready=False), Pace()
    for pace in (never, no_more):
        pace.note([0.0001])

    no_more.hold_none()

    assert (never.ready(1), no_more.ready(1)) == (0, 0)
