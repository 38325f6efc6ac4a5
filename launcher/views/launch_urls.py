"""Launch URLs: the dialects of weasis-pacs-connector and ViewerHub."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from launcher.callers import archives_named, caller_of, template_named
from launcher.criteria import CriteriaError, Problem, parse
from launcher.models import Launch
from launcher.problems import problem_response
from launcher.services import QueueUnavailableError, start_launch
from launcher.views.responses import WeasisRedirect

# More than a browser sends; what is beyond is refused before it is parsed.
MAXIMUM_PARAMETERS = 20_000


@never_cache
@require_GET
def weasis_launch(request: HttpRequest) -> HttpResponse:
    """Redirect to Weasis at once; a worker asks the archives meanwhile."""
    caller = caller_of(request)
    if caller is None:
        return _identify(request)
    try:
        criteria = parse(_parameters(request))
        template = template_named(criteria.template)
        archives = archives_named(criteria.archives, caller, template, field="archive")
        started = start_launch(
            selection=criteria.selection,
            archives=archives,
            template=template,
            origin=Launch.Origin.URL,
            user=caller.user,
            api_client=caller.api_client,
        )
    except CriteriaError as error:
        return _refuse(request, 400, "Bad launch parameters", error.problems)
    except QueueUnavailableError as error:
        problem = Problem(field="", message=str(error))
        return _refuse(request, 503, "Launching is not possible now", [problem])
    return WeasisRedirect(started.uri)


def _parameters(request: HttpRequest) -> list[tuple[str, str]]:
    """Names and values in the order they were sent; ``request.GET`` has lost it."""
    query = request.META.get("QUERY_STRING", "")
    try:
        return parse_qsl(
            query, keep_blank_values=True, max_num_fields=MAXIMUM_PARAMETERS
        )
    except ValueError as error:
        message = f"More than {MAXIMUM_PARAMETERS:,} parameters."
        raise CriteriaError([Problem(field="query", message=message)]) from error


def _wants_html(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "text/html"


def _identify(request: HttpRequest) -> HttpResponse:
    """Browsers log in and come back to the same launch; machines get 401."""
    if "text/html" in request.headers.get("Accept", "") and not request.headers.get(
        "Authorization"
    ):
        return redirect_to_login(request.get_full_path())
    problem = Problem(
        field="",
        message="Send an API key as “Authorization: Bearer …”, log in, or call from a "
        "network the hub trusts.",
    )
    response = _refuse(request, 401, "Who is calling?", [problem])
    response["WWW-Authenticate"] = 'Bearer realm="ViewerHub"'
    return response


def _refuse(
    request: HttpRequest, status: int, title: str, problems: Sequence[Problem]
) -> HttpResponse:
    """Every problem at once: a page for browsers, problem+json (RFC 9457) for others."""
    if _wants_html(request):
        context = {"title": title, "problems": problems}
        return render(request, "launcher/launch_error.html", context, status=status)
    return problem_response(status, title, problems)
