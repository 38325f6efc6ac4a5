"""``/manifest?...``: the manifest of a launch URL, for those who start no viewer by it."""

from __future__ import annotations

import gzip
from dataclasses import replace
from functools import partial
from typing import cast

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET, require_http_methods

from launcher.launching.judging import LaunchRequest, judge
from launcher.launching.launch import launch_waiting
from launcher.threads import in_thread
from launcher.views.access import login_first
from launcher.views.launch_requests import read_request, waiting_request
from launcher.views.manifests import XML, manifest_detail
from launcher.views.refusals import refusals_answered


@require_http_methods(["GET", "HEAD"])
@partial(refusals_answered, resume="launcher:manifest_resume")
async def manifest_url(request: HttpRequest) -> HttpResponseBase:
    """The manifest itself, or with ``url`` its address; with ``gzip`` as a gzip file.

    HEAD stores nothing and asks no archive.
    """
    asked = await in_thread(_read, request)
    if request.method == "HEAD":
        await in_thread(judge, asked)
        return HttpResponse(content_type=XML)
    return await _manifest(request, asked)


@require_GET
@refusals_answered
async def manifest_resume(request: HttpRequest, launch_id: str) -> HttpResponseBase:
    """The same for a link that was waiting for its user's login."""
    asked = await in_thread(waiting_request, request, launch_id)
    if asked is None:
        return login_first(request)
    return await _manifest(request, replace(asked, needs_manifest=True))


async def _manifest(request: HttpRequest, asked: LaunchRequest) -> HttpResponseBase:
    names = {name for name, _ in asked.parameters}
    started = await launch_waiting(asked)
    if "url" in names:
        return HttpResponse(started.manifest_url, content_type="text/plain")
    token = started.manifest_url.rpartition("/")[2]
    response: HttpResponseBase = await manifest_detail(request, token)
    return await _as_file(response) if "gzip" in names else response


def _read(request: HttpRequest) -> LaunchRequest:
    return replace(read_request(request), needs_manifest=True)


async def _as_file(response: HttpResponseBase) -> HttpResponse:
    """The whole manifest as a gzip file, whatever encodings the caller takes."""
    if isinstance(response, StreamingHttpResponse):
        body = b"".join([part async for part in response])
    else:
        body = cast(HttpResponse, response).content
    if response.headers.get("Content-Encoding") != "gzip":
        body = gzip.compress(body)
    return HttpResponse(body, content_type="application/gzip")
