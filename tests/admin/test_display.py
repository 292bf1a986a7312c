"""Stored bytes and numbers as people read them."""

import json

import pytest

from django_jobqueue.admin.display import (
    MAX_BLOCK,
    block,
    describe_error,
    describe_message,
    describe_result,
    distance,
    line,
    moment,
)
from tests.contract.build import message


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "now"),
        (-999, "now"),
        (-1_000, "1 s ago"),
        (-119_000, "119 s ago"),
        (90_000, "in 90 s"),
        (600_000, "in 10 min"),
        (-5_400_000, "90 min ago"),
        (7_200_000, "in 2 h"),
        (-172_800_000, "2 days ago"),
    ],
)
def test_a_distance_in_time_is_short(ms: int, words: str) -> None:
    assert distance(ms) == words


def test_times_outside_the_calendar_are_not_shown() -> None:
    assert moment(None, 0) is None
    assert moment(10**18, 0) is None
    assert moment(-(10**18), 0) is None
    assert moment(0, 0) is not None


@pytest.mark.parametrize("use_tz", [True, False])
def test_times_are_local(use_tz: bool, settings: object) -> None:
    settings.USE_TZ = use_tz  # type: ignore[attr-defined]
    settings.TIME_ZONE = "Europe/Paris"  # type: ignore[attr-defined]

    shown = moment(1_700_000_000_000, 1_700_000_000_000)

    assert shown is not None and shown.at.strftime("%H:%M") == "23:13"


CALL = {"job": "shop.mail", "args": [1, "a"], "kwargs": {"fast": True}}


def test_a_call_is_shown_as_one() -> None:
    raw = message("a", CALL).raw

    assert describe_message(raw, len(raw)) == ("shop.mail", '1, "a", fast=true')


@pytest.mark.parametrize("job_id", ["a", 'q"\\ ☃'])
def test_a_call_that_is_cut_still_has_its_name(job_id: str) -> None:
    raw = message(job_id, {**CALL, "args": ["x" * 5000]}).raw

    name, arguments = describe_message(raw[:1024], len(raw))

    assert name == "shop.mail"
    assert arguments.startswith('"args": ["xxx') and arguments.endswith("…")


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 500, b'{"id":"a"}', b'{"id":"a","payload":'])
def test_what_is_no_message_is_shown_as_it_is(raw: bytes) -> None:
    name, _ = describe_message(raw, len(raw))

    assert name == ""


def test_any_other_payload_is_shown_as_json() -> None:
    raw = message("a", {"node": [1, None]}).raw

    assert describe_message(raw, len(raw)) == ("", '{"node": [1, null]}')


def test_an_error_is_shown_by_type_and_message() -> None:
    raw = json.dumps({"message": "no\nrow", "code": "X", "stack": "…", "type": "builtins.KeyError"}).encode()

    assert describe_error(raw, len(raw)) == "KeyError: no row"


def test_an_error_that_is_cut_is_shown_by_its_message() -> None:
    raw = json.dumps({"message": 'say "hi"', "stack": "x" * 5000}).encode()

    assert describe_error(raw[:1024], len(raw)) == 'say "hi"'
    assert describe_error(b"plain text", 10) == "plain text"


def test_long_lines_and_blocks_are_cut() -> None:
    assert len(line("x" * 1000)) == 300
    assert len(describe_result(b"x" * 1024)) == 300
    assert block("x" * (MAX_BLOCK + 1)).is_cut
    assert not block("x").is_cut


def test_values_nested_too_deeply_are_not_followed() -> None:
    deep: object = None
    for _ in range(100_000):
        deep = [deep]

    assert "too deeply" in block(deep).text
