"""DICOMweb (PS3.18 10) of an archive that has it, as far as a launch goes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from archives.clients import (
    DEFAULT_QUALITY,
    DicomWebEndpoint,
    Forwarded,
    JsonObject,
    Level,
    Rendering,
    open_dicomweb,
)
from archives.errors import ArchiveError, ArchiveResponseError
from launcher.delivery import dicomweb_url
from launcher.gateway import dicom_json
from launcher.gateway.composing import as_parts
from launcher.gateway.contents import Patience
from launcher.gateway.cors import open_to_viewers
from launcher.gateway.dicom_json import Rewriting
from launcher.gateway.grants import Grant, grant_of
from launcher.gateway.images import failed
from launcher.gateway.parts import Parts
from launcher.gateway.pictures import picture_of, thumbnail
from launcher.gateway.resources import Kind, Resource, parse, part_query
from launcher.gateway.searching import question_of, search, targets
from launcher.gateway.streaming import streamed

DICOM_JSON: Final = "application/dicom+json"
PRIVATE: Final = {"Cache-Control": "private, no-store"}
_ANY_OBJECTS: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_ANY_PART: Final = (
    'multipart/related; type="application/octet-stream"; transfer-syntax=*'
)
_RANGE: Final = re.compile(r"bytes=[0-9, -]{1,100}")
_MAXIMUM_ACCEPT: Final = 1000
# Statuses that a client is told as they are; the rest is the archive's fault.
_REFUSALS: Final = dict.fromkeys((204, 404, 405, 410, 501), 404) | {
    400: 400,
    406: 406,
    416: 416,
}
# How it is said that there is no such resource, or not in this form.
_LACKING: Final = frozenset({400, 404, 406})
# What can't be an image, whatever an archive says: pages have no place on our address.
_SENT: Final = re.compile(
    r"multipart/related|application/(?:dicom|octet-stream|pdf)|(?:image|video)/(?!svg).+"
)
_PIECE: Final = 64 * 1024


@open_to_viewers
@require_safe
async def dicomweb(request: HttpRequest, slug: str, path: str) -> HttpResponseBase:
    """A resource of the archive; 404 for all that the token's launch does not have.

    Only ``Accept`` and ``Range`` reach the archive, and nothing but what it sent for
    the launch comes back.
    """
    resource = parse(path)
    grant = await grant_of(
        request,
        slug,
        sop_instance_uid=resource.instance if resource else "",
        patience=_patience(resource),
    )
    if isinstance(grant, HttpResponse):
        return grant
    endpoint = grant.endpoint
    if (
        resource is None
        or not (grant.has_dicomweb and isinstance(endpoint, DicomWebEndpoint))
        or not _is_listed(resource, grant)
    ):
        return HttpResponse(status=404)
    try:
        return await _ANSWERS[resource.kind](request, grant, endpoint, resource)
    except ArchiveError as error:
        return failed(grant, error)


def _patience(resource: Resource | None) -> Patience:
    if resource is None or resource.kind is Kind.PICTURE:
        return Patience.NONE
    # With $dicom:rs Weasis begins with a search over all studies, at once.
    is_first = resource.kind is Kind.SEARCH and not resource.study
    return Patience.FOR_FIRST if is_first else Patience.FOR_LOST


def _is_listed(resource: Resource, grant: Grant) -> bool:
    contents = grant.contents
    if resource.instance:
        return bool(contents.find(resource.instance, resource.series, resource.study))
    is_there = (
        resource.series in contents.series_of(resource.study)
        if resource.series
        else resource.study in contents.studies
    )
    if resource.kind is Kind.SEARCH:
        return is_there or not resource.study
    return is_there


async def _search(
    request: HttpRequest, grant: Grant, endpoint: DicomWebEndpoint, resource: Resource
) -> HttpResponseBase:
    if not _accepts_json(request):
        return HttpResponse(status=406)
    try:
        question = question_of(request.META.get("QUERY_STRING", ""))
    except ValueError:
        return _unreadable()
    asked = targets(question, resource, grant.contents, endpoint)
    async with open_dicomweb(endpoint) as archive:
        try:
            body = await search(
                archive,
                resource.level or Level.STUDIES,
                question,
                asked,
                grant.contents,
                partial(_rewriting, grant, endpoint),
            )
        except ValueError as error:
            raise _not_dicom_json(endpoint) from error
    headers = PRIVATE | {"Content-Length": str(len(body))}
    return HttpResponse(body, content_type=DICOM_JSON, headers=headers)


async def _metadata(
    request: HttpRequest, grant: Grant, endpoint: DicomWebEndpoint, resource: Resource
) -> HttpResponseBase:
    if not _accepts_json(request):
        return HttpResponse(status=406)
    async with AsyncExitStack() as stack:
        archive = await stack.enter_async_context(open_dicomweb(endpoint))
        objects = await stack.enter_async_context(archive.metadata(resource.path))
        if request.method == "HEAD":
            return HttpResponse(content_type=DICOM_JSON, headers=PRIVATE)
        return StreamingHttpResponse(
            streamed(_described(objects, grant, endpoint, resource), stack.pop_all()),
            content_type=DICOM_JSON,
            headers=PRIVATE,
        )


async def _described(
    objects: AsyncIterator[JsonObject],
    grant: Grant,
    endpoint: DicomWebEndpoint,
    resource: Resource,
) -> AsyncIterator[bytes]:
    rewriting = _rewriting(grant, endpoint, resource.path)
    parents = (resource.study, resource.series)
    known = tuple(filter(None, (*parents, resource.instance)))
    separator, piece = b"[", b""
    async for each in objects:
        uids = dicom_json.identify(each, grant.contents, known, depth=3)
        if not uids:
            continue
        try:
            text = dicom_json.dumps(rewriting.rewritten(each, uids))
        except ValueError as error:
            raise _not_dicom_json(endpoint) from error
        piece, separator = piece + separator + text, b","
        if len(piece) > _PIECE:
            yield piece
            piece = b""
    yield piece + (b"]" if separator == b"," else b"[]")


async def _objects(
    request: HttpRequest, grant: Grant, endpoint: DicomWebEndpoint, resource: Resource
) -> HttpResponseBase:
    """As the archive sends them, unread, if all of them are the launch's.

    If it can't, or they are not, the hub puts the answer together.
    """
    contents = grant.contents
    is_whole = bool(resource.instance) or contents.is_whole(
        resource.study, resource.series
    )
    is_for_all = _takes_any_parts(request.headers.get("Accept", ""))
    if is_whole:
        answer = await _forward(request, grant, endpoint, resource)
        if answer.status_code not in _LACKING or not is_for_all:
            return answer
    elif not is_for_all:
        return HttpResponse(status=404)
    found = contents.below(resource.study, resource.series, resource.instance)
    return await as_parts(request, grant, [each.identifier for each in found])


def _takes_any_parts(accept: str) -> bool:
    """Whether files as they are stored will do, as parts of one answer."""
    text = re.sub(r'[\s"]', "", accept.lower())
    if text in ("", "*/*"):
        return True
    is_multipart = "multipart/related" in text and "transfer-syntax=*" in text
    return is_multipart and "type=application/dicom;" in f"{text};"


async def _forward(
    request: HttpRequest, grant: Grant, endpoint: DicomWebEndpoint, resource: Resource
) -> HttpResponseBase:
    accept = request.headers.get("Accept", "")
    if accept in ("", "*/*"):
        accept = _ANY_OBJECTS if resource.kind is Kind.OBJECTS else _ANY_PART
    byte_range = request.headers.get("Range", "")
    try:
        query = part_query(resource, request.META.get("QUERY_STRING", ""))
    except ValueError:
        return _unreadable()
    if len(accept) > _MAXIMUM_ACCEPT or not accept.isascii():
        return HttpResponse(status=406)
    async with AsyncExitStack() as stack:
        archive = await stack.enter_async_context(open_dicomweb(endpoint))
        answer = await stack.enter_async_context(
            archive.forward(
                resource.path,
                query=query,
                accept=accept,
                byte_range=byte_range if _RANGE.fullmatch(byte_range) else "",
            )
        )
        if answer.status not in (200, 206):
            return _refused(answer, endpoint)
        if not _SENT.fullmatch(answer.media_type):
            raise _not_an_image(endpoint)
        headers = _headers(answer)
        if request.method == "HEAD":
            return HttpResponse(status=answer.status, headers=headers)
        return StreamingHttpResponse(
            streamed(_body(answer), stack.pop_all()),
            status=answer.status,
            headers=headers,
        )


async def _picture(
    request: HttpRequest, grant: Grant, endpoint: DicomWebEndpoint, resource: Resource
) -> HttpResponseBase:
    """``rendered`` or ``thumbnail``: of a series or study, one image from its middle."""
    media_type = _picture_type(request.headers.get("Accept", "").lower())
    if not media_type:
        return HttpResponse(status=406)
    contents = grant.contents
    listed = (
        contents.instances.get(resource.instance)
        if resource.instance
        else contents.middle_of(resource.study, resource.series)
    )
    if listed is None:
        return HttpResponse(status=404)
    return await picture_of(
        grant, listed, lambda: _rendering(request.GET, media_type, resource)
    )


def _picture_type(accept: str) -> str:
    """Of the two kinds of pictures there are, the first that will do; empty if none."""
    if not accept or any(name in accept for name in ("*/*", "image/*", "image/jpeg")):
        return "image/jpeg"
    return "image/png" if "image/png" in accept else ""


def _rendering(
    asked: Mapping[str, str], media_type: str, resource: Resource
) -> Rendering:
    """From the parameters of PS3.18 8.3.5; raises ``ValueError``."""
    columns, rows = None, None
    if viewport := asked.get("viewport"):
        # What may follow cuts out a part, which not every archive can.
        columns, rows = (int(float(side)) for side in viewport.split(",")[:2])
    elif resource.rest[-1] == "thumbnail":
        columns = rows = thumbnail().columns
    window = None
    if values := asked.get("window"):
        center, width = values.split(",")[:2]
        window = float(center), float(width)
    return Rendering(
        media_type=media_type,
        columns=columns,
        rows=rows,
        quality=int(asked.get("quality") or DEFAULT_QUALITY),
        window=window,
        frame_number=(
            int(resource.rest[1].partition(",")[0])
            if resource.rest[0] == "frames"
            else None
        ),
    )


def _headers(answer: Forwarded) -> dict[str, str]:
    headers = PRIVATE | {"Content-Type": answer.header("content-type")}
    if answer.content_length is not None:
        headers["Content-Length"] = str(answer.content_length)
    for name in ("Content-Range", "Accept-Ranges"):
        if value := answer.header(name):
            headers[name] = value
    return headers


async def _body(answer: Forwarded) -> AsyncIterator[bytes]:
    parts = Parts(answer.header("content-type"))
    async for piece in answer.body():
        if ready := parts.feed(piece):
            yield ready
    if rest := parts.close():
        yield rest


def _refused(answer: Forwarded, endpoint: DicomWebEndpoint) -> HttpResponse:
    if status := _REFUSALS.get(answer.status):
        return HttpResponse(status=status)
    raise ArchiveResponseError(
        f"{endpoint.name} can't send this: ask its administrator (HTTP {answer.status}).",
        status=str(answer.status),
    )


def _rewriting(
    grant: Grant, endpoint: DicomWebEndpoint, path: Sequence[str]
) -> Rewriting:
    """Of what the archive sends at this path."""
    asked = "/".join((endpoint.url, *(quote(part, safe="") for part in path)))
    return Rewriting(asked, dicomweb_url(grant.slug))


def _unreadable() -> HttpResponse:
    return HttpResponse(
        "The parameters can't be read.", status=400, content_type="text/plain"
    )


def _accepts_json(request: HttpRequest) -> bool:
    """Whether DICOM JSON will do; clients that say nothing, as Weasis does, want it."""
    accept = request.headers.get("Accept", "").lower()
    return not accept or any(
        name in accept for name in ("json", "*/*", "application/*")
    )


def _not_dicom_json(endpoint: DicomWebEndpoint) -> ArchiveResponseError:
    return ArchiveResponseError(f"{endpoint.name} sent numbers that are none.")


def _not_an_image(endpoint: DicomWebEndpoint) -> ArchiveResponseError:
    return ArchiveResponseError(
        f"{endpoint.name} sent something else than images: check its address, and "
        "whether it wants a login."
    )


Answer = Callable[
    [HttpRequest, Grant, DicomWebEndpoint, Resource], Awaitable[HttpResponseBase]
]
_ANSWERS: Final[dict[Kind, Answer]] = {
    Kind.SEARCH: _search,
    Kind.METADATA: _metadata,
    Kind.OBJECTS: _objects,
    Kind.PICTURE: _picture,
    Kind.PART: _forward,
}
