"""Credentials that are the same in every request: Basic, a bearer token, headers."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from archives.clients.base import DicomWebEndpoint
from archives.clients.credentials import BasicCredentials, BearerToken, CustomHeaders
from archives.errors import ArchiveRefusedError


class FixedAuthorizer:
    def __init__(self, endpoint: DicomWebEndpoint) -> None:
        self._headers = _headers(endpoint)
        if not all(value.isascii() and value.isprintable() for value in self._values()):
            what = (
                "A header"
                if isinstance(endpoint.credentials, CustomHeaders)
                else "The token"
            )
            raise ArchiveRefusedError(
                f"{what} entered for {endpoint.name} is not one: enter it again."
            )

    async def headers(self, url: str) -> Mapping[str, str]:
        return self._headers

    async def renew(self, refused: Mapping[str, str]) -> bool:
        return False

    def _values(self) -> list[str]:
        return [text for pair in self._headers.items() for text in pair]


def _headers(endpoint: DicomWebEndpoint) -> dict[str, str]:
    match endpoint.credentials:
        case BasicCredentials(username=username, password=password):
            return {"Authorization": basic(username, password)}
        case BearerToken(token=token):
            return {"Authorization": f"Bearer {token}"}
        case CustomHeaders(headers=headers):
            return dict(headers)
    return {}


def basic(username: str, password: str) -> str:
    """The value of an Authorization header (RFC 7617), in UTF-8."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"
