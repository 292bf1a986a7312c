"""``JobAdmin``: the addresses of the pages, their permissions, and what each view does."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import django
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST, require_safe

from ..exceptions import InvalidJobId, InvalidOption, JobNotFoundError, JobQueueError, StorageError, UnknownQueue
from ..listing import Part
from ..message import validate_job_id
from ..models import Job
from ..queue import MAX_PAGE, queues
from .actions import ACTIONS, Action, Report, actions_for, jobs_named, perform
from .details import job_view
from .jobs import job_list, part_of
from .links import Links
from .overview import overview

# Only the type stubs know what model a ModelAdmin is for.
if TYPE_CHECKING:
    _JobModelAdmin = ModelAdmin[Job]
else:
    _JobModelAdmin = ModelAdmin

View = Callable[[HttpRequest], HttpResponse]

#: Title and HTTP status of the page that shows an error, by its class; the first that fits.
_NOTICES: tuple[tuple[type[JobQueueError], str, int], ...] = (
    (StorageError, "The queue cannot be reached", 503),
    (UnknownQueue, "There is no such queue", 404),
    (JobNotFoundError, "There is no such job", 404),
    (InvalidJobId, "This cannot be a job's id", 400),
    (InvalidOption, "This cannot be done", 400),
    (JobQueueError, "This cannot be shown", 500),
)


class JobAdmin(_JobModelAdmin):
    """The queues and their jobs. Nothing is read from the database but the user and the permissions."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Jobs are enqueued by code."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """The pages, in place of those of a model with a table."""
        name = "django_jobqueue_job_{}".format
        return [
            path("", self._page(require_safe(self.overview_view)), name=name("changelist")),
            path("list/", self._page(require_safe(self.list_view)), name=name("list")),
            path("detail/", self._page(require_safe(self.job_view)), name=name("detail")),
            path("act/", self._page(require_POST(self.act_view)), name=name("act")),
            # The admin's log of actions links here.
            path("<path:key>/change/", self.admin_site.admin_view(self.log_link_view), name=name("change")),
        ]

    def _page(self, view: View) -> View:
        """A view for those who may see the jobs; errors of the queue become a page."""

        @wraps(view)
        def guarded(request: HttpRequest) -> HttpResponse:
            if not self.has_view_permission(request):
                raise PermissionDenied
            try:
                return view(request)
            except JobQueueError as error:
                return self._notice(request, error)

        return self.admin_site.admin_view(guarded)

    # Views

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        """All queues with counts, workers and leader."""
        return self._render(request, "overview", str(self.opts.verbose_name_plural).capitalize(), (), {
            "cards": overview(self._links),
        })  # fmt: skip

    def list_view(self, request: HttpRequest) -> HttpResponse:
        """One page of the jobs in one part of a queue."""
        queue = queues[request.GET.get("queue", "")]
        part = _part(request.GET.get("part", Part.QUEUED))
        jobs = job_list(queue, part, _number(request.GET.get("p", "1")), self._links)
        context = {"alias": queue.alias, "jobs": jobs, "actions": self._allowed(request, actions_for(part))}
        return self._render(request, "jobs", f"{part.capitalize()} jobs", (queue.alias,), context)

    def job_view(self, request: HttpRequest) -> HttpResponse:
        """All that is known of one job."""
        queue = queues[request.GET.get("queue", "")]
        job_id = request.GET.get("id", "")
        details = queue.inspect(job_id)
        if details is None:
            raise JobNotFoundError(job_id)
        status = details.status.state
        context = {
            "alias": queue.alias,
            "job": job_view(details),
            "part": part_of(status),
            "actions": self._allowed(request, actions_for(status)),
        }
        return self._render(request, "job", job_id, (queue.alias, part_of(status)), context)

    def act_view(self, request: HttpRequest) -> HttpResponse:
        """Ask whether an action is meant, and do it once confirmed."""
        queue = queues[request.POST.get("queue", "")]
        action = ACTIONS.get(request.POST.get("action", ""))
        if action is None:
            raise InvalidOption(f"there is no such action; there are: {', '.join(ACTIONS)}")
        if not self._may(request, action):
            raise PermissionDenied
        ids = [validate_job_id(job_id) for job_id in dict.fromkeys(request.POST.getlist("id"))]
        if len(ids) > MAX_PAGE:
            raise InvalidOption(f"{len(ids)} jobs are too many at once; choose at most {MAX_PAGE}")
        page = _number(request.POST.get("p", "1"))
        part = request.POST.get("part", "")
        origin = self._links.jobs(queue.alias, _part(part), page) if part else ""
        if not ids:
            messages.warning(request, "No job was chosen, so nothing was done.")
            return HttpResponseRedirect(origin or self._links.overview())
        if "confirmed" not in request.POST:
            cancel = origin or self._links.job(queue.alias, ids[0])
            context = {"alias": queue.alias, "action": action, "ids": ids, "part": part, "p": page, "back": cancel}
            return self._render(request, "confirm", f"{action.label}?", (queue.alias,), context)
        report = perform(action, queue, ids)
        self._tell(request, action, report)
        self._log(request, action, queue.alias, report)
        return HttpResponseRedirect(origin or self._links.job(queue.alias, ids[0]))

    def log_link_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """Lead from an entry of the admin's log to its job."""
        alias, _, job_id = unquote(key).partition(":")
        return HttpResponseRedirect(self._links.job(alias, job_id))

    # Permissions

    def _may(self, request: HttpRequest, action: Action) -> bool:
        allowed = self.has_delete_permission if action.permission == "delete" else self.has_change_permission
        return allowed(request)

    def _allowed(self, request: HttpRequest, actions: tuple[Action, ...]) -> list[Action]:
        return [action for action in actions if self._may(request, action)]

    # Answers

    @property
    def _links(self) -> Links:
        return Links(self.admin_site.name)

    def _render(
        self,
        request: HttpRequest,
        template: str,
        title: str,
        trail: tuple[str, ...] | tuple[str, Part],
        context: dict[str, Any],
        status: int = 200,
    ) -> HttpResponse:
        """A page of the admin. ``trail``: the queue, and the part of it, that lie above the page."""
        # The admin's own templates find the addresses of the right site by it.
        request.current_app = self.admin_site.name
        links = self._links
        crumbs = [(str(self.opts.app_config.verbose_name), links.app())]
        if template != "overview":
            crumbs.append((str(self.opts.verbose_name_plural).capitalize(), links.overview()))
        crumbs += [(alias, links.jobs(alias)) for alias in trail[:1]]
        crumbs += [(part.capitalize(), links.jobs(trail[0], Part(part))) for part in trail[1:]]
        return TemplateResponse(
            request,
            f"django_jobqueue/admin/{template}.html",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "opts": self.opts,
                "crumbs": crumbs,
                # Django 6.1 made the breadcrumbs a list; its style sheet knows only that.
                "crumbs_are_a_list": django.VERSION >= (6, 1),
                "links": {"act": links.act(), "search": links.search(), "overview": links.overview()},
                "aliases": list(queues),
                **context,
            },
            status=status,
        )

    def _notice(self, request: HttpRequest, error: JobQueueError) -> HttpResponse:
        title, status = next((title, status) for kind, title, status in _NOTICES if isinstance(error, kind))
        text = str(error)
        return self._render(request, "notice", title, (), {
            "text": text[:1].upper() + text[1:],
            "searched": request.GET.get("id", ""),
        }, status)  # fmt: skip

    def _tell(self, request: HttpRequest, action: Action, report: Report) -> None:
        if report.done:
            verb = "was" if len(report.done) == 1 else "were"
            messages.success(request, f"{jobs_named(report.done)} {verb} {action.done}.")
        for reason, ids in report.refused.items():
            verb = "was" if len(ids) == 1 else "were"
            messages.warning(request, f"{jobs_named(ids)} {verb} not {action.done}: {reason}.")
        if report.failure is not None:
            messages.error(request, f"It ended early: {report.failure}")

    def _log(self, request: HttpRequest, action: Action, alias: str, report: Report) -> None:
        jobs = [Job(key=f"{alias}:{job_id}") for job_id in report.done]
        if not action.leaves:
            self.log_deletions(request, jobs)  # type: ignore[arg-type]
            return
        for job in jobs:
            self.log_change(request, job, f"{action.done.capitalize()}.")


def _part(word: str) -> Part:
    try:
        return Part(word)
    except ValueError:
        raise InvalidOption(f"there is no part {word[:40]!r} of a queue; there are: {', '.join(Part)}") from None


def _number(text: str) -> int:
    """A page number; 1 for anything that is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 1
