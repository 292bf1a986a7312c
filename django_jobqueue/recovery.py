"""What becomes of a job whose worker no longer works on it."""

from __future__ import annotations

import logging
from dataclasses import replace

from . import signals
from .exceptions import MalformedMessage
from .message import JobMessage, Status
from .queue import Queue
from .storage.base import Fail, Suspect, SuspectKind

logger = logging.getLogger(__name__)

#: Code of the error that a job gets which stalled in its last attempt.
STALLED = "STALLED"


class Recovery:
    """Settles suspects. Every step is fenced by the job's exact state, so that it does nothing when
    the worker has moved on, or when another reaper was faster."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def settle(self, suspect: Suspect) -> bool:
        """Bring one abandoned job to where it belongs; false when there was nothing to do (any more).

        A started job has used an attempt: it runs again, or fails with code ``STALLED``. A job that
        had not started loses none. A message whose job is over or was cancelled is dropped, an
        unreadable one quarantined.

        Raises:
            StorageError: the server could not be reached; it is safe to try again.
        """
        storage = self._queue.storage
        message = self.decode(suspect.worker_id, suspect.raw)
        if message is None:
            return True
        match suspect.kind:
            case SuspectKind.STALLED:
                return self._stalled(suspect, message)
            case SuspectKind.UNSTARTED:
                recovered = storage.recover(suspect, message, message)
                if recovered:
                    self._log("job %s is back: worker %s took it but did not start it", suspect, message)
                return recovered
            case SuspectKind.OUTDATED:
                return storage.discard(suspect, message)
            case SuspectKind.UNREAD:
                return self.settle(self._read(suspect, message))

    def _read(self, suspect: Suspect, message: JobMessage) -> Suspect:
        """What the storage would have found, had it been able to read the message."""
        (state,) = self._queue.storage.states([message.id])
        if state is None or state.status.is_terminal or state.status is Status.SCHEDULED:
            kind = SuspectKind.OUTDATED
        elif state.status is Status.PROCESSING:
            kind = SuspectKind.STALLED
        else:
            kind = SuspectKind.UNSTARTED
        return replace(suspect, kind=kind, state="" if state is None else str(state))

    def decode(self, worker_id: str, raw: bytes) -> JobMessage | None:
        """The message in these bytes; ``None`` when they are none, and then they are in quarantine.

        Raises:
            StorageError: they could not be quarantined; they are still held.
        """
        try:
            return JobMessage.decode(raw, self._queue.serializer.loads)
        except MalformedMessage as error:
            self._quarantine(worker_id, raw, error)
            return None

    def _quarantine(self, worker_id: str, raw: bytes, error: MalformedMessage) -> None:
        stored = {"message": str(error), "code": error.code, "stack": "", "type": None}
        self._queue.storage.quarantine(worker_id, raw, self._queue.serializer.dumps(stored))
        logger.error(
            "worker %s met a malformed message, which is now in quarantine: %s",
            worker_id, error, extra={"queue": self._queue.alias},
        )  # fmt: skip

    def _stalled(self, suspect: Suspect, message: JobMessage) -> bool:
        attempts = message.attempts + 1
        failed = attempts >= message.max_attempts
        if failed:
            settled = self._queue.storage.fail_stalled(suspect, self._failure(suspect, message, attempts))
        else:
            settled = self._queue.storage.recover(suspect, message, message.with_attempts(attempts))
        if not settled:
            return False
        what = "job %s failed: it stalled in its last attempt, on worker %s"
        self._log(what if failed else "job %s stalled on worker %s and runs again", suspect, message)
        signals.job_stalled.send_robust(
            Queue,
            queue=self._queue,
            job_id=message.id,
            worker_id=suspect.worker_id,
            attempts=attempts,
            failed=failed,
        )
        return True

    def _failure(self, suspect: Suspect, message: JobMessage, attempts: int) -> Fail:
        error = {
            "message": (
                f"the job stalled in attempt {attempts} of {message.max_attempts}: worker {suspect.worker_id} "
                "died, was stopped, or could not renew its lease; look for a crash or an out-of-memory kill"
            ),
            "code": STALLED,
            "stack": "",
            "type": None,
        }
        ttl_ms = message.result_ttl_ms or round(self._queue.config.result_ttl * 1000)
        return Fail(message, self._queue.serializer.dumps(error), ttl_ms, expected=suspect.state)

    def _log(self, text: str, suspect: Suspect, message: JobMessage) -> None:
        extra = {"job_id": message.id, "queue": self._queue.alias}
        logger.warning(text, message.id, suspect.worker_id, extra=extra)
