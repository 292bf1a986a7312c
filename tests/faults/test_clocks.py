"""Producers, workers and reapers whose clocks are an hour off."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from tests.app import jobs
from tests.faults.clock import FaketimeNotFound, clock_environment
from tests.faults.load import Load, assert_each_ran_once, happens
from tests.faults.processes import CommandProcess
from tests.servers import Server

StartCommand = Callable[..., CommandProcess]

pytestmark = pytest.mark.faults

#: Seconds: far less than the clocks are off, and more than a loaded machine stands still.
VISIBILITY = 6.0

HOUR = 3600.0

#: What one producer sees and does; its answers go into a file.
_PRODUCER = """
import json, os, pathlib, time
from django_jobqueue import queues
from tests.app import jobs
queue = queues["default"]
said = {"clock": time.time()}
said["sum"] = jobs.add.enqueue_and_wait(1, 2)
queue.enqueue("taken", {"job": jobs.add.name, "args": [1, 1]}, delay=1000)
said["duplicate"] = queue.enqueue("taken", "x").status
said["cancelled"] = queue.cancel("taken")
said["again"] = queue.enqueue_and_wait("taken", {"job": jobs.add.name, "args": [2, 2]})
said["later"] = jobs.add.using(id="later", delay=1000).enqueue(1, 2).status
said["soon"] = jobs.add.using(id="soon", delay=1.5, wait_timeout=60).enqueue_and_wait(3, 3)
jobs.add.using(id="kept", result_ttl=600).enqueue_and_wait(4, 4)
jobs.add.using(id="short", result_ttl=5).enqueue_and_wait(5, 5)
pathlib.Path(os.environ["ANSWERS"]).write_text(json.dumps(said))
"""


def test_the_processes_of_these_tests_have_a_wrong_clock_and_a_right_stopwatch() -> None:
    program = "import time; time.sleep(0.01); print(time.time(), time.monotonic())"
    environment = {**os.environ, **clock_environment("-1h")}

    shown = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)

    clock, stopwatch = map(float, shown.stdout.split())
    assert HOUR - 60 < time.time() - clock < HOUR + 60
    assert time.monotonic() - stopwatch < 60


def test_a_missing_faketime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(FaketimeNotFound, match="apt-get install faketime"):
        clock_environment("+1h")


@pytest.mark.parametrize(("ours", "theirs"), [("+1h", "-1h"), ("-1h", "+1h")])
def test_a_clock_that_is_an_hour_off_costs_nothing(
    ours: str, theirs: str, queue: Queue, start_command: StartCommand, server: Server, tmp_path: Path
) -> None:
    load = Load(tmp_path)
    visibility = {"JOBQUEUE_PROCESS_VISIBILITY": str(VISIBILITY)}
    wrong, opposite = clock_environment(ours), clock_environment(theirs)
    started = [
        start_command("jobqueue_worker", "--no-reaper", "--concurrency", "2", **visibility, **wrong),
        start_command("jobqueue_worker", "--no-reaper", "--concurrency", "2", **visibility, **opposite),
        start_command("jobqueue_reaper", **visibility, **opposite),
    ]
    for n in range(3):  # more than one worker can hold
        jobs.note_run.using(id=f"long-{n}").enqueue(str(load.journal), 2 * VISIBILITY)
    answers = tmp_path / "answers.json"
    named = {"ANSWERS": str(answers)}
    producer = start_command("shell", "--no-imports", "--command", _PRODUCER, **named, **visibility, **wrong)

    assert producer.wait() == 0, producer.output()
    said = json.loads(answers.read_text())

    assert HOUR - 90 < abs(said["clock"] - time.time()) < HOUR + 90
    assert (said["sum"], said["again"], said["soon"]) == (3, 4, 6)
    assert (said["duplicate"], said["cancelled"], said["later"]) == ("duplicate", "cancelled", "scheduled")
    # The reaper with the opposite clock forgets what is due, and nothing else.
    happens(lambda: queue.get_job_state("short") is None, "a result is forgotten at its TTL")
    with server.client() as client:
        keys = queue.config.key_prefix
        happens(lambda: client.hget(f"{keys}results", "short") is None, "the reaper removes it")
        seconds, microseconds = client.time()
        due = client.zscore(f"{keys}scheduled", "later")
    assert queue.get_result("kept") == 8
    assert due is not None
    assert 0 < due - (seconds * 1000 + microseconds // 1000) <= 1_000_000
    state = queue.get_job_state("later")
    assert state is not None and state.status is Status.SCHEDULED
    # Neither reaper nor workers took a living worker's job away.
    load.await_completed(queue, [f"long-{n}" for n in range(3)])
    assert [process.output() for process in started if "lease" in process.output()] == []
    assert_each_ran_once(load, [f"long-{n}" for n in range(3)])
    assert [process.output() for process in [*started, producer] if "Traceback" in process.output()] == []
