"""Pictures of instances: the archive's own, or made by the hub where it has none.

Weasis waits for the picture of each series before it loads the first image. So a picture
is there soon, or not at all; and few are made at once, so that images go on meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol
from weakref import WeakKeyDictionary

import structlog
from django.http import HttpResponse

from archives.clients import (
    DEFAULT_QUALITY,
    DicomWebEndpoint,
    Endpoint,
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
_paused: dict[int, float] = {}


class Turns:
    """Lets few at once, in each event loop."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]
        self._of = WeakKeyDictionary()

    def __call__(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        return self._of.setdefault(loop, asyncio.Semaphore(AT_ONCE))


# The pages of the portal may ask for many: viewers' don't stand in the same queue.
_viewers, _pages = Turns(), Turns()


class Source(Protocol):
    """An archive that pictures are of."""

    @property
    def archive_id(self) -> int: ...

    @property
    def endpoint(self) -> Endpoint: ...


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
    source: Source, listed: Listed, wanted: Callable[[], Rendering]
) -> HttpResponse:
    """The picture, or 404; 400 where ``wanted`` raises ``ValueError``."""
    try:
        rendering = wanted()
    except (ValueError, OverflowError):
        return HttpResponse(
            "There are no such pictures.", status=400, content_type="text/plain"
        )

    async def find() -> Listed:
        return listed

    if label := label_of(listed.sop_class_uid, listed.modality):
        content: bytes | None = await _icon(label, rendering)
    else:
        content = await _picture(source, find, rendering, _viewers)
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


async def picture_of_series(
    source: Source, modality: str, find: Callable[[], Awaitable[Listed | None]]
) -> bytes:
    """A JPEG file for a page, of the instance that ``find`` finds.

    If there is none, or not soon, it is an icon of the modality.
    """
    wanted = thumbnail()
    if label := label_of("", modality):
        return await _icon(label, wanted)
    content = await _picture(source, find, wanted, _pages)
    if content is None:
        content = await _icon(modality[:2] or "?", wanted)
    return content


async def _picture(
    source: Source,
    find: Callable[[], Awaitable[Listed | None]],
    wanted: Rendering,
    turns: Turns,
) -> bytes | None:
    """``None`` if there is none, or not soon."""
    try:
        return await _in_time(source, find, wanted, turns)
    except (ArchiveError, RenderingError) as error:
        logger.info("no_picture", archive=source.archive_id, error=type(error).__name__)
        return None


async def _in_time(
    source: Source,
    find: Callable[[], Awaitable[Listed | None]],
    wanted: Rendering,
    turns: Turns,
) -> bytes | None:
    if _paused.get(source.archive_id, 0.0) > time.monotonic():
        return None
    has_begun = False
    try:
        async with asyncio.timeout(DEADLINE) as deadline, turns():
            has_begun = True
            listed = await find()
            return await _made(source, listed, wanted) if listed else None
    except TimeoutError:
        if not deadline.expired():
            raise
        if has_begun:  # of those that only waited for others, it says nothing
            _paused[source.archive_id] = time.monotonic() + PAUSE
        return None


async def _made(source: Source, listed: Listed, wanted: Rendering) -> bytes:
    if label := label_of(listed.sop_class_uid, listed.modality):
        return await _icon(label, wanted)
    found = await _from_archive(source, listed.identifier, wanted)
    if found is None:
        content = await _object(source, listed.identifier)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(_renderer, render, content, wanted)
    return found


async def _icon(label: str, wanted: Rendering) -> bytes:
    """Not in the renderer's thread: it comes at once, whatever is decoded there."""
    return await asyncio.to_thread(icon, label, wanted)


async def _from_archive(
    source: Source, identifier: InstanceIdentifier, wanted: Rendering
) -> bytes | None:
    if not isinstance(source.endpoint, DicomWebEndpoint):
        return None
    async with open_dicomweb(source.endpoint) as archive:
        return await archive.rendered(identifier, wanted)


async def _object(source: Source, identifier: InstanceIdentifier) -> bytes:
    """A whole DICOM file; raises ``RenderingError`` if it is too large for that."""
    content = bytearray()
    async with (
        open_client(source.endpoint) as client,
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
