"""Proving to a DICOMweb archive who asks: ``authorizer_of(endpoint)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from archives.clients.base import DicomWebEndpoint
from archives.clients.credentials import (
    AwsKeys,
    ClientCredentials,
    ServiceAccountKey,
    UserToken,
)


class Authorizer(Protocol):
    """Header fields for requests to one archive."""

    async def headers(self, url: str) -> Mapping[str, str]:
        """What goes with a GET request to this address; raises ``ArchiveError``."""
        ...

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """After HTTP 401 for these headers: whether there are others to try, once."""
        ...


def authorizer_of(endpoint: DicomWebEndpoint) -> Authorizer:
    """Raises ``ArchiveRefusedError`` where what was entered can't be sent at all."""
    # Imported when first used: libraries of cloud services take their time.
    match endpoint.credentials:
        case ClientCredentials() | ServiceAccountKey():
            from archives.clients.authentication.tokens import TokenAuthorizer

            return TokenAuthorizer(endpoint)
        case UserToken(provider=provider):
            from archives.clients.authentication.user_login import UserAuthorizer

            return UserAuthorizer(endpoint, provider)
        case AwsKeys() as keys:
            from archives.clients.authentication.aws import AwsAuthorizer

            return AwsAuthorizer(keys, endpoint.name)
    from archives.clients.authentication.fixed import FixedAuthorizer

    return FixedAuthorizer(endpoint)
