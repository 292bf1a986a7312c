"""Main, blocking and subscriber connections, from a django-redis cache or a URL.

Verified against redis-py 6-8 and django-redis 6-7. What shapes this module:

* django-redis keeps one pool per URL for the whole process, with the first alias' options, and
  may close it at the end of a request. So the long-lived connections have pools of their own.
* A socket timeout shorter than a BLMOVE would break it, so the blocking pool sets its own.
* redis-py's default retries send a script again behind our back; they are off, and
  ``RedisStorage`` sends again itself, with scripts that know it.
* On a cluster all three go to the node that ``SlotOwner`` names, by the URL of the settings with
  that node's address in it: so every option of URL or alias holds there, too.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.core.cache import InvalidCacheBackendError, caches
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from ..conf import QueueConfig
from ..exceptions import JobQueueError, StorageError, StorageFullError, UnsupportedServer
from .cluster import CLUSTER_ERRORS, Node, SlotOwner, in_cluster
from .denials import is_denied, missing_right

#: Seconds that a reply may take beyond the time a command blocks; then the link counts as dead.
READ_MARGIN = 10.0

#: Seconds to wait for a TCP connection of our own pools.
CONNECT_TIMEOUT = 5.0

#: Seconds that a node of a cluster has to say who owns a slot; then the next is asked.
LOOK_UP_TIMEOUT = 2.0

_DEFAULT_PORT = 6379

_UNAVAILABLE = (
    RedisConnectionError,
    RedisTimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    ClusterDownError,
    TryAgainError,
    AskError,
    OSError,
)


class Connector:
    """Builds the connections of one queue. Thread-safe; ``_lock`` guards what it knows of the server."""

    def __init__(self, config: QueueConfig) -> None:
        self._config = config
        self._lock = threading.RLock()
        self._main: Any = None
        self._owner: SlotOwner | None = None
        self._uses_tls = False
        self._cluster_options: dict[str, Any] = {}

    def main(self) -> Any:
        """The client for everything that does not block. Thread-safe, and safe after a fork.

        Raises:
            UnsupportedServer: it is a cluster, and the key prefix has no hash tag.
            redis.RedisError, OSError: the server could not be reached.
        """
        client = self._main
        if client is None:
            with self._lock:
                client = self._main = self._main or self._connect()
        return client

    def dedicated(self, role: str, blocks_for: float = 0.0) -> Any:
        """A pool of its own for one long-lived connection, from the same configuration.

        Args:
            role: part of the client name that ``CLIENT LIST`` shows.
            blocks_for: seconds that its commands may block on the server.
        """
        self.main()  # says whether it is a cluster, and finds the node
        with self._lock:
            pool = self._pool(role, self._owner.find() if self._owner else None)
        pool.connection_kwargs.update(
            _keepalive(pool.connection_class),
            socket_timeout=blocks_for + READ_MARGIN,
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
        broke = isinstance(error, (RedisConnectionError, OSError)) and not isinstance(error, RedisTimeoutError)
        if not (broke and self._uses_tls):
            return ""
        return (
            ". If no connection with TLS works: check that ssl_ca_certs, ssl_certfile and ssl_keyfile name files "
            "that can be read, and that the server trusts the authority of this client certificate"
        )

    @property
    def node(self) -> Node | None:
        """The node of the cluster in use; ``None`` when there is no cluster, or none is known to serve."""
        owner = self._owner
        return owner.node if owner else None

    def learn(self, error: BaseException) -> None:
        """Draw from an error of a call what it says about where the server is."""
        with self._lock:
            if self._owner is None and isinstance(error, CLUSTER_ERRORS) and self._main is not None:
                # It would not answer HELLO.
                self._owner, self._main = self._owner_from(self._seeds()), None
            if self._owner is None:
                if isinstance(error, ReadOnlyError) and self._main is not None:
                    # The primary has moved: idle connections lead to the old one.
                    self._main.connection_pool.disconnect(inuse_connections=False)
                return
            if isinstance(error, MovedError):
                self._owner.moved(error)
            elif is_worth_resending(error) and not isinstance(error, (AskError, TryAgainError)):
                self._owner.lost()
            self._leave(self._owner.node)

    def _leave(self, node: Node | None) -> None:
        """Let go of the main client unless it leads to this node."""
        pool = self._main.connection_pool if self._main is not None else None
        if pool is None or (pool.connection_kwargs.get("host"), pool.connection_kwargs.get("port")) == node:
            return
        self._main = None
        # Commands that other threads have just sent are left to end.
        pool.disconnect(inuse_connections=False)

    def _connect(self) -> Any:
        if self._owner is None:
            client = self._plain_client()
            if not isinstance(client, RedisCluster):
                self._uses_tls = issubclass(client.connection_pool.connection_class, redis.SSLConnection)
                if not self._leads_into_cluster(client):
                    return client
            self._owner = self._owner_from(self._seeds())
        return redis.Redis(connection_pool=self._pool("main", self._owner.find()))

    def _plain_client(self) -> Any:
        if self._config.url:
            return redis.Redis(connection_pool=self._pool("main"))
        try:
            client = self._cache_client().get_client(write=True)
        except RedisClusterException as error:  # not one of the driver's RedisErrors
            raise RedisConnectionError(str(error)) from error
        if isinstance(client, RedisCluster):
            # A factory of the project's own makes cluster clients.
            self._cluster_options = _options_of(client)
        elif self._is_closed_by_requests():
            return redis.Redis(connection_pool=self._pool("main"))
        return client

    def _leads_into_cluster(self, client: Any) -> bool:
        try:
            return in_cluster(client)
        except (RedisConnectionError, RedisTimeoutError, OSError):
            # LOCATION may name more nodes. Outside of a cluster those are replicas, of no use to us.
            for node in self._seeds()[1:]:
                pool = self._pool("look-up", node)
                try:
                    if in_cluster(redis.Redis(connection_pool=pool)):
                        return True
                except (RedisError, OSError):
                    continue  # the first one's error is the one to tell
                finally:
                    pool.disconnect()
            raise

    def _owner_from(self, seeds: list[Node]) -> SlotOwner:
        return SlotOwner(self._config.alias, self._config.key_prefix, seeds, self._slots)

    def _slots(self, node: Node) -> list[Any]:
        pool = self._pool("look-up", node)
        pool.connection_kwargs.update(socket_timeout=LOOK_UP_TIMEOUT, socket_connect_timeout=LOOK_UP_TIMEOUT)
        try:
            client: Any = redis.Redis(connection_pool=pool)
            ranges: list[Any] = client.execute_command("CLUSTER", "SLOTS", NEVER_DECODE=True)
            return ranges
        finally:
            pool.disconnect()

    def _urls(self) -> list[str]:
        return [self._config.url] if self._config.url else list(self._cache_client()._server)

    def _seeds(self) -> list[Node]:
        if self._cluster_options:
            client = self._cache_client().get_client(write=True)
            return [(node.host, node.port) for node in client.get_nodes()]
        urls = [urlsplit(url) for url in self._urls()]
        if any(url.scheme == "unix" for url in urls):
            raise UnsupportedServer(
                f"JOBQUEUE[{self._config.alias!r}] reaches its server through a Unix socket, but that is part of a "
                "cluster, whose nodes are reached by TCP: name it as redis://host:port"
            )
        return [(url.hostname or "localhost", url.port or _DEFAULT_PORT) for url in urls]

    def _pool(self, role: str, node: Node | None = None) -> Any:
        """A pool of our own to a node of the cluster, or else to what the settings name."""
        if self._cluster_options and node is not None:
            host, port = node
            return redis.Redis(host=host, port=port, **self._cluster_options).connection_pool
        url = _at(node, self._urls()[0])
        if not self._config.url:
            # The one private name we need is _server: django-redis has no public way to a URL's parameters.
            factory = self._cache_client().connection_factory
            return factory.get_connection_pool(factory.make_connection_params(url))
        # Parameters in the URL win over these, as redis-py has it.
        pool = redis.ConnectionPool.from_url(
            url, socket_connect_timeout=CONNECT_TIMEOUT, client_name=self._client_name(role)
        )
        pool.connection_kwargs.update(_keepalive(pool.connection_class))
        return pool

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


def _options_of(client: Any) -> dict[str, Any]:
    """The options of a ``RedisCluster`` for a plain client of one of its nodes."""
    given = client.get_connection_kwargs()
    known = set(inspect.signature(redis.Redis.__init__).parameters)
    # The cluster client's own way to connect, its retries, and where it went.
    known -= {"redis_connect_func", "retry", "event_dispatcher", "connection_pool", "host", "port"}
    return {"retry": Retry(NoBackoff(), 0), **{name: given[name] for name in known & set(given)}}


def _at(node: Node | None, url: str) -> str:
    """The URL with a node's address in the place of its own; user, password and parameters stay."""
    if node is None:
        return url
    host, port = node
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return parts._replace(netloc=f"{credentials}{at}{address}").geturl()


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
    if is_worth_resending(error):
        return StorageError(
            f"{attempted}: the server cannot be reached now ({error}); it is safe to try again{advice}"
        )
    return StorageError(f"{attempted}: the server refused ({error})")


def is_worth_resending(error: BaseException) -> bool:
    """Whether the same call may succeed a moment later."""
    return (isinstance(error, _UNAVAILABLE) or _is_unblocked(error)) and not is_denied(error)


def _is_unblocked(error: BaseException) -> bool:
    """Whether a wait was ended because the server became a replica."""
    return str(error).startswith("UNBLOCKED")
