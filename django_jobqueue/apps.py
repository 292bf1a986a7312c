"""The app: registers jobs and checks when Django is ready."""

from django.apps import AppConfig


class JobQueueConfig(AppConfig):
    """django-jobqueue."""

    name = "django_jobqueue"
    verbose_name = "Job queue"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks and the jobs of all installed apps."""
        from . import checks  # noqa: F401 - its import registers the checks
        from .registry import autodiscover

        autodiscover()
