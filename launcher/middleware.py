"""A short way for the requests of viewers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import resolve
from django.utils.decorators import async_only_middleware

PATHS: Final = ("/m/", "/gateway/")


@async_only_middleware
def viewer_requests(
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Call the views of manifests and images without the rest of the middleware.

    They know no session, language or form, and are asked for thousands of images: each
    middleware in the way would cost as much as the view itself.
    """

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(PATHS):
            return await get_response(request)
        match = resolve(request.path_info)
        request.resolver_match = match
        response: HttpResponseBase = await match.func(
            request, *match.args, **match.kwargs
        )
        response["X-Content-Type-Options"] = "nosniff"
        return response

    return middleware
