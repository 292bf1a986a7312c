"""Several processes, several queues, and code that changes under a worker."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_jobqueue.crew import shares
from django_jobqueue.queue import Queue, queues
from django_jobqueue.supervisor import described
from tests.app import jobs
from tests.faults.conftest import noted
from tests.faults.processes import CommandProcess
from tests.servers import wait_until

StartCommand = Callable[..., CommandProcess]

APP_SETTINGS = """
from tests.integration.process_settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "reloaded_app"]
"""

APP_JOBS = """
import time
from django_jobqueue import job

@job
def version(seconds=0):
    time.sleep(seconds)
    return {version!r}
"""


def never() -> AssertionError:
    return AssertionError("it did not happen")


# Several processes


def test_a_burst_of_several_processes_ends_with_success(
    queue: Queue, start_command: StartCommand, journal: Path
) -> None:
    ids = [f"job-{n}" for n in range(60)]
    for job_id in ids:
        jobs.append_line.using(id=job_id).enqueue(str(journal), job_id, 0.05)

    worker = start_command("jobqueue_worker", "--processes", "3", "--concurrency", "2", "--burst")

    assert worker.wait() == 0
    assert sorted(noted(journal, "end")) == sorted(ids)
    assert queue.stats().workers == 0
    assert worker.output().count("Stopped.") == 1


def test_a_burst_that_replaces_its_processes_does_all_jobs(queue: Queue, start_command: StartCommand) -> None:
    queue.enqueue_many([(f"job-{n}", jobs.add.payload((n, 1), {})) for n in range(30)])

    worker = start_command("jobqueue_worker", "--processes", "2", "--max-jobs", "4", "--burst")

    assert worker.wait() == 0
    assert queue.stats().completed == 30


def test_one_process_that_grew_too_large_just_ends(queue: Queue, start_command: StartCommand, journal: Path) -> None:
    worker = start_command("jobqueue_worker", "--max-memory", "1")

    assert worker.wait() == 0
    assert "more than the 1 MB allowed" in worker.output()
    assert queue.stats().workers == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--processes", "0"], "processes is 0"),
        (["--processes", "2", "--autoreload"], "leave one of them out"),
        (["--processes", "2", "--concurrency", "0"], "concurrency is 0"),
        (["--processes", "2", "nowhere"], "has no queue 'nowhere'"),
        (["--max-memory", "0"], "max_memory is 0"),
        (["--max-jobs", "0"], "max_jobs is 0"),
    ],
)
def test_what_cannot_be_is_refused_before_any_process_starts(queue: Queue, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        call_command("jobqueue_worker", *arguments)


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "ended with exit status 1"), (-9, "was killed by SIGKILL"), (-40, "was killed by signal 40")],
)
def test_the_end_of_a_process_is_described(code: int, words: str) -> None:
    assert described(code) == words


# Several queues


def test_two_queues_share_a_process_and_its_slots(queue: Queue, settings: Any, start_command: StartCommand) -> None:
    emails = {**settings.JOBQUEUE["default"], "KEY_PREFIX": f"{queue.config.key_prefix}emails:"}
    settings.JOBQUEUE = {**settings.JOBQUEUE, "emails": emails}
    worker = start_command("jobqueue_worker", "default", "emails", "--concurrency", "5")
    worker.wait_for("queue 'default', 3 jobs at a time")
    worker.wait_for("queue 'emails', 2 jobs at a time")

    assert jobs.add.enqueue_and_wait(1, 2) == 3
    assert jobs.add.using(queue="emails").enqueue_and_wait(3, 4) == 7

    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert [queues[alias].stats().workers for alias in ("default", "emails")] == [0, 0]


def test_a_worker_of_two_queues_ends_when_one_of_them_had_its_number_of_jobs(
    queue: Queue, start_command: StartCommand
) -> None:
    queue.enqueue_many([(f"job-{n}", jobs.add.payload((n, 1), {})) for n in range(3)])

    assert start_command("jobqueue_worker", "default", "emails", "--max-jobs", "3").wait() == 0

    assert queue.stats().completed == 3


@pytest.mark.parametrize(
    ("total", "parts"),
    [(None, [None, None, None]), (9, [3, 3, 3]), (11, [4, 4, 3]), (2, [1, 1, 1])],
)
def test_slots_are_shared_evenly_and_every_queue_gets_one(total: int | None, parts: list[int | None]) -> None:
    assert shares(total, 3) == parts


# Code that changes


@pytest.fixture
def reloaded_app(tmp_path: Path) -> Path:
    """An app of the test's own; returns its ``jobs.py``."""
    app = tmp_path / "reloaded_app"
    app.mkdir()
    (app / "__init__.py").touch()
    (tmp_path / "reloaded_settings.py").write_text(APP_SETTINGS)
    write(app / "jobs.py", APP_JOBS.format(version=1))
    return app / "jobs.py"


def write(path: Path, code: str) -> None:
    """Change a file, and its time for certain."""
    before = path.stat().st_mtime if path.exists() else 0.0
    path.write_text(code)
    if path.stat().st_mtime <= before:
        os.utime(path, (before + 0.01, before + 0.01))


def autoreloading(start: StartCommand, app: Path, *arguments: str) -> CommandProcess:
    return start(
        "jobqueue_worker", "--autoreload", *arguments,
        DJANGO_SETTINGS_MODULE="reloaded_settings",
        PYTHONPATH=os.pathsep.join([str(app.parents[1]), os.getcwd()]),
        # Bytecode goes by whole seconds, which an edit of the test may fall into.
        PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip


def payload(seconds: float = 0) -> dict[str, Any]:
    return {"job": "reloaded_app.jobs.version", "args": [seconds], "kwargs": {}}


def test_a_worker_starts_anew_when_code_changes_and_loses_no_job(
    queue: Queue, start_command: StartCommand, reloaded_app: Path
) -> None:
    worker = autoreloading(start_command, reloaded_app)
    assert queue.enqueue_and_wait("first", payload(), timeout=60) == 1
    queue.enqueue("running", payload(300), max_attempts=1)
    wait_until(lambda: queue.stats().processing == 1, 30, never)

    write(reloaded_app, APP_JOBS.format(version=2).replace("time.sleep(seconds)", ""))

    # Given back by the old code without counting an attempt, run by the new.
    assert queue.wait("running", timeout=60) == 2
    assert queue.enqueue_and_wait("second", payload(), timeout=60) == 2
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert queue.stats().workers == 0


def test_a_worker_survives_a_typing_error(queue: Queue, start_command: StartCommand, reloaded_app: Path) -> None:
    worker = autoreloading(start_command, reloaded_app)
    assert queue.enqueue_and_wait("first", payload(), timeout=60) == 1

    write(reloaded_app, "def version(:\n")
    worker.wait_for("SyntaxError")
    queue.enqueue("waiting", payload())
    write(reloaded_app, APP_JOBS.format(version=2))

    assert queue.wait("waiting", timeout=60) == 2
    worker.signal(signal.SIGINT)
    assert worker.wait() == 0


def test_a_reloading_worker_ends_after_a_burst(queue: Queue, start_command: StartCommand, reloaded_app: Path) -> None:
    queue.enqueue("one", payload())

    assert autoreloading(start_command, reloaded_app, "--burst").wait() == 0

    assert queue.get_result("one") == 1
