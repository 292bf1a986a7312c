"""Routes of a site that shows the health of its queues."""

from django.urls import include, path

urlpatterns = [
    path("health/jobqueue/", include("django_jobqueue.urls")),
    path("health/strict/", include(("django_jobqueue.urls", "strict")), {"max_age": 30}),
]
