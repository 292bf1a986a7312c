"""Waits for servers, without a guess at how long they take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: Seconds a server gets to answer PING, or to end after SIGTERM.
SERVER_DEADLINE = 15.0

#: Seconds a group (sentinels, cluster) gets to agree, and a failover to finish.
GROUP_DEADLINE = 30.0


def wait_until(done: Callable[[], bool], timeout: float, failure: Callable[[], Exception]) -> None:
    """Poll ``done`` until it is true; a server that does not answer yet counts as not done.

    Raises:
        Exception: what ``failure`` returns, when the time is up.
    """
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(redis.RedisError):
            if done():
                return
        if time.monotonic() > deadline:
            raise failure()
        time.sleep(0.02)


def no_retries() -> Retry:
    """What makes a client show each fault as it is."""
    return Retry(NoBackoff(), 0)
