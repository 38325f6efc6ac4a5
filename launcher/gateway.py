"""Images for viewers, by WADO-URI or as files, opened by a launch's image token.

Archive credentials stay in the hub. A token opens the instances its launch's manifest
lists and nothing else; everything else is 404, whether it exists or not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import structlog
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET
from redis.exceptions import RedisError

from archives.clients import Endpoint, open_client
from archives.clients.base import InstanceStream
from archives.entities import InstanceIdentifier
from archives.errors import (
    ArchiveError,
    ArchiveUnavailableError,
    InstanceNotFoundError,
)
from archives.models import Archive
from launcher import store
from launcher.callers import bearer_token
from launcher.models import Launch
from launcher.tokens import digest
from launcher.waiting import until_done

logger = structlog.get_logger(__name__)

# Weasis waits 15 s for the first byte of an image.
REBUILD_DEADLINE: Final = 12.0
# Instances by their UID: where each one belongs. One entry per build and archive.
Index = dict[str, InstanceIdentifier]
_indexes: OrderedDict[tuple[str, int], Index] = OrderedDict()
MAXIMUM_INDEXES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token opens at one archive."""

    build_id: str
    archive_id: int
    endpoint: Endpoint


@require_GET
async def wado_uri(request: HttpRequest, slug: str) -> HttpResponseBase:
    """One instance as a DICOM file (PS3.18 9.1), for the launch named by the token.

    As it is stored: a transfer syntax or an image quality that is asked for is not
    used. Thumbnails (image/jpeg) are made by Weasis itself when it gets none.
    """
    asked = request.GET
    kinds = {"application/dicom", "application/dicom+json", "*/*"}
    return await _serve(
        request,
        slug,
        Asked(
            # Weasis sends the parents empty where an archive wants only the instance.
            study_instance_uid=asked.get("studyUID", ""),
            series_instance_uid=asked.get("seriesUID", ""),
            sop_instance_uid=asked.get("objectUID", ""),
        )
        if asked.get("contentType", "application/dicom") in kinds
        else None,
    )


@require_GET
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request names; empty parents are not checked."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


async def _serve(
    request: HttpRequest, slug: str, asked: Asked | None
) -> HttpResponseBase:
    """The instance, if the token opens it; ``None`` is what no launch has."""
    token = bearer_token(request)
    try:
        grant = await sync_to_async(_grant)(token, slug) if token else None
    except ArchiveError as error:  # its credentials can't be read
        return HttpResponse(str(error), status=502, content_type="text/plain")
    if grant is None:
        response = HttpResponse("This image needs a launch.", status=401)
        response["WWW-Authenticate"] = 'Bearer realm="ViewerHub"'
        return response
    if isinstance(grant, Missing) or asked is None:
        return HttpResponse(status=404)
    try:
        identifier = await _identify(grant, asked)
    except RedisError:
        return HttpResponse("The hub can't reach its store.", status=503)
    if identifier is None:
        return HttpResponse(status=404)
    return await _retrieve(grant, identifier)


class Missing:
    """A token that is right, for an archive its launch has nothing from."""


def _grant(token: str, slug: str) -> Grant | Missing | None:
    launch = Launch.objects.filter(image_token_sha256=digest(token)).first()
    if launch is None or not launch.is_open():
        return None
    archive = Archive.objects.enabled().filter(slug=slug, build=launch.build_id).first()
    if archive is None:
        return Missing()
    return Grant(
        build_id=str(launch.build_id),
        archive_id=archive.pk,
        endpoint=archive.image_endpoint(),
    )


async def _identify(grant: Grant, asked: Asked) -> InstanceIdentifier | None:
    """The instance that is asked for, if the launch has it where the request says."""
    index = await _index(grant)
    found = index.get(asked.sop_instance_uid)
    if found is None:
        return None
    is_consistent = asked.study_instance_uid in {"", found.study_instance_uid} and (
        asked.series_instance_uid in {"", found.series_instance_uid}
    )
    return found if is_consistent else None


async def _index(grant: Grant) -> Index:
    key = grant.build_id, grant.archive_id
    if key in _indexes:
        _indexes.move_to_end(key)
        return _indexes[key]
    answer = await store.load_answer(*key)
    if answer is None:  # Redis lost it: ask the archives again
        async for _ in until_done(
            grant.build_id,
            [grant.archive_id],
            was_finished=True,
            deadline=REBUILD_DEADLINE,
        ):
            pass
        answer = await store.load_answer(*key)
    if answer is None:
        return {}
    _indexes[key] = index = {
        instance.sop_instance_uid: InstanceIdentifier(
            study_instance_uid=study.study_instance_uid,
            series_instance_uid=series.series_instance_uid,
            sop_instance_uid=instance.sop_instance_uid,
        )
        for study in answer.studies
        for series in study.series
        for instance in series.instances
    }
    while len(_indexes) > MAXIMUM_INDEXES:
        _indexes.popitem(last=False)
    return index


async def _retrieve(grant: Grant, identifier: InstanceIdentifier) -> HttpResponseBase:
    """Errors before the first byte are a status; later ones cut the connection."""
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(open_client(grant.endpoint))
            stream = await stack.enter_async_context(
                client.retrieve_instance(identifier)
            )
        except InstanceNotFoundError:
            return HttpResponse(status=404)
        except ArchiveError as error:
            logger.warning(
                "image_failed",
                archive=grant.archive_id,
                sop_instance_uid=identifier.sop_instance_uid,
                error=type(error).__name__,
            )
            is_temporary = isinstance(error, ArchiveUnavailableError)
            return HttpResponse(
                str(error),
                status=503 if is_temporary else 502,
                content_type="text/plain",
            )
        response = StreamingHttpResponse(
            _body(stream, stack.pop_all()),
            content_type="application/dicom",
            headers={"Cache-Control": "private, no-store"},
        )
        if stream.content_length is not None:
            response["Content-Length"] = str(stream.content_length)
        return response


async def _body(stream: InstanceStream, stack: AsyncExitStack) -> AsyncIterator[bytes]:
    async with stack:
        async for chunk in stream:
            yield chunk
