"""The pages: the search, and the list of files that could not be parsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from django_jobqueue import queues
from django_jobqueue.exceptions import InvalidJobId, JobFailedError, JobTimeoutError, StorageError

from . import jobs
from .excerpts import Part, excerpt, highlight
from .models import Definition, Kind, Module
from .search import MAX_QUERY_LENGTH, Search

#: Results on one page.
PAGE_SIZE = 20


@dataclass(frozen=True, slots=True)
class Hit:
    """One result as the page shows it."""

    definition: Definition
    path: list[Part]
    name: list[Part]
    excerpt: list[Part]

    @classmethod
    def of(cls, definition: Definition, terms: Sequence[str]) -> Hit:
        """Mark what was found in a definition."""
        return cls(
            definition,
            path=highlight(definition.qualified_name.removesuffix(definition.name), terms),
            name=highlight(definition.name, terms),
            excerpt=excerpt(definition.docstring, terms),
        )


@dataclass(frozen=True, slots=True)
class KindChoice:
    """One link of the kind filter."""

    value: str
    label: str
    count: int
    is_chosen: bool


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Search the index; without a query, leaf through it."""
    wanted = Search.from_parameters(request.GET.get("q", ""), request.GET.get("kind", ""))
    counts = wanted.counts()
    total = counts[wanted.kind] if wanted.kind else sum(counts.values())
    paginator = Paginator(wanted.results(), PAGE_SIZE)
    paginator.count = total  # else it would count again what was just counted by kind
    page = paginator.get_page(request.GET.get("page"))
    context = {
        "search": wanted,
        "max_query_length": MAX_QUERY_LENGTH,
        "kinds": _kind_choices(wanted, counts),
        "total": total,
        "page": page,
        "page_numbers": list(paginator.get_elided_page_range(page.number, on_each_side=2, on_ends=1)),
        "hits": [Hit.of(definition, wanted.terms) for definition in page],
        **_activity(),
    }
    return render(request, "codeindex/search.html", context)


@require_safe
def unparsed(request: HttpRequest) -> HttpResponse:
    """The files that are no Python this interpreter can read, and why."""
    context = {"modules": Module.objects.exclude(problem=""), **_activity()}
    return render(request, "codeindex/unparsed.html", context)


@require_safe
async def outline(request: HttpRequest) -> HttpResponse:
    """What one file defines, as JSON: the work is a job, and this view waits for its result.

    The id names the file, so visitors who ask for the same one at the same time share one job.
    """
    path = request.GET.get("path", "")
    try:
        job = jobs.outline.using(id=f"outline:{path}", wait_timeout=30)
        return JsonResponse({"path": path, "definitions": await job.aenqueue_and_wait(path)})
    except (JobFailedError, InvalidJobId) as error:
        return JsonResponse({"problem": str(error)}, status=404)
    except (JobTimeoutError, StorageError):
        return JsonResponse({"problem": "no worker answered in time; try again"}, status=503)


def _kind_choices(wanted: Search, counts: dict[Kind, int]) -> list[KindChoice]:
    everything = KindChoice("", "Everything", sum(counts.values()), is_chosen=wanted.kind is None)
    labels = {
        Kind.MODULE: "Modules",
        Kind.CLASS: "Classes",
        Kind.FUNCTION: "Functions",
        Kind.METHOD: "Methods",
    }
    return [
        everything,
        *(KindChoice(kind.value, labels[kind], counts[kind], is_chosen=wanted.kind is kind) for kind in Kind),
    ]


def _activity() -> dict[str, object]:
    """What the head of each page says about the index and the queue that fills it."""
    try:
        stats = queues["default"].stats()
    except StorageError:
        # The index is in the database: without the queue's server it can still be searched.
        stats = None
    return {
        "module_count": Module.objects.count(),
        "unparsed_count": Module.objects.exclude(problem="").count(),
        "stats": stats,
    }
