"""Objects on their way from an archive into the image cache."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from archives.clients.image_cache import (
    FILE,
    PIECE,
    ArrivingImage,
    CachedSeries,
    ImageCache,
)

# The archive has to wait while more than this is not yet written.
_MOST_WAITING: Final = 8 << 20
_FEW_WAITING: Final = 2 << 20
_PURGES_PER_CACHE: Final = 16
# Pixels have a length of 32 bits (PS3.5 7.1).
_LARGEST: Final = 4 << 30


OnNews = Callable[[Collection[str]], None]
"""Takes the SOP Instance UIDs of which something was written."""


class _Piece(NamedTuple):
    sop_instance_uid: str
    parts: list[bytes]
    size: int
    is_last: bool


class Spool:
    """Writes objects one after the other, in a thread, a MiB of each in memory at most.

    One without an end counts as a failure of the disk.

    ``on_news`` and ``on_written`` are called after something was written. Once the disk
    has failed, nothing more is.
    """

    def __init__(
        self, cache: ImageCache, series: CachedSeries, on_news: OnNews
    ) -> None:
        self.on_written: Callable[[], None] | None = None
        self._cache = cache
        self._series = series
        self._on_news = on_news
        self._sop_instance_uid = ""
        self._parts: list[bytes] = []
        self._size = 0
        self._queue: list[_Piece] = []
        self._waiting_bytes = 0
        self._unpurged_bytes = 0
        self._image: ArrivingImage | None = None
        self._image_bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self.has_failed = False
        self.has_written = False

    @property
    def is_full(self) -> bool:
        return self._waiting_bytes > _MOST_WAITING

    @property
    def has_room(self) -> bool:
        return self._waiting_bytes < _FEW_WAITING

    def begin(self, sop_instance_uid: str, head: bytes) -> None:
        self._sop_instance_uid = sop_instance_uid
        self._parts, self._size = [head], len(head)

    def add(self, content: bytes, *, is_last: bool) -> None:
        self._parts.append(content)
        self._size += len(content)
        if is_last or self._size >= PIECE:
            piece = _Piece(self._sop_instance_uid, self._parts, self._size, is_last)
            self._parts, self._size = [], 0
            self._queue.append(piece)
            self._waiting_bytes += piece.size
            if self._writing is None:
                self._writing = asyncio.get_running_loop().create_task(self._work())

    async def room(self) -> None:
        """Wait where too much waits to be written."""
        if self.is_full:
            await self._written()

    async def flush(self) -> None:
        """Wait until all is written, and forget an object that is not whole."""
        try:
            await self._written()
        finally:
            if self._writing is not None:
                await asyncio.wait([self._writing])
            if self._image is not None:
                self._image.discard()
                self._image = None

    async def _written(self) -> None:
        while self._writing is not None:
            await asyncio.shield(self._writing)

    async def _work(self) -> None:
        try:
            while self._queue and not self.has_failed:
                pieces, self._queue = self._queue, []
                try:
                    await asyncio.to_thread(self._write, pieces)
                except OSError:
                    self.has_failed = True
                self._waiting_bytes -= sum(piece.size for piece in pieces)
                self._on_news({piece.sop_instance_uid for piece in pieces})
                if self.on_written is not None:
                    self.on_written()
        finally:
            self._writing = None

    def _write(self, pieces: list[_Piece]) -> None:
        for piece in pieces:
            if self._image is None:
                self._image = self._series.create(piece.sop_instance_uid)
                self._image_bytes = 0
                self._unpurged_bytes += FILE
            self._image_bytes += piece.size
            if self._image_bytes > max(self._cache.maximum_bytes, _LARGEST):
                raise OSError(errno.EFBIG, "An image does not end.")
            self._image.write(*piece.parts)
            self.has_written = True
            if piece.is_last:
                self._image.finish()
                self._image = None
            self._unpurged_bytes += piece.size
        if self._unpurged_bytes > self._cache.maximum_bytes // _PURGES_PER_CACHE:
            self._unpurged_bytes = 0
            self._cache.purge()
