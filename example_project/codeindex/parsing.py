"""Python source to a flat list of what it defines. Pure: no I/O, no Django."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

#: Longest signature that is kept, in characters; the rest is cut with an ellipsis.
MAX_SIGNATURE_LENGTH = 300

#: Longest reason that an ``UnparsableSource`` gives, in characters.
MAX_REASON_LENGTH = 200

#: The file name that the parser sees.
_SOURCE_NAME = "<indexed source>"

# Other people's old sources hold things like "\d" in plain strings, and the parser warns about
# each. The filter is global and set once: warnings.catch_warnings() is not safe among threads.
for _category in (SyntaxWarning, DeprecationWarning):
    warnings.filterwarnings("ignore", category=_category, module=re.escape(_SOURCE_NAME))

# A file may hold these in a docstring; a database may not.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class UnparsableSource(Exception):
    """The bytes are not Python that this interpreter can read; the message says why."""


class Kind(StrEnum):
    """What a definition is."""

    MODULE = "module"
    CLASS = "class"
    FUNCTION = "function"
    METHOD = "method"


@dataclass(frozen=True, slots=True)
class Definition:
    """One thing that a source file defines.

    Attributes:
        kind: what it is.
        name: its own name.
        qualified_name: module and ``__qualname__``: ``asyncio.events.Handle.cancel``.
        line: where it begins, decorators left out.
        signature: how its definition reads: ``async def wait(fs, *, timeout=None)``.
        docstring: cleaned of its indentation; empty when there is none.
    """

    kind: Kind
    name: str
    qualified_name: str
    line: int
    signature: str
    docstring: str


_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def parse(source: bytes, module_name: str) -> list[Definition]:
    """List what a source file defines, the module itself first, then in the order of the file.

    Args:
        source: the file as it is on disk; the parser itself obeys a coding cookie or a BOM.
        module_name: the dotted name that the qualified names begin with.

    Raises:
        UnparsableSource: a syntax error, an unknown encoding, null bytes, or nesting too deep for
            the parser.
    """
    try:
        tree = ast.parse(source, filename=_SOURCE_NAME)
        return list(_definitions(tree, module_name))
    except SyntaxError as error:
        place = f" (line {error.lineno})" if error.lineno else ""
        raise UnparsableSource(_storable(f"{error.msg}{place}")[:MAX_REASON_LENGTH]) from error
    # ValueError: null bytes before Python 3.12; the other two: nesting without end.
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        raise UnparsableSource(_storable(reason)[:MAX_REASON_LENGTH]) from error


def _definitions(tree: ast.Module, module_name: str) -> Iterator[Definition]:
    yield Definition(Kind.MODULE, module_name.rpartition(".")[2], module_name, 1, "", _docstring(tree))
    yield from _inside(tree, f"{module_name}.", Kind.FUNCTION)


def _inside(node: ast.AST, prefix: str, function_kind: Kind) -> Iterator[Definition]:
    """What the statements below a node define; conditional definitions count too."""
    for child in _statements(node):
        if isinstance(child, ast.ClassDef):
            yield _definition(child, Kind.CLASS, prefix, _class_signature(child))
            yield from _inside(child, f"{prefix}{child.name}.", Kind.METHOD)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield _definition(child, function_kind, prefix, _function_signature(child))
            yield from _inside(child, f"{prefix}{child.name}.<locals>.", Kind.FUNCTION)
        else:
            yield from _inside(child, prefix, function_kind)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    # Only these fields hold statements. Expressions define nothing and may be nested deeper than
    # a recursive walk can go.
    for field in ("body", "handlers", "cases", "orelse", "finalbody"):
        below = getattr(node, field, ())
        if isinstance(below, list):
            yield from below


def _definition(
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, kind: Kind, prefix: str, signature: str
) -> Definition:
    return Definition(kind, node.name, f"{prefix}{node.name}", node.lineno, signature, _docstring(node))


def _docstring(node: _Documented) -> str:
    return _storable(ast.get_docstring(node) or "")


def _class_signature(node: ast.ClassDef) -> str:
    bases = ", ".join(ast.unparse(base) for base in (*node.bases, *node.keywords))
    return _shortened(f"class {node.name}({bases})" if bases else f"class {node.name}")


def _function_signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    keyword = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return _shortened(f"{keyword} {node.name}({ast.unparse(node.args)}){returns}")


def _shortened(signature: str) -> str:
    text = " ".join(_storable(signature).split())
    return text if len(text) <= MAX_SIGNATURE_LENGTH else f"{text[: MAX_SIGNATURE_LENGTH - 1]}…"


def _storable(text: str) -> str:
    return _UNSTORABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
