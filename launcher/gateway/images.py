"""Instances, by WADO-URI or as files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import structlog
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from archives.clients import open_client
from archives.clients.base import InstanceStream
from archives.entities import InstanceIdentifier
from archives.errors import (
    ArchiveError,
    ArchiveUnavailableError,
    InstanceNotFoundError,
)
from launcher.gateway.grants import Grant, grant_of

logger = structlog.get_logger(__name__)

_AS_STORED: Final = frozenset({"application/dicom", "application/dicom+json", "*/*"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request names; empty parents are not checked."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


@require_safe
async def wado_uri(request: HttpRequest, slug: str) -> HttpResponseBase:
    """One instance as a DICOM file (PS3.18 9.1), for the launch named by the token.

    As it is stored: a transfer syntax or an image quality that is asked for is not
    used. Thumbnails (image/jpeg) are made by Weasis itself when it gets none.
    """
    asked = request.GET
    if asked.get("contentType", "application/dicom") not in _AS_STORED:
        return await _serve(request, slug, None)
    # Weasis sends the parents empty where an archive wants only the instance.
    names = Asked(
        study_instance_uid=asked.get("studyUID", ""),
        series_instance_uid=asked.get("seriesUID", ""),
        sop_instance_uid=asked.get("objectUID", ""),
    )
    return await _serve(request, slug, names)


@require_safe
async def file(
    request: HttpRequest, slug: str, study: str, series: str, name: str
) -> HttpResponseBase:
    """The same by an address of its own: ``<SOP Instance UID>.dcm`` below its series."""
    uid = name.removesuffix(".dcm")
    if uid == name:  # a thumbnail: Weasis waits for each of them before the images
        return HttpResponse(status=404)
    asked = Asked(
        study_instance_uid=study, series_instance_uid=series, sop_instance_uid=uid
    )
    return await _serve(request, slug, asked)


async def _serve(
    request: HttpRequest, slug: str, asked: Asked | None
) -> HttpResponseBase:
    """The instance, if the token opens it; ``None`` is what no launch has."""
    grant = await grant_of(request, slug)
    if isinstance(grant, HttpResponse):
        return grant
    listed = asked and grant.contents.find(
        asked.sop_instance_uid, asked.series_instance_uid, asked.study_instance_uid
    )
    if not listed:
        return HttpResponse(status=404)
    return await _retrieve(request, grant, listed.identifier)


async def _retrieve(
    request: HttpRequest, grant: Grant, identifier: InstanceIdentifier
) -> HttpResponseBase:
    """Errors before the first byte are a status; later ones cut the connection."""
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(open_client(grant.endpoint))
            stream = await stack.enter_async_context(
                client.retrieve_instance(identifier)
            )
        except ArchiveError as error:
            return failed(grant, error)
        headers = {"Cache-Control": "private, no-store"}
        if stream.content_length is not None:
            headers["Content-Length"] = str(stream.content_length)
        if request.method == "HEAD":
            return HttpResponse(content_type="application/dicom", headers=headers)
        return StreamingHttpResponse(
            _body(stream, stack.pop_all()),
            content_type="application/dicom",
            headers=headers,
        )


def failed(grant: Grant, error: ArchiveError) -> HttpResponse:
    """The answer to what an archive did not give."""
    if isinstance(error, InstanceNotFoundError):
        return HttpResponse(status=404)
    logger.warning("image_failed", archive=grant.archive_id, error=type(error).__name__)
    is_temporary = isinstance(error, ArchiveUnavailableError)
    status = 503 if is_temporary else 502
    return HttpResponse(str(error), status=status, content_type="text/plain")


async def _body(stream: InstanceStream, stack: AsyncExitStack) -> AsyncIterator[bytes]:
    async with stack:
        async for chunk in stream:
            yield chunk
