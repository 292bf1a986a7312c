"""The background work: one job for each source file."""

from __future__ import annotations

from django.db import transaction

from django_jobqueue import job

from . import parsing, sources
from .models import Definition, Module


@job
def index_file(path: str) -> dict[str, object]:
    """Put what one source file defines into the index.

    A job may run twice, when its worker is killed between the work and its acknowledgement. So
    this one replaces: however often it runs, the index holds the file once.

    Args:
        path: one of ``sources.library_files()``.

    Returns:
        The module, how much it defines, and why it could not be parsed (empty when it could). A
        file that no attempt will ever parse is an outcome, not an error: nothing to retry.
    """
    name = sources.module_name(path)
    definitions: list[parsing.Definition] = []
    problem = ""
    try:
        definitions = parsing.parse(sources.read_source(path), name)
    except parsing.UnparsableSource as error:
        problem = str(error)
    _replace(path, name, definitions, problem)
    return {"module": name, "definitions": len(definitions), "problem": problem}


@job(max_attempts=1, result_ttl=60)
def outline(path: str) -> list[dict[str, object]]:
    """What one source file defines, for a page that waits for it.

    Args:
        path: one of ``sources.library_files()``.

    Returns:
        For each definition its kind, qualified name and line.
    """
    definitions = parsing.parse(sources.read_source(path), sources.module_name(path))
    return [{"kind": one.kind, "name": one.qualified_name, "line": one.line} for one in definitions]


def _replace(path: str, name: str, definitions: list[parsing.Definition], problem: str) -> None:
    module = Module(path=path, name=name, problem=problem)
    rows = [
        Definition(
            module=module,
            kind=definition.kind,
            name=definition.name,
            qualified_name=definition.qualified_name,
            line=definition.line,
            signature=definition.signature,
            docstring=definition.docstring,
        )
        for definition in definitions
    ]
    # All writers wait for this transaction, so it holds three statements and nothing else. The
    # module's row comes first: its lock makes two runs of the same job take turns.
    with transaction.atomic():
        Module.objects.bulk_create(
            [module],
            update_conflicts=True,
            unique_fields=["path"],
            update_fields=["name", "problem", "indexed_at"],
        )
        Definition.objects.filter(module=module).delete()
        Definition.objects.bulk_create(rows)
