"""Instances, by WADO-URI or as files."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, closing
from typing import Final

import structlog
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from archives import watching
from archives.clients import DimseEndpoint, open_client
from archives.entities import InstanceIdentifier
from archives.errors import (
    ArchiveError,
    ArchiveUnavailableError,
    InstanceNotFoundError,
)
from archives.health import ArchiveState
from launcher.gateway.contents import Patience
from launcher.gateway.grants import Grant, grant_of
from launcher.gateway.pictures import MEDIA_TYPES, picture_of, rendering_of, thumbnail
from launcher.gateway.streaming import streamed
from launcher.template_lines import transfer_syntax_problem

logger = structlog.get_logger(__name__)

THUMBNAIL: Final = "thumbnail.jpg"
# How long one failure of an archive's images counts for the next ones (seconds).
PAUSE: Final = 10.0
_noted: dict[int, float] = {}
_PRIVATE: Final = {"Cache-Control": "private, no-store"}
_AS_STORED: Final = frozenset({"application/dicom", "application/dicom+json", "*/*"})


@require_safe
async def wado_uri(request: HttpRequest, slug: str) -> HttpResponseBase:
    """One instance as a DICOM file (PS3.18 9.1), for the launch named by the token.

    In the transfer syntax that is asked for, where the archive can; else as it is stored.
    Or a picture of it, if ``contentType`` is ``image/jpeg`` or ``image/png``.
    """
    asked = request.GET
    media_type = asked.get("contentType", "application/dicom")
    uid = asked.get("objectUID", "")
    grant = await grant_of(
        request,
        slug,
        sop_instance_uid=uid,
        # Weasis asks for all its pictures before the first image.
        patience=Patience.NONE if media_type in MEDIA_TYPES else Patience.FOR_LOST,
    )
    if isinstance(grant, HttpResponse):
        return grant
    # Weasis sends the parents empty where an archive wants only the instance.
    listed = grant.contents.find(
        uid,
        asked.get("seriesUID", ""),
        asked.get("studyUID", ""),
    )
    if listed is None:
        return HttpResponse(status=404)
    if media_type in _AS_STORED:
        syntax = asked.get("transferSyntax", "")
        if transfer_syntax_problem(syntax):
            syntax = ""
        return await _retrieve(request, grant, listed.identifier, syntax)
    if media_type in MEDIA_TYPES:
        return await picture_of(grant, listed, lambda: rendering_of(asked))
    return HttpResponse(status=404)


@require_safe
async def file(
    request: HttpRequest, slug: str, study: str, series: str, name: str
) -> HttpResponseBase:
    """The same by an address of its own: ``<SOP Instance UID>.dcm`` below its series.

    Beside them, ``thumbnail.jpg`` is a picture of the series.
    """
    uid = name.removesuffix(".dcm")
    patience = Patience.NONE if name == THUMBNAIL else Patience.FOR_LOST
    grant = await grant_of(request, slug, sop_instance_uid=uid, patience=patience)
    if isinstance(grant, HttpResponse):
        return grant
    if name == THUMBNAIL:
        listed = grant.contents.middle_of(study, series)
        if listed is None:
            return HttpResponse(status=404)
        return await picture_of(grant, listed, thumbnail)
    listed = grant.contents.find(uid, series, study)
    if listed is None or uid == name:
        return HttpResponse(status=404)
    return await _retrieve(request, grant, listed.identifier)


async def _retrieve(
    request: HttpRequest,
    grant: Grant,
    identifier: InstanceIdentifier,
    transfer_syntax: str = "",
) -> HttpResponseBase:
    """Errors before the first byte are a status; later ones cut the connection."""
    if request.method == "HEAD" and isinstance(grant.endpoint, DimseEndpoint):
        return await _head(grant.endpoint, identifier)
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(open_client(grant.endpoint))
            stream = await stack.enter_async_context(
                client.retrieve_instance(identifier, transfer_syntax)
            )
        except ArchiveError as error:
            return failed(grant, error)
        headers = dict(_PRIVATE)
        if stream.content_length is not None:
            headers["Content-Length"] = str(stream.content_length)
        if request.method == "HEAD":
            return HttpResponse(content_type="application/dicom", headers=headers)
        if stream.content is not None:
            return HttpResponse(stream.content, "application/dicom", headers=headers)
        return StreamingHttpResponse(
            streamed(aiter(stream), stack.pop_all()),
            content_type="application/dicom",
            headers=headers,
        )


async def _head(
    endpoint: DimseEndpoint, identifier: InstanceIdentifier
) -> HttpResponse:
    """Without asking the archive: DIMSE has no way to ask for less than all of it."""
    size = await asyncio.to_thread(_cached_size, endpoint, identifier)
    length = {} if size is None else {"Content-Length": str(size)}
    return HttpResponse(content_type="application/dicom", headers=_PRIVATE | length)


def _cached_size(endpoint: DimseEndpoint, identifier: InstanceIdentifier) -> int | None:
    if endpoint.image_cache is None:
        return None
    uid = identifier.series_instance_uid
    series = endpoint.image_cache.series(endpoint.cache_owner, uid)
    image = series.open(identifier.sop_instance_uid)
    if image is None:
        return None
    with closing(image):
        return image.size if image.is_whole else None


def _note(grant: Grant, error: ArchiveError) -> None:
    """Let administrators know, once in a while: a viewer asks for thousands of images.

    What the archive answered about one image says nothing about the archive.
    """
    state = ArchiveState(error.state)
    now = time.monotonic()
    if (
        state == ArchiveState.FAILED
        or now < _noted.get(grant.archive_id, -PAUSE) + PAUSE
    ):
        return
    _noted[grant.archive_id] = now
    learnt = watching.finding_of(grant.archive_id, grant.endpoint, state, str(error))
    asyncio.get_running_loop().run_in_executor(None, watching.note, learnt)


def failed(grant: Grant, error: ArchiveError) -> HttpResponse:
    """The answer to what an archive did not give."""
    if isinstance(error, InstanceNotFoundError):
        return HttpResponse(status=404)
    logger.warning("image_failed", archive=grant.archive_id, error=type(error).__name__)
    _note(grant, error)
    is_temporary = isinstance(error, ArchiveUnavailableError)
    status = 503 if is_temporary else 502
    return HttpResponse(str(error), status=status, content_type="text/plain")
