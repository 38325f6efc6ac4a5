"""Series that are retrieved once, ahead of the requests for their images.

Viewers open a series image by image. The first image asked for is retrieved by itself, so
that it comes at once, and one alone costs no more than itself. The second one starts the
retrieval of the whole series into the image cache, and each request waits for its image
there. An image that does not come soon is retrieved by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Final
from weakref import WeakKeyDictionary

from archives.clients.base import Endpoint
from archives.clients.image_cache import CachedImage, CachedSeries, ImageCache
from archives.clients.pool import on_close
from archives.entities import InstanceIdentifier
from archives.errors import (
    ArchiveError,
    ArchiveUnavailableError,
    ConnectionLostError,
)

# How long others may come before an image that was asked for, and how long none at all:
# some archives put a series together before they send any of it.
_PATIENCE_SECONDS: Final = 1.0
_BEGIN_SECONDS: Final = 3.0
# A series that nobody asks for any more, or its images, is not retrieved further.
_ABANDONED_SECONDS: Final = 20.0
_CHECK_SECONDS: Final = 5.0
# Then a request is a first one again.
_FORGET_SECONDS: Final = 60.0
# Of other processes no news come: their files are looked for.
_POLL_SECONDS: Final = 0.02
_MOST_RUNS: Final = 2

Retrieve = Callable[["Series"], Awaitable[int]]
"""Has the archive send a series into the cache; how many objects it took."""


class CachedStream:
    """``InstanceStream`` of a cached image, also of one that still arrives."""

    def __init__(
        self, series: Series, image: CachedImage, sop_instance_uid: str
    ) -> None:
        self._sop_instance_uid = sop_instance_uid
        self.content_length = image.size if image.is_whole else None
        self._series = series
        self._image = image
        self._first = image.read_from_memory()
        self.content = self._first if image.is_read else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        endpoint = self._series.endpoint
        heard = loop.time()
        if self._first:
            yield self._first
            if self.content:
                return
        while True:
            was_whole = self._image.is_whole
            piece = self._image.read_from_memory()
            piece = piece or await asyncio.to_thread(self._image.read)
            if piece:
                yield piece
                if self._image.is_read:
                    return
                heard = loop.time()
            elif was_whole:
                return
            elif not self._image.update():
                raise _stopped(endpoint)
            elif not self._image.is_whole:
                if loop.time() - heard > endpoint.deadlines.first_answer:
                    raise _stopped(endpoint)
                await self._series.news(self._sop_instance_uid)


def _stopped(endpoint: Endpoint) -> ArchiveError:
    return ConnectionLostError(
        f"{endpoint.name} stopped sending this image. Try again; if it happens again, "
        "ask its administrator what it logged."
    )


class Series:
    """A series that was asked for, and its retrieval in this process."""

    def __init__(
        self, endpoint: Endpoint, cache: ImageCache, identifier: InstanceIdentifier
    ) -> None:
        self.endpoint = endpoint
        self.cache = cache
        self.identifier = identifier
        uid = identifier.series_instance_uid
        self.files: CachedSeries = cache.series(endpoint.cache_owner, uid)
        self._loop = asyncio.get_running_loop()
        self._first_asked = identifier.sop_instance_uid
        self._runs = 0
        self._begun = 0.0
        self._task: asyncio.Task[None] | None = None
        self._error: ArchiveError | None = None
        self._first_arrival: float | None = None
        self._served: set[str] = set()
        self._waiting: dict[str, asyncio.Event] = {}
        self.users = 0
        self.touched = self._loop.time()

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def is_forgettable(self) -> bool:
        is_quiet = self._loop.time() - self.touched > _FORGET_SECONDS
        return is_quiet and not self.users and not self.is_running

    def wants_to_run(self, sop_instance_uid: str) -> bool:
        """Whether this request starts the retrieval: not the first one, and once more
        after it broke off half-way."""
        if self.is_running:
            return False
        if sop_instance_uid in self._served:  # and purged since: it is opened again
            self._runs = 0
            self._served.clear()
            self._first_asked = ""
        if self._runs >= _MOST_RUNS:
            return False
        if self._runs:
            is_lost = isinstance(self._error, ConnectionLostError)
            return is_lost and self._first_arrival is not None
        return sop_instance_uid != self._first_asked

    def run(self, retrieve: Retrieve) -> None:
        self._runs += 1
        self._begun = self._loop.time()
        self._error = self._first_arrival = None
        self._task = self._loop.create_task(self._run(retrieve))
        self._loop.call_later(_CHECK_SECONDS, self._check)

    async def _run(self, retrieve: Retrieve) -> None:
        try:
            await asyncio.to_thread(self.cache.purge)
            lock = self.files.lock()
            if lock is None:
                await self._follow()
                return
            with lock, self.files.arriving():
                await retrieve(self)
        except ArchiveError as error:
            self._error = error
        except OSError:  # of the cache: images come by themselves
            pass
        finally:
            self.tell()
            purge = self._loop.run_in_executor
            delay = self.cache.maximum_age + 1
            self._loop.call_later(delay, lambda: purge(None, self.cache.purge))

    async def _follow(self) -> None:
        """Wait until the process that retrieves the series has done so."""
        while (lock := self.files.lock()) is None:
            await asyncio.sleep(_POLL_SECONDS)
            self.tell()
        lock.release()

    def _check(self) -> None:
        if not self.is_running or self._task is None:
            return
        if not self.users and self._loop.time() - self.touched > _ABANDONED_SECONDS:
            self._task.cancel()
        else:
            self._loop.call_later(_CHECK_SECONDS, self._check)

    def tell(self, sop_instance_uids: Collection[str] = ()) -> None:
        """Something of these may have arrived; none means anything."""
        for uid in sop_instance_uids or list(self._waiting):
            if event := self._waiting.pop(uid, None):
                event.set()

    async def news(self, sop_instance_uid: str) -> None:
        """Wait for something of an image, a little while at most."""
        event = self._waiting.setdefault(sop_instance_uid, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS * 5):
                await event.wait()

    def take(self, sop_instance_uid: str) -> CachedImage | None:
        """The image if it is there, or a good part of it."""
        image = self.files.open(sop_instance_uid)
        if image:
            self._first_arrival = self._first_arrival or self._loop.time()
            if image.is_whole:
                self._served.add(sop_instance_uid)
        return image

    async def find(self, sop_instance_uid: str) -> CachedImage | None:
        """An image that was not there, waited for while the retrieval runs.

        ``None`` if it does not come. Raises ``ArchiveUnavailableError`` if that is why.
        """
        if not self.is_running:
            return None
        asked = self._loop.time()
        while self.is_running:
            if self._is_overtaken(asked):
                return None
            await self.news(sop_instance_uid)
            if image := self.take(sop_instance_uid):
                return image
        self._raise_error()
        return None

    def arrived(self, sop_instance_uids: Collection[str] = ()) -> None:
        """Called for what the archive sends."""
        self._first_arrival = self._first_arrival or self._loop.time()
        self.tell(sop_instance_uids)

    def _is_overtaken(self, asked: float) -> bool:
        if self._first_arrival is None:
            return self._loop.time() - max(asked, self._begun) > _BEGIN_SECONDS
        since = max(asked, self._first_arrival)
        return self._loop.time() - since > _PATIENCE_SECONDS

    def _raise_error(self) -> None:
        """Not of an association that was lost: another one may do better."""
        error = self._error
        is_lost = isinstance(error, ConnectionLostError)
        if isinstance(error, ArchiveUnavailableError) and not is_lost:
            raise error

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


class SeriesAhead:
    """The series of one archive, ``at_once`` at a time."""

    def __init__(
        self,
        endpoint: Endpoint,
        cache: ImageCache,
        retrieve: Retrieve,
        *,
        at_once: int,
    ) -> None:
        self._endpoint = endpoint
        self._cache = cache
        self._retrieve = retrieve
        self._at_once = at_once
        self._series: dict[str, Series] = {}

    @asynccontextmanager
    async def instance(
        self, identifier: InstanceIdentifier
    ) -> AsyncIterator[CachedStream | None]:
        """The image from the cache; ``None`` if it has to be retrieved by itself."""
        series = self._asked(identifier)
        series.users += 1
        image = None
        try:
            sop_instance_uid = identifier.sop_instance_uid
            image = series.take(sop_instance_uid)
            if image is None:
                if series.wants_to_run(sop_instance_uid) and self._may_run:
                    series.run(self._retrieve)
                image = await series.find(sop_instance_uid)
            stream = CachedStream(series, image, sop_instance_uid) if image else None
            yield stream
        finally:
            series.users -= 1
            series.touched = asyncio.get_running_loop().time()
            if image is not None:
                image.close()

    def _asked(self, identifier: InstanceIdentifier) -> Series:
        for uid in [uid for uid, one in self._series.items() if one.is_forgettable]:
            del self._series[uid]
        uid = identifier.series_instance_uid
        if uid not in self._series:
            self._series[uid] = Series(self._endpoint, self._cache, identifier)
        return self._series[uid]

    @property
    def _may_run(self) -> bool:
        running = sum(series.is_running for series in self._series.values())
        return running < self._at_once

    async def close(self) -> None:
        _ahead.get(asyncio.get_running_loop(), {}).pop(self._endpoint, None)
        for series in self._series.values():
            await series.stop()


_ahead: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Endpoint, SeriesAhead]] = (
    WeakKeyDictionary()
)


def series_ahead_of(
    endpoint: Endpoint, cache: ImageCache, retrieve: Retrieve, *, at_once: int
) -> SeriesAhead:
    """The running loop's, which ``close_connections`` ends."""
    known = _ahead.setdefault(asyncio.get_running_loop(), {})
    ahead = known.get(endpoint)
    if ahead is None:
        ahead = SeriesAhead(endpoint, cache, retrieve, at_once=at_once)
        known[endpoint] = ahead
        on_close(ahead.close)
    return ahead
