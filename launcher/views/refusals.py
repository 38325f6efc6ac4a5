"""What launch URLs answer when there is nothing to redirect to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Final

import structlog
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from redis.exceptions import RedisError

from archives.fields import SecretUnreadableError
from launcher import signed_links
from launcher.criteria import CriteriaError, ForbiddenError, Problem
from launcher.iid import UnsatisfiableError
from launcher.launching import pending_launches
from launcher.launching.pending_launches import PendingLaunch
from launcher.launching.refusals import RefusedError, UnknownCallerError
from launcher.problems import problem_response
from launcher.services import QueueUnavailableError
from launcher.threads import in_thread
from launcher.views.access import private

logger = structlog.get_logger(__name__)

View = Callable[..., Any]
TITLES: Final = {
    400: "Bad launch parameters",
    401: "Who is calling?",
    403: "This launch is not allowed",
    404: "No study found",
    406: "This can't be shown as asked",
    413: "This is too large",
    503: "Launching is not possible now",
}
_WHO: Final = Problem(
    field="",
    message="Send an API key as “Authorization: Bearer …”, sign in, or call from a network "
    "the hub trusts.",
)
_UNREACHABLE: Final = "The hub can't reach its own store. Try again in a minute, or tell your administrator."
_UNREADABLE: Final = (
    "A secret of this client can't be read any more. Tell the hub's administrator to "
    "enter it again."
)


def refusals_answered(view: View, *, resume: str = "launcher:launch_resume") -> View:
    """Answer everything that keeps a launch from being, in words; keep nothing in caches.

    ``resume`` names the view that goes on after a login.
    """
    if iscoroutinefunction(view):

        @wraps(view)
        async def async_answering(
            request: HttpRequest, *args: Any, **kwargs: Any
        ) -> HttpResponseBase:
            response: HttpResponseBase
            try:
                response = await view(request, *args, **kwargs)
            except Exception as error:
                response = await in_thread(_answer, request, error, resume, kwargs)
            return private(response)

        return async_answering

    @wraps(view)
    def answering(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response: HttpResponseBase
        try:
            response = view(request, *args, **kwargs)
        except Exception as error:
            response = _answer(request, error, resume, kwargs)
        return private(response)

    return answering


def _answer(
    request: HttpRequest, error: Exception, resume: str, options: dict[str, Any]
) -> HttpResponse:
    if isinstance(error, UnknownCallerError):
        return _identify(request, resume, **options)
    known = _status_and_problems(error)
    if known is None:
        raise error
    return refuse(request, *known)


def problem_of(error: Exception) -> HttpResponse | None:
    """What a program is answered; ``None`` for an error that is the hub's own."""
    known = _status_and_problems(error)
    if known is None:
        return None
    status, problems = known
    return problem_response(status, TITLES[status], problems)


def _status_and_problems(error: Exception) -> tuple[int, Sequence[Problem]] | None:
    match error:
        case UnsatisfiableError():
            return 406, error.problems
        case ForbiddenError():
            return 403, error.problems
        case CriteriaError():
            return 400, error.problems
        case RefusedError():
            return error.status, error.problems
        case QueueUnavailableError():
            return 503, [Problem(field="", message=str(error))]
        case RedisError():
            logger.error("redis_unavailable", error=type(error).__name__)
            return 503, [Problem(field="", message=_UNREACHABLE)]
        case SecretUnreadableError():
            logger.error("client_secret_unreadable")
            return 503, [Problem(field="client", message=_UNREADABLE)]
    return None


def refuse(
    request: HttpRequest, status: int, problems: Sequence[Problem]
) -> HttpResponse:
    """Every problem at once: a page for browsers, problem+json (RFC 9457) for others."""
    if _wants_html(request):
        context = {"title": TITLES[status], "problems": problems}
        return render(request, "launcher/launch_error.html", context, status=status)
    return problem_response(status, TITLES[status], problems)


def _wants_html(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "text/html"


def _identify(
    request: HttpRequest,
    resume: str,
    *,
    is_iid: bool = False,
    members_only: bool = False,
    **_: Any,
) -> HttpResponse:
    """Browsers log in and come back to the same launch; machines get 401."""
    if _may_log_in(request):
        query = request.META.get("QUERY_STRING", "")
        pending = PendingLaunch(query=query, is_iid=is_iid, members_only=members_only)
        launch_id = pending_launches.save(pending)
        return redirect_to_login(reverse(resume, args=[launch_id]))
    return _with_challenge(refuse(request, 401, [_WHO]))


def unknown_caller() -> HttpResponse:
    """What a program is answered that nothing entitles to launch."""
    return _with_challenge(problem_response(401, TITLES[401], [_WHO]))


def _with_challenge(response: HttpResponse) -> HttpResponse:
    response["WWW-Authenticate"] = 'Bearer realm="ViewerHub"'
    return response


def _may_log_in(request: HttpRequest) -> bool:
    """A browser that followed a link; forms and scripts can't be led back to."""
    return (
        request.method == "GET"
        and "text/html" in request.headers.get("Accept", "")
        and "Authorization" not in request.headers
        and not signed_links.is_signed(request.META.get("QUERY_STRING", ""))
    )
