"""The app's registration with Django."""

from django.apps import AppConfig


class CodeIndexConfig(AppConfig):
    """The code index."""

    name = "codeindex"
    verbose_name = "Code index"
