"""What the hub proves who it is with, to a DICOMweb archive: one class for each kind.

Nothing secret is in a ``repr``. Values are compared and hashed: whoever has the same
credentials shares connections and tokens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Protocol

from archives.errors import ArchiveRefusedError

GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-healthcare"


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicCredentials:
    """RFC 7617."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerToken:
    """A token that somebody else renews (RFC 6750)."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """Tokens of an OAuth2 server (RFC 6749 4.4).

    ``audience`` is what Auth0 and others want beside a scope; both may be empty.
    """

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""
    audience: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountKey:
    """Tokens for the JSON key of a Google service account (RFC 7523)."""

    key: str = field(repr=False)
    scope: str = GOOGLE_SCOPE


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsKeys:
    """Requests signed with AWS Signature Version 4; a session token if it is temporary."""

    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    service: str = "medical-imaging"


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomHeaders:
    """Header fields that go with each request, as (name, value)."""

    headers: tuple[tuple[str, str], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProvider:
    """The hub as a client of an OpenID provider.

    ``configuration_url`` is where its discovery document is. ``token_url`` and
    ``token_auth_method`` (``client_secret_basic`` or ``client_secret_post``) take the
    place of what that says, where they are given.
    """

    provider_id: str
    name: str
    configuration_url: str
    client_id: str
    client_secret: str = field(repr=False)
    token_url: str = ""
    token_auth_method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserToken:
    """The access token of a user of the hub, whoever that is at the moment.

    Two users are never equal, so that they share neither connections nor tokens.
    """

    user: str
    provider: IdentityProvider
    logins: UserLogins = field(compare=False, repr=False)


Credentials = (
    BasicCredentials
    | BearerToken
    | ClientCredentials
    | ServiceAccountKey
    | AwsKeys
    | CustomHeaders
    | UserToken
)


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, and for how many seconds from the question on it is good.

    ``refresh_token`` is for asking for the next one (RFC 6749 6), where there is one.
    """

    token: str = field(repr=False)
    seconds: float
    refresh_token: str = field(default="", repr=False)


class LoginOverError(ArchiveRefusedError):
    """A user has no login at the identity provider, or none that can be renewed."""

    def __init__(self) -> None:
        super().__init__("The login at the identity provider is over: sign in again.")


class UserLogins(Protocol):
    """Where the hub keeps what it got from identity providers."""

    async def current(
        self,
        credentials: UserToken,
        refused: str,
        renew: Callable[[str], Awaitable[Grant]],
    ) -> Grant:
        """The user's access token: another one than ``refused``, if that can be had.

        Where it has to be renewed, one process at a time calls ``renew`` with the
        refresh token. Raises ``LoginOverError``, and what that raises.
        """
        ...


class TokenStore(Hashable, Protocol):
    """Where the processes of a hub share the tokens of token servers."""

    async def newer_than(
        self,
        old: str,
        credentials: ClientCredentials | ServiceAccountKey,
        fetch: Callable[[], Awaitable[Grant]],
    ) -> Grant:
        """A token for these credentials that is not ``old``.

        What another process left, or else what ``fetch`` gives, which only one process
        calls at a time. Raises what that raises.
        """
        ...
