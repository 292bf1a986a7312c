"""The health of the queues for a probe over HTTP."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .exceptions import UnknownQueue
from .health import Limits, QueueHealth, examine
from .queue import queues


@login_not_required
@transaction.non_atomic_requests  # a queue is healthy or not, whatever the database is
@never_cache
@require_safe
def health(request: HttpRequest, alias: str | None = None, **limits: Any) -> JsonResponse:
    """Answer 200 when healthy and 503 when not, with JSON that tells why.

    It names queues and numbers, but no host, worker or job. A load balancer needs no login, so
    neither does this; who must not see the numbers is kept out by the web server.

    Args:
        request: GET or HEAD.
        alias: the queue; ``None`` for all.
        **limits: fields of ``django_jobqueue.health.Limits``, from the URL's extra arguments:
            ``path("health/", include("django_jobqueue.urls"), {"max_age": 300})``.
    """
    try:
        chosen = [queues[name] for name in ([alias] if alias is not None else queues)]
    except UnknownQueue as error:
        raise Http404(str(error)) from error
    found = [examine(queue, Limits(**limits)) for queue in chosen]
    is_healthy = not any(one.problems for one in found)
    return JsonResponse(
        {"status": "healthy" if is_healthy else "unhealthy", "queues": {one.alias: _described(one) for one in found}},
        status=200 if is_healthy else 503,
    )


def _described(one: QueueHealth) -> dict[str, Any]:
    snapshot = one.snapshot
    return {
        "healthy": not one.problems,
        "problems": [{"reason": problem.reason, "message": problem.message} for problem in one.problems],
        "queued": snapshot and snapshot.stats.queued,
        "oldest_queued_age": snapshot and snapshot.oldest_age,
        "workers": snapshot and snapshot.alive_workers,
        "leader": snapshot and snapshot.stats.leader is not None,
    }
