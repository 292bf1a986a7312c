"""What the pages point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, REPOSITORY, anchors, blocks, codes, name_of, prose

_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_pages_and_headings_that_exist(page: Path) -> None:
    broken = []
    for link in _LINK.findall(prose(page)):
        if re.match(r"^[a-z]+:", link):
            assert link.startswith("https://github.com/"), f"{link}: only project pages outside this repository"
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        is_there = target.is_file() and target.is_relative_to(REPOSITORY)
        if not is_there or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


def test_every_page_is_reached_from_the_index_and_from_the_readme() -> None:
    for start in (DOCS / "index.md", REPOSITORY / "README.md"):
        linked = {(start.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(prose(start))}
        missing = [name_of(page) for page in PAGES if page.is_relative_to(DOCS) and page not in {*linked, start}]

        assert missing == [], f"{name_of(start)} does not link to these"


def test_files_and_folders_that_are_named_exist() -> None:
    named = {
        (name_of(page), code)
        for page in PAGES
        for code in codes(prose(page))
        if re.match(r"^(tests|docs|django_jobqueue|example_project)/", code)
    }

    assert named, "no page names a file"
    assert [one for one in sorted(named) if not (REPOSITORY / one[1]).exists()] == []


def test_make_targets_that_are_named_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    texts = [prose(page) for page in PAGES] + [block.code for page in PAGES for block in blocks(page)]
    named = {target for text in texts for target in re.findall(r"(?:^|`)make ([a-z]+)(?:`|\s|$)", text, re.MULTILINE)}

    assert {"demo", "test"} <= named
    assert [target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
