"""A connection factory as projects write one to have their cache on a cluster."""

from __future__ import annotations

from typing import Any, ClassVar

from django_redis.pool import ConnectionFactory
from redis.cluster import RedisCluster


class ClusterFactory(ConnectionFactory):
    """Yields one ``RedisCluster`` an address."""

    _clusters: ClassVar[dict[str, RedisCluster]] = {}

    def connect(self, url: str) -> Any:
        """The client of a cluster of which the URL names a node."""
        if url not in self._clusters:
            self._clusters[url] = RedisCluster.from_url(url, client_name="of-the-factory")
        return self._clusters[url]

    def disconnect(self, connection: Any) -> None:
        """Close the connections to all nodes."""
        connection.disconnect_connection_pools()
