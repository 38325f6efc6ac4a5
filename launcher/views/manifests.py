"""``GET /m/<token>``: the manifest, for Weasis; ``/primary`` and ``/rest`` are parts.

Always 200 and well-formed for a launch that exists, and never silent for long: while
archives are asked, white space keeps the connection alive between the XML declaration
and the root element. Weasis copies the whole answer to a file before it parses it.
"""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Case, F, Value, When
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_GET
from redis.exceptions import RedisError

from launcher import delivery, store, weasis
from launcher.delivery import Delivery, Part, Reader
from launcher.manifest import DECLARATION
from launcher.middleware import POLICY
from launcher.models import ArchiveOutcome, Launch
from launcher.retrieval import Version
from launcher.store import Collected
from launcher.threads import in_shared_thread
from launcher.waiting import until_done

logger = structlog.get_logger(__name__)

XML: Final = "text/xml; charset=utf-8"
JSON: Final = "application/json"
HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    "Content-Security-Policy": POLICY,
}
VARY: Final = ("Accept", "Accept-Encoding", "User-Agent")


@require_GET
async def manifest_detail(
    request: HttpRequest, token: str, part: str = ""
) -> HttpResponseBase:
    """The manifest of a launch, or a part of it. Repeatable, from any web process."""
    if part not in set(Part):
        raise Http404
    version = weasis.version_of(request.headers.get("User-Agent", ""))
    found = await in_shared_thread(_come_for, token, version)
    if found is None:
        raise Http404
    reader = _reader(request, version, Part(part), found.language)
    if not found.is_open:
        return _whole(request, reader, delivery.render_message(delivery.CLOSED, reader))
    if found.uploaded_manifest:
        await _mark_opened(found, version)
        # As it was sent: XML, whatever was asked for. Weasis looks at the first byte.
        reader = replace(reader, reads_json=False)
        return _whole(request, reader, delivery.render_upload(found, reader))
    try:
        collected = await store.load(found.build_id)
        if collected.is_done:
            if any(
                answer.state in ArchiveOutcome.WITH_IMAGES
                for answer in collected.answers.values()
            ):
                await _mark_opened(found, version)
            return _whole(request, reader, await _deliver(found, collected, reader))
    except RedisError:  # it may be back in a moment
        pass
    except Exception as error:
        return _whole(request, reader, _failed(found, reader, error))
    response = StreamingHttpResponse(
        _when_ready(found, reader), content_type=_content_type(reader), headers=HEADERS
    )
    patch_vary_headers(response, VARY)
    return response


def _come_for(token: str, version: Version | None) -> Delivery | None:
    """The delivery of a token, after noting that a viewer came for it."""
    found = delivery.load(token)
    if found and found.is_open:
        _mark_fetched(found, version, has_images=found.is_ready)
    return found


async def _mark_opened(found: Delivery, version: Version | None) -> None:
    """There is something to open: the worker's own record may still be on its way."""
    if not found.is_ready:
        await in_shared_thread(_mark_fetched, found, version, has_images=True)


def _reader(
    request: HttpRequest, version: Version | None, part: Part, language: str
) -> Reader:
    offered = ["application/xml", "text/xml", JSON]
    return Reader(
        version=version,
        part=part,
        reads_json=request.get_preferred_type(offered) == JSON,
        language=language,
    )


def _content_type(reader: Reader) -> str:
    return JSON if reader.reads_json else XML


def _whole(request: HttpRequest, reader: Reader, root: bytes) -> HttpResponse:
    """A manifest that is ready, compressed for those who say they read gzip."""
    body = root if reader.reads_json else DECLARATION + root
    response = HttpResponse(content_type=_content_type(reader), headers=HEADERS)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        body = gzip.compress(body, 1)
        response["Content-Encoding"] = "gzip"
    patch_vary_headers(response, VARY)
    response.content = body
    response["Content-Length"] = str(len(body))
    return response


async def _when_ready(found: Delivery, reader: Reader) -> AsyncIterator[bytes]:
    # Weasis wants four bytes at least at its first read.
    yield b"   \n" if reader.reads_json else DECLARATION
    try:
        async for _ in until_done(
            found.build_id,
            [archive.pk for archive in found.archives],
            was_finished=found.is_build_finished,
            deadline=settings.VIEWERHUB_MANIFEST_DEADLINE,
        ):
            yield b" \n"
        collected = await store.load(found.build_id)
        body = await _deliver(found, collected, reader)
    except Exception as error:
        body = _failed(found, reader, error)
    yield body


def _failed(found: Delivery, reader: Reader, error: Exception) -> bytes:
    """A viewer can show a message, and can't show a status or half a document."""
    logger.error(
        "manifest_failed",
        launch_id=found.launch_id,
        error=type(error).__name__,
        exc_info=not isinstance(error, RedisError),  # where that is, tells nothing
    )
    return delivery.render_message(delivery.FAILED, reader)


async def _deliver(found: Delivery, collected: Collected, reader: Reader) -> bytes:
    primary = None
    if reader.part != Part.WHOLE:
        proposed = delivery.primary_of(found, collected)
        primary = await store.settle_primary(found.build_id, proposed)
    return delivery.render(found, collected, reader, primary)


def _mark_fetched(
    found: Delivery, version: Version | None, *, has_images: bool
) -> None:
    """Remember that a viewer came.

    Without ``has_images``, it is for the worker to say that there was something to open.
    """
    values: dict[str, Any] = {"fetched": timezone.now()}
    if version:  # who looks at the manifest by hand says nothing of the viewer
        values["viewer"] = f"Weasis {'.'.join(map(str, version))}"
    fetched = Value(Launch.State.FETCHED)
    if has_images:
        # It may be revoked at this very moment.
        revoked = When(state=Launch.State.REVOKED, then=Value(Launch.State.REVOKED))
        values["state"] = Case(revoked, default=fetched)
    else:
        ready = When(state=Launch.State.READY, then=fetched)
        values["state"] = Case(ready, default=F("state"))
    try:
        Launch.objects.filter(pk=found.launch_id).update(**values)
    except DatabaseError as error:  # the images matter more
        name = type(error).__name__
        logger.warning("fetch_not_recorded", launch_id=found.launch_id, error=name)
