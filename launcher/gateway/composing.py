"""DICOM files as one answer of several parts (PS3.18 8.6.1.2), put together by the hub."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Final

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from archives.clients import open_client
from archives.clients.base import ArchiveClient, InstanceStream
from archives.entities import InstanceIdentifier
from launcher.gateway.grants import Grant
from launcher.gateway.streaming import streamed

# No file of an archive has it.
_BOUNDARY: Final = secrets.token_hex(16)
_MEDIA_TYPE: Final = (
    f'multipart/related; type="application/dicom"; boundary="{_BOUNDARY}"'
)
_HEAD: Final = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
_END: Final = f"--{_BOUNDARY}--\r\n".encode()


async def as_parts(
    request: HttpRequest, grant: Grant, identifiers: Sequence[InstanceIdentifier]
) -> HttpResponseBase:
    """One file after the other, as they are stored; raises ``ArchiveError``.

    For what the archive does not send like this, or not without what is not the
    launch's. Errors after the first file has begun cut the connection.
    """
    first, *rest = identifiers
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client(grant.endpoint))
        current = await stack.enter_async_context(AsyncExitStack())
        stream = await current.enter_async_context(client.retrieve_instance(first))
        headers = {"Cache-Control": "private, no-store"}
        if request.method == "HEAD":
            return HttpResponse(content_type=_MEDIA_TYPE, headers=headers)
        return StreamingHttpResponse(
            streamed(_body(client, stream, rest, current), stack.pop_all()),
            content_type=_MEDIA_TYPE,
            headers=headers,
        )


async def _body(
    client: ArchiveClient,
    stream: InstanceStream,
    rest: Sequence[InstanceIdentifier],
    current: AsyncExitStack,
) -> AsyncIterator[bytes]:
    """``current`` holds the file that is being read, and no other."""
    async for piece in _part(stream):
        yield piece
    for identifier in rest:
        await current.aclose()
        following = client.retrieve_instance(identifier)
        async for piece in _part(await current.enter_async_context(following)):
            yield piece
    yield _END


async def _part(stream: InstanceStream) -> AsyncIterator[bytes]:
    yield _HEAD
    async for piece in stream:
        yield piece
    yield b"\r\n"
