"""What the pages claim about servers, service managers and the wire, tried or compared with the code."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from django_jobqueue import conf, fetcher, queues, reaper, worker
from django_jobqueue.heartbeat import RENEWALS_PER_TIMEOUT
from django_jobqueue.queue import Queue
from django_jobqueue.storage import subscriber
from django_jobqueue.storage.scripts import script
from django_jobqueue.worker import Worker
from tests.docs.pages import DOCS, PAGES, blocks, codes, name_of, rows, section
from tests.docs.test_reference import SCRIPTS
from tests.servers import Server, wait_until

DEPLOY = DOCS / "how-to" / "deploy.md"
TRAVELS = DOCS / "explanation" / "how-a-job-travels.md"


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


# Deployment


def stop_times(page: Path) -> list[float]:
    """How long service managers wait before SIGKILL, in all examples of a page."""
    pattern = r"(?:TimeoutStopSec=|stop_grace_period: |terminationGracePeriodSeconds: )(\d+)"
    return [float(found) for block in blocks(page) for found in re.findall(pattern, block.code)]


@pytest.mark.parametrize("page", [page for page in PAGES if stop_times(page)], ids=name_of)
def test_service_managers_wait_longer_than_a_worker_takes_to_stop(page: Path) -> None:
    longest = conf.QueueConfig().shutdown_timeout + worker.GIVE_BACK_TIMEOUT

    assert all(seconds > longest for seconds in stop_times(page))


def test_there_are_examples_of_every_service_manager() -> None:
    assert len(stop_times(DEPLOY)) == 3


# The wire


def test_one_job_sends_the_documented_commands(
    server: Server, jobqueue_settings: dict[str, Any], settings: Any
) -> None:
    settings.JOBQUEUE = {"default": {**jobqueue_settings, "BLOCK_TIMEOUT": 600, "VISIBILITY_TIMEOUT": 600}}
    queue = queues["default"]
    running = Worker(queue, handler=lambda job: job.payload, reaper=False)
    running.start()
    # Once the whole way, so that connections stand and scripts are loaded.
    queue.enqueue_and_wait("first")
    wait_until(lambda: _is_waiting(queue, server), 10, never)
    with server.client() as client, client.monitor() as monitor:
        queue.enqueue_and_wait("job")
        sent = _sent_until_unsubscribed(monitor, queue.config.key_prefix)
    running.stop()
    queues.close()

    table = rows(section(TRAVELS, "One job, as the server sees it"))
    documented = [codes(row[2])[0] for row in table]
    assert Counter(sent) == Counter(documented)
    # Those on one connection, and those that wait for each other, come in this order.
    elsewhere = {"BLMOVE", "SREM"}
    assert [one for one in sent if one not in elsewhere] == [one for one in documented if one not in elsewhere]


def _is_waiting(queue: Queue, server: Server) -> bool:
    """Whether only the worker waits."""
    with server.client() as client:
        names = [one["name"] for one in client.client_list() if one["cmd"] == "blmove"]
        # The waiter takes its leave at any time after.
        has_left = not client.pubsub_channels()
    return has_left and f"django-jobqueue:blocking:{queue.alias}" in names


def _sent_until_unsubscribed(monitor: Any, prefix: str) -> list[str]:
    """The commands of clients that name a key of the queue, up to the waiter's last and the worker's next BLMOVE."""
    names = {script(name).sha: f"EVALSHA {name}" for name in SCRIPTS}
    sent: list[str] = []
    for command in monitor.listen():
        words = command["command"].split()
        if command["client_type"] == "lua" or prefix not in command["command"]:
            continue
        sent.append(names[words[1]] if words[0] == "EVALSHA" else words[0].upper())
        if {"UNSUBSCRIBE", "BLMOVE"} <= set(sent):
            break
    return sent


def test_the_documented_intervals_are_those_of_the_code() -> None:
    config = conf.QueueConfig()
    visibility = config.visibility_timeout
    look = min(reaper.LONGEST_LOOK_INTERVAL, visibility / reaper.LOOKS_PER_TIMEOUT)
    sweep = min(reaper.LONGEST_SWEEP_INTERVAL, visibility / 2)
    actual = {
        "promote": reaper.PROMOTE_INTERVAL,
        "BLMOVE": config.block_timeout,
        "LRANGE": visibility / fetcher.LOOKS_PER_TIMEOUT,
        "suspects": look,
        "expire": reaper.EXPIRE_INTERVAL,
        "renew": visibility / RENEWALS_PER_TIMEOUT,
        "lock_renew": config.reaper.renew_interval,
        "sweep_jobs": sweep,
        "PING": subscriber.PING_INTERVAL,
    }
    documented = {}
    for row in rows(section(TRAVELS, "An idle worker")):
        for name in set(re.findall(r"\w+", " ".join(codes(row[0])))) & actual.keys():
            (seconds,) = re.findall(r"every ([\d.]+) s", row[1])
            documented[name] = float(seconds)

    assert documented == actual


def test_the_documented_states_lead_where_scripts_lead() -> None:
    (diagram,) = [block.code for block in blocks(TRAVELS) if block.language == "mermaid"]
    arrows = re.findall(r"^\s*\S+ --> (\S+): (.+)$", diagram, re.MULTILINE)

    assert arrows
    for target, label in arrows:
        for name in label.replace("enqueue with delay", "schedule").split(", "):
            does = '"HDEL", jobs, id' if target == "[*]" else f'"{target}:'
            assert does in script(name).source, f"{name} leads to {target}"
