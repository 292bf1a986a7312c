"""Short blocking calls made from an event loop: in a few threads of their own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

#: Threads for calls from event loops. Each call is one round trip, so a few serve thousands of tasks.
MAX_THREADS = 8

_pool: ThreadPoolExecutor | None = None


async def in_thread(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Make a call in a thread and wait for it. When the waiting task is cancelled, a call that has
    begun goes on."""
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="jobqueue-io")
    return await asyncio.get_running_loop().run_in_executor(_pool, partial(call, *args, **kwargs))


def _forget_pool() -> None:
    global _pool
    _pool = None  # its threads stayed in the parent


os.register_at_fork(after_in_child=_forget_pool)
