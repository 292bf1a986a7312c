"""``manage.py jobqueue_worker``: run the jobs of one or more queues."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connections

from django_jobqueue.crew import Crew, CrewOptions, End
from django_jobqueue.exceptions import JobQueueError
from django_jobqueue.queue import queues
from django_jobqueue.registry import registry
from django_jobqueue.reloading import RELOAD_GRACE, Reload, current_reload, relaunching, watch_code
from django_jobqueue.stopping import stop_waiter
from django_jobqueue.supervisor import SPENT_STATUS, Supervisor, forking

from ._queues import QueueCommand, named_queues


class Command(QueueCommand):
    """Run jobs until told to stop."""

    help = """Run the jobs of one or more queues.

Start as many of these as you like, on as many machines as you like: each job is run by one of them.
Each brings back the jobs of workers that died (one is elected to do so), queues delayed jobs when
they are due, and forgets finished ones.

Jobs run in threads. Python runs one thread at a time, so jobs that compute need processes: with
--processes 4, four of them run with --concurrency threads each, under a supervisor that opens no
connection itself. It replaces a process that died and says what killed it, after 0.1 to 5 seconds.
--max-jobs and --max-memory replace a process before its leaks become a problem: it takes no more
jobs, finishes those it has, and ends. Without --processes it just ends, for whatever started it
(systemd, Docker, Kubernetes) to start it again.

Several queues share one process: each has a connection to wait on and its part of --concurrency
(equal parts, at least 1), or without that option as many slots as its own CONCURRENCY says. So a
full queue never holds up another.

SIGTERM or Ctrl-C: take no more jobs, let running ones finish within SHUTDOWN_TIMEOUT, give the rest
back without counting an attempt, exit 0. A second signal: give them back at once. Signal the
supervisor, and it tells its processes. After SIGKILL of a process, others run its jobs within 1.5
visibility timeouts; after SIGKILL of the supervisor, its processes stop as after SIGTERM.

Exit status: 0 stopped as told, or nothing left to do with --burst, or --max-jobs or --max-memory
reached; 1 an error, or with --burst a process that ended with an error.

Examples:
  manage.py jobqueue_worker                          the default queue
  manage.py jobqueue_worker default emails           two queues, each with its CONCURRENCY
  manage.py jobqueue_worker emails --concurrency 20  another one, 20 jobs at a time
  manage.py jobqueue_worker --processes 4 --max-memory 500
  manage.py jobqueue_worker --autoreload             in development: anew when code changes
  manage.py jobqueue_worker --burst                  until nothing is queued (cron, tests)"""

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "aliases", nargs="*", metavar="alias", help="queues of settings.JOBQUEUE (default: default)"
        )
        parser.add_argument(
            "--concurrency",
            type=int,
            metavar="N",
            help="jobs at a time in a process, shared by its queues (default: the CONCURRENCY of each)",
        )
        parser.add_argument(
            "--processes", type=int, default=1, metavar="N", help="worker processes under a supervisor (default: 1)"
        )
        parser.add_argument("--burst", action="store_true", help="stop when nothing is queued and nothing runs")
        parser.add_argument(
            "--max-jobs", type=int, metavar="N", help="end or replace a process after N jobs of one of its queues"
        )
        parser.add_argument(
            "--max-memory",
            type=int,
            metavar="MB",
            help="end or replace a process whose resident memory is above this (looked at once a second)",
        )
        parser.add_argument("--no-reaper", action="store_true", help="leave recovery and delayed jobs to others")
        parser.add_argument(
            "--autoreload",
            action="store_true",
            help="start anew when code changes; running jobs have 3 seconds, then they run again with the new code",
        )

    def handle(self, *, aliases: list[str], processes: int, autoreload: bool, verbosity: int, **given: Any) -> None:
        """Work here, or supervise processes that do."""
        self._verbosity = verbosity
        options = self._options(processes, autoreload, given)
        reload = current_reload() if autoreload else None
        if reload is not None:
            sys.exit(self._work_as_child(aliases, options, reload.control, reload))
        if autoreload or processes > 1:
            self._supervise(aliases, options, processes, autoreload)
        else:
            self._work(aliases, options)
        self._say("Stopped.")

    def _options(self, processes: int, autoreload: bool, given: dict[str, Any]) -> CrewOptions:
        if processes < 1:
            raise CommandError(f"processes is {processes}; it must be a whole number from 1 up")
        if autoreload and processes > 1:
            raise CommandError(
                f"--autoreload works with one process, not with --processes {processes}; leave one of them out"
            )
        try:
            return CrewOptions(
                concurrency=given["concurrency"],
                burst=given["burst"],
                reaper=not given["no_reaper"],
                max_jobs=given["max_jobs"],
                max_memory=given["max_memory"],
            )
        except JobQueueError as error:
            raise CommandError(str(error)) from error

    def _crew(self, aliases: list[str], options: CrewOptions) -> Crew:
        try:
            return Crew(named_queues(aliases), options)
        except (JobQueueError, ImportError) as error:
            raise CommandError(str(error)) from error

    # One process

    def _work(
        self, aliases: list[str], options: CrewOptions, control: int | None = None, reload: Reload | None = None
    ) -> End:
        """Run a crew until it is done or told to stop.

        Args:
            control: the pipe to the supervisor of this process, which then speaks to the user.
            reload: how this process was launched, to stop when its code has changed since.
        """
        with stop_waiter(control) as waiter:
            crew = self._crew(aliases, options)
            for worker in crew.workers:
                self._say(
                    f"Worker {worker.id}: queue {worker.queue.alias!r}, {worker.concurrency} jobs at a time, "
                    f"{len(registry.names())} jobs known. Stop with Ctrl-C or SIGTERM."
                )
            crew.start()
            waiter.done_after(crew.join)
            if reload is not None:
                watch_code(reload.launched_at, lambda: crew.retire(RELOAD_GRACE))

            def on_stop(at_once: bool) -> None:
                if control is None:
                    self._say_stopping(at_once)
                crew.request_stop(0 if at_once else None)

            waiter.wait(on_stop)
        if crew.errors:
            raise CommandError("; ".join(str(error) for error in crew.errors)) from crew.errors[0]
        return crew.end

    def _work_as_child(
        self, aliases: list[str], options: CrewOptions, control: int, reload: Reload | None = None
    ) -> int:
        """Work under a supervisor; returns the exit status that tells it how the crew ended."""
        try:
            end = self._work(aliases, options, control, reload)
        except CommandError as error:
            self.stderr.write(f"CommandError: {error}")
            return 1
        return SPENT_STATUS if end is End.SPENT else 0

    # Several

    def _supervise(self, aliases: list[str], options: CrewOptions, processes: int, autoreload: bool) -> None:
        self._crew(aliases, options)  # mistakes in the options are told once, and by this process
        # Nothing of ours has connected, but an app may have while it was set up.
        queues.close()
        connections.close_all()
        self._say(f"Supervisor {os.getpid()}: {processes} worker processes. Stop with Ctrl-C or SIGTERM.")
        launch = (
            relaunching() if autoreload else forking(lambda control: self._work_as_child(aliases, options, control))
        )
        if not Supervisor(launch, processes, self._say_stopping, burst=options.burst).run():
            raise CommandError("worker processes ended with errors, which are told above")

    def _say_stopping(self, at_once: bool) -> None:
        self._say(
            "Giving running jobs back now."
            if at_once
            else "Stopping: running jobs may finish; a second signal gives them back at once."
        )

    def _say(self, text: str) -> None:
        if self._verbosity:
            self.stdout.write(text)
