"""``GET /m/<token>``: the manifest, for Weasis.

Always 200 and well-formed for a launch that exists, and never silent for long: while
archives are asked, white space keeps the connection alive between the XML declaration
and the root element. Weasis copies the whole answer to a file before it parses it.
"""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db.models import Case, Value, When
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_GET
from redis.exceptions import RedisError

from launcher import delivery, store, weasis
from launcher.delivery import Delivery
from launcher.manifest import DECLARATION
from launcher.models import ArchiveOutcome, Launch
from launcher.store import Collected
from launcher.waiting import until_done

Version = tuple[int, int, int] | None

CONTENT_TYPE: Final = "text/xml; charset=utf-8"
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@require_GET
async def manifest_detail(request: HttpRequest, token: str) -> HttpResponseBase:
    """The manifest of a launch. Repeatable, from any web process."""
    found = await sync_to_async(delivery.load)(token)
    if found is None:
        raise Http404
    if not found.is_open:
        return _whole(request, delivery.render_message(delivery.CLOSED))
    version = weasis.version_of(request.headers.get("User-Agent", ""))
    try:
        collected = await store.load(found.build_id)
    except RedisError:
        return _whole(request, delivery.render_message(delivery.STORE_UNAVAILABLE))
    if collected.is_done:
        body = await _deliver(found, collected, version)
        return _whole(request, body)
    return StreamingHttpResponse(
        _when_ready(found, version), content_type=CONTENT_TYPE, headers=HEADERS
    )


def _whole(request: HttpRequest, root: bytes) -> HttpResponse:
    """A manifest that is ready, compressed for those who say they read gzip."""
    body = DECLARATION + root
    response = HttpResponse(content_type=CONTENT_TYPE, headers=HEADERS)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        body = gzip.compress(body, 1)
        response["Content-Encoding"] = "gzip"
    patch_vary_headers(response, ["Accept-Encoding", "User-Agent"])
    response.content = body
    response["Content-Length"] = str(len(body))
    return response


async def _when_ready(found: Delivery, version: Version) -> AsyncIterator[bytes]:
    yield DECLARATION
    try:
        async for _ in until_done(
            found.build_id,
            [archive.pk for archive in found.archives],
            was_finished=found.is_build_finished,
            deadline=settings.VIEWERHUB_MANIFEST_DEADLINE,
        ):
            yield b" \n"
        collected = await store.load(found.build_id)
        body = await _deliver(found, collected, version)
    except RedisError:
        body = delivery.render_message(delivery.STORE_UNAVAILABLE)
    yield body


async def _deliver(found: Delivery, collected: Collected, version: Version) -> bytes:
    await sync_to_async(_mark_fetched)(found, collected, version)
    return delivery.render(found, collected, version)


def _mark_fetched(found: Delivery, collected: Collected, version: Version) -> None:
    """Remember that a viewer came. The worker's own record may still be on its way."""
    has_images = any(
        answer.state in ArchiveOutcome.WITH_IMAGES
        for answer in collected.answers.values()
    )
    values: dict[str, Any] = {
        "fetched": timezone.now(),
        "viewer": f"Weasis {'.'.join(map(str, version))}" if version else "",
    }
    if has_images and collected.is_done:
        # It may be revoked at this very moment.
        revoked = When(state=Launch.State.REVOKED, then=Value(Launch.State.REVOKED))
        values["state"] = Case(revoked, default=Value(Launch.State.FETCHED))
    Launch.objects.filter(pk=found.launch_id).update(**values)
