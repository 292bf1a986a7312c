"""Fixtures that give tests real servers, and a queue configured on them."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_jobqueue.queue import Queue, queues
from tests.containers import IMAGES, Choice, Source, asked_images, choose, container, has_engine, has_program
from tests.faults.processes import CommandProcess
from tests.servers import Cluster, ExternalServer, SentinelTrio, Server


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let images be asked for."""
    parser.addoption(
        "--container-image",
        action="append",
        default=[],
        metavar="IMAGE",
        help="run on a server in a container, like redis:7 or valkey/valkey:8; may be given more than once",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once on each server there is for it; see ``tests.containers``."""
    images = asked_images(
        metafunc.config.getoption("--container-image"), os.environ.get("JOBQUEUE_TEST_CONTAINER_IMAGES")
    )
    if "server" in metafunc.fixturenames:
        choices = choose(os.environ.get("JOBQUEUE_TEST_REDIS_URL"), images, has_program, has_engine)
        metafunc.parametrize("server", choices, indirect=True, scope="session", ids=lambda choice: choice.name)
    if "container_server" in metafunc.fixturenames:
        metafunc.parametrize("container_server", images or IMAGES, indirect=True, scope="session")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """One Redis server for the whole run; share it by key prefix, and don't stop it."""
    with Server("redis") as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Server]:
    """One Valkey server for the whole run; share it by key prefix, and don't stop it."""
    with Server("valkey") as server:
        yield server


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server | ExternalServer]:
    """Each server in turn that ``tests.containers.choose`` names: the test runs once on each."""
    choice: Choice = request.param
    match choice.source:
        case Source.URL:
            yield ExternalServer(choice.what)
        case Source.PROGRAM:
            yield request.getfixturevalue(f"{choice.what}_server")
        case Source.CONTAINER:
            with container(choice.what) as server:
                yield server


@pytest.fixture(scope="session")
def container_server(request: pytest.FixtureRequest) -> Iterator[ExternalServer]:
    """Each image in turn that was asked for, or else each that we support."""
    with container(request.param) as server:
        yield server


@pytest.fixture
def make_server() -> Iterator[Callable[..., Server]]:
    """A factory of started servers of the test's own, to kill, freeze, fill or restart.

    ``make_server(kind="redis", **options)`` takes the options of ``Server``.
    """
    made: list[Server] = []

    def make(kind: str = "redis", **options: Any) -> Server:
        server = Server(kind, **options)
        made.append(server)
        return server.start()

    yield make

    for server in made:
        server.close()


@pytest.fixture(scope="module")
def tls_server() -> Iterator[Server]:
    """A Redis server that also listens with TLS; ``tls_url()`` names its own certificate authority."""
    with Server("redis", tls=True) as server:
        yield server


@pytest.fixture(scope="module", params=["redis", "valkey"])
def sentinel(request: pytest.FixtureRequest) -> Iterator[SentinelTrio]:
    """One primary, two replicas and three sentinels, of each kind in turn. Call ``restore()`` after killing one."""
    with SentinelTrio(request.param) as trio:
        yield trio


@pytest.fixture(scope="module", params=["redis", "valkey"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of three primaries, of each kind in turn."""
    with Cluster(request.param) as cluster:
        yield cluster


@pytest.fixture
def key_prefix() -> str:
    """A key prefix that no other test uses."""
    return f"jqtest:{uuid.uuid4().hex[:12]}:"


@pytest.fixture
def jobqueue_settings(server: Server | ExternalServer, key_prefix: str, settings: Any) -> Iterator[dict[str, Any]]:
    """``settings.JOBQUEUE`` with a default alias on ``server`` under the test's own prefix.

    Yields the dict of the default alias. To change it, assign ``settings.JOBQUEUE`` anew with an altered
    copy: the assignment is what makes the queues forget their old configuration.
    """
    alias = {"URL": server.url(), "KEY_PREFIX": key_prefix, "CACHE": None}
    settings.JOBQUEUE = {"default": alias}

    yield alias

    if isinstance(server, ExternalServer):  # our own servers are thrown away with all they hold
        server.forget(key_prefix)


@pytest.fixture
def configure(jobqueue_settings: dict[str, Any], settings: Any) -> Callable[..., Queue]:
    """Change settings of the default queue, and return the queue: ``configure(RETRY_BACKOFF=0)``."""

    def change(**changed: Any) -> Queue:
        settings.JOBQUEUE = {"default": {**jobqueue_settings, **changed}}
        return queues["default"]

    return change


@pytest.fixture
def queue(configure: Callable[..., Queue]) -> Iterator[Queue]:
    """The default queue, empty."""
    yield configure()
    queues.close()


@pytest.fixture
def start_command(queue: Queue) -> Iterator[Callable[..., CommandProcess]]:
    """Start a management command on the queue's server: ``start_command("jobqueue_worker", "--burst")``."""
    started: list[CommandProcess] = []

    def start(*arguments: str, **environment: str) -> CommandProcess:
        process = CommandProcess(queue.config.url or "", queue.config.key_prefix, *arguments, **environment)
        started.append(process)
        return process

    yield start

    for process in started:
        process.close()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A file in which jobs note that they began and ended."""
    path = tmp_path / "journal"
    path.touch()
    return path
