"""What the index holds: the modules, and all that they define."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from . import parsing


class Kind(models.TextChoices):
    """What a definition is; the values are those of ``parsing.Kind``."""

    MODULE = parsing.Kind.MODULE.value, "Module"
    CLASS = parsing.Kind.CLASS.value, "Class"
    FUNCTION = parsing.Kind.FUNCTION.value, "Function"
    METHOD = parsing.Kind.METHOD.value, "Method"


class Module(models.Model):
    """One source file, readable or not."""

    path = models.CharField(max_length=255, unique=True)
    name = models.CharField(max_length=255)
    problem = models.CharField(max_length=parsing.MAX_REASON_LENGTH, blank=True, help_text="Why it cannot be parsed.")
    indexed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["path"]

    def __str__(self) -> str:
        return self.path


class Definition(models.Model):
    """A module, class, function or method; the fields are those of ``parsing.Definition``."""

    module = models.ForeignKey(Module, on_delete=models.CASCADE, related_name="definitions")
    kind = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=255)
    qualified_name = models.CharField(max_length=500, db_index=True)
    line = models.PositiveIntegerField()
    signature = models.CharField(max_length=parsing.MAX_SIGNATURE_LENGTH, blank=True)
    docstring = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["qualified_name", "id"]

    def __str__(self) -> str:
        return self.qualified_name
