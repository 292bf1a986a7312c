"""What operators see: sizes, events and health, as text, JSON and over HTTP."""

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from django_jobqueue.message import JobMessage
from django_jobqueue.queue import Queue
from django_jobqueue.storage.base import NewJob
from tests.app import jobs
from tests.faults.processes import CommandProcess, command_environment
from tests.servers import free_port, wait_until

StartCommand = Callable[..., CommandProcess]


def never() -> AssertionError:
    return AssertionError("it did not happen")


def run(*arguments: str) -> tuple[int, str]:
    """A command's exit status and output."""
    out = io.StringIO()
    try:
        call_command(*arguments, stdout=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def enqueue_old(queue: Queue, job_id: str, age_s: int) -> None:
    """A job that was enqueued some time ago."""
    created_at = int(time.time() * 1000) - age_s * 1000
    message = JobMessage.encode(job_id, 1, b"1", created_at=created_at, max_attempts=1, result_ttl_ms=60_000)
    queue.storage.enqueue([NewJob(message)])


def attend(queue: Queue) -> None:
    """Give the queue a living worker and a leader."""
    queue.storage.renew("worker", b"{}", [])
    queue.storage.acquire_lock("leader", 60)


@pytest.fixture
def nowhere(configure: Callable[..., Queue]) -> Queue:
    """A queue whose server does not run."""
    return configure(URL=f"redis://:s3cret@127.0.0.1:{free_port()}/0")


# Sizes


def test_stats_are_a_table(queue: Queue) -> None:
    enqueue_old(queue, "old", 90)
    queue.enqueue("later", delay=60)
    attend(queue)

    status, output = run("jobqueue_stats")

    header, row = output.splitlines()
    assert status == 0
    assert header.split() == [
        "queue", "queued", "oldest", "scheduled", "processing", "completed", "failed", "malformed",
        "workers", "leader",
    ]  # fmt: skip
    cells = row.split()
    assert (cells[:2], cells[3:]) == (["default", "1"], ["s", "1", "0", "0", "0", "0", "1/1", "yes"])
    assert len(header) == len(row)


def test_stats_as_json_have_stable_keys(queue: Queue) -> None:
    enqueue_old(queue, "old", 90)

    _, output = run("jobqueue_stats", "default", "--json")

    (line,) = output.splitlines()
    stats = json.loads(line)
    assert stats.pop("time").endswith("+00:00")
    assert 90 <= stats.pop("oldest_queued_age") < 200
    assert stats == {
        "queue": "default", "queued": 1, "scheduled": 0, "processing": 0, "completed": 0, "failed": 0,
        "malformed": 0, "workers": 0, "alive_workers": 0, "leader": None,
    }  # fmt: skip


def test_stats_show_every_queue_unless_some_are_named(queue: Queue, settings: Any) -> None:
    emails = {**settings.JOBQUEUE["default"], "KEY_PREFIX": f"{queue.config.key_prefix}emails:"}
    settings.JOBQUEUE = {**settings.JOBQUEUE, "emails": emails}

    _, of_all = run("jobqueue_stats", "--json")
    _, of_one = run("jobqueue_stats", "emails", "--json")

    assert [json.loads(line)["queue"] for line in of_all.splitlines()] == ["default", "emails"]
    assert [json.loads(line)["queue"] for line in of_one.splitlines()] == ["emails"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stats_are_watched_until_a_signal(queue: Queue, start_command: StartCommand, number: signal.Signals) -> None:
    watch = start_command("jobqueue_stats", "default", "--watch", "0.05", "--json")
    watch.wait_for('"queued": 0')
    queue.enqueue("a")

    watch.wait_for('"queued": 1')
    watch.signal(number)

    assert watch.wait() == 0


def test_a_watch_goes_on_through_an_outage() -> None:
    with CommandProcess(f"redis://127.0.0.1:{free_port()}/0", "jq:", "jobqueue_stats", "--watch", "0.05") as watch:
        wait_until(lambda: watch.output().count("cannot be reached now") > 1, 30, never)
        watch.signal(signal.SIGTERM)

        assert watch.wait() == 0


def test_stats_of_a_server_that_is_not_there_are_an_error(nowhere: Queue) -> None:
    with pytest.raises(CommandError, match="cannot be reached now"):
        run("jobqueue_stats")


def test_a_watch_needs_an_interval(queue: Queue) -> None:
    with pytest.raises(CommandError, match="watch is 0"):
        run("jobqueue_stats", "--watch", "0")


# Events


def following(start: StartCommand, *arguments: str) -> CommandProcess:
    tail = start("jobqueue_events", *arguments)
    tail.wait_for("Following queue 'default'")
    return tail


def test_events_are_told_as_they_happen(queue: Queue, start_command: StartCommand) -> None:
    tail = following(start_command)

    queue.enqueue("a:b")
    queue.cancel("a:b")

    tail.wait_for("cancelled")
    tail.signal(signal.SIGINT)
    assert tail.wait() == 0
    lines = [line.split() for line in tail.output().splitlines()[1:]]
    assert [line[1:] for line in lines] == [["queued", "a:b"], ["cancelled", "a:b"]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--event", "cancelled"], [("report-1", "cancelled"), ("mail-1", "cancelled"), ("end", "cancelled")]),
        (["--id", "report-"], [("report-1", "queued"), ("report-1", "cancelled")]),
        (["--id", "*-1", "--event", "queued"], [("report-1", "queued"), ("mail-1", "queued")]),
    ],
)
def test_events_can_be_chosen(
    queue: Queue, start_command: StartCommand, options: list[str], expected: list[tuple[str, str]]
) -> None:
    tail = following(start_command, "--json", *options)

    for job_id in ("report-1", "mail-1", "end"):
        queue.enqueue(job_id)
        queue.cancel(job_id)

    def events() -> list[tuple[str, str]]:
        lines = [json.loads(line) for line in tail.output().splitlines()[1:]]
        assert all(set(line) == {"time", "queue", "id", "event"} for line in lines)
        return [(line["id"], line["event"]) for line in lines]

    wait_until(lambda: len(events()) >= len(expected), 30, never)
    tail.signal(signal.SIGTERM)
    assert tail.wait() == 0
    assert events() == expected


def test_events_end_with_the_program_that_reads_them(queue: Queue) -> None:
    tail = subprocess.Popen(
        [sys.executable, "-m", "django", "jobqueue_events"],
        env=command_environment(queue.config.url or "", queue.config.key_prefix),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tail.stdout is not None and tail.stderr is not None
    with tail:
        assert "Following" in tail.stderr.readline()
        queue.enqueue("a")
        assert tail.stdout.readline().split()[1:] == ["queued", "a"]
        tail.stdout.close()

        queue.enqueue("b")

        assert tail.wait(60) == 0
        assert tail.stderr.read() == ""


def test_events_of_a_server_that_is_not_there_are_an_error(nowhere: Queue) -> None:
    with pytest.raises(CommandError, match="cannot be reached now"):
        run("jobqueue_events")


# Health


def test_a_queue_with_workers_is_healthy(queue: Queue, start_command: StartCommand) -> None:
    start_command("jobqueue_worker").wait_for("Stop with Ctrl-C")
    wait_until(lambda: queue.stats().leader is not None and queue.stats().workers == 1, 30, never)
    assert jobs.add.enqueue_and_wait(1, 2) == 3

    assert run("jobqueue_health", "--max-age", "60") == (
        0, "Queue 'default' is healthy: 1 workers alive, 0 queued.\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "unhealthy: no worker is alive; no reaper leads"),
        (["--no-leader-ok"], "unhealthy: no worker is alive."),
        (["--no-workers-ok"], "unhealthy: no reaper leads"),
    ],
)
def test_a_deserted_queue_is_unhealthy(queue: Queue, options: list[str], words: str) -> None:
    status, output = run("jobqueue_health", *options)

    assert status == 1
    assert words in output


def test_what_is_not_asked_for_may_be_missing(queue: Queue) -> None:
    assert run("jobqueue_health", "--no-workers-ok", "--no-leader-ok")[0] == 0


def test_a_leader_is_not_asked_for_where_none_is_elected(configure: Callable[..., Queue]) -> None:
    queue = configure(REAPER={"LEADER_ELECTION": False})
    queue.storage.renew("worker", b"{}", [])

    assert run("jobqueue_health")[0] == 0


def test_a_worker_without_heartbeats_does_not_count(configure: Callable[..., Queue]) -> None:
    queue = configure(VISIBILITY_TIMEOUT=0.05)
    attend(queue)

    wait_until(lambda: "no worker is alive" in run("jobqueue_health")[1], 30, never)


def test_a_queue_whose_jobs_wait_too_long_is_unhealthy(queue: Queue) -> None:
    attend(queue)
    enqueue_old(queue, "old", 90)

    status, output = run("jobqueue_health", "--max-age", "60")

    assert status == 1
    assert "s old, more than 60 s." in output
    assert run("jobqueue_health", "--max-age", "3600")[0] == 0
    assert run("jobqueue_health")[0] == 0


def test_a_queue_that_cannot_be_reached_is_unhealthy(nowhere: Queue) -> None:
    status, output = run("jobqueue_health")

    assert status == 1
    assert "unhealthy: the server cannot be reached" in output


@pytest.mark.urls("tests.integration.health_urls")
def test_the_health_view_answers_what_the_command_does(queue: Queue, client: Client) -> None:
    attend(queue)
    enqueue_old(queue, "old", 90)

    healthy = client.get("/health/jobqueue/")
    strict = client.get("/health/strict/default/")

    assert (healthy.status_code, strict.status_code) == (200, 503)
    assert "no-store" in healthy["Cache-Control"]
    answer = healthy.json()
    assert answer["status"] == "healthy"
    assert answer["queues"]["default"].pop("oldest_queued_age") >= 90
    assert answer["queues"]["default"] == {
        "healthy": True, "problems": [], "queued": 1, "workers": 1, "leader": True,
    }  # fmt: skip
    (problem,) = strict.json()["queues"]["default"]["problems"]
    assert problem["reason"] == "too_old"


@pytest.mark.urls("tests.integration.health_urls")
def test_the_health_view_keeps_hosts_and_passwords_to_itself(nowhere: Queue, client: Client) -> None:
    response = client.get("/health/jobqueue/")

    assert response.status_code == 503
    (problem,) = response.json()["queues"]["default"]["problems"]
    assert problem["reason"] == "unreachable"
    assert not any(secret in response.text for secret in ("127.0.0.1", "s3cret", "jq"))


@pytest.mark.urls("tests.integration.health_urls")
def test_the_health_view_needs_no_login_and_is_only_read(queue: Queue, client: Client, settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    attend(queue)

    assert client.get("/health/jobqueue/").status_code == 200
    assert client.head("/health/jobqueue/").status_code == 200
    assert client.post("/health/jobqueue/").status_code == 405
    assert client.get("/health/jobqueue/nowhere/").status_code == 404


@pytest.mark.parametrize("command", ["jobqueue_stats", "jobqueue_events", "jobqueue_health"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command(command, "--help")

    assert "Exit status" in capsys.readouterr().out
