"""Pictures of instances: the archive's own, or made by the hub where it has none.

Weasis waits for the picture of each series before it loads the first image. So a picture
is there soon, or not at all; and few are made at once, so that images go on meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

import structlog
from django.http import HttpResponse

from archives.clients import (
    DEFAULT_QUALITY,
    DicomWebEndpoint,
    Rendering,
    RenderingError,
    icon,
    label_of,
    open_client,
    open_dicomweb,
    render,
)
from archives.entities import InstanceIdentifier
from archives.errors import ArchiveError
from launcher.gateway.contents import Listed
from launcher.gateway.grants import Grant

logger = structlog.get_logger(__name__)

MEDIA_TYPES: Final = frozenset({"image/jpeg", "image/png"})
DEADLINE: Final = 4.0
# After a picture that did not come in time, this archive's are not tried for so long.
PAUSE: Final = 30.0
AT_ONCE: Final = 2
MAXIMUM_OBJECT: Final = 64 * 2**20
_THUMBNAIL_SIDE: Final = 256

# One thread for them all, since two would only wait for each other; it can't be stopped,
# so that what decodes too long keeps others waiting until their deadline.
_renderer = ThreadPoolExecutor(1, thread_name_prefix="render")
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]
_turns = WeakKeyDictionary()
_paused: dict[int, float] = {}


def thumbnail() -> Rendering:
    return Rendering(columns=_THUMBNAIL_SIDE, rows=_THUMBNAIL_SIDE)


def rendering_of(asked: Mapping[str, str]) -> Rendering:
    """From the parameters of WADO-URI (PS3.18 9.1.2); raises ``ValueError``."""

    def number(name: str) -> int | None:
        return int(asked[name]) if asked.get(name) else None

    center, width = asked.get("windowCenter"), asked.get("windowWidth")
    return Rendering(
        media_type=asked["contentType"],
        rows=number("rows"),
        columns=number("columns"),
        quality=number("imageQuality") or DEFAULT_QUALITY,
        window=(float(center), float(width)) if center and width else None,
        frame_number=number("frameNumber"),
    )


async def picture_of(
    grant: Grant, listed: Listed, wanted: Callable[[], Rendering]
) -> HttpResponse:
    """The picture, or 404; 400 where ``wanted`` raises ``ValueError``."""
    try:
        rendering = wanted()
    except (ValueError, OverflowError):
        return HttpResponse(
            "There are no such pictures.", status=400, content_type="text/plain"
        )
    try:
        content = await _in_time(grant, listed, rendering)
    except (ArchiveError, RenderingError) as error:
        logger.info("no_picture", archive=grant.archive_id, error=type(error).__name__)
        content = None
    if content is None:
        return HttpResponse(status=404)
    return HttpResponse(
        content,
        content_type=rendering.media_type,
        headers={
            "Cache-Control": "private, no-store",
            "Content-Length": str(len(content)),
        },
    )


async def _in_time(grant: Grant, listed: Listed, wanted: Rendering) -> bytes | None:
    loop = asyncio.get_running_loop()
    if label := label_of(listed.sop_class_uid, listed.modality):
        return await loop.run_in_executor(_renderer, icon, label, wanted)
    if _paused.get(grant.archive_id, 0.0) > time.monotonic():
        return None
    try:
        async with asyncio.timeout(DEADLINE) as deadline, _turn():
            found = await _from_archive(grant, listed.identifier, wanted)
            if found is None:
                content = await _object(grant, listed.identifier)
                found = await loop.run_in_executor(_renderer, render, content, wanted)
            return found
    except TimeoutError:
        if not deadline.expired():
            raise
        _paused[grant.archive_id] = time.monotonic() + PAUSE
        return None


async def _from_archive(
    grant: Grant, identifier: InstanceIdentifier, wanted: Rendering
) -> bytes | None:
    if not isinstance(grant.endpoint, DicomWebEndpoint):
        return None
    async with open_dicomweb(grant.endpoint) as archive:
        return await archive.rendered(identifier, wanted)


async def _object(grant: Grant, identifier: InstanceIdentifier) -> bytes:
    """A whole DICOM file; raises ``RenderingError`` if it is too large for that."""
    content = bytearray()
    async with (
        open_client(grant.endpoint) as client,
        client.retrieve_instance(identifier) as stream,
    ):
        if (stream.content_length or 0) <= MAXIMUM_OBJECT:
            async for piece in stream:
                content += piece
                if len(content) > MAXIMUM_OBJECT:
                    break
            else:
                return bytes(content)
    raise RenderingError("The object is too large for a picture.")


@asynccontextmanager
async def _turn() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    async with _turns.setdefault(loop, asyncio.Semaphore(AT_ONCE)):
        yield
