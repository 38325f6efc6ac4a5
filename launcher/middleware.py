"""A short way for the requests of viewers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import resolve
from django.utils.decorators import async_only_middleware

PATHS: Final = ("/m/", "/gateway/")
# What others made is handed on here. A browser that shows it as a page runs none of it.
POLICY: Final = "default-src 'none'; sandbox"


@async_only_middleware
def viewer_requests(
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Call the views of manifests and images without the rest of the middleware.

    They know no session, language or form, and are asked for thousands of images: each
    middleware in the way would cost as much as the view itself.
    """

    # Made into answers here, so that errors get the headers too.
    answer: Any = convert_exception_to_response(_call)  # its stubs know no async

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(PATHS):
            return await get_response(request)
        response: HttpResponseBase = await answer(request)
        response["X-Content-Type-Options"] = "nosniff"
        response["Content-Security-Policy"] = POLICY
        return response

    return middleware


async def _call(request: HttpRequest) -> HttpResponseBase:
    match = resolve(request.path_info)
    request.resolver_match = match
    response: HttpResponseBase = await match.func(request, *match.args, **match.kwargs)
    return response
