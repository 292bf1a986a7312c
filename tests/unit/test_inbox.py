"""The jobs that wait for a thread, and the duty, without a worker."""

import threading
from typing import Any

from django_jobqueue.context import JobContext
from django_jobqueue.inbox import Duty, Inbox
from django_jobqueue.runner import Lease
from tests.contract.build import message

DEADLINE = 30


def lease(job_id: str) -> Lease:
    one = message(job_id)
    context = JobContext(
        id=job_id, queue=None, payload=None, attempts=1, max_attempts=1, created_at=1, worker_id="me"
    )  # type: ignore[arg-type]
    return Lease(one, context)


class Executor(threading.Thread):
    """Asks the inbox once."""

    def __init__(self, inbox: Inbox) -> None:
        super().__init__(daemon=True)
        self._inbox = inbox
        self.got: list[Any] = []
        self.start()

    def run(self) -> None:
        self.got.append(self._inbox.get(had_job=False))

    def result(self) -> Any:
        """What it got, as soon as it did."""
        self.join(DEADLINE)
        return self.got[0]


def on_errand(inbox: Inbox, *leases: Lease) -> Any:
    """The errand of the caller, who is on duty and has begun the first of these."""
    assert inbox.get(had_job=False) is Duty.FETCH
    inbox.put(leases, spreads=False)
    errand = inbox.begin_errand()
    assert inbox.take(errand, had_job=False) is leases[0]
    return errand


def test_who_is_on_duty_runs_jobs_in_their_order() -> None:
    inbox, leases = Inbox(limit=1), [lease("a"), lease("b")]
    errand = on_errand(inbox, *leases)

    assert inbox.take(errand, had_job=True) is leases[1]
    assert inbox.take(errand, had_job=True) is None
    assert inbox.end_errand(errand, had_job=False)


def test_who_is_on_duty_takes_no_job_when_others_have_all_slots() -> None:
    inbox, leases = Inbox(limit=1), [lease("a"), lease("b")]
    assert inbox.get(had_job=False) is Duty.FETCH
    inbox.put(leases, spreads=True)
    assert Executor(inbox).result() is leases[0]

    errand = inbox.begin_errand()

    assert inbox.take(errand, had_job=False) is None
    assert inbox.end_errand(errand, had_job=False)


def test_one_that_is_busy_with_a_long_job_loses_the_duty_to_an_idle_one() -> None:
    inbox = Inbox(limit=1)
    inbox.watch()
    errand = on_errand(inbox, lease("long"), lease("behind"))

    # Nobody ends the errand, so the watch does.
    assert Executor(inbox).result() is Duty.TAKE_OVER

    assert inbox.take(errand, had_job=False) is None
    assert not inbox.end_errand(errand, had_job=True)
    inbox.close()


def test_the_duty_is_taken_only_once() -> None:
    inbox = Inbox(limit=2)
    inbox.watch()
    first = on_errand(inbox, lease("long"), lease("behind"))
    assert Executor(inbox).result() is Duty.TAKE_OVER

    second = inbox.begin_errand()

    assert inbox.take(first, had_job=False) is None
    assert not inbox.end_errand(first, had_job=False)
    assert inbox.take(second, had_job=False) is not None
    inbox.close()


def test_what_waits_behind_a_long_job_is_taken_by_others_when_there_is_a_slot() -> None:
    inbox, behind = Inbox(limit=2), lease("behind")
    inbox.watch()
    on_errand(inbox, lease("long"), behind)
    assert Executor(inbox).result() is Duty.TAKE_OVER

    assert Executor(inbox).result() is behind
    inbox.close()


def test_what_waits_stays_when_there_is_no_slot() -> None:
    inbox, behind = Inbox(limit=1), lease("behind")
    inbox.watch()
    errand = on_errand(inbox, lease("long"), behind)
    assert Executor(inbox).result() is Duty.TAKE_OVER
    waiting = Executor(inbox)

    inbox.spread()
    assert not waiting.got
    inbox.end_errand(errand, had_job=True)

    assert waiting.result() is behind
    inbox.close()


def test_a_job_that_runs_while_the_duty_is_passed_takes_a_slot() -> None:
    inbox = Inbox(limit=1)
    assert inbox.get(had_job=False) is Duty.FETCH
    other = Executor(inbox)
    while not inbox.pass_duty():
        pass  # until the other one is idle
    assert other.result() is Duty.FETCH

    assert not inbox.has_slot


def test_an_inbox_that_is_closed_ends_its_executors() -> None:
    inbox = Inbox(limit=1)
    assert inbox.get(had_job=False) is Duty.FETCH
    waiting = [Executor(inbox), Executor(inbox)]

    inbox.close()

    assert [one.result() for one in waiting] == [None, None]
