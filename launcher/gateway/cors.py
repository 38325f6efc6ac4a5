"""Viewers in a browser, from other origins than the hub's: those that settings name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

View = Callable[[HttpRequest, str, str], Coroutine[Any, Any, HttpResponseBase]]

# Nothing that a viewer sends by itself, such as a cookie, is asked for or taken.
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Authorization, Accept, Range",
    "Access-Control-Max-Age": "600",
}
_EXPOSED: Final = "Accept-Ranges, Content-Length, Content-Range"


def open_to_viewers(view: View) -> View:
    """Let pages of ``VIEWERHUB_GATEWAY_ORIGINS`` ask and read (the Fetch standard, CORS).

    The token is what opens anything; this only keeps browsers from standing in the way.
    """

    @wraps(view)
    async def answer(request: HttpRequest, slug: str, path: str) -> HttpResponseBase:
        origins = settings.VIEWERHUB_GATEWAY_ORIGINS
        origin = request.headers.get("Origin", "")
        is_known = origin in origins
        if is_known and _is_preflight(request):
            response: HttpResponseBase = HttpResponse(status=204, headers=PREFLIGHT)
        else:
            response = await view(request, slug, path)
        if origins:
            patch_vary_headers(response, ["Origin"])
        if is_known:
            response["Access-Control-Allow-Origin"] = origin
            response["Access-Control-Expose-Headers"] = _EXPOSED
        return response

    return answer


def _is_preflight(request: HttpRequest) -> bool:
    return (
        request.method == "OPTIONS"
        and "Access-Control-Request-Method" in request.headers
    )
