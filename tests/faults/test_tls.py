"""TLS with a private authority and client certificates, on all three connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from django_jobqueue.exceptions import StorageError
from django_jobqueue.queue import queues
from django_jobqueue.worker import Worker
from tests.app import jobs
from tests.integration.sentinel_cache import sentinel_cache
from tests.servers import SentinelTrio, Server, make_certificates, wait_until

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def mutual_server() -> Iterator[Server]:
    """A Redis server that asks clients for a certificate. The Valkey of our tests is built without TLS."""
    with Server("redis", tls=True, client_certificates=True) as server:
        yield server


@pytest.fixture(scope="module")
def mutual_trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelTrio]:
    """Primary, replicas and sentinels that ask each other and clients for a certificate."""
    with SentinelTrio("redis", tls=make_certificates(tmp_path_factory.mktemp("certificates"))) as trio:
        yield trio


@pytest.fixture
def alias(key_prefix: str, settings: Any) -> Iterator[Any]:
    """Set the default queue: ``alias(URL=...)``."""

    def change(**alias: Any) -> None:
        settings.JOBQUEUE = {"default": {"KEY_PREFIX": key_prefix, "BLOCK_TIMEOUT": 60, **alias}}

    yield change
    queues.close()


def address(server: Server, db: int, **options: str) -> str:
    """A ``rediss://`` address with these options only."""
    return f"rediss://localhost:{server.tls_port}/{db}?{urlencode(options)}"


def work_through(server: Server) -> None:
    """A job that is picked up by BLMOVE, and a waiter: the main, blocking and subscriber connections."""
    worker = Worker(queues["default"], concurrency=1)
    worker.start()
    try:
        assert jobs.echo.enqueue_and_wait("first") == "first"
        assert jobs.echo.enqueue_and_wait("second") == "second"
        with server.client() as client:
            names = {one["name"] for one in client.client_list()}
    finally:
        worker.stop()
    assert {"django-jobqueue:blocking:default", "django-jobqueue:subscriber:default"} <= names


def test_a_client_certificate_in_the_url(mutual_server: Server, alias: Any) -> None:
    alias(URL=mutual_server.tls_url(), CACHE=None)

    work_through(mutual_server)


def test_a_subscription_over_tls_stands_before_the_enqueue(mutual_server: Server, alias: Any) -> None:
    alias(URL=mutual_server.tls_url(), CACHE=None)
    storage = queues["default"].storage

    # The thread that owns the link sends it, perhaps late. Without TLS the caller has sent it, and goes on.
    listenings = [storage.listen_job(f"job-{n}", lambda event: None, lambda: None) for n in range(20)]

    assert all(listening.stands() for listening in listenings)


def test_a_client_certificate_in_a_django_redis_cache(mutual_server: Server, alias: Any, settings: Any) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"rediss://localhost:{mutual_server.tls_port}/1",
            "OPTIONS": {"CONNECTION_POOL_KWARGS": mutual_server.tls_options()},
        }
    }
    alias(CACHE="default")

    work_through(mutual_server)


def test_client_certificates_behind_sentinel(mutual_trio: SentinelTrio, alias: Any, settings: Any) -> None:
    addresses = [f"{host}:{port}" for host, port in mutual_trio.sentinels]
    options = mutual_trio.tls_options()
    settings.CACHES = {
        "default": sentinel_cache(
            f"redis://{mutual_trio.service_name}/0",
            addresses,
            CONNECTION_POOL_KWARGS=options,
            SENTINEL_KWARGS=options,
        )
    }
    alias(CACHE="default", MIN_REPLICAS=1)
    old = mutual_trio.primary()
    work_through(old)

    old.kill()

    new = mutual_trio.wait_for_new_primary(old)
    wait_until(lambda: is_accepted("after"), 60, lambda: AssertionError("nothing is accepted"))
    work_through(new)


def is_accepted(job_id: str) -> bool:
    """Whether an enqueue is answered, this time."""
    try:
        return jobs.echo.using(id=job_id).enqueue(1).status in ("queued", "duplicate")
    except StorageError:
        return False


def test_a_client_without_a_certificate_is_told(mutual_server: Server, alias: Any) -> None:
    alias(URL=address(mutual_server, 2, ssl_ca_certs=mutual_server.tls_options()["ssl_ca_certs"]), CACHE=None)

    with pytest.raises(StorageError, match="check that ssl_ca_certs, ssl_certfile .* client certificate"):
        queues["default"].enqueue("a")


def test_a_certificate_of_another_authority_is_told(mutual_server: Server, alias: Any, tmp_path: Path) -> None:
    others = make_certificates(tmp_path)
    certificate = {"ssl_certfile": str(others.client_certificate), "ssl_keyfile": str(others.client_key)}
    alias(URL=address(mutual_server, 3, **{**mutual_server.tls_options(), **certificate}), CACHE=None)

    with pytest.raises(StorageError, match="check that ssl_ca_certs, ssl_certfile .* client certificate"):
        queues["default"].enqueue("a")


def test_a_server_of_another_authority_is_told(mutual_server: Server, alias: Any, tmp_path: Path) -> None:
    trusted = {"ssl_ca_certs": str(make_certificates(tmp_path).authority)}
    alias(URL=address(mutual_server, 4, **{**mutual_server.tls_options(), **trusted}), CACHE=None)

    with pytest.raises(StorageError, match="certificate verify failed"):
        queues["default"].enqueue("a")


def test_a_missing_certificate_file_is_told(mutual_server: Server, alias: Any, tmp_path: Path) -> None:
    missing = {"ssl_certfile": str(tmp_path / "missing.crt")}
    alias(URL=address(mutual_server, 5, **{**mutual_server.tls_options(), **missing}), CACHE=None)

    with pytest.raises(StorageError, match="check that ssl_ca_certs, ssl_certfile"):
        queues["default"].enqueue("a")


def test_a_lost_link_without_tls_is_not_put_down_to_certificates(
    make_server: Callable[..., Server], alias: Any
) -> None:
    server = make_server("redis")
    alias(URL=server.url(), CACHE=None)
    queues["default"].enqueue("a")
    server.kill()

    with pytest.raises(StorageError, match="safe to try again$"):
        queues["default"].enqueue("b")
