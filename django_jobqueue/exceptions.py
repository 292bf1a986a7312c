"""The error tree: everything django-jobqueue raises on purpose is a ``JobQueueError``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class JobQueueError(Exception):
    """Base of all errors of django-jobqueue.

    ``code`` is a stable upper-case name, the same as the Node library's where it has one.
    """

    code: ClassVar[str] = "JOB_QUEUE_ERROR"


class InvalidJobId(JobQueueError, ValueError):
    """The id cannot name a job; the message says which rule it breaks."""

    code = "INVALID_JOB_ID"


class InvalidOption(JobQueueError, ValueError):
    """A duration, a number of attempts or another option is out of its range."""

    code = "INVALID_OPTION"


class SerializationError(JobQueueError, TypeError):
    """A payload or a result cannot be written as JSON, or a stored result cannot be read."""

    code = "NOT_SERIALIZABLE"


class PayloadTooLargeError(JobQueueError, ValueError):
    """A payload or a result is larger than ``MAX_PAYLOAD_SIZE``."""

    code = "PAYLOAD_TOO_LARGE"


class UnknownQueue(JobQueueError, LookupError):
    """``settings.JOBQUEUE`` defines no queue of this alias."""

    code = "UNKNOWN_QUEUE"


class UnknownJob(JobQueueError, LookupError):
    """A message names a job that no code registered in this process."""

    code = "UNKNOWN_JOB"


class MalformedMessage(JobQueueError, ValueError):
    """Bytes that should be a message are not one; they are kept in the quarantine list."""

    code = "MALFORMED_MESSAGE"


class StorageError(JobQueueError):
    """The storage could not do what was asked; ``__cause__`` is the driver's error.

    Nothing is half done: every transition is atomic, and sending it again is safe.
    """

    code = "STORAGE_ERROR"


class StorageFullError(StorageError):
    """The server is at ``maxmemory``; nothing was written. Workers go on and make room."""

    code = "STORAGE_FULL"


class NotReplicated(StorageError):
    """Fewer replicas than ``MIN_REPLICAS`` confirmed in time. The job may exist; the same id may be sent again.

    ``confirmed`` and ``wanted`` are numbers of replicas, ``waited`` is in seconds.
    """

    code = "NOT_REPLICATED"

    def __init__(self, attempted: str, confirmed: int, wanted: int, waited: float) -> None:
        super().__init__(
            f"{attempted}: {confirmed} of the {wanted} replicas that MIN_REPLICAS asks for confirmed within "
            f"{waited:g} s; the job may exist, and be lost if the primary is. The same id may be sent again, "
            "which confirms it; if this lasts, look at the replicas of the server, or lower MIN_REPLICAS"
        )
        self.confirmed = confirmed
        self.wanted = wanted
        self.waited = waited

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call __init__ with the message alone.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


class UnsupportedServer(StorageError):
    """The server cannot serve the queue: it is older than Redis 7.0 or Valkey 7.2, or it is part of a
    cluster and the key prefix has no hash tag."""

    code = "UNSUPPORTED_SERVER"


class JobError(JobQueueError):
    """Base of the errors that are about one job, named by ``job_id``."""

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call __init__ with self.args alone.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[JobQueueError], args: tuple[Any, ...], attributes: dict[str, Any]) -> JobQueueError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class JobTimeoutError(JobError, TimeoutError):
    """No result came within the waiter's timeout; the job itself goes on."""

    code = "TIMEOUT"

    def __init__(self, job_id: str, timeout: float) -> None:
        super().__init__(
            f"job {job_id!r} was not finished after {timeout:g} s; it goes on, and "
            f"queue.wait({job_id!r}) can wait for it again",
            job_id,
        )
        self.timeout = timeout


class JobFailedError(JobError):
    """The job failed for good; ``error`` is the stored error: message, code, stack, type."""

    code = "JOB_FAILED"

    def __init__(self, job_id: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"job {job_id!r} failed: {error.get('message') or 'no message was kept'}", job_id)
        self.error = dict(error)


class JobCancelledError(JobError):
    """The job was cancelled before it ran."""

    code = "JOB_CANCELLED"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id!r} was cancelled before it ran", job_id)


class JobNotFoundError(JobError, LookupError):
    """The queue knows no job of this id: never enqueued, or its result's TTL is over."""

    code = "JOB_NOT_FOUND"

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"job {job_id!r} is not known to the queue: it was never enqueued, was removed, "
            "or its result TTL is over; raise result_ttl to keep results longer",
            job_id,
        )


class MaxRetriesError(JobError):
    """A job used up its attempts; ``last_error`` is what its last run raised."""

    code = "MAX_RETRIES"

    def __init__(self, job_id: str, attempts: int, last_error: BaseException) -> None:
        super().__init__(f"job {job_id!r} failed after {attempts} attempts: {last_error}", job_id)
        self.attempts = attempts
        self.last_error = last_error


class JobTimeout(JobQueueError, TimeoutError):
    """Raised inside a job that ran longer than its ``timeout``; the attempt has failed."""

    code = "JOB_TIMEOUT"
