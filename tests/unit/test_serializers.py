"""The JSON codec."""

import math
from datetime import date
from typing import Any

import pytest

from django_jobqueue.exceptions import JobQueueError, SerializationError
from django_jobqueue.serializers import JSONSerializer


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"null"),
        ({"a": [1, 2.5, True]}, b'{"a":[1,2.5,true]}'),
        ("ünï 🎉", '"ünï 🎉"'.encode()),
        ((1, 2), b"[1,2]"),
        ("\ud800", b'"\\ud800"'),
        ("\x00</script>", b'"\\u0000</script>"'),
    ],
)
def test_values_are_written_as_javascript_writes_them(value: Any, expected: bytes) -> None:
    assert JSONSerializer().dumps(value) == expected


def circular() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def deep() -> list[Any]:
    items: list[Any] = []
    for _ in range(100_000):
        items = [items]
    return items


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", date(2024, 1, 1), math.nan, math.inf, {"a": [object()]}, circular(), deep()]
)
def test_what_json_lacks_is_refused(value: Any) -> None:
    with pytest.raises(SerializationError, match="cannot be written as JSON") as caught:
        JSONSerializer().dumps(value)
    assert isinstance(caught.value, JobQueueError)
    assert isinstance(caught.value, TypeError)


def test_what_is_not_json_is_a_value_error() -> None:
    for data in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        with pytest.raises(ValueError):  # noqa: PT011 - its text is the reader's
            JSONSerializer().loads(data)
