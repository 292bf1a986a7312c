"""The addresses of the admin pages. Ids go into the query string: there, every character can be quoted."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse
from django.utils.http import urlencode

from ..listing import Part


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses within one ``AdminSite``, named by its ``name``."""

    site: str

    def overview(self) -> str:
        """All queues."""
        return self._path("changelist")

    def jobs(self, alias: str, part: Part = Part.QUEUED, page: int = 1) -> str:
        """A page of the jobs in one part of a queue."""
        query: dict[str, str | int] = {"queue": alias, "part": part}
        if page > 1:
            query["p"] = page
        return f"{self._path('list')}?{urlencode(query)}"

    def job(self, alias: str, job_id: str) -> str:
        """One job."""
        return f"{self.search()}?{urlencode({'queue': alias, 'id': job_id})}"

    def search(self) -> str:
        """The page of one job, to which a form adds its id."""
        return self._path("detail")

    def act(self) -> str:
        """Where actions are posted to."""
        return self._path("act")

    def index(self) -> str:
        """The site's first page."""
        return reverse("admin:index", current_app=self.site)

    def app(self) -> str:
        """The site's page of this app."""
        return reverse("admin:app_list", args=["django_jobqueue"], current_app=self.site)

    def _path(self, page: str) -> str:
        return reverse(f"admin:django_jobqueue_job_{page}", current_app=self.site)
