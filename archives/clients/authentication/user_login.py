"""The access token of a user who signed in by OpenID Connect, renewed while it is needed.

The refresh token grant (RFC 6749 6); the token endpoint is as the provider's discovery
document says (OpenID Connect Discovery 1.0, 4).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from archives.clients.authentication.fixed import basic
from archives.clients.authentication.token_server import EndedGrantError, TokenServer
from archives.clients.authentication.tokens import TokenAuthorizer
from archives.clients.base import DicomWebEndpoint
from archives.clients.credentials import (
    Grant,
    IdentityProvider,
    LoginOverError,
    UserToken,
)
from archives.errors import ArchiveRefusedError, ArchiveResponseError

_DISCOVERY_SECONDS: Final = 3600.0


class UserAuthorizer(TokenAuthorizer):
    """Sends the user's access token, and says what to do where there is none."""

    def __init__(self, endpoint: DicomWebEndpoint, provider: IdentityProvider) -> None:
        super().__init__(endpoint)
        self._needs_login = (
            f"{endpoint.name} needs your own login: sign out of the hub, and sign in again "
            f"by {provider.name}."
        )

    async def headers(self, url: str) -> Mapping[str, str]:
        try:
            return await super().headers(url)
        except LoginOverError:
            raise ArchiveRefusedError(self._needs_login) from None

    async def renew(self, refused: Mapping[str, str]) -> bool:
        try:
            return await super().renew(refused)
        except LoginOverError:
            raise ArchiveRefusedError(self._needs_login) from None


class UserGrant:
    """Gets a user's tokens from where the hub keeps them, and renews them there."""

    def __init__(self, credentials: UserToken, server: TokenServer) -> None:
        self._credentials = credentials
        self._discovery = _discovery_of(credentials.provider, server)
        self._server = server

    async def fetch(self, old: str, *, refused: bool) -> Grant:
        credentials = self._credentials
        return await credentials.logins.current(
            credentials, old if refused else "", self._renew
        )

    async def _renew(self, refresh_token: str) -> Grant:
        provider = self._credentials.provider
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        found = await self._discovery.answer()
        login = ""
        if found.takes_basic:
            # As allauth sends it at the login, without the encoding of RFC 6749 2.3.1.
            login = basic(provider.client_id, provider.client_secret)
        else:
            form["client_id"] = provider.client_id
            if provider.client_secret:
                form["client_secret"] = provider.client_secret
        try:
            return await self._server.ask(found.token_url, form, login)
        except EndedGrantError:
            raise LoginOverError from None


@dataclass(frozen=True, slots=True)
class _TokenEndpoint:
    token_url: str
    takes_basic: bool


class _Discovery:
    """A provider's token endpoint, looked up once an hour."""

    def __init__(self, provider: IdentityProvider, server: TokenServer) -> None:
        self._provider = provider
        self._server = server
        self._found: _TokenEndpoint | None = None
        self._until = 0.0

    async def answer(self) -> _TokenEndpoint:
        if self._found is None or time.monotonic() > self._until:
            self._found = self._endpoint(
                await self._server.read(self._provider.configuration_url)
            )
            self._until = time.monotonic() + _DISCOVERY_SECONDS
        return self._found

    def _endpoint(self, document: Mapping[str, Any]) -> _TokenEndpoint:
        provider = self._provider
        url = provider.token_url or document.get("token_endpoint")
        if not isinstance(url, str) or not self._is_usable(url):
            raise ArchiveResponseError(
                f"{self._server.name} has no token endpoint that can be used: check "
                "server_url in VIEWERHUB_OIDC_PROVIDERS."
            )
        methods = document.get("token_endpoint_auth_methods_supported")
        known = methods if isinstance(methods, list) else []
        method = provider.token_auth_method or (
            "client_secret_basic"
            if "client_secret_basic" in known and "client_secret_post" not in known
            else "client_secret_post"
        )
        return _TokenEndpoint(url, method == "client_secret_basic")

    def _is_usable(self, url: str) -> bool:
        """Whether it is an address, and no less private than the document's."""
        try:
            parts = urlsplit(url)
            own = urlsplit(self._provider.configuration_url)
            return bool(parts.hostname) and parts.scheme in {"https", own.scheme}
        except ValueError:
            return False


@lru_cache(maxsize=64)
def _discovery_of(provider: IdentityProvider, server: TokenServer) -> _Discovery:
    return _Discovery(provider, server)
