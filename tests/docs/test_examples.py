"""The code in the pages runs: see "How these pages are tested" in docs/index.md."""

from __future__ import annotations

import ast
import contextlib
import importlib
import logging
import logging.config
import re
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.conf import global_settings
from django.core import checks
from django.test import override_settings

from django_jobqueue import queues
from django_jobqueue.registry import registry
from django_jobqueue.worker import Worker
from tests.docs.pages import PAGES, Block, blocks, name_of
from tests.servers import ExternalServer, Server

#: The package that the pages put their jobs into, as a reader's project would.
APP = "shop"

_CLAIM = re.compile(r"#\s*->\s*(.+)$")

RUNNABLE = [page for page in PAGES if any(block.mark for block in blocks(page))]


@pytest.fixture
def project(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    server: Server | ExternalServer,
    jobqueue_settings: dict[str, Any],
) -> Iterator[Path]:
    """A reader's project: an empty folder on the import path, and queues on a real server."""
    prefix = jobqueue_settings["KEY_PREFIX"]
    settings.JOBQUEUE = {
        "default": jobqueue_settings,
        "reports": {**jobqueue_settings, "KEY_PREFIX": f"{prefix}reports:"},
    }
    monkeypatch.setenv("REDIS_URL", server.url())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_jobs", dict(registry._jobs))
    _forget_app()
    yield tmp_path
    _forget_app()
    queues.close()


def _forget_app() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == APP]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_the_code_of_a_page_does_what_the_page_says(page: Path, project: Path) -> None:
    reader = ModuleType("reader")
    for block in blocks(page):
        match block.mark:
            case "file":
                _write_module(block, project)
            case "settings":
                _check_settings(block)
            case "run" if block.detail == "worker":
                with _working():
                    _run(block, reader.__dict__)
            case "run":
                assert not block.detail, f"unknown way to run: {block.detail!r}"
                _run(block, reader.__dict__)


@contextlib.contextmanager
def _working() -> Iterator[None]:
    worker = Worker(queues["default"], concurrency=4)
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def _run(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block statement by statement, and compare what it claims."""
    tree = ast.parse(block.code, str(block.page))
    lines = block.code.splitlines()
    checked = 0
    for statement in tree.body:
        claim = _CLAIM.search(lines[(statement.end_lineno or 0) - 1][statement.end_col_offset or 0 :])
        ast.increment_lineno(statement, block.line - 1)
        if claim is None:
            exec(compile(ast.Module([statement], []), str(block.page), "exec"), namespace)
            continue
        assert isinstance(statement, ast.Expr), f"{_place(block, statement)}: only an expression can have a value"
        value = eval(compile(ast.Expression(statement.value), str(block.page), "eval"), namespace)
        assert _matches(repr(value), claim[1]), f"{_place(block, statement)}: it is {value!r}, not {claim[1]}"
        checked += 1
    claimed = sum(_CLAIM.search(line) is not None for line in lines)
    assert checked == claimed, f"{name_of(block.page)}, block at line {block.line}: a claim is not at the top level"


def _place(block: Block, statement: ast.stmt) -> str:
    return f"{name_of(block.page)}:{statement.lineno}"


def _matches(text: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), text, re.DOTALL) is not None


def _write_module(block: Block, project: Path) -> None:
    path = project / block.detail
    path.parent.mkdir(exist_ok=True)
    (path.parent / "__init__.py").touch()
    path.write_text(block.code, "utf-8")
    importlib.invalidate_caches()
    module = importlib.import_module(".".join(path.relative_to(project).with_suffix("").parts))
    if path.stem.endswith("tests"):
        suite = unittest.defaultTestLoader.loadTestsFromModule(module)
        outcome = unittest.TestResult()
        suite.run(outcome)
        assert outcome.testsRun > 0, f"{name_of(block.page)}: {block.detail} has no tests"
        assert outcome.wasSuccessful(), "\n".join(text for _, text in outcome.errors + outcome.failures)


def _check_settings(block: Block) -> None:
    """Take a block as settings of a fresh project, and let ``manage.py check`` look at them."""
    given: dict[str, Any] = {}
    exec(compile(block.code, str(block.page), "exec"), given)
    chosen = {name: value for name, value in given.items() if name.isupper()}
    assert chosen, f"{name_of(block.page)}, block at line {block.line}: no settings"

    apps = chosen.pop("INSTALLED_APPS", None)
    assert apps is None or "django_jobqueue" in apps
    if "LOGGING" in chosen:
        _check_logging(chosen.pop("LOGGING"))
    with override_settings(**{"CACHES": global_settings.CACHES, **chosen}):
        if "JOBQUEUE" in chosen:
            problems = checks.run_checks(tags=["django_jobqueue"])
            assert problems == [], f"{name_of(block.page)}, block at line {block.line}: {problems}"


def _check_logging(config: dict[str, Any]) -> None:
    logger = logging.getLogger("django_jobqueue")
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        logging.config.dictConfig(config)
        assert logger.isEnabledFor(logging.INFO) and logger.handlers
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
        logger.manager._clear_cache()  # type: ignore[attr-defined]


# The checker itself: a test of examples that cannot fail is worth nothing.


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("1 + 1  # -> 3\n", "it is 2, not 3"),
        ("x = 1  # -> 1\n", "only an expression"),
        ("if True:\n    1  # -> 1\n    x = 1\n", "not at the top level"),
        ("'abc'  # -> 'a…d'\n", "it is 'abc'"),
    ],
)
def test_a_wrong_claim_is_found(code: str, words: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(words)):
        _run(Block(PAGES[0], 1, "python", code, "run", ""), {})


def test_a_wrong_setting_is_found() -> None:
    code = 'JOBQUEUE = {"default": {"URL": "redis://h/0", "CONCURENCY": 3}}\n'

    with pytest.raises(AssertionError, match=r"E002"):
        _check_settings(Block(PAGES[0], 1, "python", code, "settings", ""))


def test_a_true_claim_holds() -> None:
    _run(Block(PAGES[0], 1, "python", "('a1', 2)  # -> ('a…', 2)\n", "run", ""), {})


def test_every_page_with_python_has_code_that_runs() -> None:
    python = {name_of(page) for page in PAGES for block in blocks(page) if block.language == "python"}

    assert python == {name_of(page) for page in RUNNABLE}


def test_python_blocks_that_do_not_run_are_at_least_python() -> None:
    for page in PAGES:
        for block in blocks(page):
            if block.language == "python" and not block.mark:
                compile(block.code, str(page), "exec")
