"""``MIN_REPLICAS``: what replicas have not confirmed is not called enqueued."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction

from django_jobqueue.exceptions import NotReplicated, StorageError
from django_jobqueue.message import Status
from django_jobqueue.queue import Queue, queues
from django_jobqueue.storage import replication
from django_jobqueue.worker import Worker
from tests.servers import LOOPBACK, Server, wait_until

pytestmark = pytest.mark.faults

Reset = Callable[..., Queue]

#: Seconds in which a replica confirms that does not stand still.
PATIENCE = 20.0


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary and its replica."""

    primary: Server
    replica: Server

    def is_in_step(self) -> bool:
        """Whether the replica has all that the primary has."""
        with self.primary.client() as client:
            return bool(client.info("replication")["connected_slaves"] == 1 and client.wait(1, 1000) == 1)

    def freeze(self) -> None:
        """Halt the replica; what it does not confirm is given up soon."""
        self.replica.freeze()
        replication.CONFIRM_TIMEOUT = 1.0

    def thaw(self) -> None:
        """Let the replica go on, and wait for it however busy the machine is."""
        self.replica.thaw()
        replication.CONFIRM_TIMEOUT = PATIENCE

    def waits(self) -> int:
        """How many WAIT the primary has answered."""
        with self.primary.client() as client:
            stats: dict[str, Any] = client.info("commandstats")
        return int(stats.get("cmdstat_wait", {"calls": 0})["calls"])


@pytest.fixture(scope="module", params=["redis", "valkey"])
def running_pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    quick = {"repl-diskless-sync-delay": 0}
    with Server(request.param, config=quick) as primary:
        replicates = {"replicaof": f"{LOOPBACK} {primary.port}", **quick}
        with Server(request.param, config=replicates) as replica:
            yield Pair(primary, replica)


@pytest.fixture
def pair(running_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """A primary and a replica that is in step; it is thawed after the test."""
    wait_until(running_pair.is_in_step, 30, never)
    monkeypatch.setattr(replication, "CONFIRM_TIMEOUT", PATIENCE)
    yield running_pair
    running_pair.replica.thaw()


@pytest.fixture
def fresh_queue(pair: Pair, key_prefix: str, settings: Any) -> Iterator[Reset]:
    """The queue on connections that have written nothing yet."""

    def make(min_replicas: int = 1, query: str = "?socket_timeout=60", **changed: Any) -> Queue:
        url = {"URL": pair.primary.url() + query, "KEY_PREFIX": key_prefix, "CACHE": None}
        settings.JOBQUEUE = {"default": {**url, "RETRY_BACKOFF": 0, "MIN_REPLICAS": min_replicas, **changed}}
        return queues["default"]

    yield make
    queues.close()


def test_an_enqueued_job_is_on_the_replica(pair: Pair, fresh_queue: Reset, key_prefix: str) -> None:
    result = fresh_queue().enqueue("a", 1)

    with pair.replica.client() as client:
        # Acknowledged means applied: no need to wait here.
        assert client.llen(f"{key_prefix}queue") == 1
    assert result.status == "queued"


def test_what_no_replica_confirms_is_told_with_the_numbers(pair: Pair, fresh_queue: Reset) -> None:
    pair.freeze()

    with pytest.raises(NotReplicated) as caught:
        fresh_queue().enqueue("a", 1)

    error = caught.value
    assert (error.confirmed, error.wanted, error.waited, error.code) == (0, 1, 1.0, "NOT_REPLICATED")
    assert isinstance(error, StorageError)
    for words in ("0 of the 1 replicas", "within 1 s", "may exist", "same id may be sent again"):
        assert words in str(error)


def test_the_error_can_be_pickled() -> None:
    error = NotReplicated("enqueueing", 1, 2, 0.5)

    copy = pickle.loads(pickle.dumps(error))

    assert (str(copy), copy.confirmed, copy.wanted, copy.waited) == (str(error), 1, 2, 0.5)


def test_more_replicas_than_there_are_never_confirm(fresh_queue: Reset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "CONFIRM_TIMEOUT", 4.0)  # the one that is there confirms in that time
    with pytest.raises(NotReplicated, match="1 of the 2 replicas"):
        fresh_queue(min_replicas=2).enqueue("a", 1)


@pytest.mark.parametrize("delay", [None, 3600], ids=["at once", "delayed"])
def test_the_same_id_sent_again_is_a_duplicate_only_once_replicas_have_it(
    pair: Pair, fresh_queue: Reset, delay: int | None
) -> None:
    pair.freeze()
    with pytest.raises(NotReplicated):
        fresh_queue().enqueue("a", 1, delay=delay)

    # On a connection of its own each time: one that wrote nothing has nothing to wait for.
    with pytest.raises(NotReplicated):
        fresh_queue().enqueue("a", 1, delay=delay)
    pair.thaw()
    result = fresh_queue().enqueue("a", 1, delay=delay)

    assert result.status == "duplicate"
    assert result.existing_state == ("scheduled" if delay else "queued")
    assert queues["default"].stats().queued + queues["default"].stats().scheduled == 1


def test_a_finished_job_is_returned_only_once_replicas_know_the_id(pair: Pair, fresh_queue: Reset) -> None:
    queue = fresh_queue()
    queue.enqueue("a", 1)
    Worker(queue, handler=lambda job: job.payload).run_until_empty()
    pair.freeze()

    with pytest.raises(NotReplicated):
        fresh_queue().enqueue("a", 1)
    pair.thaw()

    assert fresh_queue().enqueue("a", 1).status == "completed"


def test_a_batch_waits_once(pair: Pair, fresh_queue: Reset) -> None:
    queue = fresh_queue()
    before = pair.waits()

    results = queue.enqueue_many([(f"job-{n}", n) for n in range(100)])

    assert pair.waits() == before + 1
    assert {result.status for result in results} == {"queued"}


def test_scripts_that_had_to_be_loaded_first_are_waited_for(pair: Pair, fresh_queue: Reset) -> None:
    with pair.primary.client() as client:
        client.script_flush()
    pair.freeze()

    with pytest.raises(NotReplicated):
        fresh_queue().enqueue_many([("a", 1), ("b", 2)])
    pair.thaw()

    assert [one.status for one in fresh_queue().enqueue_many([("a", 1), ("b", 2), ("c", 3)])] == [
        "duplicate", "duplicate", "queued",
    ]  # fmt: skip
    assert queues["default"].stats().queued == 3


@pytest.mark.django_db(transaction=True)
def test_an_enqueue_on_commit_raises_after_the_commit(pair: Pair, fresh_queue: Reset) -> None:
    queue = fresh_queue()
    pair.freeze()

    with pytest.raises(NotReplicated), transaction.atomic():
        assert queue.enqueue("a", 1, on_commit=True).status == "deferred"

    pair.thaw()
    assert queue.enqueue("a", 1).status == "duplicate"


def test_the_async_twins_confirm_too(pair: Pair, fresh_queue: Reset) -> None:
    queue = fresh_queue()

    async def enqueue_all() -> None:
        await queue.aenqueue("a", 1)
        pair.freeze()
        for call in (queue.aenqueue("b", 2), queue.aenqueue_and_wait("c", 3)):
            with pytest.raises(NotReplicated):
                await call

    asyncio.run(enqueue_all())


def test_a_failed_job_is_retried_only_once_replicas_have_it(pair: Pair, fresh_queue: Reset) -> None:
    queue = fresh_queue(MAX_ATTEMPTS=1)
    queue.enqueue_many([("a", 1), ("b", 2)])

    def handler(_: Any) -> None:
        raise ValueError

    Worker(queue, handler=handler).run_until_empty()
    pair.freeze()

    with pytest.raises(NotReplicated, match="retrying job 'a'"):
        fresh_queue().retry("a")
    pair.thaw()

    assert fresh_queue().retry("b")
    assert {name: str(state and state.status) for name, state in queue.get_job_states(["a", "b"]).items()} == {
        "a": "queued",
        "b": "queued",
    }


def test_a_short_socket_timeout_leaves_time_for_the_reply(pair: Pair, fresh_queue: Reset) -> None:
    pair.freeze()

    with pytest.raises(NotReplicated) as caught:
        fresh_queue(query="?socket_timeout=0.8").enqueue("a", 1)

    assert caught.value.waited == 0.4


def test_workers_wait_for_no_replica(pair: Pair, fresh_queue: Reset) -> None:
    queue = fresh_queue()
    queue.enqueue_many([(f"job-{n}", n) for n in range(50)])
    pair.freeze()
    before = pair.waits()

    def handler(job: Any) -> Any:
        if job.attempts == 1:
            raise ValueError
        return job.payload

    Worker(queue, handler=handler).run_until_empty()

    assert pair.waits() == before
    states = queue.get_job_states([f"job-{n}" for n in range(50)]).values()
    assert {state and state.status for state in states} == {Status.COMPLETED}


def test_without_the_option_nothing_waits(pair: Pair, fresh_queue: Reset) -> None:
    pair.freeze()
    before = pair.waits()

    assert fresh_queue(min_replicas=0).enqueue("a", 1).status == "queued"
    assert fresh_queue(min_replicas=0).enqueue("a", 1).status == "duplicate"

    assert pair.waits() == before
