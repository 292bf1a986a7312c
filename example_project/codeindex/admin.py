"""The index in Django's admin, for looking only: the jobs write it."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from .models import Definition, Module


class _ReadOnlyAdmin(admin.ModelAdmin):
    """Shows and searches; what is wrong is repaired by indexing again."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Nobody changes by hand."""
        return False


@admin.register(Module)
class ModuleAdmin(_ReadOnlyAdmin):
    """The source files."""

    list_display = ("path", "problem", "indexed_at")
    list_filter = (("problem", admin.EmptyFieldListFilter),)
    search_fields = ("path",)


@admin.register(Definition)
class DefinitionAdmin(_ReadOnlyAdmin):
    """What they define."""

    list_display = ("qualified_name", "kind", "module", "line")
    list_filter = ("kind",)
    list_select_related = ("module",)
    search_fields = ("qualified_name",)
    show_full_result_count = False
