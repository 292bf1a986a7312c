"""Codecs between Python values and the JSON bytes of payloads and results."""

from __future__ import annotations

import json
from typing import Any, Protocol

from .exceptions import SerializationError


class Serializer(Protocol):
    """What ``SERIALIZER`` must provide. The bytes must be JSON: the Node library reads them too."""

    def dumps(self, value: Any) -> bytes:
        """Write a value as compact UTF-8 JSON; raise ``SerializationError`` when that cannot be."""

    def loads(self, data: bytes) -> Any:
        """Read JSON bytes; raise ``ValueError`` when they are not JSON."""


class JSONSerializer:
    """The standard library's JSON: compact, UTF-8, strict (no NaN, no unknown types)."""

    def dumps(self, value: Any) -> bytes:
        """Write a value as JSON.

        Tuples become lists and the keys of dicts become strings, as JSON has nothing else.

        Raises:
            SerializationError: the value holds a type that JSON lacks, NaN or an infinity,
                a cycle, or nests too deeply. Nothing was written.
        """
        if value is None:
            return b"null"  # what most jobs return
        try:
            text = _ENCODE(value)
            try:
                return text.encode()
            except UnicodeEncodeError:
                # A lone surrogate has no UTF-8 form; JavaScript writes it as \udXXX and so do we.
                return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise SerializationError(
                f"a value of type {type(value).__name__} cannot be written as JSON: {error}; pass "
                "strings, numbers, booleans, None, lists and dicts (such as a primary key or isoformat())"
            ) from error

    def loads(self, data: bytes) -> Any:
        """Read JSON bytes.

        Raises:
            ValueError: they are not JSON, or nest deeper than the interpreter can follow.
        """
        try:
            if data[:1] == b"{" and data[1:2] != b"\0":
                # An object in UTF-8, as every message is; json.loads would look for other encodings first.
                text = data.decode("utf-8", "surrogatepass")
                value, end = _DECODE(text)
                if end == len(text):
                    return value
            return json.loads(data)
        except RecursionError as error:
            raise ValueError("the JSON nests too deeply") from error


_DECODE = json.JSONDecoder().raw_decode
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
