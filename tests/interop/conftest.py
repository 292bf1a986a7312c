"""A queue that a Django process and Node.js processes share, on each kind of server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from django_jobqueue import Queue, queues
from django_jobqueue.worker import Worker
from tests.interop.handlers import Handler
from tests.interop.node_peer import NodeNotInstalled, NodePeer, require_node
from tests.servers import ExternalServer, Server


@pytest.fixture(scope="session", autouse=True)
def installed_node() -> None:
    """Fail, and don't skip, when the npm packages are missing: the shared format must stay tested."""
    try:
        require_node()
    except NodeNotInstalled as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.fixture
def configure(jobqueue_settings: dict[str, Any], settings: Any) -> Callable[..., Queue]:
    """A factory of the Django side's queue: ``configure(RESULT_TTL=60)`` changes its settings."""

    def configure(**changes: Any) -> Queue:
        # Failed jobs come back at once, and at the head, as the Node library does it.
        settings.JOBQUEUE = {"default": {**jobqueue_settings, "RETRY_BACKOFF": 0, **changes}}
        return queues["default"]

    return configure


@pytest.fixture
def queue(configure: Callable[..., Queue]) -> Queue:
    """The Django side's queue."""
    return configure()


@pytest.fixture
def make_node(server: Server | ExternalServer, key_prefix: str) -> Iterator[Callable[[], NodePeer]]:
    """A factory of Node processes on the same queue; they end with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(NodePeer(server.url(), key_prefix))


@pytest.fixture
def node(make_node: Callable[[], NodePeer]) -> NodePeer:
    """One Node process on the same queue."""
    return make_node()


@pytest.fixture
def handler() -> Handler:
    """The handler of the Django workers; it knows what they ran."""
    return Handler()


@pytest.fixture
def start_worker(handler: Handler) -> Iterator[Callable[..., Worker]]:
    """A factory of Django workers that run in this process; they stop with the test.

    None has a reaper: tests that need one say so, and others must not be surprised by it.
    """
    workers: list[Worker] = []

    def start(queue: Queue, **options: Any) -> Worker:
        worker = Worker(queue, **{"handler": handler, "reaper": False, **options})
        workers.append(worker)
        worker.start()
        return worker

    yield start

    for worker in workers:
        worker.stop(timeout=0)


@pytest.fixture
def client(server: Server | ExternalServer) -> Iterator[redis.Redis]:
    """A client to look at the bytes."""
    with server.client() as client:
        yield client
