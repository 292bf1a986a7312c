"""How long results, errors and the deduplication of finished jobs last, whoever finished them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from django_jobqueue import Queue
from django_jobqueue.message import Envelope, Status
from django_jobqueue.reaper import Reaper
from django_jobqueue.worker import Worker
from tests.interop.handlers import Handler
from tests.interop.node_peer import DEADLINE, NodePeer
from tests.interop.states import state_of

pytestmark = pytest.mark.interop

RETURNS = {"do": "return", "value": "result"}
THROWS = {"do": "throw", "message": "error"}

#: A TTL, in ms, that is neither a default nor over within a test.
MINUTES = 120_000

#: Two clock readings of one machine, in ms: the libraries take the time at slightly different moments.
TOLERANCE = 60_000

ENDINGS = pytest.mark.parametrize(
    ("payload", "ending"), [(RETURNS, "completed"), (THROWS, "failed")], ids=["completed", "failed"]
)


@dataclass(frozen=True, slots=True)
class Stored:
    """When a finished job is forgotten, from the bytes on the server; all in ms since the epoch."""

    finished_at: int
    expires_at: int
    payload_expires_at: int | None


@dataclass(frozen=True, slots=True)
class Keyspace:
    """The keys of a queue, as they lie on the server."""

    client: Any
    prefix: str

    def at(self, job_id: str) -> Stored:
        """What is stored of a finished job."""
        jobs = f"{self.prefix}jobs"
        word, finished_at = self.client.hget(jobs, job_id).decode().split(":")
        payloads = f"{self.prefix}{'results' if word == 'completed' else 'errors'}"
        envelope = Envelope.open(self.client.hget(payloads, job_id))
        return Stored(int(finished_at), int(self.client.hget(jobs, f"{job_id}:exp")), envelope.expires_at)

    def whole_hashes_that_expire(self) -> list[str]:
        """Which of the shared hashes would vanish altogether."""
        names = ["jobs", "results", "errors", "workers"]
        return [name for name in names if self.client.pttl(self.prefix + name) >= 0]

    def keys(self) -> list[str]:
        """All keys that are left of the queue, without their prefix."""
        return sorted(key.decode()[len(self.prefix) :] for key in self.client.scan_iter(f"{self.prefix}*"))


@pytest.fixture
def keyspace(client: Any, key_prefix: str) -> Keyspace:
    return Keyspace(client, key_prefix)


def run_on(side: str, queue: Queue, node: NodePeer, start_worker: Callable[..., Worker], job_id: str) -> None:
    """Let a worker of one side finish a job that is enqueued."""
    if side == "django":
        start_worker(queue, concurrency=1, max_jobs=1).join()
    else:
        node.start_worker()
    node.wait_until(lambda: state_of(queue, job_id).status.is_terminal, f"job {job_id!r} has ended")


# Setting it


@ENDINGS
def test_a_ttl_set_by_node_holds_for_a_django_worker(
    queue: Queue,
    node: NodePeer,
    keyspace: Keyspace,
    start_worker: Callable[..., Worker],
    payload: dict[str, str],
    ending: str,
) -> None:
    node.enqueue("job", payload, resultTTL=MINUTES, maxAttempts=1)

    run_on("django", queue, node, start_worker, "job")

    stored = keyspace.at("job")
    assert state_of(queue, "job").status == ending
    assert stored.expires_at == stored.finished_at + MINUTES
    assert stored.payload_expires_at == stored.expires_at


@ENDINGS
def test_a_ttl_set_by_django_holds_for_a_node_worker(
    queue: Queue,
    node: NodePeer,
    keyspace: Keyspace,
    start_worker: Callable[..., Worker],
    payload: dict[str, str],
    ending: str,
) -> None:
    queue.enqueue("job", payload, result_ttl=MINUTES / 1000, max_attempts=1)

    run_on("node", queue, node, start_worker, "job")

    stored = keyspace.at("job")
    assert state_of(queue, "job").status == ending
    assert stored.expires_at - stored.finished_at == pytest.approx(MINUTES, abs=TOLERANCE)
    assert stored.payload_expires_at == pytest.approx(stored.expires_at, abs=TOLERANCE)


# Its end


@pytest.mark.parametrize("observer", ["django", "node"])
@pytest.mark.parametrize("worker", ["django", "node"])
def test_a_finished_job_is_unknown_to_both_when_its_time_is_over(
    queue: Queue, node: NodePeer, handler: Handler, start_worker: Callable[..., Worker], worker: str, observer: str
) -> None:
    queue.enqueue("job", RETURNS, result_ttl=0.2)
    if worker == "django":
        start_worker(queue, concurrency=1, max_jobs=1).join()
    else:
        node.start_worker()
        node.wait_for_run("job")

    if observer == "django":
        node.wait_until(lambda: queue.get_job_state("job") is None, "Django has forgotten the job")
    else:
        node.wait_until(lambda: node.get_status("job") is None, "Node has forgotten the job")

    assert node.get_job_states("job") == {"job": None}
    assert node.get_result("job") is None
    assert queue.get_status("job") is None
    assert queue.get_result("job", "nothing") == "nothing"


@pytest.mark.parametrize("second", ["django", "node"])
@pytest.mark.parametrize("worker", ["django", "node"])
def test_an_id_is_free_again_when_the_time_of_its_job_is_over(
    queue: Queue, node: NodePeer, start_worker: Callable[..., Worker], worker: str, second: str
) -> None:
    queue.enqueue("job", RETURNS, result_ttl=0.2)
    if worker == "django":
        start_worker(queue, concurrency=1, max_jobs=1).join()
    else:
        node.start_worker()
        node.wait_for_run("job")
    node.wait_until(lambda: queue.get_job_state("job") is None, "the job is forgotten")

    again = {"do": "return", "value": "anew"}
    if second == "django":
        assert queue.enqueue("job", again).status == "queued"
    else:
        assert node.enqueue("job", again) == {"status": "queued"}
    start_worker(queue)

    assert queue.wait("job", timeout=DEADLINE) == "anew"


def test_the_django_reaper_counts_and_forgets_what_node_workers_finished(
    queue: Queue, node: NodePeer, keyspace: Keyspace
) -> None:
    node.enqueue("good", RETURNS, resultTTL=2000)
    node.enqueue("bad", THROWS, resultTTL=2000, maxAttempts=1)
    node.enqueue("lasting", RETURNS)
    node.start_worker()
    queue.wait("lasting", timeout=DEADLINE)
    reaper = Reaper(queue)
    reaper.run_once()
    assert (queue.stats().completed, queue.stats().failed) == (2, 1)

    def forgotten() -> bool:
        reaper.run_once()
        return set(keyspace.client.hkeys(f"{keyspace.prefix}jobs")) == {b"lasting", b"lasting:exp"}

    node.wait_until(forgotten, "the reaper has forgotten two jobs")

    assert keyspace.client.hkeys(f"{keyspace.prefix}results") == [b"lasting"]
    assert keyspace.client.hkeys(f"{keyspace.prefix}errors") == []
    assert (queue.stats().completed, queue.stats().failed) == (1, 0)


# Changing it


@ENDINGS
def test_node_prolongs_the_ttl_of_a_job_that_django_finished(
    queue: Queue,
    node: NodePeer,
    keyspace: Keyspace,
    start_worker: Callable[..., Worker],
    payload: dict[str, str],
    ending: str,
) -> None:
    queue.enqueue("job", payload, result_ttl=60, max_attempts=1)
    run_on("django", queue, node, start_worker, "job")
    before = keyspace.at("job")

    assert node.update_result_ttl("job", 10 * MINUTES) == "updated"

    # Let the time that the index knows of be over, so that the reaper looks at the job.
    keyspace.client.zadd(f"{keyspace.prefix}{ending}", {"job": 1})
    Reaper(queue).run_once()
    after = keyspace.at("job")
    assert after.expires_at - before.expires_at == pytest.approx(10 * MINUTES - 60_000, abs=TOLERANCE)
    assert state_of(queue, "job").status == ending
    assert keyspace.client.zscore(f"{keyspace.prefix}{ending}", "job") == after.expires_at


@ENDINGS
def test_django_prolongs_the_ttl_of_a_job_that_node_finished(
    queue: Queue,
    node: NodePeer,
    keyspace: Keyspace,
    start_worker: Callable[..., Worker],
    payload: dict[str, str],
    ending: str,
) -> None:
    node.enqueue("job", payload, resultTTL=60_000, maxAttempts=1)
    run_on("node", queue, node, start_worker, "job")
    payloads = {"completed": "results", "failed": "errors"}[ending]
    assert payloads in keyspace.whole_hashes_that_expire()

    assert queue.update_result_ttl("job", 10 * MINUTES / 1000) == "updated"

    stored = keyspace.at("job")
    assert stored.expires_at - stored.finished_at == pytest.approx(10 * MINUTES, abs=TOLERANCE)
    assert stored.payload_expires_at == stored.expires_at
    assert node.get_status("job")["state"] == ending
    assert payloads not in keyspace.whole_hashes_that_expire()


@pytest.mark.parametrize("changer", ["django", "node"])
@pytest.mark.parametrize("worker", ["django", "node"])
def test_a_shortened_ttl_is_obeyed_by_both_and_leaves_nothing_behind(
    queue: Queue,
    node: NodePeer,
    keyspace: Keyspace,
    start_worker: Callable[..., Worker],
    worker: str,
    changer: str,
) -> None:
    queue.enqueue("job", RETURNS)
    run_on(worker, queue, node, start_worker, "job")
    reaper = Reaper(queue)
    reaper.run_once()

    if changer == "django":
        assert queue.update_result_ttl("job", 0.05) == "updated"
    else:
        assert node.update_result_ttl("job", 50) == "updated"

    node.wait_until(lambda: queue.get_job_state("job") is None, "the job is forgotten")
    for _ in range(2):  # one to learn of it, one to act
        reaper.run_once()

    assert {"jobs", "results", "completed"}.isdisjoint(keyspace.keys())
    assert node.get_status("job") is None


def test_neither_side_changes_the_ttl_of_a_job_that_has_not_ended(queue: Queue, node: NodePeer) -> None:
    queue.enqueue("of-django", RETURNS, delay=3600)
    node.enqueue("of-node", RETURNS)

    assert node.update_result_ttl("of-django", MINUTES) == "not_terminal"
    assert queue.update_result_ttl("of-node", MINUTES) == "not_terminal"
    assert node.update_result_ttl("nobody", MINUTES) == queue.update_result_ttl("nobody", MINUTES) == "not_found"


# The TTL that Node puts on whole hashes


def test_the_next_job_that_django_finishes_takes_nodes_ttl_off_all_results(
    queue: Queue, node: NodePeer, keyspace: Keyspace, start_worker: Callable[..., Worker]
) -> None:
    for ending, payload in (("good", RETURNS), ("bad", THROWS)):
        node.enqueue(f"{ending} on node", payload, resultTTL=MINUTES, maxAttempts=1)
    node.start_worker()
    node.wait_until(lambda: state_of(queue, "bad on node").status is Status.FAILED, "Node's jobs have ended")
    assert {"results", "errors", "workers"} <= set(keyspace.whole_hashes_that_expire())
    node.call("stopWorker")
    # Until the server has seen the end of Node's connection, its BLMOVE may still take a job.
    main = queue.storage._connector.main()  # type: ignore[attr-defined]
    node.wait_until(lambda: main.info("clients")["blocked_clients"] == 0, "Node's worker waits no more")

    for ending, payload in (("good", RETURNS), ("bad", THROWS)):
        queue.enqueue(f"{ending} on django", payload, max_attempts=1)
    start_worker(queue, concurrency=1, max_jobs=2).join()

    assert keyspace.whole_hashes_that_expire() == []


def test_the_django_reaper_takes_nodes_ttl_off_all_results(queue: Queue, node: NodePeer, keyspace: Keyspace) -> None:
    for ending, payload in (("good", RETURNS), ("bad", THROWS)):
        node.enqueue(ending, payload, resultTTL=MINUTES, maxAttempts=1)
    node.start_worker()
    node.wait_until(lambda: state_of(queue, "bad").status is Status.FAILED, "Node's jobs have ended")
    assert {"results", "errors"} <= set(keyspace.whole_hashes_that_expire())

    Reaper(queue).run_once()

    assert not {"results", "errors"}.intersection(keyspace.whole_hashes_that_expire())


def test_results_of_django_outlive_a_short_lived_result_of_node(
    queue: Queue, node: NodePeer, start_worker: Callable[..., Worker]
) -> None:
    queue.enqueue("kept", RETURNS)
    start_worker(queue, concurrency=1, max_jobs=1).join()
    node.enqueue("short", RETURNS, resultTTL=2000)
    node.start_worker()
    node.wait_until(lambda: state_of(queue, "short").status is Status.COMPLETED, "Node has finished its job")

    reaper = Reaper(queue)
    reaper.run_once()
    node.wait_until(lambda: queue.get_job_state("short") is None, "Node's job is forgotten")
    reaper.run_once()

    assert queue.get_result("kept") == node.get_result("kept") == "result"
    assert queue.get_result("short") is None


def test_a_running_django_reaper_guards_results_against_a_short_lived_result_of_node(
    queue: Queue, node: NodePeer, start_worker: Callable[..., Worker]
) -> None:
    queue.enqueue("kept", RETURNS)
    start_worker(queue, concurrency=1, max_jobs=1).join()
    node.start_worker()
    reaper = Reaper(queue)
    reaper.start()

    try:
        queue.enqueue("sign", RETURNS, delay=0.001)
        queue.wait("sign", timeout=DEADLINE)  # the reaper has begun
        node.enqueue("short", RETURNS, resultTTL=2000)
        queue.wait("short", timeout=DEADLINE)
        node.wait_until(lambda: queue.get_job_state("short") is None, "Node's job is forgotten")
    finally:
        reaper.stop()

    assert queue.get_result("kept") == node.get_result("kept") == "result"
