"""HTTP connections that go to addresses the outgoing rules permit, and to no proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from typing import Any, Final

import httpcore2
import httpx2

from archives.clients.outgoing import OutgoingRules, permitted_addresses

# Of a body, that is handed on at once.
MAXIMUM_PIECE: Final = 256 * 1024


class PinnedTransport(httpx2.AsyncHTTPTransport):
    """HTTP/1.1 and HTTP/2, at most ``connections`` at once.

    The connection is made to an address that was judged; the Host header, SNI and the
    check of the certificate keep the name.
    """

    def __init__(
        self,
        rules: OutgoingRules,
        context: ssl.SSLContext,
        *,
        connections: int,
        keep_alive: float = 0.0,
    ) -> None:
        super().__init__(verify=context, trust_env=False)
        # httpx2 has no parameter for who opens the sockets; httpcore2 has.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections,
            max_keepalive_connections=connections if keep_alive else 0,
            keepalive_expiry=keep_alive,
            http2=True,
            network_backend=_PinnedBackend(rules),
        )


class _PinnedBackend(httpcore2.AnyIOBackend):
    def __init__(self, rules: OutgoingRules) -> None:
        self._rules = rules

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await permitted_addresses(host, self._rules)
                return await self._first(addresses, port, timeout)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except OSError as error:
            raise httpcore2.ConnectError from error

    async def _first(
        self, addresses: Sequence[str], port: int, timeout: float | None
    ) -> httpcore2.AsyncNetworkStream:
        # One that never answers leaves time for the others.
        share = timeout / len(addresses) if timeout is not None else None
        for address in addresses[:-1]:
            try:
                return await self._open(address, port, share)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._open(addresses[-1], port, None)

    async def _open(
        self, address: str, port: int, timeout: float | None
    ) -> httpcore2.AsyncNetworkStream:
        # An IP address is not resolved again.
        return _Stream(await super().connect_tcp(address, port, timeout))


class _Stream(httpcore2.AsyncNetworkStream):
    """Reads as much as has come: httpcore2 asks for 64 KiB, each of which costs its own."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max(max_bytes, MAXIMUM_PIECE), timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _Stream(stream)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
