"""Compression of pages, where it tells nobody anything.

The size of a compressed page tells who can watch the network how often a text of their
choice is in it already (BREACH), if they can have the page sent with that text many times.
So only pages are compressed whose addresses hold the random id of a search: nobody but its
user knows those. Django adds a random length all the same.
"""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.middleware.gzip import GZipMiddleware
from django.shortcuts import render

_gzip: Final = GZipMiddleware(lambda request: HttpResponse())


def render_compressed(
    request: HttpRequest, template: str, context: dict[str, Any]
) -> HttpResponse:
    """``render``, for the pages of a search."""
    response: Any = render(request, template, context)
    return _gzip.process_response(request, response)  # type: ignore[return-value]
