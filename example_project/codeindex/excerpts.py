"""A short piece of a text around what was searched for. Pure: the page escapes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: How much of a text an excerpt shows, in characters, give or take a word.
EXCERPT_LENGTH = 220

#: How much of it may stand before the first match.
_LEAD = 70


@dataclass(frozen=True, slots=True)
class Part:
    """A run of text that either is a match or is not."""

    text: str
    is_match: bool


def excerpt(text: str, terms: Sequence[str]) -> list[Part]:
    """The piece of ``text`` around the first match of any term, in parts.

    White space is folded, as HTML would. Without a match it is the beginning of the text.
    """
    text = " ".join(text.split())
    pattern = _pattern(terms)
    first = pattern.search(text) if pattern else None
    start = _start_of_word(text, max(0, first.start() - _LEAD)) if first and len(text) > EXCERPT_LENGTH else 0
    end = _end_of_word(text, start + EXCERPT_LENGTH)
    piece = ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
    return highlight(piece, terms)


def highlight(text: str, terms: Sequence[str]) -> list[Part]:
    """The whole of ``text`` in parts, every match of any term marked; case does not matter."""
    pattern = _pattern(terms)
    if pattern is None:
        return [Part(text, is_match=False)] if text else []
    return list(_parts(text, pattern))


def _parts(text: str, pattern: re.Pattern[str]) -> Iterator[Part]:
    position = 0
    for match in pattern.finditer(text):
        if match.start() > position:
            yield Part(text[position : match.start()], is_match=False)
        yield Part(match[0], is_match=True)
        position = match.end()
    if position < len(text):
        yield Part(text[position:], is_match=False)


def _pattern(terms: Sequence[str]) -> re.Pattern[str] | None:
    # The longest first: of "re" and "regex", the text "regex" matches the second.
    longest_first = sorted(filter(None, terms), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if longest_first else None


def _start_of_word(text: str, position: int) -> int:
    space = text.find(" ", position, position + 20) if position else -1
    return space + 1 if space >= 0 else position


def _end_of_word(text: str, position: int) -> int:
    if position >= len(text):
        return len(text)
    space = text.rfind(" ", position - 20, position)
    return space if space >= 0 else position
