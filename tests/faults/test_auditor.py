"""The auditor finds each kind of violation, and nothing in a healthy queue."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from django_jobqueue.conf import QueueConfig
from django_jobqueue.message import Envelope
from django_jobqueue.storage.redis import RedisStorage
from tests.contract.build import claim, claimed, commit, complete, enqueue, fail, message, retry
from tests.faults.auditor import Auditor
from tests.servers import Server

pytestmark = pytest.mark.faults

FAR = int(time.time() * 1000) + 3_600_000


@pytest.fixture
def storage(server: Server, key_prefix: str) -> Iterator[RedisStorage]:
    storage = RedisStorage(QueueConfig(url=server.url(), cache=None, key_prefix=key_prefix))
    yield storage
    storage.close()


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def auditor(client: redis.Redis, key_prefix: str) -> Auditor:
    return Auditor(client, key_prefix)


def _queued(storage: RedisStorage) -> None:
    enqueue(storage, message("a"))


def _scheduled(storage: RedisStorage) -> None:
    enqueue(storage, message("a"), delay_ms=60_000)


def _taken(storage: RedisStorage) -> None:
    storage.renew("worker", b"{}", [])
    enqueue(storage, message("a"))
    assert storage.wait_and_take("worker", 1) is not None


def _processing(storage: RedisStorage) -> None:
    storage.renew("worker", b"{}", [claimed(storage)])


def _failing(storage: RedisStorage) -> None:
    commit(storage, retry(claimed(storage)))


def _backing_off(storage: RedisStorage) -> None:
    commit(storage, retry(claimed(storage), 60_000))


def _completed(storage: RedisStorage) -> None:
    commit(storage, complete(claimed(storage)))


def _failed(storage: RedisStorage) -> None:
    commit(storage, fail(claimed(storage)))


def _quarantined(storage: RedisStorage) -> None:
    one = claimed(storage)
    storage.quarantine("worker", one.raw, b'{"message":"unreadable"}')


def _cancelled_and_queued_anew(storage: RedisStorage) -> None:
    enqueue(storage, message("a"))
    storage.cancel("a")
    enqueue(storage, message("a"))


def _expired_and_queued_anew(storage: RedisStorage) -> None:
    commit(storage, complete(claimed(storage), ttl_ms=1))
    while enqueue(storage, message("a")) != [None]:
        pass


PHASES = [
    _queued, _scheduled, _taken, _processing, _failing, _backing_off, _completed, _failed, _quarantined,
    _cancelled_and_queued_anew, _expired_and_queued_anew,
]  # fmt: skip


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__.strip("_"))
def test_a_healthy_queue_passes(
    storage: RedisStorage, auditor: Auditor, phase: Callable[[RedisStorage], None]
) -> None:
    storage.acquire_lock("reaper", 60)
    phase(storage)

    auditor.check(["a"])


def test_a_drained_queue_passes(storage: RedisStorage, auditor: Auditor) -> None:
    _completed(storage)
    commit(storage, fail(claimed(storage, "b")))

    auditor.check(["a", "b"], drained=True)


class Tamper:
    """Changes keys behind the storage's back."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def __call__(self, command: str, key: str, *args: Any) -> Any:
        return self._client.execute_command(command, self._prefix + key, *args)

    def move(self, command: str, source: str, target: str, *args: Any) -> Any:
        return self._client.execute_command(command, self._prefix + source, self._prefix + target, *args)


RAW = message("a").raw
OTHER = message("b").raw
SEALED = Envelope(b"1", FAR).seal()

#: Name: the phase, how it is spoilt, and what the auditor says.
VIOLATIONS: dict[str, tuple[Callable[[RedisStorage], None], Callable[[Tamper], Any], str]] = {
    "state lost": (_queued, lambda do: do("DEL", "jobs"), "a: was accepted and is gone"),
    "message without state": (_queued, lambda do: do("DEL", "jobs"), "a: has no state, and its message is in queue"),
    "message lost": (_queued, lambda do: do("DEL", "queue"), "its message is in 0 places: nowhere"),
    "message of a started job lost": (_processing, lambda do: do("DEL", "processing:worker"), "in 0 places"),
    "message doubled in the queue": (
        _queued, lambda do: do.move("COPY", "queue", "processing:other"), "in 2 places"
    ),
    "second lease": (
        _processing, lambda do: do.move("COPY", "processing:worker", "processing:other"),
        "in 2 places: processing:",
    ),
    "lease of another": (
        _processing, lambda do: do.move("RENAME", "processing:worker", "processing:other"),
        "its message is in processing:other",
    ),
    "started job in the queue": (
        _processing, lambda do: do.move("RENAME", "processing:worker", "queue"), "its message is in queue"
    ),
    "message of a finished job": (_completed, lambda do: do("RPUSH", "queue", RAW), "in 1 places: queue"),
    "state of another message": (_queued, lambda do: do("HSET", "jobs", "a", "queued:1"), "a: is queued:1"),
    "unreadable state": (_queued, lambda do: do("HSET", "jobs", "a", "lost"), "a: job state 'lost'"),
    "attempts counted in the state alone": (
        _queued, lambda do: do("HSET", "jobs", "a", "failing:1:1"), "a: is failing:1:1"
    ),
    "scheduled job in the queue": (
        _queued, lambda do: do("HSET", "jobs", "a", "scheduled:1"), "a: is scheduled:1, and its message is in queue"
    ),
    "time without message": (_scheduled, lambda do: do("DEL", "scheduled:messages"), "is scheduled without message"),
    "message without time": (_scheduled, lambda do: do("DEL", "scheduled"), "a: is scheduled without time"),
    "kept message without failure": (_completed, lambda do: do("HSET", "dead", "a", RAW), "a: has a kept message"),
    "kept message of another": (_failed, lambda do: do("HSET", "dead", "a", OTHER), "kept message is not its own"),
    "unreadable kept message": (_failed, lambda do: do("HSET", "dead", "a", "?"), "kept message is not its own"),
    "result without state": (_queued, lambda do: do("HSET", "results", "x", SEALED), "x: has an entry in results"),
    "error without failure": (_queued, lambda do: do("HSET", "errors", "a", SEALED), "a: has an entry in errors"),
    "index without state": (_queued, lambda do: do("ZADD", "completed", FAR, "a"), "is in completed without being it"),
    "result lost": (_completed, lambda do: do("DEL", "results"), "without entry in results"),
    "error lost": (_failed, lambda do: do("DEL", "errors"), "without entry in errors"),
    "index lost": (_completed, lambda do: do("DEL", "completed"), "and indexed until None"),
    "expiry lost": (_completed, lambda do: do("HDEL", "jobs", "a:exp"), "without expiry"),
    "expiry of the result differs": (
        _completed, lambda do: do("HSET", "results", "a", SEALED), "and its entry in results says"
    ),
    "expiry of a live job": (_queued, lambda do: do("HSET", "jobs", "a:exp", FAR), "a: is queued"),
    "expiry without state": (_queued, lambda do: do("HSET", "jobs", "x:exp", FAR), "x: has an expiry without state"),
    "tombstone without message": (_queued, lambda do: do("HSET", "cancelled", "x", "17"), "no message of 17 is there"),
    "description without worker": (_processing, lambda do: do("DEL", "workers"), "worker-info: describes worker"),
    "unknown key": (_queued, lambda do: do("SET", "stray", "1"), "stray: is a key that nobody documents"),
    "key of another type": (_queued, lambda do: do("SET", "dead", "1"), "dead: is a string and should be a hash"),
    "key with a TTL": (_completed, lambda do: do("PEXPIRE", "results", 3_600_000), "results: has a TTL"),
    "lock for ever": (_queued, lambda do: do("SET", "reaper:lock", "1"), "reaper:lock: has no TTL"),
}  # fmt: skip


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_named(
    storage: RedisStorage, auditor: Auditor, client: redis.Redis, key_prefix: str, name: str
) -> None:
    phase, spoil, complaint = VIOLATIONS[name]
    phase(storage)
    spoil(Tamper(client, key_prefix))

    with pytest.raises(AssertionError) as caught:
        auditor.check(["a"])

    assert any(complaint in line for line in str(caught.value).splitlines()), str(caught.value)


def test_too_many_attempts_are_named(storage: RedisStorage, auditor: Auditor) -> None:
    _failing(storage)

    assert auditor.violations(["a"], max_attempts=1) == ["a: runs again after 1 attempts, of which 1 are allowed"]


def test_a_job_that_failed_after_too_many_attempts_is_named(storage: RedisStorage, auditor: Auditor) -> None:
    enqueue(storage, message("a"))
    for _ in range(3):
        commit(storage, retry(claim(storage)[0]))
    commit(storage, fail(claim(storage)[0]))

    assert auditor.violations(["a"]) == ["a: failed after 4 of 3 attempts"]


@pytest.mark.parametrize(
    ("phase", "complaint"),
    [
        (_queued, "queue: still holds 1 messages"),
        (_queued, "and the queue should be drained"),
        (_scheduled, "scheduled: still holds a"),
        (_backing_off, "scheduled: still holds a"),
        (_processing, "processing:worker: still holds 1 messages"),
        (_processing, "workers: still holds worker"),
        (_cancelled_and_queued_anew, "cancelled: still holds a"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else value,
)
def test_what_is_left_of_a_drained_queue_is_named(
    storage: RedisStorage, auditor: Auditor, phase: Callable[[RedisStorage], None], complaint: str
) -> None:
    phase(storage)

    assert any(complaint in line for line in auditor.violations(["a"], drained=True))


def test_progress_of_an_unknown_job_is_named(storage: RedisStorage, auditor: Auditor) -> None:
    storage.set_progress("a", b"{}")

    assert auditor.violations([], drained=True) == ["a: reports progress, and is unknown"]


def test_another_queue_with_a_similar_prefix_is_not_looked_at(
    storage: RedisStorage, client: redis.Redis, auditor: Auditor, key_prefix: str
) -> None:
    client.set(f"{key_prefix[:-1]}x:stray", 1, px=60_000)

    auditor.check([], drained=True)


def test_what_the_node_library_writes_does_not_stop_the_audit(
    storage: RedisStorage, auditor: Auditor, client: redis.Redis, key_prefix: str
) -> None:
    tamper = Tamper(client, key_prefix)
    tamper("HSET", "jobs", "a", "completed:1", "a:exp", FAR)
    tamper("HSET", "results", "a", b"1")
    tamper("RPUSH", "queue", b"not a message")

    assert auditor.violations(["a"]) == [
        f"a: is completed:1 until {FAR}, and indexed until None",
        f"a: is completed:1 until {FAR}, and its entry in results says Envelope(payload=b'1', expires_at=None)",
    ]
