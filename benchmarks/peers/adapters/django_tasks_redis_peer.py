"""django-tasks-redis, a back end of Django's tasks: ``manage.py run_redis_tasks --continuous``."""

import body
import django
from django.conf import settings
from django.core.management import execute_from_command_line

settings.configure(
    INSTALLED_APPS=["django_tasks_redis"],
    USE_TZ=True,
    TASKS={"default": {"BACKEND": "django_tasks_redis.RedisTaskBackend", "OPTIONS": {"REDIS_URL": body.URL}}},
)
django.setup()

from django.tasks import task  # noqa: E402 - needs the settings

work = task(body.work)
# A worker imports tasks by their path, and must find the task there.
body.work = work


def worker():
    execute_from_command_line(["manage.py", "run_redis_tasks", "--continuous"])


if __name__ == "__main__":
    body.main(worker, work.enqueue)
