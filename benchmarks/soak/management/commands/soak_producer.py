"""``soak_producer``: orders jobs at a rate, cancels some, waits for some, and writes down what it was answered."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandParser

from benchmarks.soak.jobs import work
from benchmarks.soak.journal import Journal
from benchmarks.soak.orders import Kind, Order, draw
from django_jobqueue import queues
from django_jobqueue.exceptions import (
    JobCancelledError,
    JobFailedError,
    JobNotFoundError,
    JobTimeoutError,
    StorageError,
    StorageFullError,
)

#: Seconds until a waiter counts as unanswered; many times the longest outage.
WAITER_DEADLINE = 90.0

#: Seconds between tries while the server cannot be reached or is full.
PAUSE = 0.2

Answer = TypeVar("Answer")


class Command(BaseCommand):
    """Order jobs until SIGTERM, then see the waiters through."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--name", required=True, help="begins the ids of its jobs; never used twice")
        parser.add_argument("--rate", type=float, required=True, help="jobs a second")
        parser.add_argument("--seed", type=int, required=True)

    def handle(self, *, name: str, rate: float, seed: int, **_: Any) -> None:
        """Order jobs."""
        self._journal = Journal("jobs")
        told_to_stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: told_to_stop.set())
        chance = random.Random(seed)
        number = 0
        with ThreadPoolExecutor(32, thread_name_prefix="waiter") as waiters:
            while not told_to_stop.wait(chance.expovariate(rate)):
                number += 1
                job_id, order = f"{name}-{number}", draw(chance)
                self._place(job_id, order)
                if order.kind is Kind.CANCELLED:
                    self._cancel(job_id)
                elif order.kind is Kind.WAITED:
                    # Noted here, as one who waits from now on, even if no thread is free at this moment.
                    self._journal.note("waiting", job_id)
                    waiters.submit(self._wait, job_id)

    def _place(self, job_id: str, order: Order) -> None:
        self._journal.note("try", job_id, order.kind)
        call = work.using(id=job_id, delay=order.delay, max_attempts=order.max_attempts)
        self._answered(job_id, lambda: call.enqueue(order.kind, order.seconds, order.failures))
        self._journal.note("accepted", job_id, order.kind)

    def _cancel(self, job_id: str) -> None:
        answer, tries = self._answered(job_id, lambda: queues["default"].cancel(job_id))
        # If the reply to the first try was lost, the second finds the job gone.
        is_gone = answer == "cancelled" or (answer == "not_found" and tries > 1)
        self._journal.note("cancelled" if is_gone else "not-cancelled", job_id, answer)

    def _answered(self, job_id: str, call: Callable[[], Answer]) -> tuple[Answer, int]:
        tries = 0
        while True:
            tries += 1
            try:
                return call(), tries
            except StorageFullError:
                self._journal.note("refused", job_id, "full")
            except StorageError:
                self._journal.note("refused", job_id, "unreachable")
            time.sleep(PAUSE)

    def _wait(self, job_id: str) -> None:
        deadline = time.monotonic() + WAITER_DEADLINE
        while True:
            try:
                queues["default"].wait(job_id, timeout=max(0.1, deadline - time.monotonic()))
            except StorageError:
                if time.monotonic() < deadline:
                    time.sleep(PAUSE)
                    continue
                self._journal.note("unanswered", job_id, "StorageError")
            except (JobTimeoutError, JobNotFoundError) as error:
                self._journal.note("unanswered", job_id, type(error).__name__)
            except (JobFailedError, JobCancelledError) as error:
                self._journal.note("answered", job_id, type(error).__name__)
            else:
                # At its deadline a waiter looks itself. That one would have waited for ever.
                is_last_look = time.monotonic() >= deadline
                self._journal.note("unanswered" if is_last_look else "answered", job_id, "result")
            return
