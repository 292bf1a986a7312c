"""The addresses of the admin pages, as the tests type them."""

import re
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import urlencode

from django.test import Client


@dataclass(frozen=True)
class Pages:
    """Addresses below one admin site."""

    root: str

    @property
    def overview(self) -> str:
        return f"{self.root}/django_jobqueue/job/"

    @property
    def act(self) -> str:
        return f"{self.overview}act/"

    def jobs(self, part: str, **query: object) -> str:
        return f"{self.overview}list/?{urlencode({'queue': 'default', 'part': part, **query})}"

    def job(self, job_id: str, queue: str = "default") -> str:
        return f"{self.overview}detail/?{urlencode({'queue': queue, 'id': job_id})}"

    def confirm(self, client: Client, action: str, *ids: str, **fields: object) -> Any:
        """Post an action, already confirmed."""
        data = {"queue": "default", "action": action, "id": list(ids), "confirmed": "yes", **fields}
        return client.post(self.act, data)


def text_of(response: Any) -> str:
    """The page as text, tags removed, with single spaces."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", response.content.decode())).split())
