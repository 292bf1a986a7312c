"""Waiters, woken in every order of events."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from django_jobqueue.exceptions import JobCancelledError, JobTimeoutError
from django_jobqueue.message import JobState
from django_jobqueue.storage.base import Listening, Record, Storage
from django_jobqueue.waiting import FIRST_LOOK, LOOK_INTERVAL, Patience, TaskWaiter, ThreadWaiter, WaitingRoom

RUNNING = Record(JobState.parse("processing:1:worker"))
DONE = Record(JobState.parse("completed:2"), b"1")


def wait_in_thread(events: list[object], looks: list[Record | None], timeout: float | None = 0.01) -> Record | None:
    waiter = ThreadWaiter("a", lambda: looks.pop(0))
    for event in events:
        waiter.notify(event) if isinstance(event, str) else waiter.deliver(event)  # type: ignore[arg-type]
    return waiter.record(timeout)


def wait_in_task(events: list[object], looks: list[Record | None], timeout: float | None = 0.01) -> Record | None:
    async def look() -> Record | None:
        return looks.pop(0)

    async def go() -> Record | None:
        waiter = TaskWaiter("a", look)
        for event in events:
            waiter.notify(event) if isinstance(event, str) else waiter.deliver(event)  # type: ignore[arg-type]
        return await waiter.record(timeout)

    return asyncio.run(go())


both = pytest.mark.parametrize("wait", [wait_in_thread, wait_in_task])


@both
def test_a_notification_makes_it_look(wait: object) -> None:
    assert wait(["completed"], [DONE], None) is DONE  # type: ignore[operator]


@both
def test_a_delivered_record_saves_the_look(wait: object) -> None:
    assert wait([DONE], [], None) is DONE  # type: ignore[operator]


@both
def test_that_a_job_is_unknown_is_not_believed_without_a_look(wait: object) -> None:
    # Whoever looked did so between the subscription and the enqueue of this waiter.
    assert wait([None], [DONE], None) is DONE  # type: ignore[operator]
    assert wait([None], [None], None) is None  # type: ignore[operator]


@both
def test_a_failing_attempt_is_no_end(wait: object) -> None:
    with pytest.raises(JobTimeoutError):
        wait(["failing"], [RUNNING])  # type: ignore[operator]


@both
def test_a_cancelled_job_raises_without_a_look(wait: object) -> None:
    with pytest.raises(JobCancelledError):
        wait(["cancelled"], [], None)  # type: ignore[operator]


@both
def test_the_end_of_the_time_has_a_last_look(wait: object) -> None:
    assert wait([], [DONE]) is DONE  # type: ignore[operator]


class LostAgain:
    """A storage whose subscription is lost once more while it looks, and whose job ends in that gap."""

    def __init__(self) -> None:
        self._looks = [RUNNING, DONE]

    def listen_job(self, job_id: str, on_event: object, resynced: Callable[[], None]) -> Listening:
        self.resynced = resynced
        return Listening(lambda: True, lambda: None)

    def lookup(self, job_ids: Sequence[str]) -> list[Record | None]:
        if threading.current_thread() is threading.main_thread():
            return [RUNNING]  # the waiter's own look, at the end of its time
        record = self._looks.pop(0)
        if record is RUNNING:
            self.resynced()
        return [record]


def test_a_subscription_that_is_lost_again_during_the_look_makes_it_look_again() -> None:
    storage = LostAgain()
    with WaitingRoom(cast(Storage, storage)).expecting("a") as waiter:
        storage.resynced()

        assert waiter.record(5) is DONE


def test_who_is_sure_to_be_told_waits_to_the_end() -> None:
    assert Patience(None, None).seconds() is None
    assert not Patience(None, None).will_look()
    assert 99 < (Patience(100, None).seconds() or 0) <= 100


def test_who_is_not_sure_to_be_told_looks_soon_and_then_more_seldom() -> None:
    patience = Patience(None, Listening(lambda: False, lambda: None))
    intervals = []
    for _ in range(12):
        intervals.append(patience.seconds())
        assert not patience.will_look()

    assert intervals[:4] == [FIRST_LOOK, 2 * FIRST_LOOK, 4 * FIRST_LOOK, 8 * FIRST_LOOK]
    assert intervals[-1] == LOOK_INTERVAL


def test_a_look_that_follows_the_confirmation_makes_sure() -> None:
    stands = iter([False, True])
    patience = Patience(None, Listening(lambda: next(stands), lambda: None))
    assert patience.seconds() == FIRST_LOOK
    patience.will_look()
    assert patience.seconds() == 2 * FIRST_LOOK

    patience.will_look()

    assert patience.seconds() is None


def test_no_look_is_later_than_the_end_of_the_time() -> None:
    patience = Patience(0, Listening(lambda: False, lambda: None))

    assert patience.seconds() == 0
    assert patience.will_look()
