"""``Queue``: what producers and waiters call, and ``queues``, the registry of all of them."""

from __future__ import annotations

import difflib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Unpack

from django.core.signals import setting_changed
from django.db import transaction
from django.utils.module_loading import import_string

from . import signals
from .async_queue import AsyncCalls
from .conf import QueueConfig, read_settings
from .exceptions import (
    InvalidOption,
    JobFailedError,
    JobNotFoundError,
    PayloadTooLargeError,
    SerializationError,
    UnknownQueue,
)
from .listing import JobDetails, JobPage, Part
from .message import JobMessage, JobState, Status, readable, validate_job_id
from .options import Duration, EnqueueOptions, attempts, message_options, milliseconds, wait_seconds
from .results import EnqueueResult, JobStatus, QueueStats, WorkerInfo
from .serializers import Serializer
from .storage.base import NewJob, Record, Storage
from .stored import attempts_of, error_of, object_of, worker_info
from .waiting import WaitingRoom, is_over

logger = logging.getLogger(__name__)

#: Most jobs on one page of ``list_jobs``: messages may be large, and the server waits for none.
MAX_PAGE = 200


class Queue(AsyncCalls):
    """One queue: enqueue, wait, look, cancel. Thread-safe; get it as ``queues[alias]``."""

    def __init__(self, config: QueueConfig) -> None:
        self.config = config
        self.storage: Storage = import_string(config.storage)(config)
        self._waiting = WaitingRoom(self.storage)

    def __repr__(self) -> str:
        return f"<Queue {self.alias!r}>"

    @property
    def alias(self) -> str:
        """The key in ``settings.JOBQUEUE``."""
        return self.config.alias

    @cached_property
    def serializer(self) -> Serializer:
        """The JSON codec of payloads and results."""
        serializer: Serializer = import_string(self.config.serializer)()
        return serializer

    @cached_property
    def _ttl_ms(self) -> int:
        return milliseconds("result_ttl", self.config.result_ttl, above=0)

    # Producing

    def enqueue(self, id: str, payload: Any = None, **options: Unpack[EnqueueOptions]) -> EnqueueResult:
        """Put a job at the tail of the queue, unless its id is taken.

        Args:
            id: names the job; one id, one live job. See ``InvalidJobId`` for what it may be.
            payload: anything JSON can hold.
            **options: see ``EnqueueOptions``.

        Raises:
            InvalidJobId, InvalidOption, SerializationError, PayloadTooLargeError: bad input; nothing
                was enqueued.
            StorageFullError: the server has no memory left; nothing was enqueued.
            NotReplicated: fewer replicas than ``MIN_REPLICAS`` confirmed. The job may exist; enqueueing
                the same id again confirms it, or says again that it is not.
            StorageError: the server could not be reached. The job may be enqueued: enqueueing the
                same id again is safe.
        """
        return self.enqueue_many([(id, payload)], **options)[0]

    def enqueue_many(self, jobs: Iterable[tuple[str, Any]], **options: Unpack[EnqueueOptions]) -> list[EnqueueResult]:
        """Enqueue many jobs in few round trips.

        All are checked before the first is sent. Each is enqueued on its own: when the server fails
        on the way, some may be in; enqueueing all again is safe.

        Args:
            jobs: pairs of id and payload.
            **options: see ``EnqueueOptions``; the same for all.

        Returns:
            The results, in the order of the jobs.

        Raises:
            The same as ``enqueue``.
        """
        chosen = message_options(options) if options else {}
        prepared = [self._prepare(job_id, payload, **chosen) for job_id, payload in jobs]
        if options.get("on_commit"):
            transaction.on_commit(lambda: self._accept(prepared))
            return [EnqueueResult(job.message.id, "deferred") for job in prepared]
        return self._accept(prepared)

    def enqueue_and_wait(
        self,
        id: str,
        payload: Any = None,
        *,
        timeout: Duration | None = 30,
        **options: Unpack[EnqueueOptions],
    ) -> Any:
        """Enqueue a job and wait for its result; an id that is taken waits for the job that has it.

        Args:
            id: names the job.
            payload: anything JSON can hold.
            timeout: seconds to wait; ``None`` waits without limit.
            **options: see ``EnqueueOptions``, without ``on_commit``.

        Returns:
            What the job returned.

        Raises:
            JobFailedError: the job failed for good.
            JobCancelledError: it was cancelled.
            JobTimeoutError: no result in time; the job goes on.
            JobNotFoundError: it ended, but its result's TTL was over before it could be read.
            The same as ``enqueue``.
        """
        job = self._prepare_awaited(id, payload, options)
        wait_s = wait_seconds(timeout)
        with self._waiting.expecting(id) as waiter:
            (accepted,) = self.storage.enqueue([job])
            if accepted.standing is None:
                self._announce(job)
            elif accepted.standing.status.is_terminal:
                return self._outcome(id, self.storage.lookup([id])[0])
            return self._outcome(id, waiter.record(wait_s))

    def wait(self, id: str, timeout: Duration | None = 30) -> Any:
        """Wait for the result of a job that is enqueued already.

        Args:
            id: the job's id.
            timeout: seconds to wait; ``None`` waits without limit.

        Returns:
            What the job returned.

        Raises:
            JobNotFoundError: the queue does not know it.
            JobFailedError, JobCancelledError, JobTimeoutError, StorageError: as ``enqueue_and_wait``.
        """
        validate_job_id(id)
        wait_s = wait_seconds(timeout)
        with self._waiting.expecting(id) as waiter:
            # It may have ended before the subscription stood.
            record = self.storage.lookup([id])[0]
            if not is_over(record):
                record = waiter.record(wait_s)
            return self._outcome(id, record)

    def cancel(self, id: str) -> str:
        """Cancel a job that has not started.

        Returns:
            ``cancelled``, ``not_found``, or ``processing``, ``completed`` or ``failed`` when it was
            too late.
        """
        validate_job_id(id)
        outcome = self.storage.cancel(id)
        if outcome == "cancelled":
            signals.job_cancelled.send_robust(Queue, queue=self, job_id=id)
        return outcome

    def retry(self, id: str) -> bool:
        """Run a failed job again, from its kept message and with all its attempts.

        Returns:
            Whether there was such a job; false when it is not failed or its TTL is over.

        Raises:
            MalformedMessage: its kept message is damaged.
            NotReplicated: fewer replicas than ``MIN_REPLICAS`` confirmed. The job is queued; if the primary
                is lost now, it may be failed as before, and can be retried again.
        """
        return self.storage.retry_dead(validate_job_id(id))

    def delete(self, id: str) -> str:
        """Forget a finished job with its result or error; its id is free again.

        Returns:
            ``deleted``, ``not_found``, or its state (``queued``, ``scheduled``, ``failing``,
            ``processing``) when it is not finished: nothing changed; ``cancel`` is for those.
        """
        return self.storage.delete(validate_job_id(id))

    def update_result_ttl(self, id: str, ttl: Duration) -> str:
        """Let a finished job be forgotten ``ttl`` seconds from now.

        Returns:
            ``updated``, ``not_found``, ``not_terminal``, or ``missing_payload`` when its result or
            error is gone already.
        """
        ttl_ms = milliseconds("ttl", ttl, above=0)
        return self.storage.update_ttl(validate_job_id(id), ttl_ms)

    # Looking

    def get_result(self, id: str, default: Any = None) -> Any:
        """The result of a completed job, or ``default`` when there is none (yet, or any more).

        Raises:
            SerializationError: there is one, but ``SERIALIZER`` cannot read it.
        """
        record = self.storage.lookup([validate_job_id(id)])[0]
        if record is None or record.state.status is not Status.COMPLETED or record.payload is None:
            return default
        return self._load_result(id, record.payload)

    def get_status(self, id: str) -> JobStatus | None:
        """All that is known about a job; ``None`` for an unknown one.

        Raises:
            SerializationError: its result is kept, but ``SERIALIZER`` cannot read it.
        """
        record = self.storage.lookup([validate_job_id(id)])[0]
        if record is None:
            return None
        state = record.state
        status = JobStatus(id, state.status, state.timestamp, attempts_of(record), state.worker_id)
        if state.status is Status.COMPLETED and record.payload is not None:
            return replace(status, result=self._load_result(id, record.payload))
        if state.status is Status.FAILED:
            return replace(status, error=error_of(record.payload))
        return replace(status, progress=object_of(record.progress))

    def get_job_state(self, id: str) -> JobState | None:
        """The state of a job; ``None`` for an unknown one."""
        return self.storage.states([validate_job_id(id)])[0]

    def get_job_states(self, ids: Sequence[str]) -> dict[str, JobState | None]:
        """The states of many jobs in one round trip; ``None`` for unknown ones."""
        names = [validate_job_id(job_id) for job_id in ids]
        return dict(zip(names, self.storage.states(names), strict=True))

    def list_jobs(self, part: Part | str, offset: int = 0, limit: int = 50) -> JobPage:
        """A page of the jobs in one part of the queue. The cost does not grow with the number of jobs.

        Args:
            part: ``queued``, ``scheduled``, ``processing``, ``completed``, ``failed`` or ``malformed``.
            offset: how many to skip.
            limit: the length of the page, at most 200.

        Raises:
            InvalidOption: there is no such part, or a number is out of range.
        """
        if part not in list(Part):
            raise InvalidOption(f"there is no part {part!r} of a queue; there are: {', '.join(Part)}")
        if not 0 <= offset < 2**53 or not 1 <= limit <= MAX_PAGE:
            raise InvalidOption(
                f"offset is {offset!r} and limit {limit!r}; they must be from 0 up, and from 1 to {MAX_PAGE}"
            )
        return self.storage.page(Part(part), offset, limit)

    def inspect(self, id: str) -> JobDetails | None:
        """A job with its message, as far as the queue still has it; ``None`` for an unknown one.

        Raises:
            SerializationError: its result is kept, but ``SERIALIZER`` cannot read it.
        """
        status = self.get_status(id)
        if status is None:
            return None
        kept = self.storage.details(id, status.worker_id)
        return JobDetails(status, readable(kept.message), kept.due_ms, kept.expires_ms)

    def stats(self) -> QueueStats:
        """Sizes of the queue's parts. The cost does not grow with the number of jobs."""
        counts, workers = self.storage.counts(), self.storage.workers()
        return QueueStats(
            queued=counts.queued,
            scheduled=counts.scheduled,
            processing=sum(worker.processing for worker in workers),
            completed=counts.completed,
            failed=counts.failed,
            workers=len(workers),
            malformed=counts.malformed,
            leader=counts.leader,
        )

    def workers(self) -> list[WorkerInfo]:
        """The registered workers, by id."""
        limit = self.config.visibility_timeout * 1000
        return [worker_info(record, record.heartbeat.age_ms < limit) for record in self.storage.workers()]

    def subscribe(self, handler: Callable[[str, str], None]) -> Callable[[], None]:
        """Call ``handler(id, event)`` on each event of the queue, for monitoring.

        Events: queued, processing, completed, failed, failing, cancelled, stalled. The handler runs
        in the subscriber's thread and must return soon. Events may be missed while the connection
        is down; what must not be missed belongs into the job.

        Returns:
            A callable that ends the subscription.
        """
        return self.storage.listen_events(handler)

    # Housekeeping

    def clear(self) -> int:
        """Remove all jobs, results and workers of this queue, and no other keys.

        Returns:
            The number of keys removed.
        """
        return self.storage.clear()

    def close(self) -> None:
        """Close the connections of this process; they open again when needed."""
        self.storage.close()

    # Inside

    def _prepare(
        self,
        job_id: str,
        payload: Any,
        *,
        max_attempts: object = None,
        result_ttl: Duration | None = None,
        delay: Duration | None = None,
    ) -> NewJob:
        validate_job_id(job_id)
        message = JobMessage.encode(
            job_id,
            payload,
            self.dump(payload, f"the payload of job {job_id!r}"),
            created_at=int(time.time() * 1000),
            max_attempts=self.config.max_attempts if max_attempts is None else attempts(max_attempts),
            result_ttl_ms=self._ttl_ms if result_ttl is None else milliseconds("result_ttl", result_ttl, above=0),
        )
        return NewJob(message, 0 if delay is None else milliseconds("delay", delay))

    def _prepare_awaited(self, job_id: str, payload: Any, options: EnqueueOptions) -> NewJob:
        """The job of an enqueue that is waited for.

        Raises:
            The same as ``enqueue``.
        """
        if options.get("on_commit"):
            raise InvalidOption(
                "on_commit=True cannot be waited for: the job would start after the wait; enqueue first, "
                "and wait(id) when the transaction has committed"
            )
        return self._prepare(job_id, payload, **message_options(options))

    def dump(self, value: Any, what: str) -> bytes:
        """A value as JSON bytes.

        Raises:
            SerializationError: JSON cannot hold it.
            PayloadTooLargeError: it is larger than ``MAX_PAYLOAD_SIZE``.
        """
        data = self.serializer.dumps(value)
        limit = self.config.max_payload_size
        if len(data) > limit:
            raise PayloadTooLargeError(
                f"{what} has {len(data):,} bytes, more than MAX_PAYLOAD_SIZE = {limit:,}; store the data "
                "elsewhere and pass its key, or raise the setting"
            )
        return data

    def _accept(self, jobs: Sequence[NewJob]) -> list[EnqueueResult]:
        standing = [one.standing for one in self.storage.enqueue(jobs)]
        records = self._completed(jobs, standing) if any(standing) else {}
        return [
            self._announce(job) if state is None else self._refused(job.message.id, state, records)
            for job, state in zip(jobs, standing, strict=True)
        ]

    def _completed(self, jobs: Sequence[NewJob], standing: Sequence[JobState | None]) -> dict[str, Record | None]:
        """What is known of the jobs that have completed under the ids of these."""
        found = zip(jobs, standing, strict=True)
        ids = list({job.message.id: 1 for job, state in found if state and state.status is Status.COMPLETED})
        return dict(zip(ids, self.storage.lookup(ids), strict=True))

    def _refused(self, job_id: str, standing: JobState, records: Mapping[str, Record | None]) -> EnqueueResult:
        record = records.get(job_id)
        if record is not None and record.payload is not None and record.state.status is Status.COMPLETED:
            try:
                result = self._load_result(job_id, record.payload)
            except SerializationError as error:
                # Others of the batch are enqueued by now, and their caller must hear of it.
                logger.warning("%s", error, extra={"job_id": job_id, "queue": self.alias})
            else:
                return EnqueueResult(job_id, "completed", standing.status, result)
        return EnqueueResult(job_id, "duplicate", standing.status)

    def _announce(self, job: NewJob) -> EnqueueResult:
        """Send ``job_enqueued`` for a job that was taken."""
        result = EnqueueResult(job.message.id, "scheduled" if job.delay_ms else "queued")
        signals.job_enqueued.send_robust(Queue, queue=self, job_id=result.id, status=result.status)
        return result

    def _outcome(self, job_id: str, record: Record | None) -> Any:
        """The result of a finished job, or its error raised."""
        if record is None:
            raise JobNotFoundError(job_id)
        if record.state.status is Status.FAILED:
            raise JobFailedError(job_id, error_of(record.payload) or {})
        if record.payload is None:
            raise JobNotFoundError(job_id)
        return self._load_result(job_id, record.payload)

    def _load_result(self, job_id: str, payload: bytes) -> Any:
        """A stored result.

        Raises:
            SerializationError: the serializer cannot read it.
        """
        try:
            return self.serializer.loads(payload)
        except ValueError as error:
            raise SerializationError(
                f"the result of job {job_id!r} cannot be read by {self.config.serializer}: {error}; "
                "delete() forgets it"
            ) from error


class Queues:
    """All queues of ``settings.JOBQUEUE`` by alias, like ``django.core.cache.caches``.

    A queue is made when it is first asked for, once a process, and anew when the settings change in
    a test.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, Queue] = {}

    def __getitem__(self, alias: str) -> Queue:
        queue = self._queues.get(alias)
        return queue if queue is not None else self._make(alias)

    def __iter__(self) -> Iterator[str]:
        return iter(read_settings())

    def __contains__(self, alias: object) -> bool:
        return alias in read_settings()

    def _make(self, alias: str) -> Queue:
        with self._lock:
            if alias not in self._queues:
                configs = read_settings()
                if alias not in configs:
                    near = difflib.get_close_matches(str(alias), configs, n=1)
                    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(map(repr, configs))}"
                    raise UnknownQueue(f"settings.JOBQUEUE has no queue {alias!r}; {hint}")
                self._queues[alias] = Queue(configs[alias])
            return self._queues[alias]

    def close(self) -> None:
        """Close all connections and forget the queues; they are made anew when asked for."""
        with self._lock:
            old, self._queues = self._queues, {}
        for queue in old.values():
            queue.close()


#: All queues by alias.
queues = Queues()


def _settings_changed(*, setting: str, **_: Any) -> None:
    if setting in ("JOBQUEUE", "CACHES"):
        queues.close()


setting_changed.connect(_settings_changed, dispatch_uid="django_jobqueue.queues")


def new_job_id() -> str:
    """A random job id."""
    return str(uuid.uuid4())
