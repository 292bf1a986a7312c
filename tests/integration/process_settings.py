"""Settings of processes that tests start: the queue is named in the environment."""

import os

from tests.settings import *  # noqa: F403

JOBQUEUE = {
    "default": {
        "CACHE": None,
        "URL": os.environ["JOBQUEUE_PROCESS_URL"],
        "KEY_PREFIX": os.environ["JOBQUEUE_PROCESS_PREFIX"],
        "VISIBILITY_TIMEOUT": float(os.environ.get("JOBQUEUE_PROCESS_VISIBILITY", "30")),
        "SHUTDOWN_TIMEOUT": float(os.environ.get("JOBQUEUE_PROCESS_SHUTDOWN", "30")),
        "RETRY_BACKOFF": 0,
    },
}
