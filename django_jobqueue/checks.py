"""System checks: mistakes in ``settings.JOBQUEUE``, found by ``manage.py check``.

Ids: ``E001`` wrong type or alias, ``E002`` unknown key, ``E003`` bad value, ``E004`` intervals that
contradict each other, ``E005`` no server, ``E006`` shared keys, ``E007`` a path that cannot be
imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from .conf import QueueConfig, inspect_settings


@register("django_jobqueue")
def check_settings(**_: Any) -> list[CheckMessage]:
    """All mistakes in ``settings.JOBQUEUE``, each with its remedy."""
    configs, problems = inspect_settings()
    messages: list[CheckMessage] = [Error(p.message, hint=p.hint, id=p.id) for p in problems]
    for config in configs.values():
        messages += _paths(config)
    return messages


def _paths(config: QueueConfig) -> Iterator[CheckMessage]:
    for key, path in (
        ("STORAGE", config.storage),
        ("SERIALIZER", config.serializer),
        ("HANDLER", config.handler),
        ("AFTER_EXECUTION", config.after_execution),
    ):
        if path is None:
            continue
        try:
            found = import_string(path)
        except ImportError as error:
            problem = str(error)
        else:
            if callable(found):
                continue
            problem = f"it is a {type(found).__name__}, which cannot be called"
        yield Error(
            f"JOBQUEUE[{config.alias!r}][{key!r}] is {path!r}: {problem}",
            hint="give the dotted path of something that can be imported and called",
            id="django_jobqueue.E007",
        )
