"""The README and the pages in docs/, read as text: blocks of code, tables, headings, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"

PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(r"^(`{3,})(\w*)\s*$")
_MARK = re.compile(r"^<!-- (run|file|settings)(?:: (.+?))? -->$")
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: the file it is in.
        line: the number of its first line of code.
        language: what stands behind the fence, such as ``python``.
        code: the text.
        mark: ``run``, ``file`` or ``settings`` from the comment in front of it; empty without one.
        detail: what the comment says behind the colon.
    """

    page: Path
    line: int
    language: str
    code: str
    mark: str
    detail: str


def name_of(page: Path) -> str:
    """A page's path in the repository."""
    return page.relative_to(REPOSITORY).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page, in order."""
    lines = page.read_text("utf-8").splitlines()
    opened, language, begin = "", "", 0
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence and not opened:
            opened, language, begin = fence[1], fence[2], number + 1
        elif opened and line == opened:
            mark = _MARK.match(lines[begin - 2]) if begin >= 2 else None
            code = "\n".join(lines[begin:number]) + "\n"
            yield Block(page, begin + 1, language, code, mark[1] if mark else "", (mark[2] or "") if mark else "")
            opened = ""
    assert not opened, f"{name_of(page)}: the fence above line {begin + 1} is not closed"


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    text = page.read_text("utf-8")
    return re.sub(r"^(`{3,})\w*\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next of the same or a higher level, without fenced blocks."""
    found: list[str] = []
    level = 0
    for line in prose(page).splitlines():
        title = re.match(r"^(#+) (.+)$", line)
        if title and level and len(title[1]) <= level:
            break
        if level:
            found.append(line)
        elif title and title[2].strip("`") == heading:
            level = len(title[1])
    assert level, f"{name_of(page)} has no heading {heading!r}"
    return "\n".join(found)


def rows(text: str) -> list[list[str]]:
    """The cells of all tables in a text, without their head lines."""
    found: list[list[str]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        is_head = number + 1 < len(lines) and re.match(r"^\|[-| ]+\|$", lines[number + 1])
        if line.startswith("|") and not is_head and not re.match(r"^\|[-| ]+\|$", line):
            found.append([cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]])
    return found


def codes(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    found = set()
    for title in re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", title)
        found.add(re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-"))
    return found
