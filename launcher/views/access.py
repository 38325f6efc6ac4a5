"""Who may see the pages of the portal, and what those who may not get instead."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, TypeVar
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect

View = Callable[..., Any]
Response = TypeVar("Response", bound=HttpResponseBase)


def member_required(view: View) -> View:
    """Only for users who have logged in; the page is kept in no cache.

    Others log in first and come back: to the page itself, or where the page only answers
    to a form or to htmx, to the page that it was part of.
    """
    if iscoroutinefunction(view):

        @wraps(view)
        async def async_member_view(
            request: HttpRequest, *args: Any, **kwargs: Any
        ) -> HttpResponse:
            if not await sync_to_async(_is_member)(request):
                return login_first(request)
            response: HttpResponse = await view(request, *args, **kwargs)
            return private(response)

        return async_member_view

    @wraps(view)
    def member_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return login_first(request)
        response: HttpResponse = view(request, *args, **kwargs)
        return private(response)

    return member_view


def _is_member(request: HttpRequest) -> bool:
    """Whether somebody has logged in; afterwards, ``request.user`` needs no query."""
    return bool(request.user.is_authenticated)


def private(response: Response) -> Response:
    """Patient data: neither the browser nor a proxy may keep it."""
    patch_cache_control(response, private=True, no_store=True)
    return response


def login_first(request: HttpRequest) -> HttpResponse:
    login = redirect_to_login(page_of(request))
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponseClientRedirect(login.url)
    return login


def page_of(request: HttpRequest) -> str:
    """The page the visitor is on: a path of our own without a query, ``/`` if unknown."""
    if request.htmx:  # type: ignore[attr-defined]
        address = request.htmx.current_url or "/"  # type: ignore[attr-defined]
    elif request.method == "GET":
        return request.path
    else:
        address = request.headers.get("Referer", "/")
    is_ours = url_has_allowed_host_and_scheme(address, {request.get_host()})
    path = urlsplit(address).path if is_ours else "/"
    # A second slash would make the next part a host.
    return "/" if path[1:2] in {"/", "\\"} else path
