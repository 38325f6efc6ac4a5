"""From an endpoint to an association: TCP, TLS, negotiation, each with its deadline."""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from typing import Any, Final

from archives.clients import outgoing
from archives.clients.base import DimseEndpoint, TlsSettings
from archives.clients.dimse import failures
from archives.clients.dimse.association import Association
from archives.clients.dimse.negotiation import Proposal
from archives.clients.tls import client_context

_TLS_SHUTDOWN_SECONDS: Final = 1.0


async def associate(endpoint: DimseEndpoint, proposal: Proposal) -> Association:
    """An association that is ready for operations."""
    association = await connect(endpoint, proposal)
    await association.negotiate()
    return association


async def connect(endpoint: DimseEndpoint, proposal: Proposal) -> Association:
    """A connected association that has still to be negotiated."""
    try:
        async with asyncio.timeout(endpoint.deadlines.connect):
            return await _connected(endpoint, proposal)
    except TimeoutError:  # the deadline's, or the operating system's
        raise failures.connect_timeout(endpoint) from None
    except OSError as error:
        raise failures.unreachable(endpoint, error) from error


async def _connected(endpoint: DimseEndpoint, proposal: Proposal) -> Association:
    tls_options = _tls_options(endpoint)
    connection = await outgoing.connect(
        endpoint.host,
        endpoint.port,
        endpoint.outgoing,
        timeout=endpoint.deadlines.connect,
    )
    loop = asyncio.get_running_loop()
    try:
        _, association = await loop.create_connection(
            lambda: Association(endpoint, proposal), sock=connection, **tls_options
        )
    except BaseException:
        connection.close()
        raise
    return association


def _tls_options(endpoint: DimseEndpoint) -> dict[str, Any]:
    if endpoint.tls is None:
        return {}
    return {
        "ssl": _context(endpoint.tls, endpoint.name),
        "server_hostname": endpoint.host,
        "ssl_shutdown_timeout": _TLS_SHUTDOWN_SECONDS,
    }


@lru_cache(maxsize=32)
def _context(settings: TlsSettings, archive_name: str) -> ssl.SSLContext:
    return client_context(settings, archive_name)
