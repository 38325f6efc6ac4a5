"""What goes wrong with an archive over HTTP, as ``ArchiveError`` in words for a screen."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx2

from archives.clients.base import DicomWebEndpoint
from archives.clients.credentials import (
    AwsKeys,
    BasicCredentials,
    BearerToken,
    ClientCredentials,
    CustomHeaders,
    ServiceAccountKey,
    UserToken,
)
from archives.clients.outgoing import (
    ForbiddenAddressError,
    UnknownHostError,
    forbidden,
    unknown_host,
)
from archives.clients.tls import explain
from archives.errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveResponseError,
    ArchiveUnavailableError,
    ConnectionLostError,
)

UNAVAILABLE: Final = frozenset({408, 425, 429, 502, 503, 504})


def raise_for_status(status: int, endpoint: DicomWebEndpoint) -> None:
    name = endpoint.name
    if status == 401:
        raise ArchiveRefusedError(f"{name} {_refused_login(endpoint)} (HTTP 401).")
    if status == 403:
        raise ArchiveRefusedError(f"{name} does not permit this: {_rights(endpoint)}.")
    if status == 413:
        raise ArchiveResponseError(
            f"{name} has too many results: narrow the search (HTTP 413).", status="413"
        )
    if status in UNAVAILABLE:
        raise ArchiveUnavailableError(
            f"{name} is busy or not available: try again in a minute (HTTP {status})."
        )


def _refused_login(endpoint: DicomWebEndpoint) -> str:
    match endpoint.credentials:
        case BasicCredentials():
            return "refused the login: check the user name and password"
        case BearerToken():
            return "refused the token: check it, and whether it has expired"
        case ClientCredentials():
            return "refused the token it was sent: check scope and audience"
        case ServiceAccountKey():
            return "refused the service account's token: check its scope and rights"
        case AwsKeys():
            return "refused the signature: check region and access keys"
        case CustomHeaders():
            return "refused the headers it was sent: check them"
        case UserToken():
            return (
                "refused your login: sign out of the hub and sign in again; if that does "
                "not help, its administrator has to accept the identity provider's tokens"
            )
    return "asks for a login: enter a user name and password, or a token"


def _rights(endpoint: DicomWebEndpoint) -> str:
    match endpoint.credentials:
        case AwsKeys():
            return (
                "check region, access keys and the hub's clock, and the rights of that "
                "account (HTTP 403)"
            )
        case ClientCredentials() | ServiceAccountKey():
            return "check the rights of the account the hub logs in with (HTTP 403)"
        case UserToken():
            return "ask its administrator for the right to use it (HTTP 403)"
    return "check the user name and password, and the rights of that account (HTTP 403)"


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
    kind = ArchiveUnavailableError
    if not isinstance(error, httpx2.TimeoutException):
        kind = ConnectionLostError
    return kind(f"{name} {_transport_failure(error)}")


def connection_error(error: BaseException, name: str) -> ArchiveError:
    """Why a connection failed, by the innermost cause that tells."""
    for cause in _causes(error):
        if isinstance(cause, ForbiddenAddressError):
            return forbidden(name)
        if isinstance(cause, ssl.SSLError) and _is_tls_failure(cause):
            return ArchiveRefusedError(f"{name}: {explain(cause)}")
        if isinstance(cause, UnknownHostError):
            return unknown_host(name, cause.host)
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
