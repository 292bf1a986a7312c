"""The management commands, run as a shell would."""

import io
import signal
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_jobqueue.queue import Queue
from django_jobqueue.reaper import Reaper
from tests.app import jobs
from tests.faults.processes import CommandProcess
from tests.integration.old_server import OldServer
from tests.servers import free_port, wait_until

StartCommand = Callable[..., CommandProcess]


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


def test_a_worker_runs_jobs_until_sigterm(queue: Queue, start_command: StartCommand) -> None:
    worker = start_command("jobqueue_worker", "--concurrency", "2")
    worker.wait_for("queue 'default', 2 jobs at a time")

    assert jobs.add.enqueue_and_wait(1, 2) == 3
    worker.signal(signal.SIGTERM)

    assert worker.wait() == 0
    assert "Stopped." in worker.output()
    assert queue.stats().workers == 0


def test_a_signal_to_a_fork_of_a_job_does_not_stop_the_worker(queue: Queue, start_command: StartCommand) -> None:
    worker = start_command("jobqueue_worker")

    assert jobs.end_fork.enqueue_and_wait() == -signal.SIGTERM

    assert jobs.add.enqueue_and_wait(1, 2) == 3
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert worker.output().count("Stopping") == 1


def test_a_burst_ends_with_success(queue: Queue, start_command: StartCommand) -> None:
    queue.enqueue_many([(f"job-{n}", jobs.add.payload((n, 1), {})) for n in range(50)])

    assert start_command("jobqueue_worker", "--burst").wait() == 0

    assert queue.stats().completed == 50


def test_a_worker_ends_after_its_number_of_jobs(queue: Queue, start_command: StartCommand) -> None:
    queue.enqueue_many([(f"job-{n}", jobs.add.payload((n, 1), {})) for n in range(5)])

    assert start_command("jobqueue_worker", "--max-jobs", "3", "--no-reaper").wait() == 0

    assert queue.stats().completed == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["jobqueue_worker", "nowhere"], "has no queue 'nowhere'"),
        (["jobqueue_worker", "--concurrency", "0"], "concurrency is 0"),
        (["jobqueue_reaper", "nowhere"], "has no queue 'nowhere'"),
        (["jobqueue_clear", "nowhere", "--noinput"], "has no queue 'nowhere'"),
    ],
)
def test_bad_arguments_are_refused(queue: Queue, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        call_command(*arguments)


def test_a_worker_waits_for_a_server_that_is_not_there_yet(start_command: StartCommand, queue: Queue) -> None:
    nowhere = CommandProcess(f"redis://127.0.0.1:{free_port()}/0", "jq:", "jobqueue_worker", "--no-reaper")
    with nowhere:
        nowhere.wait_for("cannot be reached now")
        nowhere.signal(signal.SIGINT)

        assert nowhere.wait() == 0
        assert nowhere.output().count("cannot be reached now") == 1


def test_a_reaper_reaps_until_sigterm(queue: Queue, start_command: StartCommand) -> None:
    reaper = start_command("jobqueue_reaper")
    queue.enqueue("later", delay=0.1)

    wait_until(lambda: queue.stats().queued == 1, 30, never)
    reaper.signal(signal.SIGTERM)

    assert reaper.wait() == 0
    assert queue.stats().leader is None


def test_a_reaper_can_do_one_round(queue: Queue) -> None:
    queue.enqueue("later", delay=0.001)
    wait_until(lambda: Reaper(queue).run_once() == 1, 10, never)
    out = io.StringIO()

    call_command("jobqueue_reaper", "--once", stdout=out)

    assert "Queue 'default': 0 jobs recovered or queued." in out.getvalue()


def test_a_reaper_that_cannot_reach_its_server_once_says_so(settings: Any) -> None:
    settings.JOBQUEUE = {"default": {"URL": f"redis://127.0.0.1:{free_port()}/0", "CACHE": None}}

    with pytest.raises(CommandError, match="cannot be reached now"):
        call_command("jobqueue_reaper", "--once", stdout=io.StringIO())


@pytest.mark.parametrize("command", ["jobqueue_reaper", "jobqueue_worker"])
def test_a_server_that_is_too_old_ends_the_command_with_an_error(command: str) -> None:
    with OldServer("redis_version:6.2.14") as old, CommandProcess(old.url, "jq:", command) as process:
        assert process.wait() == 1
        assert "needs Redis 7.0 or Valkey 7.2" in process.output()


def test_clear_asks_first(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.enqueue("a")
    monkeypatch.setattr("builtins.input", lambda _: "no")
    with pytest.raises(CommandError, match="Nothing was removed"):
        call_command("jobqueue_clear", stdout=io.StringIO())
    assert queue.stats().queued == 1
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    out = io.StringIO()

    call_command("jobqueue_clear", stdout=out)

    assert "1 queued" in out.getvalue()
    assert "Removed 2 keys" in out.getvalue()
    assert queue.stats().queued == 0


def test_clear_without_a_terminal_needs_noinput(queue: Queue, start_command: StartCommand) -> None:
    queue.enqueue("a")

    refused = start_command("jobqueue_clear")
    assert refused.wait() == 1
    assert "pass --noinput" in refused.output()
    assert start_command("jobqueue_clear", "--noinput").wait() == 0

    assert queue.stats().queued == 0


@pytest.mark.parametrize("command", ["jobqueue_worker", "jobqueue_reaper", "jobqueue_clear"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command(command, "--help")

    assert "Exit status" in capsys.readouterr().out
