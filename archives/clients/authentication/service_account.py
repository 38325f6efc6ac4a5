"""Tokens for a Google service account: an assertion signed with its key (RFC 7523).

google-auth reads the key and signs; the request is ours, so that it obeys the outgoing
rules.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Final

from archives.clients.authentication.token_server import TokenServer
from archives.clients.credentials import Grant, ServiceAccountKey
from archives.errors import ArchiveRefusedError

_GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_SECONDS: Final = 3600

logging.getLogger("google").setLevel(logging.WARNING)


class ServiceAccountGrant:
    def __init__(self, credentials: ServiceAccountKey, server: TokenServer) -> None:
        self._credentials = credentials
        self._server = server

    async def fetch(self) -> Grant:
        try:
            key = json.loads(self._credentials.key)
            url = str(key["token_uri"])
            # Importing the library and signing take their time.
            assertion = await asyncio.to_thread(
                _assertion, key, self._credentials.scope
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ArchiveRefusedError(
                f"{self._server.name} can't be asked: the service account's key is not "
                "the JSON file that Google made. Enter it again."
            ) from None
        form = {"grant_type": _GRANT_TYPE, "assertion": assertion}
        return await self._server.ask(url, form)


def _assertion(key: dict[str, str], scope: str) -> str:
    """Raises ``ValueError``, ``TypeError`` or ``KeyError`` where the key is none."""
    from google.auth import crypt, jwt

    signer = crypt.RSASigner.from_service_account_info(key)
    now = int(time.time())
    claims = {
        "iss": key["client_email"],
        "scope": scope,
        "aud": key["token_uri"],
        "iat": now,
        "exp": now + _ASSERTION_SECONDS,
    }
    return bytes(jwt.encode(signer, claims)).decode()
