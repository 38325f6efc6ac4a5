"""HTTP to one archive: pooled connections, turns, deadlines and redirects.

Requests are GET alone, which may be sent again (RFC 9110 9.2.2).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import httpx2

from archives.clients.authentication.aws import fully_escaped
from archives.clients.base import DicomWebEndpoint
from archives.clients.credentials import AwsKeys
from archives.clients.http_failures import raise_for_status, translated_errors
from archives.clients.http_pool import pool_of, turns_of
from archives.clients.http_transport import MAXIMUM_PIECE
from archives.clients.round_trip import round_trip
from archives.errors import (
    ArchiveResponseError,
    ArchiveUnavailableError,
)

MAXIMUM_REDIRECTS: Final = 3
_NEAR: Final = 0.0005  # seconds there and back

# They log every URL, and the keys of a search are patient data.
for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class HttpAnswer:
    """The head of an answer, and its body while it arrives."""

    def __init__(
        self, response: httpx2.Response, archive_name: str, asked: float
    ) -> None:
        """``asked`` is when its turn came, by ``time.perf_counter``."""
        self._response = response
        self._asked = asked
        self._archive_name = archive_name
        self.status = response.status_code
        self.media_type = self.header("content-type").split(";")[0].strip().lower()

    def header(self, name: str) -> str:
        """A header's value, several joined by a comma; empty if there is none."""
        return str(self._response.headers.get(name, ""))

    @property
    def seconds(self) -> float:
        """How long the archive has been at it, without the wait for a turn."""
        return time.perf_counter() - self._asked

    @property
    def content_length(self) -> int | None:
        """Bytes of the body as it will be read; ``None`` if not announced."""
        text = self.header("content-length")
        if (
            self.header("content-encoding") not in ("", "identity")
            or not text.isdecimal()
        ):
            return None
        return int(text)

    @property
    def is_near(self) -> bool:
        """Whether the archive seems to be in the same room, or on the same machine."""
        connection = self._response.extensions["network_stream"]
        return round_trip(connection.get_extra_info("socket")) < _NEAR

    @property
    def is_delimited(self) -> bool:
        """Whether the body says where it ends; else a lost connection looks like it."""
        return (
            self._response.http_version == "HTTP/2"
            or bool(self.header("content-length"))
            or "chunked" in self.header("transfer-encoding").lower()
        )

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Decoded pieces of the body.

        Raises ``ArchiveError`` if it ends early, and ``is_delimited``.
        """
        with translated_errors(self._archive_name):
            async for piece in self._response.aiter_bytes():
                yield piece[:MAXIMUM_PIECE]
                # What was compressed may come a thousand times as large: others on
                # this event loop get their turn between the pieces.
                for start in range(MAXIMUM_PIECE, len(piece), MAXIMUM_PIECE):
                    await asyncio.sleep(0)
                    yield piece[start : start + MAXIMUM_PIECE]


class HttpSession:
    """GET requests to an endpoint, over connections shared by the running event loop."""

    def __init__(self, endpoint: DicomWebEndpoint) -> None:
        self.endpoint = endpoint
        self.name = endpoint.name

    @asynccontextmanager
    async def get(
        self,
        url: str,
        *,
        accept: str,
        accept_encoding: str = "gzip",
        byte_range: str = "",
        is_image: bool = False,
    ) -> AsyncIterator[HttpAnswer]:
        """Ask for a resource; the answer's status may be any but an error for all.

        ``is_image`` says that it is read as fast as a viewer takes it.

        Follows redirects on the same origin. Statuses that mean the same whatever was
        asked are raised: see ``http_failures``; others are the caller's.
        """
        _require_address(url, self.name)
        headers = {"Accept": accept, "Accept-Encoding": accept_encoding}
        if byte_range:
            headers["Range"] = byte_range
        async with self._turn(is_image=is_image):
            asked = time.perf_counter()
            response = await self._open(url, headers)
            try:
                raise_for_status(response.status_code, self.endpoint)
                yield HttpAnswer(response, self.name, asked)
            finally:
                await response.aclose()

    async def log_in(self) -> None:
        """Have a token for the requests to come, where they need one."""
        await pool_of(self.endpoint).authorizer.headers(self.endpoint.url)

    @asynccontextmanager
    async def deadline(self) -> AsyncIterator[None]:
        """Bound everything inside by the endpoint's total deadline."""
        seconds = self.endpoint.deadlines.total
        try:
            async with asyncio.timeout(seconds) as timeout:
                yield
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise ArchiveUnavailableError(
                f"{self.name} needed more than {seconds:g} seconds: narrow the search, "
                "or try again later."
            ) from error

    @asynccontextmanager
    async def _turn(self, *, is_image: bool) -> AsyncIterator[None]:
        """Wait until fewer than ``maximum_connections`` requests are under way."""
        pool = turns_of(self.endpoint)
        with pool.in_use(), pool_of(self.endpoint).in_use():
            try:
                async with asyncio.timeout(self.endpoint.deadlines.total):
                    await pool.turns.acquire(is_image=is_image)
            except TimeoutError as error:
                raise ArchiveUnavailableError(
                    f"{self.name} is busy with other requests of ours: try again in a "
                    "minute."
                ) from error
            try:
                yield
            finally:
                pool.turns.release(is_image=is_image)

    async def _open(self, url: str, headers: dict[str, str]) -> httpx2.Response:
        may_renew = True
        redirects = 0
        while redirects <= MAXIMUM_REDIRECTS:
            response, credentials = await self._send_with_credentials(url, headers)
            if response.status_code == 401 and may_renew:
                may_renew = False
                if await self._renew(response, credentials):
                    continue
            if not response.has_redirect_location:
                return response
            await response.aclose()
            url = self._redirected(response)
            redirects += 1
        raise ArchiveResponseError(
            f"{self.name} redirects in a circle: check its address.",
            status=str(response.status_code),
        )

    async def _send_with_credentials(
        self, url: str, headers: dict[str, str]
    ) -> tuple[httpx2.Response, Mapping[str, str]]:
        # As it goes over the wire: signatures are of the address.
        with translated_errors(self.name):
            url = str(httpx2.URL(url))
        if isinstance(self.endpoint.credentials, AwsKeys):
            url = fully_escaped(url)
        credentials = await pool_of(self.endpoint).authorizer.headers(url)
        return await self._send(url, {**headers, **credentials}), credentials

    async def _renew(
        self, response: httpx2.Response, credentials: Mapping[str, str]
    ) -> bool:
        """Whether there are other credentials than those that were refused."""
        await response.aclose()
        return await pool_of(self.endpoint).authorizer.renew(credentials)

    async def _send(self, url: str, headers: dict[str, str]) -> httpx2.Response:
        """Send once; again only where a kept connection turns out to be closed."""
        with translated_errors(self.name):
            client = pool_of(self.endpoint).client
            for _ in range(self.endpoint.maximum_connections + 1):
                trace = _ConnectionTrace()
                request = client.build_request(
                    "GET", url, headers=headers, extensions={"trace": trace}
                )
                try:
                    return await client.send(request, stream=True)
                except (httpx2.NetworkError, httpx2.RemoteProtocolError):
                    if trace.is_new_connection:
                        raise
        raise ArchiveUnavailableError(
            f"{self.name} closes every connection: try later."
        )

    def _redirected(self, response: httpx2.Response) -> str:
        target = response.next_request.url if response.next_request else None
        if target is None or _origin(str(target)) != _origin(str(response.url)):
            where = f" ({target.scheme}://{target.host})" if target else ""
            raise ArchiveResponseError(
                f"{self.name} redirects to another server{where}: enter the address of "
                "the DICOMweb service itself.",
                status=str(response.status_code),
            )
        return str(target)


class _ConnectionTrace:
    """Learns whether a request went over a new connection or one that was kept."""

    is_new_connection = False

    async def __call__(self, event: str, info: object) -> None:
        if event == "connection.connect_tcp.started":
            self.is_new_connection = True


def _require_address(url: str, name: str) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_usable = is_usable and parts.port != 0
    except ValueError:  # brackets that do not match, a port beyond 65535
        is_usable = False
    if not is_usable:
        raise ArchiveResponseError(
            f"{name} has no address that can be asked: it begins with http:// or "
            "https://, then comes the host name."
        )


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, parts.port or default
