"""Settings of processes that tests start: the queue is named in the environment."""

import os

from tests.integration.sentinel_cache import sentinel_cache
from tests.settings import *  # noqa: F403

_PREFIX = os.environ["JOBQUEUE_PROCESS_PREFIX"]
_URL = os.environ["JOBQUEUE_PROCESS_URL"]

#: Addresses of sentinels, separated by commas; then the URL names their service.
_SENTINELS = os.environ.get("JOBQUEUE_PROCESS_SENTINELS", "")

if _SENTINELS:
    CACHES = {"default": sentinel_cache(_URL, _SENTINELS.split(","))}

JOBQUEUE = {
    alias: {
        "CACHE": "default" if _SENTINELS else None,
        "URL": None if _SENTINELS else _URL,
        "KEY_PREFIX": prefix,
        "VISIBILITY_TIMEOUT": float(os.environ.get("JOBQUEUE_PROCESS_VISIBILITY", "30")),
        "SHUTDOWN_TIMEOUT": float(os.environ.get("JOBQUEUE_PROCESS_SHUTDOWN", "30")),
        "BLOCK_TIMEOUT": float(os.environ.get("JOBQUEUE_PROCESS_BLOCK", "5")),
        "RETRY_BACKOFF": 0,
    }
    for alias, prefix in {"default": _PREFIX, "emails": f"{_PREFIX}emails:"}.items()
}
