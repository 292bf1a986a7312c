"""Settings of processes that tests start: the queue is named in the environment."""

import os

from tests.settings import *  # noqa: F403

_PREFIX = os.environ["JOBQUEUE_PROCESS_PREFIX"]

JOBQUEUE = {
    alias: {
        "CACHE": None,
        "URL": os.environ["JOBQUEUE_PROCESS_URL"],
        "KEY_PREFIX": prefix,
        "VISIBILITY_TIMEOUT": float(os.environ.get("JOBQUEUE_PROCESS_VISIBILITY", "30")),
        "SHUTDOWN_TIMEOUT": float(os.environ.get("JOBQUEUE_PROCESS_SHUTDOWN", "30")),
        "RETRY_BACKOFF": 0,
    }
    for alias, prefix in {"default": _PREFIX, "emails": f"{_PREFIX}emails:"}.items()
}
