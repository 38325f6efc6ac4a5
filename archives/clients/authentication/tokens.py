"""Tokens that the hub fetches: kept per process, renewed early, fetched once for all.

A token is shared by every request to its archive, on whatever event loop of the process;
with a ``TokenStore``, by all processes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol

from archives.clients.authentication.token_server import TokenServer
from archives.clients.base import DicomWebEndpoint
from archives.clients.credentials import (
    ClientCredentials,
    Credentials,
    Grant,
    ServiceAccountKey,
    TokenStore,
    UserToken,
)

# A new token is fetched in this last part of an old one's life, which still serves.
EARLY_SHARE: Final = 0.05
EARLY_SECONDS: Final = 60.0
# An archive that also refuses what came instead of a refused token wants something else
# than a new one: it is not asked for again so soon.
REFUSED_SECONDS: Final = 30.0


class Fetch(Protocol):
    """Gets a token that is to take the place of an ``old`` one; empty if there is none.

    One that was not ``refused`` may be given once more, if it is good for longer.
    """

    def __call__(self, old: str, *, refused: bool) -> Awaitable[Grant]: ...


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    renewable_from: float
    expires: float


class _AbandonedError(Exception):
    """The event loop that fetched a token ended meanwhile."""


class TokenSource:
    """The current token of an archive; ``fetch`` gets a new one from its token server.

    ``clock`` is in seconds. Everything raises what ``fetch`` raises.
    """

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic):
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._flight: Future[_Token] | None = None
        self._replacement, self._useless_until = "", 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def current(self) -> str:
        """A token that has not expired."""
        token, now = self._token, self._clock()
        if token is None or now >= token.expires:
            return (await self._newer_than(token)).text
        if now >= token.renewable_from:
            self._join(token)  # nobody waits: if it fails, this one is still good
        return token.text

    async def replace(self, refused: str) -> str:
        """Another token than one that was refused, which others may have fetched.

        The same one if it has just taken another's place.
        """
        token = self._token
        if token is not None and token.text != refused:
            return token.text
        if refused == self._replacement and self._is_useless(token):
            return refused
        token = await self._newer_than(token, refused=True)
        if token.text == refused:  # of a request that began before anybody knew
            token = await self._newer_than(token, refused=True)
        self._replacement = token.text
        self._useless_until = self._clock() + REFUSED_SECONDS
        return token.text

    def _is_useless(self, token: _Token | None) -> bool:
        """Whether another one is no better: not where it expired on its way."""
        now = self._clock()
        is_good = token is not None and now < token.renewable_from
        return is_good and now < self._useless_until

    @property
    def seconds_left(self) -> float:
        return self._token.expires - self._clock() if self._token else 0.0

    async def _newer_than(self, old: _Token | None, *, refused: bool = False) -> _Token:
        while True:
            try:
                return await asyncio.wrap_future(self._join(old, refused=refused))
            except _AbandonedError:
                continue

    def _join(self, old: _Token | None, *, refused: bool = False) -> Future[_Token]:
        """The request for a newer token that is under way, or a new one."""
        with self._lock:
            if self._flight is not None:
                return self._flight
            flight: Future[_Token] = Future()
            # From here on, whoever stops waiting does not end it for the others.
            flight.set_running_or_notify_cancel()
            if self._token is not None and self._token is not old:
                flight.set_result(self._token)
                return flight
            self._flight = flight
        task = asyncio.get_running_loop().create_task(self._fly(flight, old, refused))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return flight

    async def _fly(
        self, flight: Future[_Token], old: _Token | None, refused: bool
    ) -> None:
        token = None
        failure: Exception = _AbandonedError()
        try:
            asked = self._clock()
            grant = await self._fetch(old.text if old else "", refused=refused)
            early = min(EARLY_SECONDS, EARLY_SHARE * grant.seconds)
            expires = asked + grant.seconds
            token = _Token(grant.token, expires - early, expires)
        except Exception as error:
            failure = error
        finally:  # cancelled or not
            with self._lock:
                self._token, self._flight = token or self._token, None
            if token:
                flight.set_result(token)
            else:
                flight.set_exception(failure)


class TokenAuthorizer:
    """Sends the current token of the endpoint's token server."""

    def __init__(self, endpoint: DicomWebEndpoint) -> None:
        self._source = source_of(endpoint)

    async def headers(self, url: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {await self._source.current()}"}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        text = refused["Authorization"].removeprefix("Bearer ")
        return await self._source.replace(text) != text


def source_of(endpoint: DicomWebEndpoint) -> TokenSource:
    """The one source of an endpoint in this process.

    For endpoints whose credentials are of a token server.
    """
    is_users = isinstance(endpoint.credentials, UserToken)
    kind = "identity provider" if is_users else "token server"
    server = TokenServer(
        name=f"The {kind} of {endpoint.name}",
        tls=endpoint.tls,
        outgoing=endpoint.outgoing,
    )
    with _sources_lock:
        return _source(endpoint.credentials, server, endpoint.token_store)


_sources_lock: Final = threading.Lock()


@lru_cache(maxsize=256)
def _source(
    credentials: Credentials | None, server: TokenServer, store: TokenStore | None
) -> TokenSource:
    match credentials:
        case ClientCredentials():
            from archives.clients.authentication.client_credentials import ClientGrant

            fetch = ClientGrant(credentials, server).fetch
        case ServiceAccountKey():
            from archives.clients.authentication.service_account import (
                ServiceAccountGrant,
            )

            fetch = ServiceAccountGrant(credentials, server).fetch
        case UserToken():
            from archives.clients.authentication.user_login import UserGrant

            return TokenSource(UserGrant(credentials, server).fetch)
        case _:
            raise TypeError(type(credentials).__name__)
    return TokenSource(_shared(credentials, fetch, store))


def _shared(
    credentials: ClientCredentials | ServiceAccountKey,
    fetch: Callable[[], Awaitable[Grant]],
    store: TokenStore | None,
) -> Fetch:
    async def fetch_or_find(old: str, *, refused: bool) -> Grant:
        if store is None:
            return await fetch()
        return await store.newer_than(old, credentials, fetch)

    return fetch_or_find
