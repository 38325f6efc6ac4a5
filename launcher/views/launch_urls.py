"""Launch URLs: the dialects of weasis-pacs-connector and ViewerHub."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from archives.models import Archive
from launcher.callers import Caller, caller_of
from launcher.criteria import CriteriaError, LaunchCriteria, Problem, parse
from launcher.models import Launch, LaunchTemplate
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
        template = _template(criteria)
        archives = _archives(criteria, template, caller)
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


def _template(criteria: LaunchCriteria) -> LaunchTemplate:
    if not criteria.template:
        return LaunchTemplate.objects.default()
    template = LaunchTemplate.objects.filter(slug=criteria.template).first()
    if template is None:
        message = f"There is no launch template “{criteria.template}”."
        raise CriteriaError([Problem(field="template", message=message)])
    return template


def _archives(
    criteria: LaunchCriteria, template: LaunchTemplate, caller: Caller
) -> list[Archive]:
    """Those the launch names, or the template's, or all the caller may use."""
    usable = list(caller.usable_archives())
    if criteria.archives:
        by_slug = {archive.slug: archive for archive in usable}
        unknown = [slug for slug in criteria.archives if slug not in by_slug]
        if unknown:
            raise CriteriaError(
                Problem(
                    field="archive",
                    message=f"There is no archive “{slug}”, or you may not use it.",
                )
                for slug in unknown
            )
        return [by_slug[slug] for slug in criteria.archives]
    chosen = set(template.archives.values_list("pk", flat=True))
    archives = [archive for archive in usable if not chosen or archive.pk in chosen]
    if not archives:
        message = "There is no archive you may use. Ask your administrator."
        raise CriteriaError([Problem(field="archive", message=message)])
    return archives


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
    data = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "errors": [{"field": p.field, "message": p.message} for p in problems],
    }
    return JsonResponse(data, status=status, content_type="application/problem+json")
