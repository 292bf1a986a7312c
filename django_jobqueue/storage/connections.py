"""Main, blocking and subscriber connections, from a django-redis cache or a URL.

Verified against redis-py 6-8 and django-redis 6-7. What shapes this module:

* django-redis keeps one pool per URL for the whole process, with the first alias' options, and
  may close it at the end of a request. So the long-lived connections have pools of their own.
* A socket timeout shorter than a BLMOVE would break it, so the blocking pool sets its own.
* redis-py's default retries send a script again behind our back; they are off, and
  ``RedisStorage`` sends again itself, with scripts that know it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from django.conf import settings
from django.core.cache import InvalidCacheBackendError, caches
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..conf import QueueConfig
from ..exceptions import JobQueueError, StorageError, StorageFullError
from .denials import is_denied, missing_right

#: Seconds that a reply may take beyond the time a command blocks; then the link counts as dead.
READ_MARGIN = 10.0

#: Seconds to wait for a TCP connection of our own pools.
CONNECT_TIMEOUT = 5.0

_DENIED = (AuthenticationError, AuthorizationError, NoPermissionError)
_UNAVAILABLE = (
    RedisConnectionError,
    RedisTimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    ClusterDownError,
    TryAgainError,
    OSError,
)


class Connector:
    """Builds the connections of one queue."""

    def __init__(self, config: QueueConfig) -> None:
        self._config = config
        self._main: Any = None

    def main(self) -> Any:
        """The client for everything that does not block. Thread-safe, and safe after a fork."""
        if self._main is None:
            if self._config.url:
                self._main = redis.Redis(connection_pool=self._url_pool("main"))
            elif self._is_closed_by_requests():
                self._main = redis.Redis(connection_pool=self._cache_pool())
            else:
                self._main = self._cache_client().get_client(write=True)
        return self._main

    def dedicated(self, role: str, read_timeout: float) -> Any:
        """A pool of its own for one long-lived connection, from the same configuration.

        Args:
            role: part of the client name that ``CLIENT LIST`` shows.
            read_timeout: seconds without a reply after which the link counts as dead.
        """
        pool = self._url_pool(role) if self._config.url else self._cache_pool()
        pool.connection_kwargs.update(
            _keepalive(pool.connection_class),
            socket_timeout=read_timeout,
            decode_responses=False,
            client_name=self._client_name(role),
            retry=None,
            retry_on_error=[],
            health_check_interval=0,
            # RESP2: pub/sub messages come as plain replies, and a reply that a failed read left
            # behind can never be taken for the next one.
            protocol=2,
        )
        return pool

    def advice(self, error: BaseException) -> str:
        """What to look at when the link broke: a server may refuse a client certificate only after the handshake
        (RFC 8446, 4.6.2), and the driver then sees no more than a link that breaks."""
        pool = None if self._main is None else self._main.connection_pool
        if pool is None or not issubclass(pool.connection_class, redis.SSLConnection):
            return ""
        if not isinstance(error, (RedisConnectionError, OSError)) or isinstance(error, RedisTimeoutError):
            return ""
        return (
            ". If no connection with TLS works: check that ssl_ca_certs, ssl_certfile and ssl_keyfile name files "
            "that can be read, and that the server trusts the authority of this client certificate"
        )

    def _url_pool(self, role: str) -> Any:
        # Parameters in the URL win over these, as redis-py has it.
        pool = redis.ConnectionPool.from_url(
            self._config.url or "", socket_connect_timeout=CONNECT_TIMEOUT, client_name=self._client_name(role)
        )
        pool.connection_kwargs.update(_keepalive(pool.connection_class))
        return pool

    def _cache_pool(self) -> Any:
        client = self._cache_client()
        factory = client.connection_factory
        # The one private name we need: django-redis has no public way to a URL's parameters.
        return factory.get_connection_pool(factory.make_connection_params(client._server[0]))

    def _is_closed_by_requests(self) -> bool:
        """Whether django-redis closes the pool at the end of each request, in whatever thread: it
        would cut a command that another thread has just sent."""
        all_caches: dict[str, Any] = settings.CACHES
        options = all_caches.get(self._config.cache or "", {}).get("OPTIONS", {})
        default = getattr(settings, "DJANGO_REDIS_CLOSE_CONNECTION", False)
        return bool(options.get("CLOSE_CONNECTION", default))

    def _client_name(self, role: str) -> str:
        return f"django-jobqueue:{role}:{self._config.alias}"

    def _cache_client(self) -> Any:
        alias = self._config.cache
        place = f"JOBQUEUE[{self._config.alias!r}]['CACHE']"
        try:
            cache = caches[alias or ""]
        except InvalidCacheBackendError as error:
            raise StorageError(
                f"{place} is {alias!r}, which CACHES does not define; add it there, or set URL"
            ) from error
        client = getattr(cache, "client", None)
        if not hasattr(client, "connection_factory"):
            kind = f"{type(cache).__module__}.{type(cache).__qualname__}"
            raise StorageError(
                f"{place} is {alias!r}, a {kind}, not a django-redis cache; use "
                "BACKEND 'django_redis.cache.RedisCache' there, or set URL to redis://host:6379/0"
            )
        if type(client).__name__ == "ShardClient":
            raise StorageError(
                f"{place} is {alias!r}, which spreads keys over servers (ShardClient); "
                "a queue lives on one: use a cache with DefaultClient, or set URL"
            )
        return client


def _keepalive(connection_class: Any) -> dict[str, Any]:
    """TCP keep-alive, where there is TCP: it finds links whose other end vanished without a word."""
    return {} if issubclass(connection_class, redis.UnixDomainSocketConnection) else {"socket_keepalive": True}


@contextmanager
def storage_errors(attempted: str, connector: Connector | None = None) -> Iterator[None]:
    """Turn the driver's errors into ours, each saying what was attempted, and what ``connector`` knows about it."""
    try:
        yield
    except JobQueueError:
        raise
    except (RedisError, OSError) as error:
        raise translated(error, attempted, connector.advice(error) if connector else "") from error


def translated(error: BaseException, attempted: str, advice: str = "") -> StorageError:
    """Our error for one of the driver's."""
    if isinstance(error, OutOfMemoryError) or str(error).startswith("OOM "):
        return StorageFullError(
            f"{attempted}: the server has no memory left ({error}); nothing was written. Raise "
            "maxmemory, or wait for workers to drain the queue and results to expire"
        )
    if is_denied(error):
        missing = missing_right(error)
        lacks = f"; the user lacks {missing}" if missing else ""
        return StorageError(
            f"{attempted}: the server denied it ({error}){lacks}; check user, password and ACL of the connection. "
            "docs/how-to/security.md has the rights of each role"
        )
    if isinstance(error, ReadOnlyError):
        return StorageError(
            f"{attempted}: the server cannot take it now ({error}), for it is a read-only replica; name the primary "
            "in URL or CACHE, or wait until this server is promoted. It is safe to try again"
        )
    if isinstance(error, _UNAVAILABLE):
        return StorageError(
            f"{attempted}: the server cannot be reached now ({error}); it is safe to try again{advice}"
        )
    return StorageError(f"{attempted}: the server refused ({error})")


def is_worth_resending(error: BaseException) -> bool:
    """Whether the same call may succeed a moment later."""
    return isinstance(error, _UNAVAILABLE) and not isinstance(error, _DENIED)


class BlockingConnection:
    """The connection on which an idle worker waits in BLMOVE. Used by one thread at a time."""

    def __init__(self, connector: Connector, block_timeout: float) -> None:
        self._pool = connector.dedicated("blocking", block_timeout + READ_MARGIN)
        self._connection: Any = None
        self._client_id: int | None = None

    def move(self, source: str, destination: str, timeout: float) -> bytes | None:
        """BLMOVE from the head of one list to the tail of another; ``None`` when the time is over.

        Raises:
            redis.RedisError, OSError: the link is closed; the message may have been moved.
        """
        connection = self._open()
        try:
            connection.send_command("BLMOVE", source, destination, "LEFT", "RIGHT", timeout)
            reply: bytes | None = connection.read_response(disable_decoding=True)
            return reply
        except (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OSError):
            # After a lost reply the link is out of step; after READONLY the primary is elsewhere.
            connection.disconnect()
            raise

    def wake(self, client: Any) -> None:
        """End a running ``move`` early, from another thread, through another connection."""
        client_id = self._client_id
        if client_id is not None:
            client.execute_command("CLIENT UNBLOCK", client_id)

    def close(self) -> None:
        """Close the link."""
        if self._connection is not None:
            self._connection.disconnect()
        self._pool.disconnect()

    def _is_sound(self) -> bool:
        """Whether the idle link is still open; a server that went away has left an end-of-file in it."""
        connection = self._connection
        try:
            if connection.is_connected and not connection.can_read(timeout=0):
                return True
        except (RedisError, OSError):
            pass  # the same as an end-of-file
        connection.disconnect()
        return False

    def _open(self) -> Any:
        if self._connection is None:
            self._connection = self._pool.get_connection()
        if self._client_id is not None and self._is_sound():
            return self._connection
        self._client_id = None
        try:
            self._connection.connect()
            self._connection.send_command("CLIENT", "ID")
            self._client_id = int(self._connection.read_response())
        except (RedisError, OSError):
            self._connection.disconnect()
            raise
        return self._connection
