"""QIDO-RS (PS3.18 10.6) and metadata (PS3.18 10.4.1.1.2) of one archive.

Servers differ in how they page: some cap the page below what was asked, some ignore
``offset`` or ``limit``, some announce more by a Warning header. Nothing but the counts,
or a page without anything new, is taken for the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from archives.clients.dicomweb.json_model import (
    JsonObject,
    JsonObjectReader,
    MalformedJsonError,
    attributes_of,
)
from archives.clients.dicomweb.keys import understood
from archives.clients.dicomweb.memory import ArchiveMemory, memory_of
from archives.clients.dicomweb.query_string import include_fields, query_string
from archives.clients.http import HttpAnswer, HttpSession
from archives.clients.matches import Attributes
from archives.clients.pass_through import Level as Level
from archives.errors import ArchiveResponseError

DICOM_JSON: Final = "application/dicom+json"
MAXIMUM_PAGE_BYTES: Final = 64 * 2**20
MAXIMUM_CALL_BYTES: Final = 512 * 2**20
_JSON_TYPES: Final = frozenset({DICOM_JSON, "application/json", "text/json", ""})
_NONE: Final = frozenset({204, 404, 410})
_NO_SUCH_PAGE: Final = frozenset({"400", "416"})

Parameters = Sequence[tuple[str, str]]
Decode = Callable[[JsonObject], Attributes]


@dataclass(slots=True)
class Answers:
    """Distinct matches; ``is_truncated`` if a cap, the archive's or ours, cut them.

    ``seconds`` is how long the archive took over them.
    """

    matches: list[Attributes] = field(default_factory=list)
    is_truncated: bool = False
    seconds: float = 0.0


@dataclass(slots=True)
class _Page(Answers):
    has_more: bool = False


class Search:
    """Searches that belong to one call, and share its caps."""

    # Of fields that somebody else chose, a refusal says nothing about the archive.
    _has_own_fields = True

    def __init__(self, http: HttpSession) -> None:
        self.endpoint = http.endpoint
        self.memory: ArchiveMemory = memory_of(self.endpoint.url)
        self._http = http
        self._bytes_left = MAXIMUM_CALL_BYTES
        self._answers_left = self.endpoint.maximum_answers

    async def find(
        self,
        level: Level,
        path: str,
        keys: Parameters,
        tags: Iterable[int],
        *,
        expected: int | None = None,
        limit: int | None = None,
    ) -> Answers:
        """All matches, or ``limit`` of them; ``expected`` is how many there should be."""
        tags = tuple(tags)
        quirks = self.endpoint.quirks
        if level is Level.STUDIES:
            keys = understood(keys, quirks)
        found: dict[str, Attributes] = {}
        seconds = 0.0
        offset, size = 0, self._page_size(level, limit)
        reachable = quirks.reachable_matches or float("inf")
        while True:
            size = int(min(size, reachable - offset))
            page = await self._page(path, keys, tags, size, offset)
            rows, known = len(page.matches), len(found)
            seconds += page.seconds
            for match in page.matches:
                if uid := match.get(level.value):
                    found.setdefault(uid, match)
            is_last = (
                not quirks.has_paging
                or len(found) == known
                or page.is_truncated
                or len(found) >= (expected or limit or float("inf"))
                or (expected is None and self._is_end(level, rows, size))
            )
            self.memory.paged(level.name, rows)
            offset += rows
            if is_last or offset >= reachable:
                break
        is_truncated = (
            page.is_truncated or not is_last or (page.has_more and expected is None)
        )
        return Answers(list(found.values())[:limit], is_truncated, seconds)

    async def metadata(self, path: str, tags: Iterable[int]) -> Answers:
        """The attributes of every instance below a study or series."""
        return await self._read(f"{path}/metadata", self._decoder(tuple(tags)))

    def _fields(self, tags: tuple[int, ...]) -> Parameters:
        return include_fields(tags)

    def _decoder(self, tags: tuple[int, ...]) -> Decode:
        return lambda each: attributes_of(each, tags)

    def _reader(self) -> JsonObjectReader:
        return JsonObjectReader()

    def _page_size(self, level: Level, limit: int | None) -> int:
        quirks = self.endpoint.quirks
        accepted = {
            Level.STUDIES: quirks.studies_per_page,
            Level.SERIES: quirks.series_per_page,
            Level.INSTANCES: quirks.instances_per_page,
        }[level]
        return min(filter(None, (self.endpoint.page_size, limit, accepted)))

    def _is_end(self, level: Level, rows: int, size: int) -> bool:
        # A server that sends more than was asked ignores paging altogether.
        return rows > size or (
            rows < size and self.memory.is_last_page(level.name, rows)
        )

    async def _page(
        self, path: str, keys: Parameters, tags: tuple[int, ...], size: int, offset: int
    ) -> _Page:
        fields = self._fields(tags) if self.memory.takes_include_fields else []
        paging = [("limit", str(size))] if self.endpoint.quirks.has_paging else []
        if offset:
            paging.append(("offset", str(offset)))

        decode = self._decoder(tags)
        try:
            query = query_string([*keys, *fields, *paging])
            return await self._read(f"{path}?{query}", decode)
        except ArchiveResponseError as error:
            if offset and error.status in _NO_SUCH_PAGE:
                return _Page()
            if error.status != "400" or not fields:
                raise
        page = await self._read(f"{path}?{query_string([*keys, *paging])}", decode)
        if self._has_own_fields:
            self.memory.takes_include_fields = False
        return page

    async def _read(self, resource: str, decode: Decode) -> _Page:
        """Decode an array while it arrives, so that neither side waits for the other."""
        url = f"{self.endpoint.url}/{resource}"
        # An archive that is near has sent an answer sooner than compressed it.
        encoding = "identity" if self.memory.is_near else "gzip"
        async with self._http.get(
            url, accept=DICOM_JSON, accept_encoding=encoding
        ) as answer:
            self.memory.is_near = answer.is_near
            if answer.status in _NONE:
                return _Page()
            if not 200 <= answer.status < 300:
                raise _failed(self.endpoint.name, answer.status)
            page = _Page(has_more=bool(answer.header("warning")))
            try:
                await self._read_body(answer, decode, page)
            except MalformedJsonError as error:
                raise ArchiveResponseError(
                    f"{self.endpoint.name} sent an answer that is not DICOM JSON: check "
                    "its address, or ask its administrator."
                ) from error
            page.seconds = answer.seconds
            return page

    async def _read_body(self, answer: HttpAnswer, decode: Decode, page: _Page) -> None:
        reader, size = self._reader(), 0
        async with aclosing(answer.body()) as body:
            async for piece in body:
                if not size:
                    _require_json(self.endpoint.name, answer.media_type)
                size += len(piece)
                self._spend(len(piece), size)
                if self._take(map(decode, reader.feed(piece)), page):
                    return
        self._take(map(decode, reader.close()), page)

    def _spend(self, new: int, size: int) -> None:
        self._bytes_left -= new
        if size > MAXIMUM_PAGE_BYTES or self._bytes_left < 0:
            raise ArchiveResponseError(
                f"{self.endpoint.name} sent more than the hub accepts at once: narrow "
                "the search, or lower the page size of this archive."
            )

    def _take(self, matches: Iterable[Attributes], page: _Page) -> bool:
        """Add to the page; true, and cut, once the cap on answers is reached."""
        for match in matches:
            if self._answers_left == 0:
                page.is_truncated = True
                return True
            self._answers_left -= 1
            page.matches.append(match)
        return False


def path_to(*segments: str) -> str:
    """``studies/1.2/series``; UIDs come from archives and may hold anything."""
    return "/".join(
        quote(segment, safe="").replace("..", "%2E%2E") for segment in segments
    )


def _require_json(name: str, media_type: str) -> None:
    if media_type in _JSON_TYPES:
        return
    if media_type in ("text/html", "application/xhtml+xml"):
        raise ArchiveResponseError(
            f"{name} sent a web page instead of DICOM JSON: check its address, and "
            "whether it wants a login."
        )
    raise ArchiveResponseError(
        f"{name} sent something else than DICOM JSON: check that its address is that "
        "of a DICOMweb service."
    )


def _failed(name: str, status: int) -> ArchiveResponseError:
    if status >= 500:
        reason = "reported a failure of its own: ask its administrator"
    else:
        reason = "did not accept the search: narrow it, or check the archive's address"
    return ArchiveResponseError(f"{name} {reason} (HTTP {status}).", status=str(status))
