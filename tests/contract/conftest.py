"""The storages that the contract suite runs on."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from django_jobqueue.conf import QueueConfig
from django_jobqueue.storage.base import Storage
from django_jobqueue.storage.redis import RedisStorage
from tests.servers import ExternalServer, Server

StorageFactory = Callable[..., Storage]


@pytest.fixture
def make_storage(server: Server | ExternalServer, key_prefix: str) -> Iterator[StorageFactory]:
    """A factory of storages of one queue: several stand for several processes.

    ``make_storage(**config)`` takes fields of ``QueueConfig``.
    """
    base = QueueConfig(url=server.url(), cache=None, key_prefix=key_prefix)
    made: list[Storage] = []

    def make(**config: Any) -> Storage:
        storage = RedisStorage(replace(base, **config))
        made.append(storage)
        return storage

    yield make

    for storage in made:
        storage.close()


@pytest.fixture
def storage(make_storage: StorageFactory) -> Storage:
    """A storage with the default configuration."""
    return make_storage()


@pytest.fixture
def hasty(make_storage: StorageFactory) -> Storage:
    """The same queue, seen by one for whom every lease has run out after a millisecond."""
    return make_storage(visibility_timeout=0.001)
