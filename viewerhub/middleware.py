"""Middleware of the portal."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from allauth.mfa.utils import is_mfa_enabled
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.deprecation import MiddlewareMixin
from django_structlog.middlewares import RequestMiddleware
from redis.exceptions import RedisError

from viewerhub.logs import route_of

logger = structlog.get_logger(__name__)


class RequestLogMiddleware(RequestMiddleware):
    """One line per request, with its route and the address of the caller."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return route_of(request)

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        # Not from a header, which anybody can send: the server knows the proxy.
        structlog.contextvars.bind_contextvars(ip=request.META.get("REMOTE_ADDR"))


class NotReadyMiddleware(MiddlewareMixin):
    """A page that says so where Redis can't be reached.

    It holds searches, what archives answered, and the rate limits of the login.

    Being synchronous and the last, it also makes all middleware before it run in one
    thread: Django would else change threads twice for each, which costs more than they do.
    """

    async_capable = False

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        if not isinstance(exception, RedisError):
            return None
        logger.error("redis_unavailable", error=type(exception).__name__)
        return render(request, "503.html", status=503)


def require_mfa(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Staff set up a second factor before they can do anything else."""

    def middleware(request: HttpRequest) -> HttpResponse:
        user = request.user
        is_account_page = request.path_info.startswith(("/accounts/", "/static/"))
        if (
            isinstance(user, User)
            and user.is_staff
            and not is_account_page
            and not is_mfa_enabled(user)
        ):
            return redirect("mfa_index")
        return get_response(request)

    return middleware
