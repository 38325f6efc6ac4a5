"""An archive's own picture of an instance (PS3.18 10.4.1.1.3 and 9.1.2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from typing import Final

from archives.clients.dicomweb.query_string import query_string
from archives.clients.dicomweb.search import path_to
from archives.clients.http import HttpSession
from archives.clients.pictures import Rendering
from archives.entities import InstanceIdentifier
from archives.errors import ArchiveResponseError

MAXIMUM_PICTURE: Final = 32 * 2**20


async def rendered(
    http: HttpSession, identifier: InstanceIdentifier, wanted: Rendering
) -> bytes | None:
    """``None`` where the archive has no such picture."""
    url = _address(http, identifier, wanted)
    async with http.get(
        url, accept=wanted.media_type, accept_encoding="identity", is_image=True
    ) as answer:
        is_picture = answer.status == 200 and answer.media_type == wanted.media_type
        # One that may be cut short is none.
        if not is_picture or not answer.is_delimited:
            return None
        content = bytearray()
        async with aclosing(answer.body()) as body:
            async for piece in body:
                content += piece
                if len(content) > MAXIMUM_PICTURE:
                    raise ArchiveResponseError(
                        f"{http.name} sent a picture larger than the hub accepts."
                    )
        return bytes(content)


def _address(
    http: HttpSession, identifier: InstanceIdentifier, wanted: Rendering
) -> str:
    endpoint = http.endpoint
    study, series = identifier.study_instance_uid, identifier.series_instance_uid
    instance = identifier.sop_instance_uid
    if endpoint.wado_uri_url:
        names = [
            ("requestType", "WADO"),
            ("studyUID", study),
            ("seriesUID", series),
            ("objectUID", instance),
            *_wado_uri_parameters(wanted),
        ]
        separator = "&" if "?" in endpoint.wado_uri_url else "?"
        return f"{endpoint.wado_uri_url}{separator}{query_string(names)}"
    frame = ("frames", str(wanted.frame_number)) if wanted.frame_number else ()
    parents = ("studies", study, "series", series, "instances", instance)
    query = query_string(_wado_rs_parameters(wanted))
    return f"{endpoint.url}/{path_to(*parents, *frame, 'rendered')}?{query}"


def _wado_uri_parameters(wanted: Rendering) -> Iterator[tuple[str, str]]:
    yield "contentType", wanted.media_type
    if wanted.rows:
        yield "rows", str(wanted.rows)
    if wanted.columns:
        yield "columns", str(wanted.columns)
    if wanted.media_type == "image/jpeg":
        yield "imageQuality", str(wanted.quality)
    if wanted.window:
        yield "windowCenter", f"{wanted.window[0]:g}"
        yield "windowWidth", f"{wanted.window[1]:g}"
    if wanted.frame_number:
        yield "frameNumber", str(wanted.frame_number)


def _wado_rs_parameters(wanted: Rendering) -> Iterator[tuple[str, str]]:
    if wanted.columns or wanted.rows:
        columns, rows = wanted.columns or wanted.rows, wanted.rows or wanted.columns
        yield "viewport", f"{columns},{rows}"
    if wanted.media_type == "image/jpeg":
        yield "quality", str(wanted.quality)
    if wanted.window:
        yield "window", f"{wanted.window[0]:g},{wanted.window[1]:g},linear"
