"""Routes to include: ``path("health/jobqueue/", include("django_jobqueue.urls"))``.

``health/jobqueue/`` tells of all queues, ``health/jobqueue/emails/`` of one.
"""

from django.urls import path

from .views import health

app_name = "django_jobqueue"
urlpatterns = [
    path("", health, name="health"),
    path("<str:alias>/", health, name="queue-health"),
]
