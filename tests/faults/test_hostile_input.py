# ruff: noqa: F811 - the fixtures of the admin's tests are imported
"""Garbage in every key of a queue: it is put aside or shown, and hides and stops nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from django.test import Client

from django_jobqueue.exceptions import JobFailedError, SerializationError, StorageError
from django_jobqueue.message import JobMessage, Status
from django_jobqueue.queue import Queue
from django_jobqueue.reaper import Reaper
from django_jobqueue.worker import Worker
from tests.admin.conftest import boss, client_with, pages  # noqa: F401
from tests.admin.pages import Pages, text_of
from tests.contract.build import claimed, commit, complete, enqueue, fail, message
from tests.servers import Server, wait_until

pytestmark = pytest.mark.faults

#: Deep enough for every reader of JSON to give up.
DEEP = b"[" * 100_000

#: What cannot be a message, by a name. In each the id, where there is one, is the name.
GARBAGE: dict[str, bytes] = {
    "empty": b"",
    "random": bytes(range(256)),
    "no-utf8": b'{"id":"no-utf8","payload":"\xff\xfe","createdAt":5,"attempts":0,"maxAttempts":3,"resultTTL":5}',
    "utf16": '{"id":"utf16","createdAt":5,"attempts":0,"maxAttempts":3}'.encode("utf-16"),
    "nul": b"\0" * 100,
    "list": b"[1,2]",
    "text": b'"text"',
    "number": b"7",
    "null": b"null",
    "nan": b"NaN",
    "no-id": b'{"payload":1,"createdAt":5,"attempts":0,"maxAttempts":3,"resultTTL":5}',
    "id-number": b'{"id":7,"createdAt":5,"attempts":0,"maxAttempts":3}',
    "id-empty": b'{"id":"","createdAt":5,"attempts":0,"maxAttempts":3}',
    "id-half": b'{"id":"\\ud800","createdAt":5,"attempts":0,"maxAttempts":3}',
    "id-half-raw": b'{"id":"\xed\xa0\x80","payload":1,"createdAt":5,"attempts":0,"maxAttempts":3,"resultTTL":5}',
    "cut": b'{"id":"cut","payload":{"x":1},"createdAt":5,"att',
    "cut-early": b'{"id":"cut-early","payload":{"x"',
    "cut-in-id": b'{"id":"cut-in',
    "deep": b'{"id":"deep","payload":' + DEEP + b',"createdAt":5,"attempts":0,"maxAttempts":3,"resultTTL":5}',
    "deep-odd": b'{"createdAt":5,"payload":' + DEEP,
    "no-created": b'{"id":"no-created","payload":1,"attempts":0,"maxAttempts":3,"resultTTL":5}',
    "no-attempts": b'{"id":"no-attempts","payload":1,"createdAt":5,"maxAttempts":3,"resultTTL":5}',
    "no-max": b'{"id":"no-max","payload":1,"createdAt":5,"attempts":0,"resultTTL":5}',
    "created-text": b'{"id":"created-text","createdAt":"5","attempts":0,"maxAttempts":3}',
    "created-huge": b'{"id":"created-huge","createdAt":1e400,"attempts":0,"maxAttempts":3}',
    "created-nan": b'{"id":"created-nan","createdAt":NaN,"attempts":0,"maxAttempts":3}',
    "created-digits": b'{"id":"created-digits","payload":1,"createdAt":' + b"9" * 5000
    + b',"attempts":0,"maxAttempts":3,"resultTTL":5}',
    "created-long": b'{"id":"created-long","payload":1,"createdAt":' + b"9" * 40
    + b',"attempts":0,"maxAttempts":3,"resultTTL":5}',
    "attempts-true": b'{"id":"attempts-true","createdAt":5,"attempts":true,"maxAttempts":3}',
    "attempts-less": b'{"id":"attempts-less","createdAt":5,"attempts":-1,"maxAttempts":3}',
    "attempts-half": b'{"id":"attempts-half","createdAt":5,"attempts":0.5,"maxAttempts":3}',
    "max-zero": b'{"id":"max-zero","payload":1,"createdAt":5,"attempts":0,"maxAttempts":0,"resultTTL":5}',
    "ttl-zero": b'{"id":"ttl-zero","payload":1,"createdAt":5,"attempts":0,"maxAttempts":3,"resultTTL":0}',
    "ttl-list": b'{"id":"ttl-list","createdAt":5,"attempts":0,"maxAttempts":3,"resultTTL":[1]}',
    "two-ids": b'{"id":"two-ids","payload":1,"id":"other","createdAt":5,"attempts":0,"maxAttempts":3,"resultTTL":5}',
}  # fmt: skip

#: Of these the id can be read, so whoever waits for them is told.
NAMED = [name for name, raw in GARBAGE.items() if raw.startswith(b'{"id":"%b"' % name.encode())]


def never() -> AssertionError:
    return AssertionError("it did not happen")


@pytest.fixture
def db_client(server: Server) -> Iterator[redis.Redis]:
    """What the vandal uses."""
    with server.client() as client:
        yield client


@pytest.fixture
def key(queue: Queue) -> Callable[[str], str]:
    """The full name of one of the queue's keys."""
    return lambda name: queue.config.key_prefix + name


def run(queue: Queue, handler: Any = lambda job: job.payload) -> None:
    Worker(queue, handler=handler, concurrency=4).run_until_empty()


def test_garbage_in_the_queue_list_is_quarantined_and_told(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str]
) -> None:
    for name in NAMED:
        db_client.hset(key("jobs"), name, "queued:5")
    db_client.hset(key("jobs"), b"\xed\xa0\x80", "queued:5")
    db_client.rpush(key("queue"), *GARBAGE.values())
    queue.enqueue("good", 1)

    run(queue)

    assert sorted(db_client.lrange(key("malformed"), 0, -1)) == sorted(GARBAGE.values())
    assert queue.stats().malformed == len(GARBAGE)
    assert queue.get_result("good") == 1
    untold = [name for name in NAMED if (state := queue.get_job_state(name)) is None or state.status != "failed"]
    assert untold == []
    with pytest.raises(JobFailedError) as caught:
        queue.wait("cut")
    assert caught.value.error["code"] == "MALFORMED_MESSAGE"


def test_garbage_met_one_by_one_by_an_idle_worker_does_not_end_it(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str]
) -> None:
    worker = Worker(queue, handler=lambda job: job.payload, concurrency=2)
    worker.start()

    for n, raw in enumerate(GARBAGE.values(), 1):
        db_client.rpush(key("queue"), raw)
        wait_until(lambda n=n: queue.stats().malformed == n, 30, never)  # type: ignore[misc]

    assert queue.enqueue_and_wait("good", 1) == 1
    worker.stop()
    assert worker.error is None


def test_garbage_in_the_list_of_a_dead_worker_is_quarantined(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str]
) -> None:
    db_client.rpush(key("processing:dead"), *GARBAGE.values())
    db_client.hset(key("workers"), "dead", 1)
    kept = claimed(queue.storage, "kept", "dead")
    db_client.hset(key("jobs"), "kept", "processing:1:dead")
    reaper = Reaper(queue)

    def settled() -> bool:
        reaper._look_interval = 0
        reaper.run_once()
        return int(db_client.llen(key("processing:dead"))) == 0

    wait_until(settled, 30, never)

    assert queue.stats().malformed == len(GARBAGE)
    state = queue.get_job_state("kept")
    assert state is not None and (state.status, state.attempts) == (Status.FAILING, kept.attempts + 1)


def test_a_worker_quarantines_garbage_that_its_forerunner_held(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str]
) -> None:
    db_client.rpush(key("processing:fixed"), *GARBAGE.values())
    queue.enqueue("good", 1)

    Worker(queue, handler=lambda job: job.payload, worker_id="fixed", reaper=False).run_until_empty()

    assert queue.stats().malformed == len(GARBAGE)
    assert queue.get_result("good") == 1


def test_a_due_job_whose_message_is_gone_or_damaged_fails(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str]
) -> None:
    enqueue(queue.storage, *(message(one) for one in ("gone", "damaged", "others", "good", 'q"☃')), delay_ms=1)
    commit(queue.storage, fail(claimed(queue.storage, "unrelated")))
    db_client.hdel(key("scheduled:messages"), "gone")
    db_client.hset(key("scheduled:messages"), "damaged", b"\xff{")
    db_client.hset(key("scheduled:messages"), "others", message("unrelated").raw)
    db_client.zadd(key("scheduled"), {"nobody": 5, b"\xff": 6, "never": float("inf")})

    def promoted() -> bool:
        queue.storage.promote(10)
        return queue.stats().scheduled == 1

    wait_until(promoted, 30, never)

    run(queue)
    states = {job_id: state and str(state.status) for job_id, state in queue.get_job_states(
        ["gone", "damaged", "others", "good", 'q"☃']
    ).items()}  # fmt: skip
    assert states == {
        "gone": "failed",
        "damaged": "failed",
        "others": "failed",
        "good": "completed",
        'q"☃': "completed",
    }
    assert queue.storage.promote(10) == (0, None)
    assert queue.stats().malformed == 2
    (listed,) = queue.list_jobs("scheduled").jobs
    assert (listed.id, listed.time) == ("never", None)
    with pytest.raises(JobFailedError, match="gone or damaged"):
        queue.wait("gone")


def test_a_failed_job_whose_kept_message_is_damaged_is_shown_and_not_retried(
    queue: Queue,
    db_client: redis.Redis,
    key: Callable[[str], str],
    boss: Client,
    pages: Pages,
) -> None:
    for job_id in ("damaged", "others", "good"):
        commit(queue.storage, fail(claimed(queue.storage, job_id)))
    db_client.hset(key("dead"), "damaged", b'{"id":')
    db_client.hset(key("dead"), "others", message("somebody").raw)

    answer = pages.confirm(boss, "retry", "damaged", "others", "good", part="failed")

    shown = text_of(boss.get(answer.url))
    assert "Job good was retried" in shown
    assert "2 jobs were not retried: its kept message cannot be read" in shown
    assert "malformed" not in str(queue.get_job_states(["damaged", "others"]))
    assert boss.get(pages.job("damaged")).status_code == 200


BAD_STATES = [
    b"", b"garbage", b"\xff\xfe", b"queued", b"queued:", b"queued:x", b"queued:-5", b"queued:5x", b"running:5",
    b"failing:5:x", b"failing:5", b"processing:5:\xff", b"malformed:5", b"<b>:5", b"queued:1_0",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_STATES)
def test_a_state_that_cannot_be_read_hides_no_other_job(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str], bad: bytes, boss: Client, pages: Pages,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    queue.enqueue_many([("good", 1), ("bad", 2)])
    db_client.hset(key("jobs"), "bad", bad)

    states = queue.get_job_states(["bad", "good"])

    assert {job_id: str(state and state.status) for job_id, state in states.items()} == {
        "bad": "malformed",
        "good": "queued",
    }
    assert "job state" in caplog.text
    status = queue.get_status("bad")
    assert status is not None and status.state is Status.MALFORMED
    shown = text_of(boss.get(pages.jobs("queued")))
    assert "bad" in shown and "malformed" in shown and "good" in shown
    page = boss.get(pages.job("bad"))
    assert page.status_code == 200 and "cannot be read" in text_of(page)


@pytest.mark.parametrize("bad", BAD_STATES)
def test_a_job_whose_state_cannot_be_read_runs_and_is_mended(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str], bad: bytes
) -> None:
    queue.enqueue("bad", 2)
    db_client.hset(key("jobs"), "bad", bad)

    run(queue)

    if bad.startswith(b"processing"):
        return  # to the script it is a worker's; it ran, and that is all
    assert queue.get_result("bad") == 2


def test_a_job_whose_state_cannot_be_read_comes_back_from_a_dead_worker(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str]
) -> None:
    claimed(queue.storage, "bad", "dead")
    db_client.hset(key("jobs"), "bad", b"\xff\xfe")
    db_client.hset(key("workers"), "dead", 1)
    reaper = Reaper(queue)

    def settled() -> bool:
        reaper._look_interval = 0
        reaper.run_once()
        return queue.stats().queued == 1

    wait_until(settled, 30, never)

    run(queue)
    assert queue.get_job_state("bad").status is Status.COMPLETED  # type: ignore[union-attr]


def test_an_id_whose_state_cannot_be_read_can_be_enqueued_anew_and_deleted(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str]
) -> None:
    db_client.hset(key("jobs"), mapping={"a": "garbage", "a:exp": "soon", "b": "garbage"})

    assert [one.status for one in queue.enqueue_many([("a", 1), ("c", 2)])] == ["queued", "queued"]
    assert queue.cancel("b") == "not_found"
    assert queue.delete("b") == "deleted"

    assert queue.get_job_state("b") is None
    run(queue)
    assert queue.get_result("a") == 1


@pytest.mark.parametrize("bad", [b"", b"soon", b"\xff", b"-5", b"inf", b"nan", b"0x10"])
def test_an_expiry_that_is_no_number_stops_neither_the_reaper_nor_a_look(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str], bad: bytes
) -> None:
    commit(queue.storage, complete(claimed(queue.storage, "a"), b"1"))
    db_client.hset(key("jobs"), "a:exp", bad)
    db_client.zadd(key("completed"), {"a": 5, "orphan": 6, "eternal": float("inf"), b"\xff": 7})

    assert queue.get_result("a") == 1
    assert queue.get_job_state("a") is not None
    assert queue.enqueue("a", 2).status == "completed"
    assert queue.cancel("a") == "completed"
    queue.storage.sweep()

    expires = queue.inspect("a").expires  # type: ignore[union-attr]
    assert expires is not None and expires > time.time() * 1000
    Reaper(queue).run_once()
    assert queue.get_result("a") == 1
    assert [one.id for one in queue.list_jobs("completed").jobs] == ["eternal", "a"]


@pytest.mark.parametrize("stored", [b"", b"\0", bytes(8), b"\xff" * 20, b"\0\0\0\1\0\0\0\0{cut", DEEP])
def test_a_damaged_result_or_error_is_said_to_be_one(
    queue: Queue,
    db_client: redis.Redis,
    key: Callable[[str], str],
    stored: bytes,
    boss: Client,
    pages: Pages,
) -> None:
    commit(queue.storage, complete(claimed(queue.storage, "done")), fail(claimed(queue.storage, "failed")))
    db_client.hset(key("results"), "done", stored)
    db_client.hset(key("errors"), "failed", stored)

    with pytest.raises(SerializationError, match="'done'"):
        queue.get_result("done")
    with pytest.raises(SerializationError, match="'done'"):
        queue.wait("done", timeout=1)
    with pytest.raises(JobFailedError):
        queue.wait("failed", timeout=1)
    assert [one.status for one in queue.enqueue_many([("done", 1), ("new", 1)])] == ["duplicate", "queued"]
    queue.storage.sweep()
    for address in (pages.overview, pages.jobs("completed"), pages.jobs("failed"), pages.job("failed")):
        assert boss.get(address).status_code == 200


@pytest.mark.parametrize(
    "info", [b"", b"\xff", b"7", b"[]", DEEP, b'{"started":"yesterday","pid":[],"host":7,"concurrency":"x"}']
)
def test_damaged_entries_of_workers_are_shown_and_cleared_away(
    queue: Queue,
    db_client: redis.Redis,
    key: Callable[[str], str],
    info: bytes,
    boss: Client,
    pages: Pages,
) -> None:
    taken = claimed(queue.storage, "a", "odd")
    db_client.hset(key("workers"), mapping={"odd": "yesterday", b"\xff": "5", "idle": ""})
    db_client.hset(key("worker-info"), mapping={"odd": info, b"\xff": info})
    db_client.hset(key("jobs"), "a", "processing:1:odd")
    db_client.rpush(key("processing:").encode() + b"\xfe", taken.raw)

    assert {one.id for one in queue.workers()} >= {"odd", "idle"}
    assert boss.get(pages.overview).status_code == 200

    Reaper(queue).run_once()

    assert queue.get_job_state("a").status is Status.FAILING  # type: ignore[union-attr]
    assert not db_client.hexists(key("workers"), "odd") and not db_client.hexists(key("workers"), "idle")


@pytest.mark.parametrize(
    "report", [b"", b"\xff", b"7", b"[1]", DEEP, b'{"current":"x","total":{}}', b'{"current":NaN}']
)
def test_damaged_progress_and_marks_are_passed_over(
    queue: Queue,
    db_client: redis.Redis,
    key: Callable[[str], str],
    report: bytes,
    boss: Client,
    pages: Pages,
) -> None:
    queue.enqueue("a", 1)
    db_client.hset(key("progress"), mapping={"a": report, "nobody": report})
    db_client.hset(key("cancelled"), mapping={"a": report, b"\xff": report})

    assert queue.get_status("a") is not None
    assert boss.get(pages.job("a")).status_code == 200
    queue.storage.sweep()
    run(queue)

    assert queue.get_result("a") == 1


KEYS = {
    "jobs": "hash", "queue": "list", "results": "hash", "errors": "hash", "workers": "hash", "worker-info": "hash",
    "scheduled": "zset", "scheduled:messages": "hash", "completed": "zset", "failed": "zset", "dead": "hash",
    "cancelled": "hash", "malformed": "list", "reaper:lock": "string",
}  # fmt: skip


def flaky(job: Any) -> int:
    """Fails for good, once, or not, by the job's id."""
    if job.id == "bad" or (job.id == "again" and job.attempts == 1):
        raise ValueError(job.id)
    return 1


def test_a_key_of_another_type_is_named_with_the_remedy_and_loses_nothing(
    queue: Queue, db_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    # All at once, each in a queue of its own: live workers meet the key, and go on once it is gone.
    tried = {}
    for name in KEYS:
        prefix = f"{queue.config.key_prefix}{name}:"
        tried[name] = one = Queue(replace(queue.config, key_prefix=prefix, retry_backoff=0.2))
        one.enqueue_many([("again", 1), ("good", 1)])
        one.enqueue("bad", 1, max_attempts=1)
        one.enqueue("late", 1, delay=0.001)
        db_client.rpush(f"{prefix}queue", b"nonsense")
        if db_client.exists(prefix + name):
            db_client.rename(prefix + name, f"{prefix}aside")
        db_client.sadd(prefix + name, "in the way")
    workers = [Worker(one, handler=flaky, concurrency=2) for one in tried.values()]
    for worker in workers:
        worker.start()

    for name, one in tried.items():
        _await_complaint(f"{one.config.key_prefix + name!r} is a set, not a {KEYS[name]}", caplog)
        if db_client.exists(f"{one.config.key_prefix}aside"):
            # In one step: without the states of `jobs` the workers would drop the messages.
            db_client.rename(f"{one.config.key_prefix}aside", one.config.key_prefix + name)
        else:
            db_client.delete(one.config.key_prefix + name)

    for name, one in tried.items():
        _await_end(name, one)
        assert [one.get_result(job_id) for job_id in ("good", "again", "late")] == [1, 1, 1], name
        assert one.stats().malformed == 1, name
    for worker in workers:
        worker.request_stop()
    for worker in workers:
        worker.stop()
    for one in tried.values():
        one.close()
    assert "give this queue a KEY_PREFIX of its own" in caplog.text
    assert [worker.error for worker in workers if worker.error] == []


def _await_complaint(text: str, caplog: pytest.LogCaptureFixture) -> None:
    wait_until(lambda: text in caplog.text, 30, lambda: AssertionError(text))


def _await_end(name: str, queue: Queue) -> None:
    def all_over() -> bool:
        states = queue.get_job_states(["again", "good", "bad", "late"]).values()
        return all(state is not None and state.status.is_terminal for state in states)

    wait_until(all_over, 60, lambda: AssertionError(f"{name}: {queue.list_jobs('processing')} {queue.stats()}"))


def test_a_list_of_another_type_takes_no_message_away(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str]
) -> None:
    queue.enqueue_many([("a", 1), ('q"', 2)])
    db_client.set(key("processing:worker"), "in the way")

    for take in (lambda: queue.storage.claim("worker", 1), lambda: queue.storage.wait_and_take("worker", 1)):
        with pytest.raises(StorageError, match="processing:worker' is a string, not a list"):
            take()

    assert queue.stats().queued == 2
    run(queue)
    assert (queue.get_result("a"), queue.get_result('q"')) == (1, 2)


def test_a_producer_that_met_a_key_of_another_type_can_try_again(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str]
) -> None:
    commit(queue.storage, fail(claimed(queue.storage, "failed")))
    for name in ("queue", "scheduled", "scheduled:messages"):
        db_client.set(key(name), "in the way")
    attempts: list[Callable[[], Any]] = [
        lambda: queue.enqueue("now", 1).status,
        lambda: queue.enqueue("later", 1, delay=0.001).status,
        lambda: queue.retry("failed"),
    ]

    for attempt in attempts:
        with pytest.raises(StorageError, match="is a string, not a"):
            attempt()
    for name in ("queue", "scheduled", "scheduled:messages"):
        db_client.delete(key(name))

    assert [attempt() for attempt in attempts] == ["queued", "scheduled", True]
    wait_until(lambda: queue.storage.promote(10)[0] == 1, 30, never)
    run(queue)
    assert queue.get_result("now") == queue.get_result("later") == 1
    assert queue.get_job_state("failed").status is Status.COMPLETED  # type: ignore[union-attr]


def test_a_producer_is_told_of_a_key_of_another_type(
    queue: Queue, db_client: redis.Redis, key: Callable[[str], str]
) -> None:
    db_client.set(key("jobs"), "in the way")

    for call in (lambda: queue.enqueue("a"), lambda: queue.get_job_state("a"), lambda: queue.get_status("a")):
        with pytest.raises(StorageError, match=r"jobs' is a string, not a hash: .* KEY_PREFIX"):
            call()


#: Texts that tempt whoever splits, matches, formats or shows them.
ODD = [
    "<script>alert(1)</script>", '"\'`{{ x }}{% x %}', "a:b::c:", "%s %d %00 %(x)s %b", "^$().[]*+-?%w", "\\u0000\\",
    "naïve ☃ 𝄞 👩‍👩‍👧", "../../etc/passwd", "a b\u2028c\u200b", '","createdAt":1,"attempts":9,"maxAttempts":1}',
    "*?[a]", "__proto__", "exp", ":expx", "null", "0", "-1", "é" * 512, "jq:queue", "&amp;\xa0",
]  # fmt: skip


def test_odd_ids_and_payloads_go_all_the_way(
    queue: Queue,
    boss: Client,
    pages: Pages,
) -> None:
    payloads = {
        job_id: {"text": job_id, job_id: [job_id, "\0\r\n\t\x1b[31m", "\ud83d", "\U0001f600"]} for job_id in ODD
    }
    events: list[tuple[str, str]] = []
    end = queue.subscribe(lambda job_id, event: events.append((job_id, event)))

    def handler(job: Any) -> Any:
        if job.attempts == 1:
            raise ValueError(job.id + "\0")
        return job.payload

    queue.enqueue_many([(f"c{job_id}", None) for job_id in ODD if len(job_id) < 512])
    assert {queue.cancel(f"c{job_id}") for job_id in ODD if len(job_id) < 512} == {"cancelled"}
    queue.enqueue_many(payloads.items(), max_attempts=1)
    assert [one.id for one in queue.list_jobs("queued", 0, 200).jobs][-len(ODD) :] == ODD
    run(queue, handler)
    for job_id in ODD:
        assert queue.get_status(job_id).error["type"] == "builtins.ValueError", job_id  # type: ignore[union-attr, index]
        assert boss.get(pages.job(job_id)).status_code == 200
        assert "<script>" not in boss.get(pages.job(job_id)).content.decode().replace("<script src", "")
    assert boss.get(pages.jobs("failed")).status_code == 200
    run(queue, handler) if all(queue.retry(job_id) for job_id in ODD) else pytest.fail("a retry was refused")
    for job_id in ODD:
        assert queue.get_job_state(job_id).status is Status.FAILED  # type: ignore[union-attr]
        assert queue.delete(job_id) == "deleted"
        queue.enqueue(job_id, payloads[job_id])
    run(queue, lambda job: job.payload)

    assert {job_id: queue.get_result(job_id) for job_id in ODD} == payloads
    for job_id in ODD:
        assert boss.get(pages.job(job_id)).status_code == 200
    wait_until(lambda: {job_id for job_id, event in events if event == "completed"} == set(ODD), 30, never)
    end()


def test_ids_that_only_other_libraries_allow_run_and_are_listed(
    queue: Queue,
    db_client: redis.Redis,
    key: Callable[[str], str],
    boss: Client,
    pages: Pages,
) -> None:
    ids = ["a\nb", "\0", "x" * 1_000_000, "good:exp", "\x7f", "a\r\n\x1b[2J"]
    for n, job_id in enumerate(ids):
        raw = json.dumps(
            {"id": job_id, "payload": n, "createdAt": 5, "attempts": 0, "maxAttempts": 3, "resultTTL": 60_000},
            ensure_ascii=False, separators=(",", ":"),
        )  # fmt: skip
        db_client.rpush(key("queue"), raw.encode())
        db_client.hset(key("jobs"), job_id, "queued:5")
    queue.enqueue("good", "x")
    assert boss.get(pages.jobs("queued")).status_code == 200

    run(queue)

    assert queue.get_result("good") == "x"
    stored = {job_id.decode(): value[8:] for job_id, value in db_client.hgetall(key("results")).items()}
    assert {stored.pop(job_id) for job_id in ids} == {b"%d" % n for n in range(len(ids))}
    assert boss.get(pages.jobs("completed")).status_code == 200
    Reaper(queue).run_once()


def test_a_retry_of_a_deep_and_oddly_written_message_changes_its_numbers_alone() -> None:
    # The reader can just follow the payload; a writer nests deeper than a reader.
    for depth in (10, 900, 5_000, 9_900):
        raw = (
            b'{ "attempts" : 0 ,"id":"a","payload":%b,"big":1e400,"f":1.10,"maxAttempts":3,"createdAt":5,"t":"\\"{"}'
            % (b"[" * depth + b"]" * depth)
        )
        try:
            one = JobMessage.decode(raw)
        except ValueError:
            continue

        assert one.with_attempts(1).raw == raw.replace(b'"attempts" : 0', b'"attempts" : 1')
        assert one.renewed(77).raw == raw.replace(b'"createdAt":5', b'"createdAt":77')
