"""The wire format: messages, states, envelopes, ids."""

import contextlib
import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_jobqueue.exceptions import InvalidJobId, MalformedMessage
from django_jobqueue.message import Envelope, JobMessage, JobState, Status, validate_job_id
from django_jobqueue.serializers import JSONSerializer

LIMIT = 2**53 - 1
numbers = st.integers(0, LIMIT)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LIMIT, LIMIT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
# Text that has a UTF-8 form: no lone surrogates, which ids may not hold.
ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(
    lambda text: not text.endswith(":exp")
)


def made(job_id: str, payload: Any, created_at: int = 5, max_attempts: int = 3, ttl: int = 60_000) -> JobMessage:
    payload_json = JSONSerializer().dumps(payload)
    return JobMessage.encode(
        job_id, payload, payload_json, created_at=created_at, max_attempts=max_attempts, result_ttl_ms=ttl
    )


def test_a_message_has_the_fields_of_the_wire_format_in_their_order() -> None:
    one = made("a", {"x": [1, None]}, created_at=1700000000000)

    assert one.raw == (
        b'{"id":"a","payload":{"x":[1,null]},"createdAt":1700000000000,'
        b'"attempts":0,"maxAttempts":3,"resultTTL":60000}'
    )


@given(ids, json_values, numbers, st.integers(1, 1000), st.integers(1, LIMIT))
def test_what_is_encoded_is_decoded(job_id: str, payload: Any, created_at: int, max_attempts: int, ttl: int) -> None:
    one = made(job_id, payload, created_at, max_attempts, ttl)

    again = JobMessage.decode(one.raw)

    assert again == one
    assert again.payload == payload
    assert list(json.loads(one.raw)) == ["id", "payload", "createdAt", "attempts", "maxAttempts", "resultTTL"]


@given(ids, json_values, numbers, st.integers(1, 1000))
def test_the_next_attempt_differs_in_its_attempts_alone(
    job_id: str, payload: Any, created_at: int, attempts: int
) -> None:
    one = made(job_id, payload, created_at)

    following = one.with_attempts(attempts)

    before, after = json.loads(one.raw), json.loads(following.raw)
    assert after == {**before, "attempts": attempts}
    assert list(after) == list(before)
    assert JobMessage.decode(following.raw) == following
    assert following.raw != one.raw


@given(
    st.permutations(["id", "payload", "createdAt", "attempts", "maxAttempts", "resultTTL", "trace", "meta"]),
    json_values,
    st.integers(1, 100),
)
def test_unknown_fields_and_other_orders_survive_a_retry(order: list[str], extra: Any, attempts: int) -> None:
    # The nested object tempts a reader that looks for the fields by pattern alone.
    trap = {"createdAt": 1, "attempts": 99, "maxAttempts": 1, "resultTTL": 1}
    values = {
        "id": 'a"\\é', "payload": {"nested": trap}, "createdAt": 7, "attempts": 0, "maxAttempts": 3,
        "resultTTL": 5, "trace": extra, "meta": trap,
    }  # fmt: skip
    raw = json.dumps({name: values[name] for name in order}, separators=(",", ":")).encode()

    following = JobMessage.decode(raw).with_attempts(attempts)

    assert json.loads(following.raw) == {**json.loads(raw), "attempts": attempts}
    assert list(json.loads(following.raw)) == order


def test_a_renewed_message_starts_afresh() -> None:
    one = made("a", 1).with_attempts(2)

    fresh = one.renewed(99)

    assert (fresh.attempts, fresh.created_at) == (0, 99)
    assert JobMessage.decode(fresh.raw) == fresh


def test_a_missing_payload_is_none() -> None:
    # JavaScript leaves undefined fields out.
    raw = b'{"id":"a","createdAt":1,"attempts":0,"maxAttempts":3}'

    one = JobMessage.decode(raw)

    assert (one.payload, one.result_ttl_ms) == (None, None)
    assert one.with_attempts(1).raw == b'{"id":"a","createdAt":1,"attempts":1,"maxAttempts":3}'


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\x00\xff", b"nonsense", b'{"id":"a"', b"null", b"[1]", b'"text"', b"{}",
        b'{"id":1,"createdAt":1,"attempts":0,"maxAttempts":3}',
        b'{"id":"","createdAt":1,"attempts":0,"maxAttempts":3}',
        b'{"id":"a","createdAt":"1","attempts":0,"maxAttempts":3}',
        b'{"id":"a","createdAt":1,"attempts":true,"maxAttempts":3}',
        b'{"id":"a","createdAt":1,"attempts":-1,"maxAttempts":3}',
        b'{"id":"a","createdAt":1,"attempts":0,"maxAttempts":0}',
        b'{"id":"a","createdAt":1,"attempts":0.5,"maxAttempts":3}',
        b'{"id":"a","createdAt":1,"attempts":0,"maxAttempts":3,"resultTTL":"x"}',
        b'{"id":"a","createdAt":1e400,"attempts":0,"maxAttempts":3}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedMessage):
        JobMessage.decode(raw, JSONSerializer().loads)


def test_what_nests_too_deeply_is_refused_by_every_reader() -> None:
    with pytest.raises(MalformedMessage, match="not JSON"):
        JobMessage.decode(b'{"id":"a","payload":' + b"[" * 100_000)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_message_or_refused(raw: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        JobMessage.decode(raw)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("queued:5", JobState(Status.QUEUED, 5)),
        ("scheduled:5", JobState(Status.SCHEDULED, 5)),
        ("processing:5:worker-1", JobState(Status.PROCESSING, 5, worker_id="worker-1")),
        ("failing:5:2", JobState(Status.FAILING, 5, attempts=2)),
        ("completed:5", JobState(Status.COMPLETED, 5)),
        ("failed:5", JobState(Status.FAILED, 5)),
    ],
)
def test_states_are_read_and_written(text: str, expected: JobState) -> None:
    assert JobState.parse(text) == JobState.parse(text.encode()) == expected
    assert str(expected) == text


@pytest.mark.parametrize("text", ["", "queued", "queued:", "running:5", "failing:5", "failing:5:x", ":5"])
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage, match="job state"):
        JobState.parse(text)


@given(st.binary(), st.integers(1, 2**62))
def test_envelopes_are_opened_as_they_were_sealed(payload: bytes, expires_at: int) -> None:
    sealed = Envelope(payload, expires_at)

    assert Envelope.open(sealed.seal()) == sealed
    assert len(sealed.seal()) == len(payload) + 8


@given(st.binary(max_size=7) | st.binary(max_size=40).map(lambda rest: bytes(8) + rest))
def test_a_legacy_entry_is_all_payload(raw: bytes) -> None:
    assert Envelope.open(raw) == Envelope(raw, None)
    assert Envelope.open(raw).seal() == raw


@given(ids)
def test_usable_ids_are_returned(job_id: str) -> None:
    assert validate_job_id(job_id) == job_id


@pytest.mark.parametrize(
    ("job_id", "rule"),
    [
        ("", "empty"),
        (7, "is a int"),
        (None, "NoneType"),
        (b"a", "bytes"),
        ("report:exp", "':exp'"),
        ("a\nb", "control characters"),
        ("a\x00", "control characters"),
        ("a\x7f", "control characters"),
        ("x" * 513, "513 characters"),
        ("\ud800", "UTF-8"),
    ],
)
def test_bad_ids_are_refused_with_the_rule(job_id: object, rule: str) -> None:
    with pytest.raises(InvalidJobId, match=rule):
        validate_job_id(job_id)


@given(st.text(string.printable, max_size=30), st.text(string.printable, max_size=30))
def test_payload_text_never_looks_like_fields(before: str, after: str) -> None:
    tail = ',"createdAt":1,"attempts":9,"maxAttempts":9,"resultTTL":9}'
    one = made("a", before + tail + after)

    assert JobMessage.decode(one.with_attempts(1).raw) == one.with_attempts(1)
    assert json.loads(one.with_attempts(1).raw)["payload"] == before + tail + after
