"""A django-redis cache that finds its primary through sentinels."""

from collections.abc import Sequence
from typing import Any


def sentinel_cache(location: str, sentinels: Sequence[str], **options: Any) -> dict[str, Any]:
    """An entry of ``CACHES``.

    Args:
        location: ``redis://<service name>/<database>``.
        sentinels: their addresses, ``host:port``.
        options: further ``OPTIONS``.
    """
    addresses = [(host, int(port)) for host, port in (one.split(":") for one in sentinels)]
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": location,
        "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": addresses,
            "SOCKET_TIMEOUT": 2,
            **options,
        },
    }
