"""The client credentials grant of OAuth2 (RFC 6749 4.4)."""

from __future__ import annotations

from urllib.parse import quote_plus

from archives.clients.authentication.fixed import basic
from archives.clients.authentication.token_server import (
    RefusedClientError,
    TokenServer,
)
from archives.clients.credentials import ClientCredentials, Grant


class ClientGrant:
    """Asks by HTTP Basic, which every server has to know (RFC 6749 2.3.1).

    Some only take the secret in the form: where Basic is refused, that is tried, and
    remembered if it works.
    """

    def __init__(self, credentials: ClientCredentials, server: TokenServer) -> None:
        self._credentials = credentials
        self._server = server
        self._uses_form = False

    async def fetch(self) -> Grant:
        if self._uses_form:
            return await self._ask_by_form()
        try:
            return await self._ask_by_basic()
        except RefusedClientError:
            grant = await self._ask_by_form()
        self._uses_form = True
        return grant

    async def _ask_by_basic(self) -> Grant:
        client = self._credentials
        login = basic(quote_plus(client.client_id), quote_plus(client.client_secret))
        return await self._server.ask(client.token_url, self._form(), login)

    async def _ask_by_form(self) -> Grant:
        client = self._credentials
        login = {"client_id": client.client_id, "client_secret": client.client_secret}
        return await self._server.ask(client.token_url, self._form() | login)

    def _form(self) -> dict[str, str]:
        client = self._credentials
        form = {
            "grant_type": "client_credentials",
            "scope": client.scope,
            "audience": client.audience,
        }
        return {name: value for name, value in form.items() if value}
