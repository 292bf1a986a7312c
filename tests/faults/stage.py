"""One queue, one process on it behind a proxy, and what remains when the process is killed at a command."""

from __future__ import annotations

import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from django_jobqueue.conf import QueueConfig, ReaperConfig
from django_jobqueue.queue import Queue
from django_jobqueue.storage.scripts import script
from django_jobqueue.worker import Worker
from tests.faults.auditor import Auditor
from tests.faults.conftest import noted, whole_lines
from tests.faults.processes import CommandProcess
from tests.faults.proxy import Loss, Predicate, Proxy, Strike, named
from tests.faults.resp import script_names
from tests.servers import Server, wait_until

#: Seconds; short, so that the tests are.
VISIBILITY = 2.0

#: Processes at a time: starting one takes a core for the better part of a second.
PROCESSES = threading.Semaphore(8)


class Moment(Enum):
    """When a process dies."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Step:
    """A command at which a process is killed: before the server gets it, or after the server has answered.

    Attributes:
        name: of the command or script.
        nth: which of them.
        moment: before or after.
        matches: which commands count, when the name does not say it all.
    """

    name: str
    nth: int
    moment: Moment
    matches: Predicate | None = None

    def __str__(self) -> str:
        return f"{self.moment.value} {self.name} {self.nth}"


class Stage:
    """A queue of its own, with a journal of what its jobs did, and a proxy for the process.

    Args:
        server: the server.
        folder: a directory for its files.
        visibility: seconds that a lease lasts.
    """

    def __init__(self, server: Server, folder: Path, visibility: float = VISIBILITY) -> None:
        name = uuid.uuid4().hex[:12]
        self.prefix = f"jqtest:{name}:"
        self.folder = folder / name
        self.folder.mkdir()
        self.journal = self.folder / "journal"
        self.journal.touch()
        self.client = server.client()
        self.auditor = Auditor(self.client, self.prefix)
        self.proxy = Proxy(server.port)
        config = QueueConfig(
            url=server.url(), cache=None, key_prefix=self.prefix, visibility_timeout=visibility, retry_backoff=0,
            block_timeout=1, reaper=ReaperConfig.following(visibility),
        )  # fmt: skip
        #: Leads to the server directly.
        self.queue = Queue(config)

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        for name in script_names().values():
            self.client.script_load(script(name).source)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.queue.close()
        self.proxy.__exit__(kind, error, traceback)
        self.client.close()

    def gate(self, name: str) -> Path:
        """A file for which jobs wait; it is there as soon as somebody touches it."""
        return self.folder / name

    def call(self, **arguments: Any) -> dict[str, Any]:
        """The payload of a job that follows these instructions, see ``tests.app.jobs.scripted``."""
        return {"job": "tests.app.jobs.scripted", "args": [str(self.journal)], "kwargs": arguments}

    def attempts(self) -> dict[str, list[int]]:
        """The attempts that began, of each job."""
        found: dict[str, list[int]] = {}
        for line in whole_lines(self.journal):
            _, job_id, attempt, _ = line.split()
            found.setdefault(job_id, []).append(int(attempt))
        return found

    def has_begun(self, job_id: str) -> bool:
        """Whether an attempt of this job began."""
        return job_id in noted(self.journal, "begin")

    def have_ended(self, *job_ids: str) -> bool:
        """Whether all these jobs have."""
        states = self.queue.get_job_states(job_ids).values()
        return all(state is not None and state.status.is_terminal for state in states)

    @contextmanager
    def killed_at(self, step: Step | None, *arguments: str, **environment: str) -> Iterator[CommandProcess]:
        """Start a process that is killed at a step; in the end it must have been.

        ``None`` kills nowhere: then the process must end well.
        """
        started = threading.Event()

        def kill() -> None:
            started.wait()
            process.signal(signal.SIGKILL)
            process.wait()

        strike = None if step is None else self.proxy.arm(_strike(step, kill))
        url = f"redis://127.0.0.1:{self.proxy.port}/0"
        environment = {"JOBQUEUE_PROCESS_VISIBILITY": str(self.queue.config.visibility_timeout), **environment}
        with PROCESSES, CommandProcess(url, self.prefix, *arguments, **environment) as process:
            started.set()
            yield process
            status = process.wait()
            assert status == (0 if strike is None else -signal.SIGKILL), process.output()
            assert strike is None or strike.struck.wait(30)

    @contextmanager
    def healthy_worker(self) -> Iterator[None]:
        """A worker with its reaper, in this process, that nothing befalls."""
        worker = Worker(self.queue, concurrency=4)
        worker.start()
        try:
            yield
        finally:
            worker.stop()

    def heal(self, *job_ids: str) -> None:
        """Let a healthy worker work until these jobs have ended and no other worker is listed; then audit."""

        def is_over() -> bool:
            return self.have_ended(*job_ids) and self.queue.stats().workers == 1

        with self.healthy_worker():
            wait_until(is_over, 60, lambda: AssertionError(f"not over: {self.queue.get_job_states(job_ids)}"))
        self.auditor.check(job_ids, drained=True)

    def states(self, *job_ids: str) -> dict[str, str | None]:
        """The states of jobs, by their first word."""
        states = self.queue.get_job_states(job_ids)
        return {job_id: None if state is None else str(state.status) for job_id, state in states.items()}


def _strike(step: Step, kill: Callable[[], None]) -> Strike:
    matches = step.matches or named(step.name)
    if step.moment is Moment.BEFORE:
        return Strike(matches, step.nth, Loss.COMMAND, before=kill)
    return Strike(matches, step.nth, Loss.REPLY, after=kill)


def both_moments(*steps: tuple[str, int] | tuple[str, int, Predicate]) -> list[Step]:
    """Steps before and after each of these commands."""
    return [Step(step[0], step[1], moment, *step[2:]) for step in steps for moment in Moment]


def play_all(server: Server, folder: Path, play: Callable[[Stage, Any], None], scenes: Iterable[Any]) -> None:
    """Play scenes at the same time, each on a stage of its own.

    Raises:
        ExceptionGroup: what went wrong; each error's note names its scene.
    """

    def played(scene: Any) -> Exception | None:
        try:
            with Stage(server, folder) as stage:
                play(stage, scene)
        except Exception as error:
            error.add_note(f"scene: {scene}")
            return error
        return None

    scenes = list(scenes)
    with ThreadPoolExecutor(len(scenes)) as threads:
        errors = [error for error in threads.map(played, scenes) if error is not None]
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {len(scenes)} scenes", errors)
