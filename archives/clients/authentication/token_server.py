"""One question to an OAuth2 token server (RFC 6749 5), within the outgoing rules.

What it answers is untrusted, and may quote what was sent: none of it gets into messages.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import httpx2

from archives.clients.base import TlsSettings
from archives.clients.credentials import Grant
from archives.clients.http_failures import UNAVAILABLE, translated_errors
from archives.clients.http_transport import PinnedTransport
from archives.clients.outgoing import OutgoingRules
from archives.errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveResponseError,
    ArchiveUnavailableError,
)

MAXIMUM_BYTES: Final = 256 * 1024
CONNECT_SECONDS: Final = 5.0
TOTAL_SECONDS: Final = 15.0
# A server should tell how long a token lives (RFC 6749 5.1); where it doesn't, it lives
# this long here, or until the archive refuses it.
UNTOLD_SECONDS: Final = 300.0
LONGEST_SECONDS: Final = 86_400.0
_MEANINGS: Final = {
    "invalid_client": "does not know this client: check client id and client secret",
    "unauthorized_client": (
        "gives this client no tokens by client credentials: let its administrator "
        "permit that"
    ),
    "invalid_scope": "refused the scope: check scope and audience",
    "invalid_target": "refused the audience: check scope and audience",
    "invalid_grant": (
        "refused the key: check that it has not been deleted, and the hub's clock"
    ),
}


class RefusedClientError(ArchiveRefusedError):
    """The client was not recognized (``invalid_client``)."""


class EndedGrantError(ArchiveRefusedError):
    """What a token was asked for with is not valid any more (``invalid_grant``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenServer:
    """How to reach it; ``name`` is what messages call it.

    Beside the CA certificates of its archive, it may have one of those that the system
    trusts.
    """

    name: str
    tls: TlsSettings | None
    outgoing: OutgoingRules

    async def ask(
        self, url: str, form: Mapping[str, str], authorization: str = ""
    ) -> Grant:
        """Ask once for a token; raises ``ArchiveError``."""
        headers = {"Authorization": authorization} if authorization else {}
        status, answer = await self._exchange("POST", url, dict(form), headers)
        if status != 200:
            raise self._refusal(status, answer)
        return self._grant(answer)

    async def read(self, url: str) -> Mapping[str, Any]:
        """A JSON object it has; raises ``ArchiveError``."""
        status, answer = await self._exchange("GET", url, None, {})
        if status != 200:
            raise self._refusal(status, {})
        return answer

    async def _exchange(
        self, method: str, url: str, form: dict[str, str] | None, more: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **more}
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                status, body = await self._send(method, url, form, headers)
        except TimeoutError:
            raise ArchiveUnavailableError(
                f"{self.name} did not answer in time: try again later."
            ) from None
        return status, _object(body)

    async def _send(
        self,
        method: str,
        url: str,
        form: dict[str, str] | None,
        headers: dict[str, str],
    ) -> tuple[int, bytes]:
        """Status and body; a redirect is an answer like any other."""
        transport = PinnedTransport(self.outgoing, self._context(url), connections=1)
        with translated_errors(self.name):
            async with (
                httpx2.AsyncClient(
                    transport=transport,
                    trust_env=False,
                    follow_redirects=False,
                    headers={"User-Agent": "ViewerHub"},
                    timeout=httpx2.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS),
                ) as client,
                client.stream(method, url, data=form, headers=headers) as answer,
            ):
                body = b""
                async for piece in answer.aiter_raw():
                    body += piece
                    if len(body) > MAXIMUM_BYTES:
                        break
                return answer.status_code, body

    def _context(self, url: str) -> ssl.SSLContext:
        if not url.startswith("https:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody
        try:
            return _context(self.tls.ca_certificates if self.tls else "")
        except (ssl.SSLError, ValueError):
            raise ArchiveRefusedError(
                f"{self.name} can't be trusted: the CA certificates entered can't be read."
            ) from None

    def _refusal(self, status: int, answer: Mapping[str, Any]) -> ArchiveError:
        code = str(answer.get("error", ""))
        if status in UNAVAILABLE or status >= 500:
            return ArchiveUnavailableError(
                f"{self.name} is not available: try again in a minute (HTTP {status})."
            )
        if code == "invalid_client" or (status == 401 and code not in _MEANINGS):
            words = _MEANINGS["invalid_client"]
            return RefusedClientError(f"{self.name} {words} (HTTP {status}).")
        words = _MEANINGS.get(
            code, "gives no token: check its address and the settings"
        )
        kind = EndedGrantError if code == "invalid_grant" else ArchiveRefusedError
        return kind(f"{self.name} {words} (HTTP {status}).")

    def _grant(self, answer: Mapping[str, Any]) -> Grant:
        token = answer.get("access_token")
        kind = str(answer.get("token_type") or "Bearer")
        is_token = isinstance(token, str) and token.isascii() and token.isprintable()
        if not token or not is_token or kind.lower() != "bearer":
            raise ArchiveResponseError(
                f"{self.name} answers, but not with a token: check its address."
            )
        try:
            seconds = float(answer.get("expires_in", UNTOLD_SECONDS))
        except (TypeError, ValueError, OverflowError):
            seconds = UNTOLD_SECONDS
        refresh_token = answer.get("refresh_token")
        return Grant(
            str(token),
            # Not a number is neither, and becomes the shortest.
            max(1.0, min(seconds, LONGEST_SECONDS)),
            refresh_token if isinstance(refresh_token, str) else "",
        )


@lru_cache(maxsize=32)
def _context(ca_certificates: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_certificates:
        context.load_verify_locations(cadata=ca_certificates)
    return context


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object of an answer; empty if it is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}
