"""The wire: messages, job states and result envelopes as bytes. Pure, no I/O.

The format is shared with the Node library ``@platformatic/job-queue`` 0.5.0; see
``docs/reference/wire-format.md``.
"""

from __future__ import annotations

import json
import logging
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from json.encoder import encode_basestring
from typing import Any

from .exceptions import InvalidJobId, MalformedMessage

logger = logging.getLogger(__name__)

#: Longest job id, in characters.
MAX_ID_LENGTH = 512

#: The jobs hash keeps the expiry of job ``x`` in the field ``x:exp``, so no id may end so.
EXPIRY_SUFFIX = ":exp"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# The fields behind the payload, as both libraries write them. A quote inside a JSON string is
# always escaped, so these bytes at the very end can only be the top-level fields.
_CANONICAL_TAIL = re.compile(rb',"createdAt":(\d+),"attempts":(\d+),"maxAttempts":(\d+)(?:,"resultTTL":(\d+))?\}\Z')
_TAIL_WINDOW = 160

# As ``lua/include/message.lua`` reads an id.
_CANONICAL_HEAD = re.compile(rb'\{"id":"([^"\\]+)",')

# Enough to find the top-level fields: strings (a key has a colon behind it) and brackets.
_TOKEN = re.compile(rb'("(?:[^"\\]|\\.)*")(\s*:\s*)?|[\[\]{}]', re.DOTALL)
_NUMBER = re.compile(rb"-?\d+")

_ENVELOPE = struct.Struct(">q")


def validate_job_id(job_id: object) -> str:
    """Return the id when it can name a job.

    Raises:
        InvalidJobId: it is not a string, is empty or over 512 characters long, holds control
            characters or lone surrogates, or ends in ``:exp``.
    """
    if (
        # All rules at once, for nearly all ids.
        type(job_id) is str
        and 0 < len(job_id) <= MAX_ID_LENGTH
        and job_id.isascii()
        and job_id.isprintable()
        and not job_id.endswith(EXPIRY_SUFFIX)
    ):
        return job_id
    if not isinstance(job_id, str):
        raise InvalidJobId(f"job id {job_id!r} is a {type(job_id).__name__}; pass a string, such as str(pk)")
    if not job_id:
        raise InvalidJobId("the job id is empty; pass a non-empty string, or leave it out for a random one")
    if len(job_id) > MAX_ID_LENGTH:
        raise InvalidJobId(
            f"job id {job_id[:40]!r}… has {len(job_id)} characters, the limit is {MAX_ID_LENGTH}; "
            "choose a shorter one, such as a hash of it"
        )
    if _CONTROL.search(job_id):
        raise InvalidJobId(f"job id {job_id!r} holds control characters; choose an id without them")
    if job_id.endswith(EXPIRY_SUFFIX):
        raise InvalidJobId(
            f"job id {job_id!r} ends in {EXPIRY_SUFFIX!r}, which the jobs hash uses for expiry; choose another id"
        )
    try:
        job_id.encode()
    except UnicodeEncodeError as error:
        raise InvalidJobId(f"job id {job_id!r} cannot be written as UTF-8: {error.reason}") from error
    return job_id


class Status(StrEnum):
    """The first word of a state string."""

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    PROCESSING = "processing"
    FAILING = "failing"
    COMPLETED = "completed"
    FAILED = "failed"
    #: Never written: what stands for the job's state is none. See ``JobState.read``.
    MALFORMED = "malformed"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended, well or badly."""
        return self in (Status.COMPLETED, Status.FAILED)


_WRITTEN = {status.value: status for status in Status if status is not Status.MALFORMED}

# Those without a detail.
_PLAIN = {
    status.value.encode(): status for status in (Status.QUEUED, Status.SCHEDULED, Status.COMPLETED, Status.FAILED)
}


def _digits(text: str) -> int:
    """A whole number; Python's own ``int`` takes signs, spaces and underscores too."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r:.80} is no whole number")
    return int(text)


@dataclass(frozen=True, slots=True)
class JobState:
    """A state string in parts: ``processing:1700000000000:worker-1`` and its like.

    Attributes:
        status: which state.
        timestamp: since when, in ms since the epoch, by the server's clock where ours wrote it.
        worker_id: who runs it; only for ``processing``.
        attempts: finished attempts; only for ``failing``.
        found: what stands there in place of a state; only for ``malformed``, whose timestamp is 0.
    """

    status: Status
    timestamp: int
    worker_id: str | None = None
    attempts: int | None = None
    found: str | None = None

    @classmethod
    def parse(cls, raw: bytes | str) -> JobState:
        """Read a state string.

        Raises:
            MalformedMessage: the string is no state.
        """
        try:
            word, _, rest = (raw.decode() if isinstance(raw, bytes) else raw).partition(":")
            timestamp, _, detail = rest.partition(":")
            status = _WRITTEN[word]
            if status is Status.FAILING:
                return cls(status, _digits(timestamp), attempts=_digits(detail))
            if status is Status.PROCESSING:
                return cls(status, _digits(timestamp), worker_id=detail)
            return cls(status, _digits(timestamp))
        except (ValueError, KeyError) as error:
            raise MalformedMessage(f"job state {raw[:80]!r} is not <status>:<ms>[:<detail>]") from error

    @classmethod
    def read(cls, raw: bytes | str) -> JobState:
        """Read a state string; what is none comes out as ``malformed``, so that it hides no other job."""
        if isinstance(raw, bytes):
            # The most frequent ones, without a look at each part.
            word, _, timestamp = raw.partition(b":")
            if timestamp.isdigit() and len(timestamp) <= 16 and (status := _PLAIN.get(word)) is not None:
                return cls(status, int(timestamp))
        try:
            return cls.parse(raw)
        except MalformedMessage as error:
            logger.warning("%s", error)
            exact = raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else raw
            return cls(Status.MALFORMED, 0, found=exact)

    def __str__(self) -> str:
        if self.found is not None:
            return self.found
        detail = self.attempts if self.status is Status.FAILING else self.worker_id
        return f"{self.status}:{self.timestamp}" + ("" if detail is None else f":{detail}")


@dataclass(frozen=True, slots=True)
class JobMessage:
    """One message of the queue list.

    ``raw`` are the exact bytes; they identify the lease of a taken message (``LREM`` compares
    them), so they are never encoded anew from the fields.

    Attributes:
        id: the job's id.
        payload: the decoded payload; ``None`` when the field is missing.
        created_at: when the producer made it, in ms since the epoch.
        attempts: finished attempts; 0 in a first run.
        max_attempts: how many runs the job may have.
        result_ttl_ms: how long result or error are kept; ``None`` leaves it to the queue.
        raw: the bytes on the wire.
    """

    id: str
    payload: Any = field(compare=False, repr=False)
    created_at: int
    attempts: int
    max_attempts: int
    result_ttl_ms: int | None
    raw: bytes = field(repr=False)

    @classmethod
    def encode(
        cls,
        job_id: str,
        payload: Any,
        payload_json: bytes,
        *,
        created_at: int,
        max_attempts: int,
        result_ttl_ms: int,
    ) -> JobMessage:
        """Make the message of a fresh job; fields in the order of the wire format."""
        return cls(
            id=job_id,
            payload=payload,
            created_at=created_at,
            attempts=0,
            max_attempts=max_attempts,
            result_ttl_ms=result_ttl_ms,
            raw=b'{"id":%b,"payload":%b,"createdAt":%d,"attempts":0,"maxAttempts":%d,"resultTTL":%d}'
            % (
                encode_basestring(job_id).encode(),
                payload_json,
                created_at,
                max_attempts,
                result_ttl_ms,
            ),
        )

    @classmethod
    def decode(cls, raw: bytes, loads: Callable[[bytes], Any] = json.loads) -> JobMessage:
        """Read a message, whoever wrote it.

        Args:
            raw: the bytes from the list.
            loads: the JSON reader.

        Raises:
            MalformedMessage: the bytes are not JSON, not an object, or lack a usable field.
        """
        try:
            # UTF-16 and UTF-32, which Python's reader takes too.
            if b"\0" in raw[:4]:
                raise ValueError("it is not UTF-8")
            fields = loads(raw)
        except (ValueError, RecursionError) as error:
            raise MalformedMessage(f"message of {len(raw)} bytes is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise MalformedMessage(f"message is a JSON {type(fields).__name__}, not an object")
        job_id = fields.get("id")
        if not isinstance(job_id, str) or not job_id:
            raise MalformedMessage("message has no string 'id'")
        head = _CANONICAL_HEAD.match(raw)
        if not _is_text(job_id) or (head is not None and head[1] != job_id.encode()):
            raise MalformedMessage("message has an 'id' that is not UTF-8, or two of them")
        return cls(
            id=job_id,
            payload=fields.get("payload"),
            created_at=_whole(fields, "createdAt", 0),
            attempts=_whole(fields, "attempts", 0),
            max_attempts=_whole(fields, "maxAttempts", 1),
            result_ttl_ms=None if fields.get("resultTTL") is None else _whole(fields, "resultTTL", 1),
            raw=raw,
        )

    def with_attempts(self, attempts: int) -> JobMessage:
        """The message of the next attempt: same bytes but for ``attempts``, unknown fields kept."""
        return replace(self, attempts=attempts, raw=self._with(attempts=attempts))

    def renewed(self, created_at: int) -> JobMessage:
        """The message of a failed job that starts afresh: no attempts, a new creation time."""
        return replace(self, attempts=0, created_at=created_at, raw=self._with(attempts=0, createdAt=created_at))

    def created(self, created_at: int) -> JobMessage:
        """The same job with another creation time."""
        return replace(self, created_at=created_at, raw=self._with(createdAt=created_at))

    def _with(self, **numbers: int) -> bytes:
        window = self.raw[-_TAIL_WINDOW:]
        tail = _CANONICAL_TAIL.search(window)
        if tail is None:
            # Written by other hands, in another order or with further fields: those stay.
            return _replaced(self.raw, numbers)
        end = self.raw[: len(self.raw) - len(window) + tail.start()]
        created_at, attempts, max_attempts, ttl = tail.groups()
        return b'%b,"createdAt":%d,"attempts":%d,"maxAttempts":%b%b}' % (
            end,
            numbers.get("createdAt", int(created_at)),
            numbers.get("attempts", int(attempts)),
            max_attempts,
            b"" if ttl is None else b',"resultTTL":' + ttl,
        )


def readable(raw: bytes | None) -> JobMessage | None:
    """A kept message; ``None`` for none, and for one that cannot be read."""
    try:
        return None if raw is None else JobMessage.decode(raw)
    except MalformedMessage:
        return None


def _is_text(job_id: str) -> bool:
    """Whether an id has a UTF-8 form; JSON may hold half of a surrogate pair."""
    try:
        job_id.encode()
    except UnicodeEncodeError:
        return False
    return True


def _replaced(raw: bytes, numbers: Mapping[str, int]) -> bytes:
    """A message with other numbers in some top-level fields, and no other byte changed.

    Reading and writing it anew would alter numbers of the payload, and fail where it nests deeply.
    """
    parts, end, depth = [], 0, 0
    for token in _TOKEN.finditer(raw):
        if token[1] is None:
            depth += 1 if token[0] in b"{[" else -1
        elif depth == 1 and token[2] and (name := json.loads(token[1])) in numbers:
            old = _NUMBER.match(raw, token.end())
            if old is not None:
                parts += [raw[end : token.end()], b"%d" % numbers[name]]
                end = old.end()
    return b"".join([*parts, raw[end:]])


def _whole(fields: Mapping[str, Any], name: str, least: int) -> int:
    value = fields.get(name)
    # bool is an int to Python but not to JSON.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**53:
        raise MalformedMessage(f"message field {name!r} is {value!r:.60}, not a whole number from {least} up")
    return value


@dataclass(frozen=True, slots=True)
class Envelope:
    """A stored result or error: its payload and when it is forgotten.

    ``expires_at`` is in ms since the epoch; ``None`` for a legacy entry without envelope.
    """

    payload: bytes
    expires_at: int | None

    @classmethod
    def open(cls, raw: bytes) -> Envelope:
        """Read an entry of the results or errors hash.

        A value shorter than the header or with a non-positive expiry is a legacy entry: all of
        it is payload.
        """
        if len(raw) >= _ENVELOPE.size:
            (expires_at,) = _ENVELOPE.unpack_from(raw)
            if expires_at > 0:
                return cls(raw[_ENVELOPE.size :], expires_at)
        return cls(raw, None)

    def seal(self) -> bytes:
        """The bytes to store."""
        return self.payload if self.expires_at is None else _ENVELOPE.pack(self.expires_at) + self.payload
