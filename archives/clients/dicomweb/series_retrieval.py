"""All images of a series by WADO-RS (PS3.18 10.4.1.1.2), into the image cache."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

from archives.clients.dicomweb.memory import memory_of
from archives.clients.dicomweb.multipart import (
    MalformedMultipartError,
    PartsReader,
    boundary_of,
)
from archives.clients.dicomweb.search import path_to
from archives.clients.file_head import NotDicomError, read_head
from archives.clients.http import HttpSession
from archives.clients.series_ahead import Series
from archives.clients.spool import Spool
from archives.clients.turns import counts_as_image
from archives.entities import InstanceIdentifier
from archives.errors import ArchiveResponseError

MULTIPART: Final = "multipart/related"
# As stored, like the images that are asked for one by one.
_ACCEPTED: Final = f'{MULTIPART}; type="application/dicom"; transfer-syntax=*'


class _Files:
    """Hands the parts of an answer on to the spool, by the UID each file names."""

    def __init__(self, spool: Spool) -> None:
        self.count = 0
        self._spool = spool
        self._head = b""
        self._has_begun = False

    def add(self, content: bytes, *, is_last: bool) -> None:
        """Raises ``NotDicomError``."""
        if self._has_begun:
            self._spool.add(content, is_last=is_last)
        else:
            self._begin(content, is_last=is_last)
        if is_last:
            self._has_begun = False
            self.count += 1

    def _begin(self, content: bytes, *, is_last: bool) -> None:
        self._head += content
        head = read_head(self._head)
        if head is not None:
            self._spool.begin(head.sop_instance_uid, self._head)
            self._spool.add(b"", is_last=is_last)
            self._head, self._has_begun = b"", True
        elif is_last:
            raise NotDicomError("The file is too short.")


async def retrieve_series(http: HttpSession, series: Series) -> int:
    """Have the archive send a series; how many images came.

    What arrived before an error stays. An archive that never sent one, and does not now,
    is not asked for series again.
    """
    memory = memory_of(http.endpoint.url)
    spool = Spool(series.cache, series.files, series.arrived)
    try:
        return await _retrieve(http, series.identifier, spool)
    except ArchiveResponseError:  # some only send images one by one
        if memory.sends_series is None:
            memory.sends_series = False
        raise
    finally:
        if spool.has_written:
            memory.sends_series = True


async def _retrieve(
    http: HttpSession, identifier: InstanceIdentifier, spool: Spool
) -> int:
    path = path_to(
        "studies",
        identifier.study_instance_uid,
        "series",
        identifier.series_instance_uid,
    )
    is_image = counts_as_image(http.endpoint.maximum_connections)
    async with http.get(
        f"{http.endpoint.url}/{path}",
        accept=_ACCEPTED,
        accept_encoding="identity",
        is_image=is_image,
    ) as answer:
        if answer.status != 200 or answer.media_type != MULTIPART:
            raise ArchiveResponseError(
                f"{http.name} does not send whole series (HTTP {answer.status}).",
                status=str(answer.status),
            )
        files = _Files(spool)
        try:
            parts = PartsReader(boundary_of(answer.header("content-type")))
            async with aclosing(answer.body()) as body:
                async for piece in body:
                    for content, is_last in parts.feed(piece):
                        files.add(content, is_last=is_last)
                    await spool.room()
                    if spool.has_failed:
                        break
                else:
                    parts.close()
        except (MalformedMultipartError, NotDicomError) as error:
            raise ArchiveResponseError(
                f"{http.name} sent a series that is cut short or malformed."
            ) from error
        finally:
            await spool.flush()
        return files.count
