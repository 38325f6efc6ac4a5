"""HTTP to one archive: pooled connections, limits, and every failure in words.

The only module that imports httpx2. Requests are GET alone, which may be repeated
(RFC 9110 9.2.2).
"""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx2

from archives.clients.base import DicomWebEndpoint, HttpAuthentication
from archives.clients.pool import on_close
from archives.clients.tls import client_context, explain
from archives.errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveResponseError,
    ArchiveUnavailableError,
)

MAXIMUM_REDIRECTS: Final = 3
MAXIMUM_PIECE: Final = 128 * 1024
KEEP_ALIVE_SECONDS: Final = 60.0
UNAVAILABLE: Final = frozenset({408, 425, 429, 502, 503, 504})

# They log every URL, and the keys of a search are patient data.
for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_pools: WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[DicomWebEndpoint, httpx2.AsyncClient]
] = WeakKeyDictionary()


class HttpAnswer:
    """The head of an answer, and its body while it arrives."""

    def __init__(self, response: httpx2.Response, archive_name: str) -> None:
        self._response = response
        self._archive_name = archive_name
        self.status = response.status_code
        self.media_type = self.header("content-type").split(";")[0].strip().lower()

    def header(self, name: str) -> str:
        """A header's value, several joined by a comma; empty if there is none."""
        return str(self._response.headers.get(name, ""))

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

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Decoded pieces of the body; raises ``ArchiveError`` if it ends early."""
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
        self, url: str, *, accept: str, accept_encoding: str = "gzip"
    ) -> AsyncIterator[HttpAnswer]:
        """Ask for a resource; the answer's status may be any but an error for all.

        Follows redirects on the same origin. Statuses that mean the same whatever was
        asked are raised: see ``_raise_for_status``; others are the caller's.
        """
        _require_address(url, self.name)
        headers = {"Accept": accept, "Accept-Encoding": accept_encoding}
        response = await self._open(url, headers)
        try:
            _raise_for_status(response.status_code, self.endpoint)
            yield HttpAnswer(response, self.name)
        finally:
            await response.aclose()

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

    async def _open(self, url: str, headers: dict[str, str]) -> httpx2.Response:
        for _ in range(MAXIMUM_REDIRECTS + 1):
            response = await self._send(url, headers)
            if not response.has_redirect_location:
                return response
            await response.aclose()
            url = self._redirected(response)
        raise ArchiveResponseError(
            f"{self.name} redirects in a circle: check its address.",
            status=str(response.status_code),
        )

    async def _send(self, url: str, headers: dict[str, str]) -> httpx2.Response:
        """Send once; again only where a kept connection turns out to be closed."""
        with translated_errors(self.name):
            client = _pooled_client(self.endpoint)
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


def _pooled_client(endpoint: DicomWebEndpoint) -> httpx2.AsyncClient:
    loop = asyncio.get_running_loop()
    clients = _pools.get(loop)
    if clients is None:
        clients = _pools[loop] = {}
        on_close(_close_clients)
    if endpoint not in clients:
        clients[endpoint] = _new_client(endpoint)
    return clients[endpoint]


async def _close_clients() -> None:
    for client in _pools.pop(asyncio.get_running_loop(), {}).values():
        await client.aclose()


def _new_client(endpoint: DicomWebEndpoint) -> httpx2.AsyncClient:
    deadlines = endpoint.deadlines
    return httpx2.AsyncClient(
        verify=_tls_context(endpoint),
        http2=True,
        trust_env=False,
        follow_redirects=False,
        headers={"User-Agent": "ViewerHub", **_authorization(endpoint)},
        limits=httpx2.Limits(
            max_connections=endpoint.maximum_connections,
            max_keepalive_connections=endpoint.maximum_connections,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
        ),
        timeout=httpx2.Timeout(
            deadlines.first_answer, connect=deadlines.connect, pool=deadlines.total
        ),
    )


def _tls_context(endpoint: DicomWebEndpoint) -> ssl.SSLContext:
    if any(url.startswith("https:") for url in (endpoint.url, endpoint.wado_uri_url)):
        return client_context(endpoint.tls, endpoint.name)
    # Reading the system's trust store takes 50 ms. This context trusts nobody.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _authorization(endpoint: DicomWebEndpoint) -> dict[str, str]:
    if endpoint.authentication is HttpAuthentication.BASIC:
        credentials = f"{endpoint.username}:{endpoint.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}
    if endpoint.authentication is HttpAuthentication.BEARER:
        if not (
            endpoint.bearer_token.isascii() and endpoint.bearer_token.isprintable()
        ):
            raise ArchiveRefusedError(
                f"The token entered for {endpoint.name} is not one: enter it again."
            )
        return {"Authorization": f"Bearer {endpoint.bearer_token}"}
    return {}


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


def _raise_for_status(status: int, endpoint: DicomWebEndpoint) -> None:
    name = endpoint.name
    if status == 401:
        raise ArchiveRefusedError(f"{name} {_refused_login(endpoint)} (HTTP 401).")
    if status == 403:
        raise ArchiveRefusedError(
            f"{name} does not permit this: check the user name and password, and the "
            "rights of that account (HTTP 403)."
        )
    if status == 413:
        raise ArchiveResponseError(
            f"{name} has too many results: narrow the search (HTTP 413).", status="413"
        )
    if status in UNAVAILABLE:
        raise ArchiveUnavailableError(
            f"{name} is busy or not available: try again in a minute (HTTP {status})."
        )


def _refused_login(endpoint: DicomWebEndpoint) -> str:
    match endpoint.authentication:
        case HttpAuthentication.BASIC:
            return "refused the login: check the user name and password"
        case HttpAuthentication.BEARER:
            return "refused the token: check it, and whether it has expired"
    return "asks for a login: enter a user name and password, or a token"


@contextmanager
def translated_errors(archive_name: str) -> Iterator[None]:
    """Raise what httpx2 raises as ``ArchiveError``, in words for a screen."""
    try:
        yield
    except httpx2.TransportError as error:
        raise _transport_error(error, archive_name) from error
    except httpx2.DecodingError as error:
        raise ArchiveResponseError(
            f"{archive_name} sent an answer that can't be decompressed."
        ) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        raise ArchiveResponseError(
            f"{archive_name} can't be asked: check its address."
        ) from error


def _transport_error(error: httpx2.TransportError, name: str) -> ArchiveError:
    if isinstance(error, httpx2.ConnectError):
        return connection_error(error, name)
    if any(map(_is_tls_failure, _causes(error))):
        return connection_error(error, name)
    return ArchiveUnavailableError(f"{name} {_transport_failure(error)}")


def connection_error(error: BaseException, name: str) -> ArchiveError:
    """Why a connection failed, by the innermost cause that tells."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError) and _is_tls_failure(cause):
            return ArchiveRefusedError(f"{name}: {explain(cause)}")
        if isinstance(cause, socket.gaierror):
            return ArchiveUnavailableError(
                f"{name} can't be found: its host name is unknown. Check the address."
            )
        if isinstance(cause, ConnectionRefusedError):
            return ArchiveUnavailableError(
                f"{name} refuses connections: check that it runs, and its port."
            )
    return ArchiveUnavailableError(
        f"{name} can't be reached: check its address and the network."
    )


def _is_tls_failure(error: BaseException) -> bool:
    """Not so where TLS merely waited for the network when something else went wrong."""
    waiting = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
    return isinstance(error, ssl.SSLError) and not isinstance(error, waiting)


def _transport_failure(error: httpx2.TransportError) -> str:
    match error:
        case httpx2.ConnectTimeout():
            return "can't be reached in time: check its address and the network."
        case httpx2.PoolTimeout():
            return "is busy with other requests of ours: try again in a minute."
        case httpx2.TimeoutException():
            return "stopped answering: try again later."
        case httpx2.RemoteProtocolError():
            return (
                "broke off its answer or does not speak HTTP: check address and port."
            )
    return "broke off the connection: try again later."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that led to this one, through groups too."""
    pending: list[BaseException | None] = [error]
    for _ in range(50):
        if not pending:
            return
        cause = pending.pop()
        if cause is not None:
            yield cause
            pending += [cause.__cause__, cause.__context__]
            if isinstance(cause, BaseExceptionGroup):
                pending += cause.exceptions
