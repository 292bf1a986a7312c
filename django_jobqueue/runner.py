"""Runs one job: from its message to the outcome to store. Retries, back-off and TTLs are decided here."""

from __future__ import annotations

import inspect
import logging
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from django.db import close_old_connections, reset_queries
from django.dispatch import Signal
from django.utils.module_loading import import_string

from . import signals
from .backoff import retry_delay
from .conf import seconds
from .context import JobContext
from .exceptions import MaxRetriesError, UnknownJob
from .interrupt import Interrupter
from .message import JobMessage
from .queue import Queue
from .registry import Job, registry
from .storage.base import Complete, Fail, Outcome, Retry

logger = logging.getLogger(__name__)

#: Longest stored error message and traceback, in characters; their ends are what helps.
MAX_ERROR_MESSAGE = 10_000
MAX_ERROR_STACK = 20_000

#: Seconds of back-off that an unknown job gets at least, so that a rolling deploy can heal it.
UNKNOWN_JOB_BACKOFF = 1.0

Handler = Callable[[JobContext], Any]


@dataclass(slots=True)
class Lease:
    """A job in a worker's hands. The message in the processing list is the lease itself."""

    message: JobMessage
    context: JobContext
    given_back: bool = False


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


class JobRunner:
    """Runs the jobs of one worker, in whichever thread calls ``run``."""

    def __init__(self, queue: Queue, handler: Handler | None) -> None:
        config = queue.config
        self._queue = queue
        self._handler: Handler | None = handler or (config.handler and import_string(config.handler)) or None
        self._after_execution: Callable[[Execution], None] | None = (
            import_string(config.after_execution) if config.after_execution else None
        )
        self._interrupter = Interrupter()

    def run(self, lease: Lease) -> Finished:
        """Run a job to its end. Never raises: whatever happens becomes an outcome."""
        context = lease.context
        signals.job_started.send_robust(Queue, queue=self._queue, job_id=context.id, context=context)
        begun, started_at = time.perf_counter(), _now_ms()
        job: Job[..., Any] | None = None
        try:
            try:
                # As Django does around a request: a connection that the server closed, or that a
                # failed job left broken, must not meet the next job.
                reset_queries()
                close_old_connections()
                call, job = self._callable(context)
                limit = job.timeout if job is not None else None
                with self._interrupter.limit(context.id, limit) if limit else nullcontext():
                    result = call()
            finally:
                close_old_connections()
            execution = self._execution(context, lease.message, started_at, time.perf_counter() - begun)
            execution.result = result
            execution = self._hook(execution)
            data = self._queue.dump(execution.result, f"the result of job {context.id!r}")
        # SystemExit and the like from a job's code must end the attempt, not this thread.
        except BaseException as error:
            return self._failed(lease, error, job, started_at, time.perf_counter() - begun)
        outcome = Complete(lease.message, data, _ttl_ms(execution.ttl))
        return Finished(lease, outcome, signals.job_completed, {"result": execution.result})

    def _callable(self, context: JobContext) -> tuple[Callable[[], Any], Job[..., Any] | None]:
        if self._handler is not None:
            return partial(_call, self._handler, context), None
        body = context.payload
        if not isinstance(body, dict) or not isinstance(body.get("job"), str):
            raise UnknownJob(
                f"the payload of job {context.id!r} names no job, as it does when another library enqueued "
                "it; set HANDLER for this queue, or pass Worker(handler=...)"
            )
        job = registry[body["job"]]
        args, kwargs = body.get("args", []), body.get("kwargs", {})
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise TypeError(f"the payload of job {context.id!r} must have a list 'args' and an object 'kwargs'")
        leading = (context,) if job.takes_context else ()
        return partial(_call, job.func, *leading, *args, **kwargs), job

    def _failed(
        self, lease: Lease, error: BaseException, job: Job[..., Any] | None, started_at: int, duration: float
    ) -> Finished:
        message, config = lease.message, self._queue.config
        attempts = message.attempts + 1
        extra = {"job_id": message.id, "queue": self._queue.alias}
        if attempts < message.max_attempts:
            base = config.retry_backoff if job is None or job.retry_backoff is None else job.retry_backoff
            if isinstance(error, UnknownJob):
                base = max(base, UNKNOWN_JOB_BACKOFF)
            delay = retry_delay(attempts, base, config.retry_backoff_max)
            logger.warning(
                "job %s failed in attempt %d of %d, next try in %.1f s: %s",
                message.id, attempts, message.max_attempts, delay, describe(error)["message"], extra=extra,
            )  # fmt: skip
            outcome = Retry(message, message.with_attempts(attempts), round(delay * 1000))
            news = {"exception": error, "attempts": attempts, "delay": delay}
            return Finished(lease, outcome, signals.job_failing, news)

        execution = self._execution(lease.context, message, started_at, duration)
        execution.status, execution.error = "failed", error
        execution = self._hook(execution)
        error = error if execution.error is None else execution.error
        logger.error("job %s failed for good after %d attempts", message.id, attempts, exc_info=error, extra=extra)
        data = self._queue.serializer.dumps(describe(error))
        outcome_failed = Fail(message, data, _ttl_ms(execution.ttl))
        news = {"exception": MaxRetriesError(message.id, attempts, error)}
        return Finished(lease, outcome_failed, signals.job_failed, news)

    def _execution(self, context: JobContext, message: JobMessage, started_at: int, duration: float) -> Execution:
        ttl_ms = message.result_ttl_ms
        return Execution(
            id=context.id,
            payload=context.payload,
            attempts=context.attempts,
            max_attempts=context.max_attempts,
            created_at=context.created_at,
            worker_id=context.worker_id,
            status="completed",
            result=None,
            error=None,
            ttl=self._queue.config.result_ttl if ttl_ms is None else ttl_ms / 1000,
            started_at=started_at,
            finished_at=_now_ms(),
            duration=duration,
        )

    def _hook(self, execution: Execution) -> Execution:
        """Let ``AFTER_EXECUTION`` change the outcome; a hook that raises changes nothing."""
        if self._after_execution is None:
            return execution
        result, error, ttl = execution.result, execution.error, execution.ttl
        try:
            self._after_execution(execution)
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
        return execution


def _call(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if inspect.iscoroutinefunction(func):
        return async_to_sync(func)(*args, **kwargs)
    return func(*args, **kwargs)


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
