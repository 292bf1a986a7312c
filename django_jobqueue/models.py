"""The model behind the admin pages and their permissions; it has no table."""

from __future__ import annotations

from django.db import models


class _NoRows(models.Manager["Job"]):
    """Finds nothing without asking the database; ``dumpdata`` asks every model."""

    def get_queryset(self) -> models.QuerySet[Job]:
        return super().get_queryset().none()


class Job(models.Model):
    """A job of some queue, as the admin names it. Its data lives in the queue's storage.

    The model exists for its permissions (view, change, delete) and for its place in the admin.
    Its key is ``alias:id``; an alias holds no colon.
    """

    key = models.TextField(primary_key=True)

    objects = _NoRows()

    class Meta:
        """No table."""

        managed = False
        default_permissions = ("view", "change", "delete")
        base_manager_name = "objects"
        verbose_name_plural = "queues and jobs"

    def __str__(self) -> str:
        alias, _, job_id = self.key.partition(":")
        return f"{job_id} ({alias})"
