"""The app that the tests' jobs live in."""

from django.apps import AppConfig


class TestAppConfig(AppConfig):
    """Jobs and models of the tests."""

    name = "tests.app"
    label = "testapp"
    default_auto_field = "django.db.models.BigAutoField"
