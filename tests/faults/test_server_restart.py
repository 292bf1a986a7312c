"""A server that is killed, forgets its scripts, pauses, or is emptied under load."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from django_jobqueue import queues, waiting
from django_jobqueue.context import JobContext
from django_jobqueue.exceptions import JobNotFoundError, StorageError
from django_jobqueue.queue import Queue
from django_jobqueue.storage import connections
from django_jobqueue.worker import Worker
from tests.app import jobs
from tests.faults.auditor import Auditor
from tests.faults.load import DEADLINE, Load, assert_each_ran_once, happens
from tests.faults.processes import CommandProcess
from tests.servers import Server

pytestmark = pytest.mark.faults

PREFIX = "jqown:"


class OwnServer:
    """A server of the test's own, a queue on it, and processes that use it."""

    def __init__(self, server: Server, settings: Any) -> None:
        self.server = server
        self.settings = settings
        self.processes: list[CommandProcess] = []
        self.configure()

    def configure(self, parameters: str = "", **changed: Any) -> Queue:
        """Change settings of the queue in this process; ``parameters`` go to the URL."""
        alias = {"CACHE": None, "URL": self.server.url() + parameters, "KEY_PREFIX": PREFIX, "RETRY_BACKOFF": 0}
        self.settings.JOBQUEUE = {"default": {**alias, **changed}}
        self.queue = queues["default"]
        return self.queue

    def start(self, *arguments: str, **environment: str) -> CommandProcess:
        """Start a management command."""
        process = CommandProcess(self.server.url(), PREFIX, *arguments, **environment)
        self.processes.append(process)
        return process

    def start_workers(self, count: int) -> list[CommandProcess]:
        """Start workers and wait until they are ready."""
        workers = [self.start("jobqueue_worker", "--concurrency", "4") for _ in range(count)]
        for worker in workers:
            worker.wait_for("Stop with Ctrl-C")
        return workers

    def close(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.close()
        queues.close()


@pytest.fixture(params=["redis", "valkey"])
def own(request: pytest.FixtureRequest, make_server: Callable[..., Server], settings: Any) -> Iterator[OwnServer]:
    """A server that loses nothing it has answered, and a queue on it."""
    own = OwnServer(make_server(request.param, appendonly=True), settings)
    yield own
    own.close()


def wait_stubbornly(queue: Queue, job_id: str) -> str:
    """The result of a job, asked for again whenever the server is away."""
    results: list[str] = []
    payload = {"job": jobs.echo.name, "args": [job_id]}

    def asked() -> bool:
        try:
            results.append(queue.enqueue_and_wait(job_id, payload, timeout=DEADLINE))
        except StorageError:
            return False
        return True

    happens(asked, f"{job_id} is answered")
    return results[0]


@pytest.mark.timeout(300)
def test_a_killed_and_restarted_server_loses_and_repeats_nothing_it_has_accepted(
    own: OwnServer, tmp_path: Path
) -> None:
    load = Load(tmp_path)
    own.start_workers(2)
    producers = [load.producer(own.start, f"p{n}") for n in range(2)]
    stop = threading.Event()

    def keep_waiting(name: int) -> int:
        answered = 0
        while not stop.is_set():
            job_id = f"waiter-{name}-{answered}"
            assert wait_stubbornly(own.queue, job_id) == job_id
            answered += 1
        return answered

    with ThreadPoolExecutor(8) as threads:
        waiters = [threads.submit(keep_waiting, n) for n in range(8)]
        for _ in range(3):
            load.await_ended(30)
            own.server.kill()
            own.server.start()
        load.await_ended(30)
        stop.set()
        assert all(waiter.result(DEADLINE) > 0 for waiter in waiters)

    for producer in producers:
        producer.close()
    accepted = load.accepted()
    load.await_completed(own.queue, accepted)
    happens(lambda: own.queue.stats().queued == own.queue.stats().processing == 0, "the queue is drained")
    assert len(accepted) > 100
    with own.server.client() as client:
        Auditor(client, PREFIX).check(accepted)
    assert_each_ran_once(load, sorted({*accepted, *(run.job_id for run in load.began())}))


@contextmanager
def flushing_scripts(server: Server) -> Iterator[list[int]]:
    """Make the server forget its scripts as fast as it can; yields a list of one element, how often."""
    stop, count = threading.Event(), [0]

    def flush() -> None:
        with server.client() as client:
            while not stop.is_set():
                client.script_flush()
                count[0] += 1

    thread = threading.Thread(target=flush)
    thread.start()
    try:
        happens(lambda: count[0] > 0, "the scripts are flushed")
        yield count
    finally:
        stop.set()
        thread.join()


def test_single_calls_go_on_while_the_server_forgets_its_scripts(own: OwnServer) -> None:
    queue = own.queue
    with flushing_scripts(own.server) as flushed:
        for n in range(200):
            assert queue.enqueue(f"job-{n}", n).status == "queued"
            assert queue.cancel(f"job-{n}") == "cancelled"
            assert queue.enqueue(f"job-{n}", n, delay=60).status == "scheduled"
            assert queue.get_status(f"job-{n}") is not None

    assert flushed[0] > 20
    assert queue.stats().scheduled == 200


def test_pipelines_go_on_in_their_order_while_the_server_forgets_its_scripts(own: OwnServer) -> None:
    queue, ids = own.queue, [f"job-{n}" for n in range(5000)]

    with flushing_scripts(own.server) as flushed:
        accepted = queue.enqueue_many([(job_id, None) for job_id in ids])

    assert flushed[0] > 5
    assert {one.status for one in accepted} == {"queued"}
    ran: list[str] = []
    Worker(queue, handler=lambda job: ran.append(job.id), concurrency=1).run_until_empty()
    assert ran == ids


def test_workers_go_on_while_the_server_forgets_its_scripts(own: OwnServer, tmp_path: Path) -> None:
    load = Load(tmp_path)
    own.start_workers(2)
    ids = [f"job-{n}" for n in range(300)]

    with flushing_scripts(own.server), ThreadPoolExecutor(4) as threads:
        for job_id in ids:
            jobs.note_run.using(id=job_id).enqueue(str(load.journal), 0.005)
        answers = list(threads.map(lambda n: jobs.add.enqueue_and_wait(n, 1), range(40)))
        load.await_completed(own.queue, ids)

    assert answers == [n + 1 for n in range(40)]
    assert_each_ran_once(load, ids)


def pause(server: Server, seconds: float) -> None:
    """Let the server answer nobody for some time."""
    with server.client() as client:
        client.client_pause(round(seconds * 1000))


def test_a_pause_of_three_seconds_is_not_noticed(own: OwnServer, tmp_path: Path) -> None:
    load = Load(tmp_path)
    (worker,) = own.start_workers(1)
    ids = [f"job-{n}" for n in range(200)]
    with ThreadPoolExecutor(4) as threads:
        for job_id in ids[:100]:
            jobs.note_run.using(id=job_id).enqueue(str(load.journal), 0.02)
        load.await_ended(5)
        pause(own.server, 3)
        answer = threads.submit(jobs.add.enqueue_and_wait, 1, 2)
        for job_id in ids[100:]:
            jobs.note_run.using(id=job_id).enqueue(str(load.journal), 0.02)
        assert answer.result(DEADLINE) == 3

    load.await_completed(own.queue, ids)
    assert_each_ran_once(load, ids)
    assert "trying again" not in worker.output()


def test_a_pause_beyond_all_read_timeouts_loses_and_repeats_nothing(
    own: OwnServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "READ_MARGIN", 0.3)
    queue = own.configure("?socket_timeout=0.3", BLOCK_TIMEOUT=0.2)
    ran: list[str] = []
    worker = Worker(queue, handler=lambda job: ran.append(job.id), concurrency=4)
    worker.start()
    ids = [f"job-{n}" for n in range(60)]
    told: list[StorageError] = []

    def enqueued(job_id: str) -> bool:
        try:
            queue.enqueue(job_id)
        except StorageError as error:
            told.append(error)
            return False
        return True

    def completed(count: int) -> bool:
        try:
            return queue.stats().completed == count
        except StorageError:
            return False  # the server stands still for longer than this queue waits

    for n, job_id in enumerate(ids):
        if n == 10:  # the worker waits in BLMOVE in the first pause, whatever it does in the others
            happens(lambda: completed(10), "the worker is idle")
        if n % 20 == 10:
            pause(own.server, 2.5)
        happens(lambda job_id=job_id: enqueued(job_id), f"{job_id} is accepted")  # type: ignore[misc]

    happens(lambda: completed(len(ids)), "all jobs are completed")
    happens(lambda: "the storage works again" in caplog.text, "the worker says so")
    worker.stop()
    assert sorted(ran) == sorted(ids)
    assert told and all("it is safe to try again" in str(error) for error in told)


def test_an_emptied_server_is_told_of_by_workers_and_waiters_and_new_jobs_flow(
    own: OwnServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "LOOK_INTERVAL", 0.5)
    queue = own.configure(VISIBILITY_TIMEOUT=6)
    gate, running = threading.Event(), threading.Semaphore(0)

    def handler(job: JobContext) -> str:
        if job.id.startswith("held"):
            running.release()
            gate.wait(DEADLINE)
        return "done"

    worker = Worker(queue, handler=handler, concurrency=2)
    worker.start()
    with ThreadPoolExecutor(8) as threads, own.server.client() as client:
        # Two of them run, the others are queued.
        waiters = [threads.submit(queue.enqueue_and_wait, f"held-{n}", timeout=None) for n in range(6)]
        assert running.acquire(timeout=DEADLINE) and running.acquire(timeout=DEADLINE)
        happens(lambda: queue.stats().queued == 4, "the others are queued")

        client.flushall()

        for waiter in waiters:
            with pytest.raises(JobNotFoundError):
                waiter.result(DEADLINE)
        happens(lambda: caplog.text.count("lease of job held-") == 2, "the worker tells of its lost leases")
        gate.set()
        happens(lambda: caplog.text.count("this run's outcome is dropped") == 2, "it tells of the dropped outcomes")
        assert queue.enqueue_and_wait("new", timeout=DEADLINE) == "done"
    worker.stop()
    levels = {record.levelno for record in caplog.records if "lease" in record.message}
    assert levels == {logging.WARNING}
    assert queue.get_job_state("held-0") is None
    assert queue.stats().completed == 1


def test_a_flush_under_load_leaves_processes_that_go_on(own: OwnServer, tmp_path: Path) -> None:
    load = Load(tmp_path)
    workers = own.start_workers(2)
    load.producer(own.start, "p")
    with own.server.client() as client:
        for _ in range(5):
            load.await_ended(20)
            client.flushall()
        load.await_ended(20)

    assert [worker for worker in workers if "Traceback" in worker.output()] == []
    assert max(run.attempt for run in load.began()) == 1


@pytest.fixture(params=["redis", "valkey"])
def replica(request: pytest.FixtureRequest, make_server: Callable[..., Server], settings: Any) -> Iterator[OwnServer]:
    """A queue whose address names a replica."""
    primary, server = make_server(request.param), make_server(request.param)
    with server.client() as client:
        client.execute_command("REPLICAOF", primary.host, primary.port)
        happens(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows its primary")
    own = OwnServer(server, settings)
    yield own
    own.close()


def test_a_replica_is_named_as_such_and_served_once_it_is_the_primary(replica: OwnServer) -> None:
    queue = replica.queue
    worker = replica.start("jobqueue_worker", "--concurrency", "2")
    advice = "it is a read-only replica.* name the primary"

    with pytest.raises(StorageError, match=advice):
        queue.enqueue("a")
    with pytest.raises(StorageError, match=advice):
        queue.enqueue_many([("a", None), ("b", None)])
    with pytest.raises(StorageError, match=advice):
        queue.enqueue_and_wait("a", timeout=DEADLINE)
    worker.wait_for("read-only replica")
    with replica.server.client() as client:
        client.execute_command("REPLICAOF NO ONE")

    assert jobs.add.enqueue_and_wait(1, 2) == 3
    assert "the storage works again" in worker.output()
