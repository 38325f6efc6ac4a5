"""Answers of an archive for somebody else: whole, and as it sent them."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

from pydicom.datadict import keyword_for_tag

from archives.clients.dicomweb.json_model import (
    JsonObjectReader,
    MalformedJsonError,
    attributes_of,
)
from archives.clients.dicomweb.multipart import boundary_of
from archives.clients.dicomweb.retrieval import (
    DICOM,
    MULTIPART,
    raise_for_status,
    whole_body,
)
from archives.clients.dicomweb.search import (
    DICOM_JSON,
    Decode,
    Parameters,
    Search,
    path_to,
)
from archives.clients.http import HttpAnswer, HttpSession
from archives.clients.pass_through import JsonObject, Level
from archives.errors import ArchiveResponseError

# An end, and what may stand behind it.
_EPILOGUE: Final = 1024
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")


@asynccontextmanager
async def forward(
    http: HttpSession, path: Sequence[str], *, query: str, accept: str, byte_range: str
) -> AsyncIterator[WholeAnswer]:
    url = f"{http.endpoint.url}/{path_to(*path)}"
    async with http.get(
        f"{url}?{query}" if query else url,
        accept=accept,
        accept_encoding="identity",
        byte_range=byte_range,
        is_image=True,
    ) as answer:
        yield WholeAnswer(answer, http.name)


class WholeAnswer:
    """A ``Forwarded`` answer. One of several parts is not whole without its end.

    Raises ``ArchiveResponseError`` where nothing would tell that the body ends early.
    """

    def __init__(self, answer: HttpAnswer, archive_name: str) -> None:
        self._answer = answer
        self._archive_name = archive_name
        self.status = answer.status
        self.media_type = answer.media_type
        self.content_length = answer.content_length
        self.header = answer.header
        self._end = _end(answer)
        is_sent = answer.status in (200, 206)
        if is_sent and not (answer.is_delimited or self._end or self._is_file):
            raise ArchiveResponseError(
                f"{archive_name} does not say how long its answer is: its administrator "
                "can have it send a Content-Length."
            )

    @property
    def _is_file(self) -> bool:
        return self.status == 200 and self.media_type == DICOM

    async def body(self) -> AsyncGenerator[bytes, None]:
        last = b""
        answer, name = self._answer, self._archive_name
        body = whole_body(answer, name) if self._is_file else answer.body()
        async with aclosing(body):
            async for piece in body:
                if self._end:
                    last = (last + piece[-_EPILOGUE:])[-_EPILOGUE:]
                yield piece
        if self._end not in last:
            raise ArchiveResponseError(f"{name} broke off its answer: try again.")


def _end(answer: HttpAnswer) -> bytes:
    """What a whole body ends with; empty if it is not known."""
    if answer.status != 200 or answer.media_type != MULTIPART:
        return b""
    boundary = boundary_of(answer.header("content-type"))
    return f"--{boundary}--".encode() if boundary else b""


@asynccontextmanager
async def metadata(
    http: HttpSession, path: Sequence[str]
) -> AsyncIterator[AsyncIterator[JsonObject]]:
    url = f"{http.endpoint.url}/{path_to(*path)}"
    async with http.get(url, accept=DICOM_JSON, is_image=True) as answer:
        raise_for_status(answer.status, http.name)
        async with aclosing(_objects(answer, http.name)) as objects:
            yield objects


async def _objects(answer: HttpAnswer, name: str) -> AsyncGenerator[JsonObject, None]:
    reader = JsonObjectReader(keeps_numbers=True)
    try:
        async with aclosing(answer.body()) as body:
            async for piece in body:
                for each in reader.feed(piece):
                    yield each
        for each in reader.close():
            yield each
    except MalformedJsonError as error:
        raise ArchiveResponseError(
            f"{name} sent metadata that is cut short, or not DICOM JSON: try again."
        ) from error


async def search(
    http: HttpSession,
    level: Level,
    path: Sequence[str],
    keys: Parameters,
    fields: Parameters,
) -> list[JsonObject]:
    named = [(_keyword(name), value) for name, value in keys]
    searching = _ObjectSearch(http, fields)
    answers = await searching.find(level, path_to(*path), named, (level.value,))
    if answers.is_truncated:
        raise ArchiveResponseError(
            f"{http.name} has more {level.name.lower()} than the hub accepts."
        )
    return [each.source for each in answers.matches if isinstance(each, _Read)]


def _keyword(name: str) -> str:
    """What the archive's quirks call an attribute."""
    if not _TAG.fullmatch(name):
        return name
    return keyword_for_tag(int(name, 16)) or name


class _Read(dict[int, str]):
    """Attributes that remember the object they were read from."""

    def __init__(self, attributes: dict[int, str], source: JsonObject) -> None:
        super().__init__(attributes)
        self.source = source


class _ObjectSearch(Search):
    """A search whose answers keep all that the archive sent."""

    _has_own_fields = False

    def __init__(self, http: HttpSession, fields: Parameters) -> None:
        super().__init__(http)
        self._included = fields

    def _fields(self, tags: tuple[int, ...]) -> Parameters:
        return self._included

    def _decoder(self, tags: tuple[int, ...]) -> Decode:
        return lambda each: _Read(attributes_of(each, tags), each)

    def _reader(self) -> JsonObjectReader:
        return JsonObjectReader(keeps_numbers=True)
