"""Runs one job: from its message to the outcome to store. Retries, back-off and TTLs are decided here."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.dispatch import Signal
from django.utils.module_loading import import_string

from . import signals
from .backoff import retry_delay, retry_limit
from .conf import seconds
from .context import JobContext
from .exceptions import JobTimeout, MaxRetriesError, UnknownJob
from .interrupt import Interrupter, timeout_message
from .message import JobMessage
from .queue import Queue
from .registry import Job, registry
from .storage.base import Complete, Fail, Outcome, Retry
from .threads import in_thread

logger = logging.getLogger(__name__)

#: Longest stored error message and traceback, in characters; their ends are what helps.
MAX_ERROR_MESSAGE = 10_000
MAX_ERROR_STACK = 20_000

#: Seconds that an unknown job waits at least after its first attempt, and twice as long after each
#: further one, so that a rolling deploy can heal it.
UNKNOWN_JOB_BACKOFF = 2.0

#: Seconds for which database connections that were looked at after a job are taken for fresh.
FRESH = 0.1

Handler = Callable[[JobContext], Any]


@dataclass(slots=True, eq=False)
class Lease:
    """A job in a worker's hands. The message in the processing list is the lease itself.

    Attributes:
        is_ready: held ready, and to be begun before it runs; false from then on.
        held_since: when it was claimed, by the monotonic clock, in seconds.
        given_back: what its run returns is ignored.
        has_ended: its run has.
    """

    message: JobMessage
    context: JobContext
    is_ready: bool = False
    held_since: float = field(default_factory=time.monotonic)
    given_back: bool = False
    has_ended: bool = False


@dataclass(slots=True)
class Execution:
    """What ``AFTER_EXECUTION`` gets; it may replace ``result``, ``error`` and ``ttl``.

    Attributes:
        id, payload, attempts, max_attempts, created_at, worker_id: as in ``JobContext``.
        status: ``completed`` or ``failed``; changing it has no effect.
        result: what the job returned.
        error: what it raised in its last attempt.
        ttl: seconds that result or error are kept.
        started_at, finished_at: in ms since the epoch.
        duration: seconds.
    """

    id: str
    payload: Any
    attempts: int
    max_attempts: int
    created_at: int
    worker_id: str
    status: str
    result: Any
    error: BaseException | None
    ttl: float
    started_at: int
    finished_at: int
    duration: float


@dataclass(slots=True)
class Finished:
    """A run that has ended: what to store, and whom to tell once it is stored."""

    lease: Lease
    outcome: Outcome
    signal: Signal
    news: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(slots=True)
class Run:
    """A run under way."""

    lease: Lease
    started_at: int
    begun: float
    job: Job[..., Any] | None = None

    @property
    def duration(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self.begun

    @property
    def timeout(self) -> float | None:
        """Seconds that it may take."""
        return self.job.timeout if self.job is not None else None


class JobRunner:
    """Runs the jobs of one worker: in whichever thread calls ``run``, or in the loop of ``arun``."""

    def __init__(self, queue: Queue, handler: Handler | None) -> None:
        config = queue.config
        self._queue = queue
        self._handler: Handler | None = handler or (config.handler and import_string(config.handler)) or None
        self._handler_is_async = inspect.iscoroutinefunction(self._handler)
        self._after_execution: Callable[[Execution], None] | None = (
            import_string(config.after_execution) if config.after_execution else None
        )
        self._interrupter = Interrupter()
        self._connections = _Connections()

    def is_async(self, lease: Lease) -> bool:
        """Whether the job is an ``async def`` and belongs on an event loop."""
        if self._handler is not None:
            return self._handler_is_async
        body = lease.context.payload
        name = body.get("job") if isinstance(body, dict) else None
        return isinstance(name, str) and name in registry and registry[name].is_async

    def run(self, lease: Lease) -> Finished:
        """Run a job to its end. Never raises: whatever happens becomes an outcome."""
        run = self._begin(lease)
        try:
            try:
                self._connections.refresh()
                call = self._resolve(run)
                with self._interrupter.limit(lease.message.id, run.timeout) if run.timeout else nullcontext():
                    result = call()
            finally:
                self._connections.tidy()
            return self._completed(run, result)
        # SystemExit and the like from a job's code must end the attempt, not this thread.
        except BaseException as error:
            return self._failed(run, error)

    async def arun(self, lease: Lease) -> Finished:
        """Run an ``async def`` job to its end, as ``run`` does.

        What may block (receivers of signals, hooks, the database) happens in threads.
        """
        run = await in_thread(self._begin, lease)
        try:
            try:
                await sync_to_async(self._connections.refresh)()
                call = self._resolve(run)
                async with _time_limit(lease.message.id, run.timeout):
                    result = await call()
            finally:
                await sync_to_async(self._connections.tidy)()
            return await in_thread(self._completed, run, result)
        except BaseException as error:
            return await in_thread(self._failed, run, error)

    def _begin(self, lease: Lease) -> Run:
        context = lease.context
        signals.job_started.send_robust(Queue, queue=self._queue, job_id=context.id, context=context)
        return Run(lease, _now_ms(), time.perf_counter())

    def _resolve(self, run: Run) -> Callable[[], Any]:
        """What to call for a job.

        Raises:
            UnknownJob: nothing is registered for it.
            TypeError: its arguments are not a list and an object.
        """
        context = run.lease.context
        if self._handler is not None:
            return partial(self._handler, context)
        body = context.payload
        if not isinstance(body, dict) or not isinstance(body.get("job"), str):
            raise UnknownJob(
                f"the payload of job {context.id!r} names no job, as it does when another library enqueued "
                "it; set HANDLER for this queue, or pass Worker(handler=...)"
            )
        run.job = job = registry[body["job"]]
        args, kwargs = body.get("args", []), body.get("kwargs", {})
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise TypeError(f"the payload of job {context.id!r} must have a list 'args' and an object 'kwargs'")
        leading = (context,) if job.takes_context else ()
        return partial(job.func, *leading, *args, **kwargs)

    def _completed(self, run: Run, result: Any) -> Finished:
        message, ttl = run.lease.message, self._ttl(run)
        if self._after_execution is not None:
            execution = self._execution(run, "completed", result, None)
            self._hook(self._after_execution, execution)
            result, ttl = execution.result, execution.ttl
        data = self._queue.dump(result, f"the result of job {message.id!r}")
        outcome = Complete(message, data, _ttl_ms(ttl))
        return Finished(run.lease, outcome, signals.job_completed, {"result": result}, run.duration)

    def _failed(self, run: Run, error: BaseException) -> Finished:
        message = run.lease.message
        if message.attempts + 1 < message.max_attempts:
            return self._retried(run, error)
        attempts, extra = message.attempts + 1, {"job_id": message.id, "queue": self._queue.alias}
        ttl = self._ttl(run)
        if self._after_execution is not None:
            execution = self._execution(run, "failed", None, error)
            self._hook(self._after_execution, execution)
            error, ttl = error if execution.error is None else execution.error, execution.ttl
        logger.error("job %s failed for good after %d attempts", message.id, attempts, exc_info=error, extra=extra)
        data = self._queue.serializer.dumps(describe(error))
        outcome = Fail(message, data, _ttl_ms(ttl))
        news = {"exception": MaxRetriesError(message.id, attempts, error)}
        return Finished(run.lease, outcome, signals.job_failed, news, run.duration)

    def _retried(self, run: Run, error: BaseException) -> Finished:
        message, config, job = run.lease.message, self._queue.config, run.job
        attempts = message.attempts + 1
        base = config.retry_backoff if job is None or job.retry_backoff is None else job.retry_backoff
        delay = retry_delay(attempts, base, config.retry_backoff_max)
        if isinstance(error, UnknownJob):
            delay += retry_limit(attempts, UNKNOWN_JOB_BACKOFF, config.retry_backoff_max)
        logger.warning(
            "job %s failed in attempt %d of %d, next try in %.1f s: %s",
            message.id, attempts, message.max_attempts, delay, describe(error)["message"],
            extra={"job_id": message.id, "queue": self._queue.alias},
        )  # fmt: skip
        outcome = Retry(message, message.with_attempts(attempts), round(delay * 1000))
        news = {"exception": error, "attempts": attempts, "delay": delay}
        return Finished(run.lease, outcome, signals.job_failing, news, run.duration)

    def _ttl(self, run: Run) -> float:
        ttl_ms = run.lease.message.result_ttl_ms
        return self._queue.config.result_ttl if ttl_ms is None else ttl_ms / 1000

    def _execution(self, run: Run, status: str, result: Any, error: BaseException | None) -> Execution:
        context = run.lease.context
        return Execution(
            id=context.id,
            payload=context.payload,
            attempts=context.attempts,
            max_attempts=context.max_attempts,
            created_at=context.created_at,
            worker_id=context.worker_id,
            status=status,
            result=result,
            error=error,
            ttl=self._ttl(run),
            started_at=run.started_at,
            finished_at=_now_ms(),
            duration=run.duration,
        )

    def _hook(self, hook: Callable[[Execution], None], execution: Execution) -> None:
        """Let ``AFTER_EXECUTION`` change the outcome; a hook that raises changes nothing."""
        result, error, ttl = execution.result, execution.error, execution.ttl
        try:
            hook(execution)
            execution.ttl = seconds(execution.ttl)
            if execution.ttl <= 0:
                raise ValueError(f"AFTER_EXECUTION set ttl to {execution.ttl!r}; it must be above 0 seconds")
        except Exception:
            logger.exception(
                "AFTER_EXECUTION %s failed for job %s; result and TTL stay as they were",
                self._queue.config.after_execution, execution.id,
                extra={"job_id": execution.id, "queue": self._queue.alias},
            )  # fmt: skip
            execution.result, execution.error, execution.ttl = result, error, ttl


class _Connections(threading.local):
    """The thread's database connections, kept around jobs as Django keeps them around requests: one that the server
    closed, or that a failed job left broken, must not meet the next job.
    """

    def __init__(self) -> None:
        self._tidied_at = -math.inf

    def refresh(self) -> None:
        """Before a job, unless another ended just now."""
        if time.monotonic() - self._tidied_at > FRESH:
            self.tidy()

    def tidy(self) -> None:
        """After a job."""
        for connection in connections.all(initialized_only=True):
            connection.queries_log.clear()
            connection.close_if_unusable_or_obsolete()
        self._tidied_at = time.monotonic()


@asynccontextmanager
async def _time_limit(job_id: str, seconds: float | None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise  # the job's own
        raise JobTimeout(timeout_message(job_id, seconds or 0.0)) from error


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as it is stored: message, code, stack, type."""
    try:
        text = str(error)
    except Exception:
        text = ""
    code = getattr(error, "code", None)
    stack = "".join(traceback.format_exception(error))
    kind = type(error)
    return {
        "message": (text or kind.__name__)[:MAX_ERROR_MESSAGE],
        "code": code if isinstance(code, str) else None,
        "stack": stack[-MAX_ERROR_STACK:],
        "type": f"{kind.__module__}.{kind.__qualname__}",
    }


def _now_ms() -> int:
    return int(time.time() * 1000)


def _ttl_ms(ttl: float) -> int:
    return max(1, round(ttl * 1000))
