"""Each of a process' connections, cut by the server while it is in use; and a command that arrives too late."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_jobqueue.context import JobContext
from django_jobqueue.message import JobMessage
from django_jobqueue.queue import Queue
from django_jobqueue.worker import Worker
from tests.app import jobs
from tests.faults.auditor import Auditor
from tests.faults.load import DEADLINE, Load, assert_each_ran_once, happens, is_drained
from tests.faults.processes import CommandProcess
from tests.servers import Server

pytestmark = pytest.mark.faults

CUTS = 8


def cut(server: Server, role: str) -> int:
    """Cut all connections of a role; returns how many there were."""
    with server.client() as client:
        found = [one["id"] for one in client.client_list() if one["name"] == f"django-jobqueue:{role}:default"]
        return sum(client.client_kill_filter(_id=one) for one in found)


@pytest.mark.parametrize("role", ["main", "blocking", "subscriber"])
def test_connections_that_are_cut_in_use_lose_and_repeat_nothing(
    role: str, queue: Queue, start_command: Callable[..., CommandProcess], server: Server, tmp_path: Path
) -> None:
    load = Load(tmp_path)
    workers = [start_command("jobqueue_worker", "--concurrency", "2") for _ in range(2)]
    producer = load.producer(start_command, "job", pause=0.02)
    stop, answers = threading.Event(), list[int]()
    errors: list[BaseException] = []

    def keep_asking() -> None:
        try:
            while not stop.is_set():
                answers.append(jobs.add.enqueue_and_wait(1, 2))
        except BaseException as error:
            errors.append(error)

    askers = [threading.Thread(target=keep_asking, daemon=True) for _ in range(4)]
    for asker in askers:
        asker.start()
    for _ in range(CUTS):
        before = len(answers)
        load.await_ended(5)
        happens(lambda before=before: bool(errors) or len(answers) > before, "waiters are answered")  # type: ignore[misc]

        happens(lambda: cut(server, role) > 0, f"there is a {role} connection")

    load.await_ended(5)
    stop.set()
    for asker in askers:
        asker.join(DEADLINE)
    producer.close()
    accepted = load.accepted()
    load.await_completed(queue, accepted)
    happens(lambda: is_drained(queue), "the queue is drained")
    assert errors == []
    assert set(answers) == {3}
    assert_each_ran_once(load, sorted({*accepted, *(run.job_id for run in load.began())}))
    assert [worker for worker in workers if "Traceback" in worker.output()] == []
    with server.client() as client:
        Auditor(client, queue.config.key_prefix).check(accepted)


@pytest.fixture
def gated(configure: Callable[..., Queue]) -> Any:
    """A worker with two slots, one of which is busy until the gate opens."""
    queue = configure(VISIBILITY_TIMEOUT=6, BLOCK_TIMEOUT=0.5)
    gate, ran = threading.Event(), list[tuple[str, int]]()

    def handler(job: JobContext) -> None:
        if job.id == "busy":
            gate.wait(DEADLINE)
        ran.append((job.id, job.attempts))

    def start(concurrency: int) -> Worker:
        worker = Worker(queue, handler=handler, concurrency=concurrency)
        queue.enqueue("busy")
        worker.start()
        happens(lambda: queue.stats().processing == 1, "the worker is busy")
        return worker

    yield queue, start, gate, ran
    gate.set()


def move_late(server: Server, queue: Queue, worker: Worker) -> None:
    """What a BLMOVE does that reaches the server when its worker has long given it up."""
    message = JobMessage.decode(
        b'{"id":"late","payload":null,"createdAt":1700000000000,"attempts":0,"maxAttempts":3,"resultTTL":60000}'
    )
    prefix = queue.config.key_prefix
    with server.client() as client, client.pipeline(transaction=True) as pipeline:
        pipeline.hset(f"{prefix}jobs", "late", f"queued:{message.created_at}")
        pipeline.rpush(f"{prefix}processing:{worker.id}", message.raw)
        pipeline.execute()


def test_a_message_that_the_server_moved_late_is_run_by_the_living_worker_that_holds_it(
    gated: Any, server: Server
) -> None:
    queue, start, _, ran = gated
    worker = start(2)

    move_late(server, queue, worker)

    happens(lambda: ("late", 1) in ran, "the late message runs")
    worker.stop(0)


def test_a_message_that_the_server_moved_late_is_given_back_by_a_worker_without_a_free_slot(
    gated: Any, server: Server
) -> None:
    queue, start, gate, ran = gated
    worker = start(1)

    move_late(server, queue, worker)

    happens(lambda: queue.stats().queued == 1, "the late message is back in the queue")
    assert ran == []
    gate.set()
    happens(lambda: ran == [("busy", 1), ("late", 1)], "both have run")
    worker.stop()
