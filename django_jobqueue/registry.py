"""``@job`` and the registry of job names: only what is registered here can run."""

from __future__ import annotations

import difflib
import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

from django.utils.module_loading import autodiscover_modules

from .conf import DEFAULT_ALIAS
from .conf import seconds as duration_seconds
from .exceptions import InvalidOption, UnknownJob
from .options import Duration, EnqueueOptions, check_names
from .queue import Queue, new_job_id, queues
from .results import EnqueueResult

P = ParamSpec("P")
R = TypeVar("R")


class UsingOptions(EnqueueOptions, total=False):
    """What ``.using()`` takes: the options of an enqueue, and

    ``id``: the job's id; random when left out. ``queue``: another alias. ``wait_timeout``: seconds
    that ``enqueue_and_wait`` waits.
    """

    id: str
    queue: str
    wait_timeout: Duration | None


@dataclass(eq=False)
class Job(Generic[P, R]):
    """A registered job: call it as the plain function it is, or enqueue it.

    Attributes:
        func: the function.
        name: what messages call it.
        queue_alias: the queue it is enqueued to.
        max_attempts, result_ttl: for its messages; ``None`` leaves it to the queue.
        retry_backoff: seconds, see ``RETRY_BACKOFF``; ``None`` leaves it to the queue.
        timeout: seconds that one run may take; ``None`` for no limit.
        takes_context: whether the function gets the ``JobContext`` as its first argument.
    """

    func: Callable[..., R]
    name: str
    queue_alias: str = DEFAULT_ALIAS
    max_attempts: int | None = None
    result_ttl: Duration | None = None
    retry_backoff: float | None = None
    timeout: float | None = None
    takes_context: bool = False

    def __post_init__(self) -> None:
        functools.update_wrapper(cast("Callable[..., R]", self), self.func)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        return self.func(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Job[P, R]:
        # A job in a class body stays a job: the message has no instance to bind to.
        return self

    @functools.cached_property
    def is_async(self) -> bool:
        """Whether the function is an ``async def``."""
        return inspect.iscoroutinefunction(self.func)

    @property
    def queue(self) -> Queue:
        """The queue it is enqueued to."""
        return queues[self.queue_alias]

    def using(self, **options: Unpack[UsingOptions]) -> BoundJob[P, R]:
        """This job with options for the next enqueue: ``add.using(id="sum-1", delay=10).enqueue(1, 2)``.

        Raises:
            InvalidOption: an unknown option.
        """
        return BoundJob(self, _checked(options))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> EnqueueResult:
        """Enqueue a call with these arguments under a random id; see ``Queue.enqueue``."""
        return BoundJob(self, {}).enqueue(*args, **kwargs)

    def enqueue_and_wait(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Enqueue a call, wait for its end and return its result; see ``Queue.enqueue_and_wait``."""
        return BoundJob(self, {}).enqueue_and_wait(*args, **kwargs)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> EnqueueResult:
        """As ``enqueue``, from a coroutine."""
        return await BoundJob(self, {}).aenqueue(*args, **kwargs)

    async def aenqueue_and_wait(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """As ``enqueue_and_wait``, from a coroutine; no thread is held while it waits."""
        return await BoundJob(self, {}).aenqueue_and_wait(*args, **kwargs)

    def payload(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The payload of a call.

        Raises:
            TypeError: the function cannot be called so; better now than in the worker.
        """
        context = (None,) if self.takes_context else ()
        if kwargs or len(context) + len(args) not in _plain_counts(self.func):
            signature = _signature(self.func)
            try:
                if signature is not None:
                    signature.bind(*context, *args, **kwargs)
            except TypeError as error:
                raise TypeError(f"job {self.name!r} cannot be called with these arguments: {error}") from None
        return {"job": self.name, "args": list(args), "kwargs": dict(kwargs)}


@functools.cache
def _signature(func: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(func)
    except (TypeError, ValueError):
        return None  # some builtins have none


@functools.cache
def _plain_counts(func: Callable[..., Any]) -> range:
    """How many arguments without names a function certainly takes; to bind them would take longer than all else."""
    signature = _signature(func)
    parameters = [] if signature is None else list(signature.parameters.values())
    plain = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    needed = [
        one
        for one in parameters
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if signature is None or not set(needed) <= set(plain):
        return range(0)
    return range(len(needed), len(plain) + 1)


@dataclass(frozen=True)
class BoundJob(Generic[P, R]):
    """A job with options, made by ``Job.using``."""

    job: Job[P, R]
    options: UsingOptions

    def using(self, **options: Unpack[UsingOptions]) -> BoundJob[P, R]:
        """The same with further options."""
        return replace(self, options=cast("UsingOptions", {**self.options, **_checked(options)}))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> EnqueueResult:
        """Enqueue a call with these arguments; see ``Queue.enqueue``."""
        job_id, queue, options, _ = self._target()
        return queue.enqueue(job_id, self.job.payload(args, kwargs), **options)

    def enqueue_and_wait(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Enqueue a call, wait for its end and return its result; see ``Queue.enqueue_and_wait``."""
        job_id, queue, options, timeout = self._target()
        payload = self.job.payload(args, kwargs)
        return cast("R", queue.enqueue_and_wait(job_id, payload, timeout=timeout, **options))

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> EnqueueResult:
        """As ``enqueue``, from a coroutine."""
        job_id, queue, options, _ = self._target()
        return await queue.aenqueue(job_id, self.job.payload(args, kwargs), **options)

    async def aenqueue_and_wait(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """As ``enqueue_and_wait``, from a coroutine; no thread is held while it waits."""
        job_id, queue, options, timeout = self._target()
        payload = self.job.payload(args, kwargs)
        return cast("R", await queue.aenqueue_and_wait(job_id, payload, timeout=timeout, **options))

    def _target(self) -> tuple[str, Queue, EnqueueOptions, Duration | None]:
        given: dict[str, Any] = {
            "max_attempts": self.job.max_attempts,
            "result_ttl": self.job.result_ttl,
            **self.options,
        }
        job_id = given.pop("id", None)
        queue = queues[given.pop("queue", self.job.queue_alias)]
        timeout = given.pop("wait_timeout", 30)
        return (
            new_job_id() if job_id is None else job_id,
            queue,
            cast("EnqueueOptions", given),
            timeout,
        )


def _checked(options: Any) -> UsingOptions:
    check_names(options, UsingOptions.__optional_keys__, "using")
    return cast("UsingOptions", options)


class Registry:
    """Job names and what they run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job[..., Any]] = {}

    def add(self, job: Job[..., Any]) -> None:
        """Register a job.

        Raises:
            ValueError: the name is taken by another function.
        """
        with self._lock:
            other = self._jobs.get(job.name)
            if other is not None and _origin(other.func) != _origin(job.func):
                raise ValueError(
                    f"the job name {job.name!r} is taken by {'.'.join(_origin(other.func))}; "
                    "give one of them @job(name=...)"
                )
            self._jobs[job.name] = job

    def __getitem__(self, name: str) -> Job[..., Any]:
        """The job of that name.

        Raises:
            UnknownJob: none is registered.
        """
        try:
            return self._jobs[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._jobs, n=1)
            hint = f" (there is {near[0]!r})" if near else ""
            raise UnknownJob(
                f"no job {name!r} is registered in this process{hint}; decorate the function with @job in "
                "a jobs.py of an installed app, or import its module there"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._jobs

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._jobs)


#: The jobs of this process.
registry = Registry()


def _origin(func: Callable[..., Any]) -> tuple[str, str]:
    return func.__module__, getattr(func, "__qualname__", type(func).__qualname__)


class JobOptions(TypedDict, total=False):
    """Options of ``@job``; see ``Job`` for their meaning."""

    queue: str
    name: str | None
    max_attempts: int | None
    result_ttl: Duration | None
    retry_backoff: Duration | None
    timeout: Duration | None
    takes_context: bool


@overload
def job(func: Callable[P, R], /) -> Job[P, R]: ...
@overload
def job(**options: Unpack[JobOptions]) -> Callable[[Callable[P, R]], Job[P, R]]: ...


def job(func: Callable[..., Any] | None = None, /, **options: Unpack[JobOptions]) -> Any:
    """Make a function a job: ``@job`` or ``@job(queue="emails", max_attempts=5)``.

    The function stays callable. It gains ``.enqueue()``, ``.enqueue_and_wait()`` and ``.using()``.

    Args:
        func: the function.
        **options: ``queue`` (alias), ``name`` (default: ``module.qualname``), ``max_attempts``,
            ``result_ttl``, ``retry_backoff`` and ``timeout`` (seconds), ``takes_context``.

    Raises:
        InvalidOption: a value is out of its range.
        TypeError: it is not a function.
        ValueError: the name is taken by another function.
    """

    def decorate(func: Callable[..., Any]) -> Job[..., Any]:
        if not callable(func):
            raise TypeError(f"@job decorates functions, not {func!r}")
        made: Job[..., Any] = Job(
            func=func,
            name=options.get("name") or ".".join(_origin(func)),
            queue_alias=options.get("queue", DEFAULT_ALIAS),
            max_attempts=options.get("max_attempts"),
            result_ttl=options.get("result_ttl"),
            retry_backoff=_option_seconds("retry_backoff", options.get("retry_backoff"), zero=True),
            timeout=_option_seconds("timeout", options.get("timeout")),
            takes_context=options.get("takes_context", False),
        )
        registry.add(made)
        return made

    return decorate if func is None else decorate(func)


def _option_seconds(name: str, value: Duration | None, zero: bool = False) -> float | None:
    if value is None:
        return None
    try:
        number = duration_seconds(value)
    except ValueError as rule:
        raise InvalidOption(f"@job({name}={value!r}): it must be {rule}") from None
    if number < 0 or (number == 0 and not zero):
        raise InvalidOption(f"@job({name}={value!r}): it must be above 0 seconds")
    return number


def autodiscover() -> None:
    """Import ``jobs.py`` of every installed app, so that its jobs are registered."""
    autodiscover_modules("jobs")
