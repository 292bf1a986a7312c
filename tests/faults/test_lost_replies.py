"""For each transition: the command never arrived, or the server did it and nobody heard of it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from django_jobqueue.conf import QueueConfig
from django_jobqueue.exceptions import StorageError
from django_jobqueue.queue import Queue
from django_jobqueue.storage.base import Release, Storage, SuspectKind, Verdict
from django_jobqueue.storage.redis import RedisStorage
from django_jobqueue.storage.scripts import script
from django_jobqueue.worker import Worker
from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry, state
from tests.faults.proxy import Loss, Proxy
from tests.servers import Server, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.name.lower())]


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def storage(proxy: Proxy, key_prefix: str) -> Iterator[RedisStorage]:
    """A storage that reaches the server through the proxy."""
    config = QueueConfig(url=f"redis://127.0.0.1:{proxy.port}/0", cache=None, key_prefix=key_prefix)
    storage = RedisStorage(config)
    # With all scripts loaded, a script is sent once, by its SHA alone.
    for lua in ("enqueue", "schedule", "start", "complete", "fail", "retry", "release", "renew", "cancel", "promote"):
        _load(storage, lua)
    for lua in ("claim", "recover", "expire", "retry_dead", "update_ttl", "lock_renew", "suspects", "unregister"):
        _load(storage, lua)
    yield storage
    storage.close()


def _load(storage: RedisStorage, name: str) -> None:
    storage._connector.main().script_load(script(name).source)


def lose(proxy: Proxy, name: str, loss: Loss) -> None:
    proxy.lose(script(name).sha, loss)


def again(call: Callable[[], Any]) -> Any:
    """As the worker and the reaper do: call again after a storage error."""
    try:
        return call()
    except StorageError:
        return call()


def test_enqueue(storage: RedisStorage, proxy: Proxy, loss: Loss) -> None:
    lose(proxy, "enqueue", loss)

    assert enqueue(storage, message("a"), message("b")) == [None, None]

    assert proxy.struck.is_set()
    assert [one.id for one in claim(storage)] == ["a", "b"]


def test_schedule(storage: RedisStorage, proxy: Proxy, loss: Loss) -> None:
    lose(proxy, "schedule", loss)

    assert enqueue(storage, message("a"), delay_ms=60_000) == [None]

    assert proxy.struck.is_set()
    assert storage.counts().scheduled == 1


def test_cancel(storage: RedisStorage, proxy: Proxy, loss: Loss) -> None:
    enqueue(storage, message("a"), message("b"))
    lose(proxy, "cancel", loss)

    # After a lost reply the job is gone already; that it was cancelled is what matters.
    assert storage.cancel("a") in ("cancelled", "not_found")

    assert [one.id for one in claim(storage)] == ["b"]


@pytest.mark.parametrize(
    ("name", "outcome", "ending"),
    [("complete", complete, "completed"), ("fail", fail, "failed"), ("retry", retry, "failing:1")],
)
def test_outcomes(storage: RedisStorage, proxy: Proxy, loss: Loss, name: str, outcome: Any, ending: str) -> None:
    sent = outcome(claimed(storage))
    lose(proxy, name, loss)

    with pytest.raises(StorageError):
        commit(storage, sent)
    assert commit(storage, replace(sent, resent=True)) == [True]

    assert state(storage) == ending
    assert storage.held("worker") == []
    counts = storage.counts()
    assert counts.queued + counts.completed + counts.failed == 1


def test_release(storage: RedisStorage, proxy: Proxy, loss: Loss) -> None:
    one = claimed(storage)
    lose(proxy, "release", loss)

    again(lambda: commit(storage, Release(one)))

    assert [(one.id, one.attempts) for one in claim(storage)] == [("a", 0)]


def test_start(storage: RedisStorage, proxy: Proxy, loss: Loss) -> None:
    one = message("a")
    enqueue(storage, one)
    assert storage.wait_and_take("worker", 1) == one.raw
    lose(proxy, "start", loss)

    assert storage.start("worker", one)[0] is Verdict.STARTED
    assert storage.held("worker") == [one.raw]


def test_claim(storage: RedisStorage, proxy: Proxy, loss: Loss) -> None:
    enqueue(storage, *(message(f"job-{n}") for n in range(4)))
    lose(proxy, "claim", loss)

    with pytest.raises(StorageError):
        storage.claim("worker", 2)

    held = storage.held("worker")
    assert len(held) == (2 if loss is Loss.REPLY else 0)
    assert len(held) + storage.counts().queued == 4


def test_wait_and_take(storage: RedisStorage, proxy: Proxy, loss: Loss) -> None:
    enqueue(storage, message("a"))
    proxy.lose("BLMOVE", loss)

    with pytest.raises(StorageError):
        storage.wait_and_take("worker", 1)

    assert len(storage.held("worker")) + storage.counts().queued == 1


def test_recover(storage: RedisStorage, proxy: Proxy, loss: Loss, key_prefix: str) -> None:
    one = claimed(storage)
    hasty = RedisStorage(replace(storage.config, visibility_timeout=0.001))
    wait_until(lambda: bool(hasty.suspects(["worker"])), 5, lambda: AssertionError("no suspect"))
    (suspect,) = hasty.suspects(["worker"])
    assert suspect.kind is SuspectKind.STALLED
    lose(proxy, "recover", loss)

    hasty.recover(suspect, one, one.with_attempts(1))

    assert proxy.struck.is_set()
    assert [(one.id, one.attempts) for one in claim(storage)] == [("a", 1)]
    hasty.close()


def test_promote(storage: RedisStorage, proxy: Proxy, loss: Loss) -> None:
    enqueue(storage, message("a"), delay_ms=1)
    lose(proxy, "promote", loss)

    wait_until(
        lambda: storage.promote(10) == (0, None) and proxy.struck.is_set(), 5, lambda: AssertionError("not due")
    )

    assert [one.id for one in claim(storage)] == ["a"]


def test_retry_dead(storage: RedisStorage, proxy: Proxy, loss: Loss) -> None:
    commit(storage, fail(claimed(storage)))
    lose(proxy, "retry_dead", loss)

    assert storage.retry_dead("a")

    assert [one.id for one in claim(storage)] == ["a"]


def test_renew(storage: RedisStorage, proxy: Proxy, loss: Loss) -> None:
    one = claimed(storage)
    lose(proxy, "renew", loss)

    assert storage.renew("worker", b"{}", [one]) == set()
    assert proxy.struck.is_set()


def test_the_leader_lock(storage: Storage, proxy: Proxy, loss: Loss) -> None:
    proxy.lose("reaper:lock", loss)

    assert storage.acquire_lock("me", 60)
    assert proxy.struck.is_set()
    assert storage.counts().leader == "me"


@pytest.mark.parametrize("name", ["claim", "start", "complete", "retry", "BLMOVE", "renew"])
def test_a_worker_goes_on_and_runs_every_job(
    proxy: Proxy, loss: Loss, name: str, storage: RedisStorage, settings: Any, key_prefix: str
) -> None:
    from django_jobqueue import queues

    settings.JOBQUEUE = {
        "default": {
            "URL": f"redis://127.0.0.1:{proxy.port}/0", "CACHE": None, "KEY_PREFIX": key_prefix,
            "RETRY_BACKOFF": 0, "BLOCK_TIMEOUT": 1, "VISIBILITY_TIMEOUT": 30,
        }
    }  # fmt: skip
    queue: Queue = queues["default"]
    runs: list[str] = []

    def handler(job: Any) -> Any:
        if name == "retry" and job.attempts == 1:
            raise ValueError("once more")
        runs.append(job.id)
        return job.payload

    token = name if name == "BLMOVE" else script(name).sha
    proxy.lose(token, loss)
    worker = Worker(queue, handler=handler, concurrency=2)
    worker.start()
    ids = [f"job-{n}" for n in range(20)]
    queue.enqueue_many([(job_id, job_id) for job_id in ids])

    assert [queue.wait(job_id, timeout=25) for job_id in ids] == ids
    wait_until(proxy.struck.is_set, 40, lambda: AssertionError(f"{name} was never sent"))
    queue.enqueue("last", "last")
    assert queue.wait("last", timeout=25) == "last"
    worker.stop()
    # No lease was given up, so nothing ran twice.
    assert sorted(runs) == sorted([*ids, "last"])
    queues.close()
