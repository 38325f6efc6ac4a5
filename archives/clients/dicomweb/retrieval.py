"""One instance as a DICOM file: WADO-RS (PS3.18 10.4) or WADO-URI (PS3.18 9)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Final

from archives.clients.base import DicomWebEndpoint, InstanceStream
from archives.clients.completeness import CompletenessCheck, IncompleteError
from archives.clients.dicomweb.memory import memory_of
from archives.clients.dicomweb.multipart import (
    MalformedMultipartError,
    PartReader,
    boundary_of,
)
from archives.clients.dicomweb.query_string import query_string
from archives.clients.dicomweb.search import path_to
from archives.clients.dicomweb.series_retrieval import MULTIPART, retrieve_series
from archives.clients.file_head import NotDicomError, read_head
from archives.clients.http import HttpAnswer, HttpSession
from archives.clients.series_ahead import series_ahead_of
from archives.clients.turns import series_at_once
from archives.entities import InstanceIdentifier
from archives.errors import ArchiveResponseError, InstanceNotFoundError

DICOM: Final = "application/dicom"
# Servers that know no wildcard for the transfer syntax answer 406; some have no multipart.
_ACCEPTED: Final = (
    f'{MULTIPART}; type="{DICOM}"; transfer-syntax=*',
    f'{MULTIPART}; type="{DICOM}"',
    f"{DICOM}; transfer-syntax=*",
)


class HttpInstanceStream:
    """An ``InstanceStream`` whose first bytes have come, of the file that was asked for."""

    content: bytes | None = None

    def __init__(
        self, content_length: int | None, head: bytes, rest: AsyncIterator[bytes]
    ):
        self.content_length = content_length
        self._head = head
        self._rest = rest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._head
        async for piece in self._rest:
            yield piece


@asynccontextmanager
async def retrieve_instance(
    http: HttpSession, identifier: InstanceIdentifier, transfer_syntax: str = ""
) -> AsyncIterator[InstanceStream]:
    """One instance; from the cache where its series was retrieved ahead."""
    async with AsyncExitStack() as stack:
        stream: InstanceStream | None = None
        endpoint = http.endpoint
        cache, memory = endpoint.image_cache, memory_of(endpoint.url)
        if transfer_syntax:
            wanted = _transcoded(http, identifier, transfer_syntax)
            try:
                stream = await stack.enter_async_context(wanted)
            except InstanceNotFoundError:
                raise
            except ArchiveResponseError:
                # Archives have many words for "I can't"; some make a new image, with a
                # UID of its own, of what is compressed with loss.
                pass
        elif cache is not None and memory.sends_series is not False:
            ahead = series_ahead_of(
                endpoint,
                cache,
                partial(retrieve_series, http),
                at_once=series_at_once(endpoint.maximum_connections),
            )
            stream = await stack.enter_async_context(ahead.instance(identifier))
        if stream is None:
            stored = _as_stored(http, identifier)
            stream = await stack.enter_async_context(stored)
        yield stream


@asynccontextmanager
async def _transcoded(
    http: HttpSession, identifier: InstanceIdentifier, transfer_syntax: str
) -> AsyncIterator[HttpInstanceStream]:
    parameters = [("transferSyntax", transfer_syntax)]
    url, accept = _resource(http.endpoint, identifier, parameters), DICOM
    if not http.endpoint.wado_uri_url:
        accept = f'{MULTIPART}; type="{DICOM}"; transfer-syntax={transfer_syntax}'
    async with (
        http.get(
            url, accept=accept, accept_encoding="identity", is_image=True
        ) as answer,
        _stream(http, identifier, answer) as stream,
    ):
        yield stream


@asynccontextmanager
async def _as_stored(
    http: HttpSession, identifier: InstanceIdentifier
) -> AsyncIterator[HttpInstanceStream]:
    """Of the first answer that is not 406, the ways of asking being tried in turn.

    The way that worked last comes first.
    """
    url = _resource(http.endpoint, identifier)
    memory = memory_of(http.endpoint.url)
    accepted = (DICOM,) if http.endpoint.wado_uri_url else _ACCEPTED
    ways = sorted(accepted, key=lambda accept: accept != memory.accepted)
    for accept in ways:
        async with http.get(
            url, accept=accept, accept_encoding="identity", is_image=True
        ) as answer:
            if answer.status == 406 and accept != ways[-1]:
                continue
            async with _stream(http, identifier, answer) as stream:
                memory.accepted = accept
                yield stream
            return


@asynccontextmanager
async def _stream(
    http: HttpSession, identifier: InstanceIdentifier, answer: HttpAnswer
) -> AsyncIterator[HttpInstanceStream]:
    raise_for_status(answer.status, http.name)
    part = _part_reader(answer, http.name)
    async with aclosing(_file(answer, part, http.name)) as content:
        head = await _head_of(identifier, content, http.name)
        length = answer.content_length if part is None else part.content_length
        yield HttpInstanceStream(length, head, content)


def _resource(
    endpoint: DicomWebEndpoint,
    identifier: InstanceIdentifier,
    parameters: Iterable[tuple[str, str]] = (),
) -> str:
    """The address; ``parameters`` are added for WADO-URI."""
    study, series = identifier.study_instance_uid, identifier.series_instance_uid
    instance = identifier.sop_instance_uid
    if not endpoint.wado_uri_url:
        path = path_to("studies", study, "series", series, "instances", instance)
        return f"{endpoint.url}/{path}"
    query = query_string(
        [
            ("requestType", "WADO"),
            ("studyUID", study),
            ("seriesUID", series),
            ("objectUID", instance),
            ("contentType", DICOM),
            *parameters,
        ]
    )
    separator = "&" if "?" in endpoint.wado_uri_url else "?"
    return f"{endpoint.wado_uri_url}{separator}{query}"


def raise_for_status(status: int, name: str) -> None:
    if status in (204, 404, 410):
        raise InstanceNotFoundError(
            f"{name} does not hold this image any more (HTTP {status}).",
            status=str(status),
        )
    if not 200 <= status < 300:
        raise ArchiveResponseError(
            f"{name} can't send this image: ask its administrator (HTTP {status}).",
            status=str(status),
        )


def _part_reader(answer: HttpAnswer, name: str) -> PartReader | None:
    """For a multipart answer; ``None`` where the body is the file itself."""
    if answer.media_type in (DICOM, "application/octet-stream", ""):
        return None
    if answer.media_type == MULTIPART:
        try:
            return PartReader(boundary_of(answer.header("content-type")))
        except MalformedMultipartError as error:
            raise _not_dicom(name) from error
    raise _not_dicom(name)


async def _file(
    answer: HttpAnswer, part: PartReader | None, name: str
) -> AsyncGenerator[bytes, None]:
    if part is None:
        async with aclosing(whole_body(answer, name)) as body:
            async for piece in body:
                yield piece
        return
    async with aclosing(answer.body()) as body:
        try:
            async for piece in body:
                if content := part.feed(piece):
                    yield content
            part.close()
        except MalformedMultipartError as error:
            raise _cut_short(name) from error


async def whole_body(answer: HttpAnswer, name: str) -> AsyncGenerator[bytes, None]:
    """A body that is one DICOM file. Raises ``ArchiveError`` unless it is whole.

    Servers without keep-alive just close the connection, after the last byte or
    because they died: then the file itself has to say which it was.
    """
    check = None if answer.is_delimited else CompletenessCheck()
    async with aclosing(answer.body()) as body:
        async for piece in body:
            if check is not None:
                try:
                    check.feed(piece)
                except IncompleteError as error:
                    raise _cut_short(name) from error
            yield piece
    if check is not None and not check.is_whole:
        raise _cut_short(name)


async def _head_of(
    identifier: InstanceIdentifier, content: AsyncIterator[bytes], name: str
) -> bytes:
    """The first bytes of the file, which say that it is the one that was asked for."""
    data = b""
    async for piece in content:
        data += piece
        try:
            head = read_head(data)
        except NotDicomError as error:
            raise _not_dicom(name) from error
        if head is None:
            continue
        if head.sop_instance_uid != identifier.sop_instance_uid:
            raise ArchiveResponseError(
                f"{name} sent another image than the one that was asked for: tell its "
                "administrator."
            )
        return data
    raise _not_dicom(name)


def _cut_short(name: str) -> ArchiveResponseError:
    return ArchiveResponseError(
        f"{name} sent an image that is cut short or malformed: try again."
    )


def _not_dicom(name: str) -> ArchiveResponseError:
    return ArchiveResponseError(
        f"{name} sent something else than a DICOM file: check its address, and whether "
        "it wants a login."
    )
