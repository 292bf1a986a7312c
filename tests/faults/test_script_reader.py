"""The scripts read messages by their ends, Python reads the JSON: no payload makes them disagree."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from django_jobqueue.exceptions import MalformedMessage
from django_jobqueue.message import JobMessage
from tests.servers import Server

pytestmark = pytest.mark.faults

READER = (resources.files("django_jobqueue") / "lua" / "include" / "message.lua").read_text("utf-8") + (
    "\nlocal id, created_at, attempts = read_message(ARGV[1])\n"
    'local text = attempts and string.format("%.0f", attempts) or ""\n'
    'return { id or "", created_at or "", text, read_id(ARGV[1]) or "" }'
)

TAIL = ',"createdAt":1,"attempts":9,"maxAttempts":9,"resultTTL":9}'
HEAD = '{"id":"trap","payload":1'
TRAP = {"id": "trap", "createdAt": 1, "attempts": 9, "maxAttempts": 9, "resultTTL": 9}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [TAIL, HEAD, HEAD + TAIL, '"', "\\", '\\"', "\\\\", "}", '"}', "%d+", "\0", "\U0001f600", ":exp", TAIL[:-1]]
)
values = st.recursive(
    st.none() | st.integers(-(2**53), 2**53) | texts | st.just(TRAP) | st.just([TRAP]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
whole = st.integers(0, 2**53 - 1) | st.integers(0, 3)
fields = st.fixed_dictionaries(
    {"id": texts.filter(bool), "payload": values, "createdAt": whole, "attempts": whole, "maxAttempts": st.just(9)},
    optional={"resultTTL": st.integers(1, 2**53 - 1), "trace": values, "meta": st.just(TRAP)},
)


def written(message: dict[str, Any], order: Any, ascii_only: bool, spaces: bool) -> bytes:
    """As this or another library would write it."""
    separators = (", ", ": ") if spaces else (",", ":")
    return json.dumps(
        {name: message[name] for name in order}, ensure_ascii=ascii_only, separators=separators
    ).encode()


orders = fields.flatmap(
    lambda message: st.tuples(st.just(message), st.just(list(message)) | st.permutations(list(message)))
)
messages = st.builds(lambda pair, *how: written(*pair, *how), orders, st.booleans(), st.booleans())


def doubled(raw: bytes, extra: bytes) -> bytes:
    """The message with a field that it has already."""
    return raw[:-1] + b"," + extra + b"}"


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    messages
    | st.builds(
        doubled, messages, st.sampled_from([b'"id":"b"', b'"attempts":2', b'"createdAt":7', b'"maxAttempts":1'])
    )
    | st.builds(lambda raw, end: raw[:end], messages, st.integers(0, 200))
)
@example((HEAD + ',"id":"b"' + TAIL).encode())
@example(('{"payload":' + HEAD + '},"id":"b"' + TAIL).encode())
@example(('{"id":"a","payload":{"x":1' + TAIL).encode())
@example(('{"id":"a","payload":"' + json.dumps(HEAD + TAIL)[1:-1] + '"' + TAIL).encode())
@example(b'{"id":"a","createdAt":1,"attempts":0,"maxAttempts":3,"meta":{"x":1' + TAIL.encode() + b"}")
def test_what_a_script_reads_is_what_python_reads(server: Server, raw: bytes) -> None:
    with server.client() as client:
        job_id, created_at, attempts, id_alone = client.eval(READER, 0, raw)

    try:
        one = JobMessage.decode(raw)
    except MalformedMessage:
        return  # whoever takes it quarantines it, whatever the script has read
    assert (job_id.decode(), int(created_at), int(attempts)) == (one.id, one.created_at, one.attempts)
    assert id_alone == job_id
    following = JobMessage.decode(one.with_attempts(one.attempts + 1 if one.attempts < 2**53 - 1 else 0).raw)
    assert (following.id, following.payload, following.created_at) == (one.id, one.payload, one.created_at)
