"""Connections: from caches and URLs, with every option that could get in their way."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.signals import request_finished

from django_jobqueue import queues
from django_jobqueue.exceptions import StorageError, UnsupportedServer
from django_jobqueue.queue import Queue
from django_jobqueue.worker import Worker
from tests.app import jobs
from tests.integration.old_server import OldServer
from tests.servers import Server, wait_until

CacheQueue = Callable[..., Queue]


def never(*_: object) -> AssertionError:
    return AssertionError("it did not happen")


@pytest.fixture
def cache_queue(settings: Any, key_prefix: str) -> Iterator[CacheQueue]:
    """A queue on a django-redis cache: ``cache_queue(location, options, **queue_settings)``."""

    def make(location: str, options: dict[str, Any] | None = None, **queue_settings: Any) -> Queue:
        settings.CACHES = {
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": location,
                "OPTIONS": options or {},
                "KEY_PREFIX": "cache-prefix",
            }
        }
        settings.JOBQUEUE = {"default": {"CACHE": "default", "KEY_PREFIX": key_prefix, **queue_settings}}
        return queues["default"]

    yield make
    queues.close()


def work_through(queue: Queue, **worker: Any) -> None:
    """One job of each kind, through all three connections."""
    running = Worker(queue, concurrency=2, **worker)
    running.start()
    try:
        assert jobs.echo.enqueue_and_wait("ünï 🎉") == "ünï 🎉"
        assert jobs.fail_until.enqueue_and_wait(2) == 2  # type: ignore[call-arg, arg-type]
        assert jobs.add.using(delay=0.05).enqueue_and_wait(1, 2) == 3
        assert queue.stats().completed == 3
        assert [worker.id for worker in queue.workers()] == [running.id]
    finally:
        running.stop()


def test_a_plain_cache(server: Server, cache_queue: CacheQueue) -> None:
    # A database of its own per test keeps django-redis from reusing the pool of another one.
    work_through(cache_queue(server.url(db=1)))


@pytest.mark.parametrize(
    "options",
    [
        {"CONNECTION_POOL_KWARGS": {"decode_responses": True}},
        {"SOCKET_TIMEOUT": 1},
        {"CONNECTION_POOL_KWARGS": {"protocol": 2}},
        {"CONNECTION_POOL_KWARGS": {"max_connections": 50, "health_check_interval": 1}},
        {"SERIALIZER": "django_redis.serializers.json.JSONSerializer", "IGNORE_EXCEPTIONS": True},
        {"COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"},
        {"CLIENT_CLASS": "django_redis.client.HerdClient"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_the_cache_do_no_harm(
    valkey_server: Server, cache_queue: CacheQueue, options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    # django-redis caches pools by URL; a distinct one makes these options take effect.
    location = f"{valkey_server.url(db=2)}?client_name=c{abs(hash(request.node.name))}"

    work_through(cache_queue(location, options))


def test_a_short_socket_timeout_does_not_break_the_wait_for_jobs(server: Server, cache_queue: CacheQueue) -> None:
    queue = cache_queue(server.url(db=3), {"SOCKET_TIMEOUT": 0.2}, BLOCK_TIMEOUT=1)

    assert queue.storage.wait_and_take("worker", 1) is None


def test_a_cache_that_closes_its_connections_after_each_request(server: Server, cache_queue: CacheQueue) -> None:
    queue = cache_queue(server.url(db=4), {"CLOSE_CONNECTION": True})
    worker = Worker(queue, concurrency=4)
    worker.start()
    done = threading.Event()

    def end_requests() -> None:
        # As in a web process that answers some hundred requests a second.
        while not done.wait(0.003):
            caches["default"].get("x")
            request_finished.send(sender=None)

    closer = threading.Thread(target=end_requests)
    closer.start()
    try:
        results = [jobs.echo.enqueue_and_wait(n) for n in range(30)]
    finally:
        done.set()
        closer.join()
        worker.stop()

    assert results == list(range(30))


def test_the_connections_have_names(server: Server, cache_queue: CacheQueue) -> None:
    queue = cache_queue(server.url(db=5))
    worker = Worker(queue)
    worker.start()
    try:
        jobs.echo.enqueue_and_wait(1)
        with server.client() as client:
            listed = [one for one in client.client_list() if one["db"] in (5, "5")]
    finally:
        worker.stop()

    names = [one["name"] for one in listed]
    assert names.count("django-jobqueue:blocking:default") == 1
    assert names.count("django-jobqueue:subscriber:default") == 1


def test_user_password_and_database(make_server: Callable[..., Server], cache_queue: CacheQueue) -> None:
    server = make_server(acl_users=["app on >s3cret ~* &* +@all"], config={"requirepass": "other"})

    in_options = {"USERNAME": "app", "PASSWORD": "s3cret"}
    work_through(cache_queue(server.url(db=3), in_options))
    work_through(cache_queue(server.url(db=4, username="app", password="s3cret")))

    with pytest.raises(StorageError, match="check user, password and ACL"):
        cache_queue(server.url(db=5), {"USERNAME": "app", "PASSWORD": "wrong"}).enqueue("a")


def test_a_missing_right_is_told(make_server: Callable[..., Server], settings: Any) -> None:
    server = make_server(acl_users=["app on >s3cret ~jq:* &jq:* -@all +@connection +@read"])
    settings.JOBQUEUE = {"default": {"URL": server.url(username="app", password="s3cret"), "CACHE": None}}

    with pytest.raises(StorageError, match="check user, password and ACL"):
        queues["default"].enqueue("a")


def test_a_unix_socket(make_server: Callable[..., Server], cache_queue: CacheQueue, settings: Any) -> None:
    server = make_server(unix_socket=True)

    work_through(cache_queue(server.unix_url()))
    settings.JOBQUEUE = {"default": {"URL": server.unix_url(db=1), "CACHE": None}}
    work_through(queues["default"])


def test_tls(tls_server: Server, cache_queue: CacheQueue, settings: Any) -> None:
    authority = tls_server.certificates.authority
    location = f"rediss://localhost:{tls_server.tls_port}/0"

    work_through(cache_queue(location, {"CONNECTION_POOL_KWARGS": {"ssl_ca_certs": str(authority)}}))
    settings.JOBQUEUE = {"default": {"URL": tls_server.tls_url(db=1), "CACHE": None}}
    work_through(queues["default"])


def test_tls_with_an_unknown_authority_is_refused(tls_server: Server, settings: Any) -> None:
    settings.JOBQUEUE = {"default": {"URL": f"rediss://localhost:{tls_server.tls_port}/0", "CACHE": None}}

    with pytest.raises(StorageError, match="certificate"):
        queues["default"].enqueue("a")


def test_a_cache_of_another_kind_is_refused(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.integration.test_connections.HomeGrownCache"}}
    settings.JOBQUEUE = {"default": {"CACHE": "default"}}

    with pytest.raises(StorageError, match=r"HomeGrownCache, not a django-redis cache"):
        queues["default"].enqueue("a")


class HomeGrownCache:
    """A cache that is none of django-redis."""

    def __init__(self, *_: object) -> None: ...

    def close(self, **_: object) -> None: ...


def test_a_sharded_cache_is_refused(server: Server, cache_queue: CacheQueue) -> None:
    queue = cache_queue(server.url(), {"CLIENT_CLASS": "django_redis.client.ShardClient"})

    with pytest.raises(StorageError, match="ShardClient"):
        queue.enqueue("a")


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("redis_version:6.2.14", "redis 6.2.14"),
        ("redis_version:7.2.4\r\nvalkey_version:7.0.0", "valkey 7.0.0"),
    ],
)
def test_an_old_server_is_refused_by_name(settings: Any, version: str, words: str) -> None:
    with OldServer(version) as old:
        settings.JOBQUEUE = {"default": {"URL": old.url, "CACHE": None}}

        with pytest.raises(UnsupportedServer, match=f"the server is {words}; django-jobqueue needs Redis 7.0"):
            queues["default"].enqueue("a")
        with pytest.raises(UnsupportedServer):
            Worker(queues["default"]).run()
        queues.close()


# Forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_has_connections_of_its_own(queue: Queue, worker: Worker) -> None:
    assert jobs.echo.enqueue_and_wait("parent") == "parent"  # main and subscriber are open now

    script = (
        "import os, sys, django, threading\n"
        "django.setup()\n"
        "from django_jobqueue import queues\n"
        "from tests.app import jobs\n"
        "assert jobs.echo.enqueue_and_wait('before') == 'before'\n"
        "pid = os.fork()\n"
        "values = [f'{pid == 0}-{n}' for n in range(50)]\n"
        "results = [jobs.echo.enqueue_and_wait(value) for value in values]\n"
        "assert results == values, results\n"
        "if pid == 0:\n"
        "    os._exit(0)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0\n"
        "print('both worked')\n"
    )
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.integration.process_settings",
        "JOBQUEUE_PROCESS_URL": queue.config.url or "",
        "JOBQUEUE_PROCESS_PREFIX": queue.config.key_prefix,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "both worked\n"), done.stderr


# Scripts


def test_flushed_scripts_are_loaded_again_even_inside_pipelines(queue: Queue, server: Server) -> None:
    with server.client() as client:
        for n in range(3):
            client.script_flush()
            queue.enqueue_many([(f"{n}-{i}", i) for i in range(10)])
            client.script_flush()
            Worker(queue, handler=lambda job: job.payload, concurrency=3).run_until_empty()
            client.script_flush()
            assert [queue.get_result(f"{n}-{i}") for i in range(10)] == list(range(10))


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_a_server_that_restarts_keeps_the_jobs_and_the_worker(
    make_server: Callable[..., Server], settings: Any, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(kind, appendonly=True)
    settings.JOBQUEUE = {"default": {"URL": server.url(), "CACHE": None, "BLOCK_TIMEOUT": 1}}
    queue = queues["default"]
    gate = threading.Event()

    def handler(job: Any) -> Any:
        gate.wait(30)
        return job.payload

    worker = Worker(queue, handler=handler, concurrency=2, reaper=False)
    worker.start()
    queue.enqueue_many([(f"job-{n}", n) for n in range(10)])
    wait_until(lambda: queue.stats().processing == 2, 20, never)
    server.kill()
    gate.set()  # both jobs finish while there is no server: their results must be kept
    wait_until(lambda: "trying again until it works" in caplog.text, 20, never)
    server.restart()

    assert [queue.wait(f"job-{n}", timeout=30) for n in range(10)] == list(range(10))

    wait_until(lambda: "the storage works again" in caplog.text, 20, never)
    assert caplog.text.count("trying again until it works") == 1
    worker.stop()
    queues.close()


def test_waiters_survive_the_loss_of_the_subscriber_connection(
    queue: Queue, make_worker: Callable[..., Worker], server: Server
) -> None:
    gate = threading.Event()

    def handler(job: Any) -> Any:
        gate.wait(30)
        return job.payload

    make_worker(queue, handler=handler, concurrency=50)
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(queue.enqueue_and_wait(f"job-{n}", n, timeout=60)))
        for n in range(50)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: queue.stats().processing == 50, 20, never)
    with server.client() as client:

        def cut() -> None:
            for one in client.client_list():
                if one["name"] == "django-jobqueue:subscriber:default":
                    client.client_kill_filter(_id=one["id"])

        for _ in range(5):
            cut()
        gate.set()
        cut()
    for thread in threads:
        thread.join(60)

    assert sorted(results) == list(range(50))


def test_a_killed_blocking_connection_comes_back(
    queue: Queue, make_worker: Callable[..., Worker], server: Server
) -> None:
    make_worker(queue, handler=lambda job: job.payload)
    with server.client() as client:
        for n in range(5):
            for one in client.client_list():
                if one["name"].startswith("django-jobqueue:blocking"):
                    client.client_kill_filter(_id=one["id"])
            assert queue.enqueue_and_wait(f"job-{n}", n) == n


@pytest.mark.parametrize(("serves_stale_data", "words"), [("yes", "read only replica"), ("no", "MASTER is down")])
def test_a_worker_outlasts_a_server_that_is_a_replica_for_a_while(
    make_server: Callable[..., Server],
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    serves_stale_data: str,
    words: str,
) -> None:
    server = make_server("redis", config={"replica-serve-stale-data": serves_stale_data})
    settings.JOBQUEUE = {"default": {"URL": server.url(), "CACHE": None, "BLOCK_TIMEOUT": 1}}
    queue = queues["default"]
    worker = Worker(queue, handler=lambda job: job.payload)
    worker.start()
    assert queue.enqueue_and_wait("before", 1) == 1
    with server.client() as client:
        client.replicaof("127.0.0.1", 1)  # nobody is there
        wait_until(lambda: "trying again until it works" in caplog.text, 30, never)
        # Without stale data it refuses to be read, too.
        with pytest.raises(StorageError, match=words):
            queue.enqueue("refused") if serves_stale_data == "yes" else queue.stats()
        client.replicaof("NO", "ONE")

    wait_until(lambda: "the storage works again" in caplog.text, 30, never)
    assert queue.enqueue_and_wait("after", 2) == 2
    worker.stop()
    queues.close()
