"""The queues in Django's admin. ``JobAdmin`` serves any site: ``site.register(Job, JobAdmin)``."""

from __future__ import annotations

from django.contrib import admin

from ..models import Job
from .job_admin import JobAdmin

__all__ = ["JobAdmin"]

admin.site.register(Job, JobAdmin)
