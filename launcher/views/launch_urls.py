"""Launch URLs: the dialects of weasis-pacs-connector and ViewerHub, and IHE IID."""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods

from launcher.launching.judging import judge
from launcher.launching.launch import launch
from launcher.launching.uploading import launch_upload
from launcher.manifest.upload import MAXIMUM_UPLOAD
from launcher.services import StartedLaunch
from launcher.views.access import login_first
from launcher.views.launch_requests import (
    address_of,
    identify,
    query_of,
    read_body,
    read_request,
    waiting_request,
)
from launcher.views.refusals import refusals_answered
from launcher.views.responses import ViewerRedirect

UPLOAD: Final = ("upload", "manifest")


@csrf_exempt  # launch_requests.identify checks what came without key or signature
@require_http_methods(["GET", "HEAD", "POST"])
@refusals_answered
def launch_url(
    request: HttpRequest, *, is_iid: bool = False, members_only: bool = False
) -> HttpResponse:
    """Redirect to the viewer at once; a worker asks the archives meanwhile.

    HEAD says whether GET would; it stores nothing and asks no archive. A POST with
    ``upload=manifest`` brings its own manifest.
    """
    if request.method == "POST" and UPLOAD in query_of(request):
        return _redirect(_upload(request, members_only=members_only))
    asked = read_request(request, is_iid=is_iid, members_only=members_only)
    if request.method == "HEAD":
        judge(asked)
        return HttpResponse()
    return _redirect(launch(asked))


@require_GET
@refusals_answered
def launch_resume(request: HttpRequest, launch_id: str) -> HttpResponse:
    """Follow a link that was waiting for its user's login."""
    asked = waiting_request(request, launch_id)
    return _redirect(launch(asked)) if asked else login_first(request)


def _redirect(started: StartedLaunch) -> HttpResponse:
    return ViewerRedirect(started.uri, started.viewer)


def _upload(request: HttpRequest, *, members_only: bool) -> StartedLaunch:
    body = read_body(request, MAXIMUM_UPLOAD)
    caller = identify(request, body, members_only=members_only)
    charset = (request.content_params or {}).get("charset", "")
    return launch_upload(
        body,
        query_of(request),
        caller,
        charset=charset,
        address=address_of(request),
    )
