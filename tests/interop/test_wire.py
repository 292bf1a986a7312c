"""What both sides write, byte by byte."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from django_jobqueue import Queue
from django_jobqueue.message import Envelope, JobMessage, Status
from django_jobqueue.worker import Worker
from tests.interop.node_peer import DEADLINE, NodePeer
from tests.interop.states import state_of

pytestmark = pytest.mark.interop

IDS = ["plain", "tenant:7:report", 'a "quoted" \\ id', "grün-日本-😀", "\u2028"]

PAYLOADS = [
    None,
    True,
    0,
    -1.5,
    2**53 - 1,
    "",
    "grün 日本 😀",
    '"\\/\b\f\n\r\t\x00\x1f\x7f\x80\u2028\u2029\ufeff</script>',
    "\ud83d",
    [],
    {},
    [[], {}, [None, [False]]],
    {"z": 1, "a": {"ü": "ö", "": '"createdAt":1,"attempts":9}'}, "createdAt": 2, "attempts": 3},
]


def without_created_at(raw: bytes) -> bytes:
    """A message whose top-level createdAt, the last one, is blanked."""
    head, found, tail = raw.rpartition(b',"createdAt":')
    assert found
    return head + found + re.sub(rb"^\d+", b"?", tail)


@pytest.fixture
def sent(client: Any, key_prefix: str) -> Callable[[], bytes]:
    """A function that returns the bytes of the only message in the queue and removes it."""

    def sent() -> bytes:
        assert client.llen(f"{key_prefix}queue") == 1
        raw = client.lpop(f"{key_prefix}queue")
        assert isinstance(raw, bytes)
        client.delete(f"{key_prefix}jobs")
        return raw

    return sent


@pytest.fixture
def stored(client: Any, key_prefix: str) -> Callable[[str, str], bytes]:
    """A function that returns the stored result or error of a job, without its envelope."""

    def stored(name: str, job_id: str) -> bytes:
        envelope = Envelope.open(client.hget(f"{key_prefix}{name}", job_id))
        assert envelope.expires_at is not None
        return envelope.payload

    return stored


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda value: ascii(value)[:40])
def test_messages_of_both_sides_differ_only_in_their_creation_time(
    queue: Queue, node: NodePeer, sent: Callable[[], bytes], payload: Any
) -> None:
    node.enqueue("job", payload, maxAttempts=5, resultTTL=90_500)
    from_node = sent()

    queue.enqueue("job", payload, max_attempts=5, result_ttl=90.5)
    from_django = sent()

    assert without_created_at(from_django) == without_created_at(from_node)


@pytest.mark.parametrize("job_id", IDS, ids=ascii)
def test_ids_are_written_the_same_by_both_sides_and_find_the_same_job(
    queue: Queue, node: NodePeer, sent: Callable[[], bytes], job_id: str
) -> None:
    node.enqueue(job_id, 1)
    assert node.get_job_states(job_id) == {job_id: str(queue.get_job_state(job_id))}
    from_node = sent()

    queue.enqueue(job_id, 1)
    assert node.get_job_states(job_id) == {job_id: str(queue.get_job_state(job_id))}
    from_django = sent()

    assert without_created_at(from_django) == without_created_at(from_node)


def test_the_defaults_of_both_sides_are_the_same(queue: Queue, node: NodePeer, sent: Callable[[], bytes]) -> None:
    node.enqueue("job", 1)
    from_node = sent()

    queue.enqueue("job", 1)

    assert without_created_at(sent()) == without_created_at(from_node)


@pytest.mark.parametrize("producer", ["django", "node"])
def test_the_creation_time_of_a_fresh_job_is_the_time_of_its_state(
    queue: Queue, node: NodePeer, sent: Callable[[], bytes], producer: str
) -> None:
    side: Any = queue if producer == "django" else node
    side.enqueue("job", 1)

    state = node.get_job_states("job")["job"]

    assert state == f"queued:{JobMessage.decode(sent()).created_at}"


@pytest.mark.parametrize("value", PAYLOADS, ids=lambda value: ascii(value)[:40])
def test_results_of_both_sides_are_the_same_bytes(
    queue: Queue,
    node: NodePeer,
    start_worker: Callable[..., Worker],
    stored: Callable[[str, str], bytes],
    value: Any,
) -> None:
    payload = {"do": "return", "value": value}
    queue.enqueue("on django", payload)
    start_worker(queue, concurrency=1, max_jobs=1).join()
    queue.enqueue("on node", payload)
    node.start_worker()
    queue.wait("on node", timeout=DEADLINE)

    assert stored("results", "on django") == stored("results", "on node")


def test_errors_of_both_sides_have_the_same_fields_and_ours_adds_the_type(
    queue: Queue, node: NodePeer, start_worker: Callable[..., Worker], stored: Callable[[str, str], bytes]
) -> None:
    payload = {"do": "throw", "message": "no", "code": "NO"}
    queue.enqueue("on django", payload, max_attempts=1)
    start_worker(queue, concurrency=1, max_jobs=1).join()
    queue.enqueue("on node", payload, max_attempts=1)
    node.start_worker()
    node.wait_until(lambda: state_of(queue, "on node").status is Status.FAILED, "Node's job has failed")

    assert list(json.loads(stored("errors", "on node"))) == ["message", "code", "stack"]
    assert list(json.loads(stored("errors", "on django"))) == ["message", "code", "stack", "type"]


def test_a_retried_message_is_the_same_bytes_on_both_sides(
    queue: Queue,
    node: NodePeer,
    client: Any,
    handler: Any,
    start_worker: Callable[..., Worker],
    sent: Callable[[], bytes],
) -> None:
    payload = {"do": "fail_and_stop", "text": 'grün 😀 " \\ \u2028', "numbers": [1, -0.5]}

    def fail(job: Any, **_: Any) -> None:
        raise RuntimeError("fails as asked")

    handler.on("fail_and_stop", fail)
    queue.enqueue("job", payload)
    original = client.lindex(f"{queue.config.key_prefix}queue", 0)
    start_worker(queue, concurrency=1, max_jobs=1).join()
    retried_by_django = sent()

    queue.enqueue("job", payload)
    node.start_worker()
    node.wait_until(lambda: state_of(queue, "job").status is Status.FAILING, "Node retries the job")
    retried_by_node = sent()

    assert without_created_at(retried_by_django) == without_created_at(retried_by_node)
    assert retried_by_django == original.replace(b',"attempts":0,', b',"attempts":1,')


def test_a_message_of_node_without_payload_is_a_job_with_none(
    queue: Queue, node: NodePeer, client: Any, start_worker: Callable[..., Worker]
) -> None:
    # JSON.stringify leaves a field out whose value is undefined.
    node.call("enqueue", id="job", options={})
    assert b"payload" not in client.lindex(f"{queue.config.key_prefix}queue", 0)

    start_worker(queue, handler=lambda job: f"the payload was {job.payload}")

    assert queue.wait("job", timeout=DEADLINE) == "the payload was None"


def test_keys_that_only_django_knows_do_not_stand_in_the_way_of_node(
    queue: Queue, node: NodePeer, start_worker: Callable[..., Worker]
) -> None:
    queue.enqueue("delayed", 1, delay=3600)
    queue.enqueue("dead", {"do": "throw", "message": "no"}, max_attempts=1)
    queue.enqueue("cancelled", 1)
    queue.cancel("cancelled")
    start_worker(queue, concurrency=1, max_jobs=1).join()
    start_worker(queue)

    node.call("startReaper", visibilityTimeout=30_000)
    waiting = node.begin_enqueue_and_wait("job", {"do": "return", "value": "fine"})

    assert node.result(waiting) == "fine"
    assert node.get_job_states("delayed", "cancelled")["cancelled"] is None
