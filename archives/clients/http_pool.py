"""Kept HTTP connections to an endpoint, whoever sends what over them, and turns."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import httpx2

from archives.clients.authentication import authorizer_of
from archives.clients.base import DicomWebEndpoint
from archives.clients.credentials import UserToken
from archives.clients.http_transport import PinnedTransport
from archives.clients.pool import Pools
from archives.clients.tls import client_context
from archives.clients.turns import Turns

KEEP_ALIVE_SECONDS: Final = 60.0


class HttpPool:
    """Kept connections, and turns: HTTP/2 would send any number of requests at once."""

    def __init__(self, endpoint: DicomWebEndpoint) -> None:
        deadlines = endpoint.deadlines
        self.turns = Turns(endpoint.maximum_connections)
        self.authorizer = authorizer_of(endpoint)
        self.client = httpx2.AsyncClient(
            transport=PinnedTransport(
                endpoint.outgoing,
                _tls_context(endpoint),
                connections=endpoint.maximum_connections,
                keep_alive=KEEP_ALIVE_SECONDS,
            ),
            trust_env=False,
            follow_redirects=False,
            headers={"User-Agent": "ViewerHub"},
            timeout=httpx2.Timeout(deadlines.first_answer, connect=deadlines.connect),
        )
        self._requests = 0

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep it open meanwhile."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    @property
    def is_idle(self) -> bool:
        return not self._requests

    async def close(self) -> None:
        await self.client.aclose()


_pools: Final = Pools[DicomWebEndpoint, HttpPool](HttpPool)


def pool_of(endpoint: DicomWebEndpoint) -> HttpPool:
    """The running event loop's pool for an endpoint."""
    return _pools.of(endpoint)


def turns_of(endpoint: DicomWebEndpoint) -> HttpPool:
    """The pool whose turns count: all users of an archive have them in common."""
    if isinstance(endpoint.credentials, UserToken):
        return pool_of(replace(endpoint, credentials=None))
    return pool_of(endpoint)


def _tls_context(endpoint: DicomWebEndpoint) -> ssl.SSLContext:
    if any(url.startswith("https:") for url in (endpoint.url, endpoint.wado_uri_url)):
        return client_context(endpoint.tls, endpoint.name)
    # Reading the system's trust store takes 50 ms. This context trusts nobody.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
