"""``Worker`` and ``Reaper`` in this process: claiming, shutdown, full servers, signals, databases."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from django_jobqueue import signals
from django_jobqueue.exceptions import InvalidOption, JobFailedError
from django_jobqueue.message import Status
from django_jobqueue.queue import Queue
from django_jobqueue.reaper import Reaper
from django_jobqueue.worker import Worker
from tests.servers import Server, wait_until


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


class Gate:
    """A handler that holds every job until it is told to go on."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __call__(self, job: Any) -> Any:
        self.began.release()
        self.go_on.wait(60)
        return job.payload

    def wait_for(self, jobs: int) -> None:
        for _ in range(jobs):
            assert self.began.acquire(timeout=20)


def test_no_more_jobs_are_taken_than_can_run(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    gate = Gate()
    queue.enqueue_many([(f"job-{n}", n) for n in range(20)])

    worker = make_worker(queue, handler=gate, concurrency=3)
    gate.wait_for(3)

    assert queue.stats().processing == 3
    assert queue.stats().queued == 17
    gate.go_on.set()
    assert [queue.wait(f"job-{n}") for n in range(20)] == list(range(20))
    worker.stop()
    assert (queue.stats().processing, queue.stats().workers) == (0, 0)


def test_a_burst_works_until_nothing_is_left(queue: Queue) -> None:
    queue.enqueue_many([(f"job-{n}", n) for n in range(250)])
    queue.enqueue("later", delay=60)

    Worker(queue, handler=lambda job: job.payload, concurrency=4).run_until_empty()

    stats = queue.stats()
    assert (stats.completed, stats.queued, stats.processing, stats.scheduled) == (250, 0, 0, 1)


def test_a_burst_runs_what_its_jobs_enqueue_and_retries_at_once(configure: Callable[..., Queue]) -> None:
    queue = configure(RETRY_BACKOFF=0)

    def handler(job: Any) -> None:
        if job.attempts == 1:
            raise ValueError("again")
        if job.payload:
            queue.enqueue(f"{job.id}-child", job.payload - 1)

    queue.enqueue("a", 3)
    Worker(queue, handler=handler, concurrency=2).run_until_empty()

    assert queue.stats().completed == 4


def test_a_worker_stops_after_its_number_of_jobs(queue: Queue) -> None:
    queue.enqueue_many([(f"job-{n}", n) for n in range(10)])

    Worker(queue, handler=lambda job: None, concurrency=4, max_jobs=6).run()

    assert (queue.stats().completed, queue.stats().queued) == (6, 4)


def test_stopping_lets_running_jobs_finish(queue: Queue, make_worker: Callable[..., Worker]) -> None:
    gate = Gate()
    queue.enqueue_many([(f"job-{n}", n) for n in range(4)])
    worker = make_worker(queue, handler=gate, concurrency=2)
    gate.wait_for(2)

    worker.request_stop()
    gate.go_on.set()
    worker.join()

    states = queue.get_job_states([f"job-{n}" for n in range(4)])
    assert [one.status for one in states.values() if one] == [Status.COMPLETED] * 2 + [Status.QUEUED] * 2


def test_what_does_not_finish_in_time_is_given_back_in_order_without_an_attempt(
    queue: Queue, make_worker: Callable[..., Worker]
) -> None:
    gate = Gate()
    queue.enqueue_many([(f"job-{n}", n) for n in range(4)])
    worker = make_worker(queue, handler=gate, concurrency=2)
    gate.wait_for(2)

    worker.stop(timeout=0)

    assert [one.status for one in queue.get_job_states([f"job-{n}" for n in range(4)]).values() if one] == [
        Status.QUEUED
    ] * 4
    order: list[tuple[str, int]] = []
    Worker(queue, handler=lambda job: order.append((job.id, job.attempts)), concurrency=1).run_until_empty()
    assert order == [(f"job-{n}", 1) for n in range(4)]
    gate.go_on.set()


def test_an_idle_worker_stops_at_once(configure: Callable[..., Queue], make_worker: Callable[..., Worker]) -> None:
    queue = configure(BLOCK_TIMEOUT=3600)
    worker = make_worker(queue)
    wait_until(lambda: _is_blocked(queue), 20, never)

    worker.request_stop()
    worker.join()

    assert not worker.is_alive


def _is_blocked(queue: Queue) -> bool:
    info = queue.storage._connector.main().info("clients")  # type: ignore[attr-defined]
    return bool(info["blocked_clients"])


def test_a_stopped_worker_leaves_no_trace(queue: Queue, make_worker: Callable[..., Worker], server: Server) -> None:
    worker = make_worker(queue, handler=lambda job: job.payload)
    queue.enqueue_and_wait("a", 1)
    queue.update_result_ttl("a", 0.001)
    wait_until(lambda: queue.get_status("a") is None, 10, never)
    worker.stop()

    Reaper(queue).run_once()

    with server.client() as client:
        assert list(client.scan_iter(f"{queue.config.key_prefix}*")) == []


def test_jobs_get_a_working_database_connection(
    queue: Queue, make_worker: Callable[..., Worker], transactional_db: None
) -> None:
    def handler(job: Any) -> int:
        if job.payload == "break":
            connection.connection.close()
            raise ValueError("the connection is broken now")
        with connection.cursor() as cursor:
            cursor.execute("SELECT 41 + 1")
            return int(cursor.fetchone()[0])

    make_worker(queue, handler=handler, concurrency=1)

    assert queue.enqueue_and_wait("a") == 42
    queue.enqueue("b", "break", max_attempts=1)
    assert queue.enqueue_and_wait("c") == 42


def test_no_job_begins_before_the_receivers_of_worker_started_are_done(
    queue: Queue, make_worker: Callable[..., Worker]
) -> None:
    job_began = threading.Event()
    began_early: list[bool] = []

    def prepare(sender: Any, worker: Worker, **news: Any) -> None:
        # Long enough for a job that is not held back.
        began_early.append(job_began.wait(0.3))

    queue.enqueue("a")
    signals.worker_started.connect(prepare)
    try:
        make_worker(queue, handler=lambda job: job_began.set(), concurrency=1)
        assert job_began.wait(10)
    finally:
        signals.worker_started.disconnect(prepare)

    assert began_early == [False]


def test_signals_of_the_worker(configure: Callable[..., Queue]) -> None:
    queue = configure(RETRY_BACKOFF=0)
    heard: list[tuple[str, Any]] = []

    def listener(name: str) -> Callable[..., None]:
        return lambda sender, **news: heard.append((name, news))

    names = ("job_started", "job_completed", "job_failing", "job_failed", "worker_started", "worker_stopped")
    receivers = {name: listener(name) for name in names}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver)
    try:
        queue.enqueue("good", 1)
        queue.enqueue("bad", 2, max_attempts=2)

        def handler(job: Any) -> Any:
            if job.id == "bad":
                raise ValueError("boom")
            return job.payload

        Worker(queue, handler=handler, concurrency=1).run_until_empty()
    finally:
        for name, receiver in receivers.items():
            getattr(signals, name).disconnect(receiver)

    named = [(name, news.get("job_id")) for name, news in heard]
    assert named[0][0] == "worker_started"
    assert named[-1][0] == "worker_stopped"
    assert [name for name, job_id in named if job_id == "good"] == ["job_started", "job_completed"]
    assert [name for name, job_id in named if job_id == "bad"] == [
        "job_started", "job_failing", "job_started", "job_failed"
    ]  # fmt: skip
    results = dict(heard)
    assert results["job_completed"]["result"] == 1
    assert str(results["job_failed"]["exception"]) == "job 'bad' failed after 2 attempts: boom"


def test_a_receiver_that_raises_does_no_harm(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    def receiver(sender: Any, **_: Any) -> None:
        raise RuntimeError("bad receiver")

    signals.job_completed.connect(receiver)
    try:
        queue.enqueue("a", 1)
        Worker(queue, handler=lambda job: 1).run_until_empty()
    finally:
        signals.job_completed.disconnect(receiver)

    assert queue.get_result("a") == 1


def test_malformed_messages_are_quarantined_and_the_worker_goes_on(
    queue: Queue, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = queue.config.key_prefix
    # Readable to the script by its ends, but no JSON.
    broken = b'{"id":"x","payload":{{,"createdAt":5,"attempts":0,"maxAttempts":3,"resultTTL":5}'
    hostile = [b"", b"\x00\xff", b"[]", b"null", b'{"id":5}', b"{" * 5000, broken]
    with server.client() as client:
        client.rpush(f"{prefix}queue", *hostile)
        client.hset(f"{prefix}jobs", "x", "queued:5")
        queue.enqueue("good", 1)

        Worker(queue, handler=lambda job: job.payload).run_until_empty()

        assert sorted(client.lrange(f"{prefix}malformed", 0, -1)) == sorted(hostile)
        assert queue.stats().malformed == len(hostile)
    assert queue.get_result("good") == 1
    assert queue.stats().processing == 0
    with pytest.raises(JobFailedError) as caught:
        queue.wait("x")
    assert caught.value.error["code"] == "MALFORMED_MESSAGE"


def test_one_message_after_the_other_taken_from_an_idle_queue_may_be_malformed(
    queue: Queue, make_worker: Callable[..., Worker], server: Server
) -> None:
    make_worker(queue, handler=lambda job: job.payload)
    wait_until(lambda: _is_blocked(queue), 20, never)
    with server.client() as client:
        client.rpush(f"{queue.config.key_prefix}queue", b"nonsense")

    assert queue.enqueue_and_wait("good", 1) == 1
    assert queue.stats().malformed == 1


@pytest.mark.parametrize(
    "options", [{"concurrency": 0}, {"concurrency": True}, {"max_jobs": 0}, {"worker_id": "a:b"}, {"worker_id": ""}]
)
def test_bad_options_of_a_worker_are_refused(queue: Queue, options: Any) -> None:
    with pytest.raises(InvalidOption, match=next(iter(options))):
        Worker(queue, **options)


def test_a_worker_of_the_same_id_settles_what_its_forerunner_left(
    queue: Queue, make_worker: Callable[..., Worker]
) -> None:
    queue.enqueue_many([("started", 1), ("taken", 2)])
    assert len(queue.storage.claim("fixed", 1).messages) == 1
    assert queue.storage.wait_and_take("fixed", 1) is not None
    attempts: dict[str, int] = {}

    make_worker(queue, handler=lambda job: attempts.update({job.id: job.attempts}), worker_id="fixed")

    queue.wait("started"), queue.wait("taken")
    assert attempts == {"started": 2, "taken": 1}


# Delayed jobs and the reaper


def test_a_delayed_job_runs_when_it_is_due(queue: Queue, worker: Worker) -> None:
    from tests.app import jobs

    assert jobs.add.using(delay=0.3).enqueue_and_wait(1, 2) == 3


def test_a_retry_with_back_off_runs(configure: Callable[..., Queue], make_worker: Callable[..., Worker]) -> None:
    queue = configure(RETRY_BACKOFF=0.2)

    def handler(job: Any) -> int:
        if job.attempts < 3:
            raise ValueError("again")
        return int(job.attempts)

    make_worker(queue, handler=handler)

    assert queue.enqueue_and_wait("a", max_attempts=3) == 3


def test_one_of_several_reapers_leads_and_another_takes_over_after_a_clean_stop(
    configure: Callable[..., Queue],
) -> None:
    queue = configure(
        VISIBILITY_TIMEOUT=600, REAPER={"LOCK_TTL": 600, "RENEW_INTERVAL": 200, "ACQUIRE_INTERVAL": 300}
    )
    first, second = Reaper(queue), Reaper(queue)
    first.start()
    wait_until(lambda: first.is_leader, 20, never)
    second.start()
    wait_until(lambda: _hears_of_the_lock(queue), 20, never)
    assert not second.is_leader

    first.stop()

    # Long before the lock would run out or the next attempt is due: the leader said goodbye.
    wait_until(lambda: second.is_leader, 20, never)
    assert queue.stats().leader == second.id
    second.stop()
    assert queue.stats().leader is None


def _hears_of_the_lock(queue: Queue) -> bool:
    channel = queue.storage.keys.lock_channel  # type: ignore[attr-defined]
    ((_, listeners),) = queue.storage._connector.main().pubsub_numsub(channel)  # type: ignore[attr-defined]
    return bool(listeners)


def test_a_crashed_leader_is_replaced_when_its_lock_has_run_out(configure: Callable[..., Queue]) -> None:
    queue = configure(VISIBILITY_TIMEOUT=1)
    queue.storage.acquire_lock("crashed", 0.5)
    reaper = Reaper(queue)
    reaper.start()

    wait_until(lambda: reaper.is_leader, 20, never)
    reaper.stop()


def test_a_deposed_leader_notices_and_follows(configure: Callable[..., Queue], server: Server) -> None:
    queue = configure(VISIBILITY_TIMEOUT=1)
    reaper = Reaper(queue)
    reaper.start()
    wait_until(lambda: reaper.is_leader, 20, never)
    with server.client() as client:
        client.set(f"{queue.config.key_prefix}reaper:lock", "usurper")
        wait_until(lambda: not reaper.is_leader, 20, never)
        reaper.stop()
        assert client.get(f"{queue.config.key_prefix}reaper:lock") == b"usurper"


def test_reapers_without_election_all_work(queue: Queue) -> None:
    reapers = [Reaper(queue, leader_election=False) for _ in range(2)]
    for reaper in reapers:
        reaper.start()
    wait_until(lambda: all(reaper.is_leader for reaper in reapers), 20, never)

    assert queue.stats().leader is None
    for reaper in reapers:
        reaper.stop()


def test_signals_of_the_reaper(configure: Callable[..., Queue]) -> None:
    queue = configure(VISIBILITY_TIMEOUT=0.01, MAX_ATTEMPTS=2)
    heard: list[dict[str, Any]] = []

    def receiver(sender: Any, **news: Any) -> None:
        heard.append(news)

    signals.job_stalled.connect(receiver)
    try:
        queue.enqueue("a")
        reaper = Reaper(queue)
        for _ in range(2):
            assert queue.storage.claim("dead", 1).messages
            wait_until(lambda: reaper.run_once() > 0, 10, never)
    finally:
        signals.job_stalled.disconnect(receiver)

    assert [(one["job_id"], one["worker_id"], one["attempts"], one["failed"]) for one in heard] == [
        ("a", "dead", 1, False),
        ("a", "dead", 2, True),
    ]
    status = queue.get_status("a")
    assert status is not None and status.error is not None
    assert (status.state, status.error["code"]) == (Status.FAILED, "STALLED")


def test_a_job_that_was_only_taken_is_recovered_at_the_second_look(configure: Callable[..., Queue]) -> None:
    queue = configure(VISIBILITY_TIMEOUT=0.3)
    queue.enqueue("a")
    assert queue.storage.wait_and_take("node-worker", 1) is not None
    reaper = Reaper(queue)

    assert reaper.run_once() == 0
    wait_until(lambda: reaper.run_once() == 1, 10, never)

    assert queue.stats().queued == 1
    status = queue.get_status("a")
    assert status is not None and (status.state, status.attempts) == (Status.QUEUED, 0)


def test_a_lost_list_is_found_among_thousands_of_other_keys(configure: Callable[..., Queue], server: Server) -> None:
    queue = configure(VISIBILITY_TIMEOUT=0.05)
    queue.enqueue("a")
    assert queue.storage.wait_and_take("unlisted", 1) is not None
    foreign = [f"{queue.config.key_prefix}foreign:{n}" for n in range(5000)]
    reaper = Reaper(queue)
    with server.client() as client:
        client.mset(dict.fromkeys(foreign, "x"))

        wait_until(lambda: reaper.run_once() == 1, 30, never)

        client.unlink(*foreign)
    assert queue.stats().queued == 1


def test_dead_workers_are_taken_off_the_list(configure: Callable[..., Queue]) -> None:
    queue = configure(VISIBILITY_TIMEOUT=0.05)
    queue.storage.renew("dead", b"{}", [])
    reaper = Reaper(queue)

    wait_until(lambda: reaper.run_once() == 0 and queue.stats().workers == 0, 10, never)


def test_a_worker_says_goodbye_in_its_log(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "django_jobqueue"):
        Worker(queue, worker_id="w1").run_until_empty()

    assert "worker w1 has stopped" in caplog.text
