"""The soak from its start to its report."""

from __future__ import annotations

import argparse
import contextlib
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from benchmarks.relay import Relay
from django_jobqueue import queues
from tests.faults.auditor import Auditor
from tests.servers import Server

from .accounts import Accounts
from .cast import Cast, Member
from .faults import Injector
from .jobs import MAX_ATTEMPTS, work
from .journal import Journal
from .report import Memory, Report
from .settings import RESULT_TTL

#: Seconds without faults until every accepted job must have ended.
DRAIN_DEADLINE = 180.0

#: Seconds after the last TTL until the reaper must have swept everything away.
SWEEP_DEADLINE = 60.0

#: Seconds in which the server frees what closed connections had; the least of that time counts.
SETTLE = 5.0

PRODUCERS = 3


class Play:
    """One soak.

    Args:
        server: started, empty.
        folder: for the journals.
        prefix: of the queue.
        options: of the command line.
    """

    def __init__(self, server: Server, folder: Path, prefix: str, options: argparse.Namespace) -> None:
        self._server = server
        self._folder = folder
        self._prefix = prefix
        self._options = options
        self._cast = Cast(folder, prefix)
        self._relay = Relay(server.port)
        self._accounts = Accounts(Journal("jobs", folder), Journal("runs", folder))
        # During a fault the queue of this process warns like any other; the journals say what counts.
        logging.getLogger("django_jobqueue").setLevel(logging.CRITICAL)

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self._stack.callback(queues.close)
        self._stack.callback(self._keep_journals)
        self._stack.enter_context(self._relay)
        self._stack.enter_context(self._cast)
        self._stack.callback(self._accounts.finish)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self) -> Report:
        """Play it."""
        memory_before = self._warm_up()
        self._start_cast()
        self._accounts.start()
        injector = Injector(self._server, self._relay, self._cast, self._options.seed)
        for worker in self._cast.of("worker"):
            assert worker.process is not None
            worker.process.wait_for("Stop")
        self._say("the cast is started")
        time.sleep(10)  # with some jobs done they have loaded what they need
        resident_before = self._cast.resident_megabytes()

        injector.start()
        ends_at = time.monotonic() + self._options.minutes * 60
        while time.monotonic() < ends_at and injector.error is None:
            time.sleep(min(10, max(0.0, ends_at - time.monotonic())))
            self._say(f"{len(self._accounts.accepted)} accepted, {sum(injector.done.values())} faults")
        injector.stop()
        self._cast.replace_ended()
        resident_after = self._cast.resident_megabytes()

        violations = self._end(injector)
        left_over, memory_after = self._sweep()
        return Report(
            accounts=self._accounts,
            injector=injector,
            replaced=self._cast.replaced,
            violations=violations,
            left_over=left_over,
            memory=Memory(memory_before, memory_after, resident_before, resident_after),
            server=self._server,
            living_producers=self._last_producers,
        )

    def _warm_up(self) -> int:
        """Let the server do a job once, so that what it keeps for ever is there; its memory then."""
        warm = Member("worker", lambda _: ["jobqueue_worker", "--burst"], self._server.url())
        work.using(id="warm-up", result_ttl=0.1).enqueue("short", 0, 0)
        self._cast.add(warm)
        assert warm.process is not None
        assert warm.process.wait() == 0, warm.process.output()
        self._cast.members.remove(warm)
        warm.process.close()
        self._accounts.look()
        self._accounts.runs.clear()
        with self._server.client() as client:
            queues["default"].clear()
            return _used_memory(client)

    def _start_cast(self) -> None:
        direct, relayed = self._server.url(), f"redis://127.0.0.1:{self._relay.port}/0"
        worker = ["jobqueue_worker", "--concurrency", "4"]
        self._cast.add(Member("worker", lambda _: worker, direct))
        self._cast.add(Member("worker", lambda _: worker, relayed))
        self._cast.add(Member("worker", lambda _: [*worker, "--no-reaper"], relayed))
        self._cast.add(Member("worker", lambda _: [*worker, "--processes", "2"], direct, has_children=True))
        for url in (direct, relayed):
            self._cast.add(Member("reaper", lambda _: ["jobqueue_reaper"], url))
        for number in range(PRODUCERS):
            self._cast.add(Member("producer", self._producer(number), relayed if number else direct))

    def _producer(self, number: int) -> Callable[[int], list[str]]:
        rate = self._options.jobs_per_second / PRODUCERS

        def arguments(count: int) -> list[str]:
            seed = self._options.seed * 10_000 + number * 1_000 + count
            name = f"p{number}-{count}"
            return ["soak_producer", "--name", name, "--rate", f"{rate}", "--seed", f"{seed}"]

        return arguments

    def _end(self, injector: Injector) -> list[str]:
        """No more orders; everything is done; all workers leave. What the auditor then finds."""
        self._last_producers = [member.pid for member in self._cast.of("producer")]
        self._say("the faults are over; the producers end")
        self._cast.stop("producer")
        self._until(DRAIN_DEADLINE, lambda: self._accounts.look() == 0 and self._is_idle())
        self._say(f"drained, {len(self._accounts.open)} open; the workers end")
        self._cast.stop("worker")
        with self._server.client() as client:
            audit = Auditor(client, self._prefix)

            def violations() -> list[str]:
                return audit.violations(self._accounts.open, drained=True, max_attempts=MAX_ATTEMPTS)

            # The registrations of killed workers leave with the next round of the reaper.
            self._until(SWEEP_DEADLINE, lambda: not violations())
            found = violations()
        self._accounts.look()
        self._accounts.finish()
        return found

    def _is_idle(self) -> bool:
        stats = queues["default"].stats()
        return not (stats.queued or stats.scheduled or stats.processing)

    def _sweep(self) -> tuple[list[str], int]:
        """Wait until every TTL has passed and the reapers have left; the keys left over, and the memory."""
        self._say("the TTLs pass")
        with self._server.client() as client:

            def left_over() -> list[str]:
                keys = (key.decode() for key in client.scan_iter(match=f"{self._prefix}*", count=1000))
                return sorted(key for key in keys if key != f"{self._prefix}reaper:lock")

            self._until(RESULT_TTL + SWEEP_DEADLINE, lambda: not left_over())
            self._cast.stop("reaper")
            return left_over(), _used_memory(client)

    @staticmethod
    def _until(seconds: float, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            time.sleep(0.5)

    def _keep_journals(self) -> None:
        if self._options.keep_journals:
            shutil.copytree(self._folder, self._options.keep_journals, dirs_exist_ok=True)

    def _say(self, what: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def _used_memory(client: redis.Redis) -> int:
    """Without scripts, statistics of commands and other connections, which say nothing about jobs."""
    client.script_flush()
    client.config_resetstat()
    client.slowlog_reset()
    own = client.client_id()
    for entry in client.client_list():
        if int(entry["id"]) != own:
            client.client_kill_filter(_id=entry["id"])
    return min(_used_memory_for(client, SETTLE))


def _used_memory_for(client: redis.Redis, seconds: float) -> Iterator[int]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield int(client.info("memory")["used_memory"])
        time.sleep(0.2)
