"""What operators and their tools ask: is it alive, is it ready, what are its figures?"""

from __future__ import annotations

import asyncio

import structlog
from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_prometheus.exports import ExportToDjangoView
from health_check.contrib.redis import Redis as RedisCheck
from health_check.views import HealthCheckView
from redis.asyncio import Redis

from launcher.addresses import is_inside
from viewerhub.figures import figures

logger = structlog.get_logger(__name__)


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """200 and nothing else: this process answers requests."""
    return HttpResponse(content_type="text/plain")


def _redis() -> Redis:
    return Redis.from_url(
        settings.VIEWERHUB_REDIS_URL, socket_connect_timeout=2, socket_timeout=2
    )


class ReadinessView(HealthCheckView):  # type: ignore[misc]
    """200 if the database and Redis answer, else 503. Archives don't count: a hub whose
    archive is down still has to say so to its users."""

    http_method_names = ["get", "head"]
    checks = (
        "health_check.checks.Database",
        (RedisCheck, {"client_factory": _redis}),
    )

    async def get(self, request: HttpRequest) -> HttpResponse:
        """Names and outcomes only: anybody may ask, and addresses are nobody's business."""
        results = await asyncio.gather(
            *(check.get_result() for check in self.get_checks())
        )
        lines = [
            f"{type(result.check).__name__.lower()}: "
            f"{'failed' if result.error else 'ok'}\n"
            for result in results
        ]
        is_ready = not any(result.error for result in results)
        return HttpResponse(
            "".join(lines), status=200 if is_ready else 503, content_type="text/plain"
        )


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, for ``VIEWERHUB_METRICS_NETWORKS`` only."""
    address = request.META.get("REMOTE_ADDR", "")
    if not is_inside(address, settings.VIEWERHUB_METRICS_NETWORKS):
        return HttpResponse(
            "This address is not in VIEWERHUB_METRICS_NETWORKS.\n",
            status=403,
            content_type="text/plain",
        )
    response: HttpResponse = ExportToDjangoView(request)
    try:
        response.content += figures()
    except DatabaseError:
        logger.warning("figures_unavailable")
    return response
