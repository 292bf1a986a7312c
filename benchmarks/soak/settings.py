"""Settings of every process of the soak; the queue is named in the environment."""

import os

SECRET_KEY = "for the soak only"
USE_TZ = True
TIME_ZONE = "UTC"
INSTALLED_APPS = ["django_jobqueue", "benchmarks.soak"]

#: Seconds; short, so that many recoveries fit into the soak.
VISIBILITY_TIMEOUT = 3.0

#: Seconds; far above what any fault lasts, so that no end of a job goes unseen.
RESULT_TTL = 60.0

JOBQUEUE = {
    "default": {
        "CACHE": None,
        "URL": os.environ.get("JOBQUEUE_PROCESS_URL", "redis://127.0.0.1:1/0"),
        "KEY_PREFIX": os.environ.get("JOBQUEUE_PROCESS_PREFIX", "soak:"),
        "VISIBILITY_TIMEOUT": VISIBILITY_TIMEOUT,
        "RESULT_TTL": RESULT_TTL,
        "RETRY_BACKOFF": 0.2,
        # Above the longest job, so that a deploy makes no job run twice.
        "SHUTDOWN_TIMEOUT": 20,
    }
}
