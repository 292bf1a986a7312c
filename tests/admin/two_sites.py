"""Routes with two admins; the second one forbids everything inline."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path

from django_jobqueue.admin import JobAdmin
from django_jobqueue.models import Job


class StrictSite(admin.AdminSite):
    """An admin under the strictest content security policy."""

    site_header = "Operations"

    def admin_view(self, view: Callable[..., HttpResponse], cacheable: bool = False) -> Any:
        inner = super().admin_view(view, cacheable)

        def strict(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            response = inner(request, *args, **kwargs)
            response["Content-Security-Policy"] = "default-src 'self'"
            return response

        return strict


ops = StrictSite("ops")
ops.register(Job, JobAdmin)

urlpatterns = [path("admin/", admin.site.urls), path("ops/", ops.urls)]
