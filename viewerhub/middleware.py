"""Middleware of the portal."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

import structlog
from allauth.mfa.utils import is_mfa_enabled
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import sync_and_async_middleware
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
    """

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        if not isinstance(exception, RedisError):
            return None
        logger.error("redis_unavailable", error=type(exception).__name__)
        return render(request, "503.html", status=503)


@sync_and_async_middleware
def require_mfa(get_response: Callable[[HttpRequest], Any]) -> Callable[..., Any]:
    """Staff set up a second factor before they can do anything else."""
    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> HttpResponse:
            response: HttpResponse | None = await sync_to_async(_set_up)(request)
            return response or await get_response(request)

        return async_middleware

    def middleware(request: HttpRequest) -> HttpResponse:
        return _set_up(request) or get_response(request)

    return middleware


def _set_up(request: HttpRequest) -> HttpResponse | None:
    """Where staff set up a second factor, if they have none and are elsewhere."""
    user = request.user
    is_account_page = request.path_info.startswith(("/accounts/", "/static/"))
    if (
        isinstance(user, User)
        and user.is_staff
        and not is_account_page
        and not is_mfa_enabled(user)
    ):
        return redirect("mfa_index")
    return None
