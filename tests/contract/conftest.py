"""The storages that the contract suite runs on."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.utils.module_loading import import_string

from django_jobqueue.conf import FILE_STORAGE, MEMORY_STORAGE, REDIS_STORAGE, QueueConfig
from django_jobqueue.storage.base import Storage
from tests.servers import Cluster, Server

#: A running server to test against instead of those that would be launched.
EXTERNAL_URL = os.environ.get("JOBQUEUE_TEST_REDIS_URL")

StorageFactory = Callable[..., Storage]


@pytest.fixture(scope="session")
def contract_cluster() -> Iterator[Cluster]:
    """One cluster for the whole run; share it by key prefix."""
    with Cluster("redis") as cluster:
        yield cluster


@pytest.fixture
def key_prefix(request: pytest.FixtureRequest, key_prefix: str) -> str:
    """A key prefix that no other test uses, with a hash tag where there is a cluster."""
    return f"{{{key_prefix[:-1]}}}:" if request.node.callspec.params["base_config"] == "cluster" else key_prefix


@pytest.fixture(params=["url"] if EXTERNAL_URL else ["redis", "valkey", "cluster", "file", "memory"])
def base_config(request: pytest.FixtureRequest, key_prefix: str, tmp_path: Path) -> QueueConfig:
    """A queue on each kind of storage in turn: the test runs once on each."""
    config = QueueConfig(cache=None, key_prefix=key_prefix)
    match request.param:
        case "file":
            return replace(config, storage=FILE_STORAGE, path=str(tmp_path / "jobqueue.sqlite3"))
        case "memory":
            return replace(config, storage=MEMORY_STORAGE)
        case "cluster":
            cluster: Cluster = request.getfixturevalue("contract_cluster")
            return replace(config, storage=REDIS_STORAGE, url=cluster.url())
        case "url":
            return replace(config, storage=REDIS_STORAGE, url=EXTERNAL_URL)
        case kind:
            server: Server = request.getfixturevalue(f"{kind}_server")
            return replace(config, storage=REDIS_STORAGE, url=server.url())


@pytest.fixture
def make_storage(base_config: QueueConfig) -> Iterator[StorageFactory]:
    """A factory of storages of one queue: several stand for several processes.

    ``make_storage(**config)`` takes fields of ``QueueConfig``.
    """
    made: list[Storage] = []

    def make(**config: Any) -> Storage:
        storage: Storage = import_string(base_config.storage)(replace(base_config, **config))
        made.append(storage)
        return storage

    yield make

    for storage in made:
        if base_config.storage != REDIS_STORAGE:
            storage.clear()
        storage.close()


@pytest.fixture
def storage(make_storage: StorageFactory) -> Storage:
    """A storage with the default configuration."""
    return make_storage()


@pytest.fixture
def hasty(make_storage: StorageFactory) -> Storage:
    """The same queue, seen by one for whom every lease has run out after a millisecond."""
    return make_storage(visibility_timeout=0.001)
