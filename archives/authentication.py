"""How the hub proves to a DICOMweb archive who it is: the fields, by kind."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.models import AnonymousUser, User
from django.db import models

from archives.clients.base import HttpAuthentication
from archives.clients.credentials import (
    AwsKeys,
    BasicCredentials,
    BearerToken,
    ClientCredentials,
    Credentials,
    CustomHeaders,
    ServiceAccountKey,
    UserToken,
)
from archives.custom_headers import parse_headers
from archives.fields import EncryptedTextField
from archives.identity_providers import identity_provider
from archives.user_logins import STORED_LOGINS
from archives.validators import validate_base_url

AnyUser = User | AnonymousUser | None

# The fields of each kind, in the order they are asked for.
FIELDS_OF: Final[dict[str, tuple[str, ...]]] = {
    HttpAuthentication.NONE: (),
    HttpAuthentication.BASIC: ("username", "password"),
    HttpAuthentication.BEARER: ("bearer_token",),
    HttpAuthentication.OAUTH2: (
        "token_url",
        "client_id",
        "client_secret",
        "token_scope",
        "token_audience",
    ),
    HttpAuthentication.GOOGLE: ("service_account_key",),
    HttpAuthentication.AWS: (
        "aws_region",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
    ),
    HttpAuthentication.HEADERS: ("custom_headers",),
    HttpAuthentication.USER: ("login_provider",),
}
AUTHENTICATION_FIELDS: Final = tuple(
    name for names in FIELDS_OF.values() for name in names
)
AUTHENTICATION_SECRETS: Final = (
    "password",
    "bearer_token",
    "client_secret",
    "service_account_key",
    "aws_secret_access_key",
    "aws_session_token",
    "custom_headers",
)


class LoginNeededError(Exception):
    """Nobody is asking whose login could be used, or there is no provider of logins."""

    def __init__(self, *, is_configured: bool) -> None:
        super().__init__()
        self.is_configured = is_configured


class Authentication(models.TextChoices):
    NONE = HttpAuthentication.NONE.value, "None"
    BASIC = HttpAuthentication.BASIC.value, "User name and password (Basic)"
    BEARER = HttpAuthentication.BEARER.value, "Bearer token that does not change"
    OAUTH2 = HttpAuthentication.OAUTH2.value, "OAuth2 client credentials"
    GOOGLE = HttpAuthentication.GOOGLE.value, "Google service account"
    AWS = HttpAuthentication.AWS.value, "AWS access keys (SigV4)"
    HEADERS = HttpAuthentication.HEADERS.value, "Headers of your own"
    USER = HttpAuthentication.USER.value, "The user's own login (OpenID Connect)"


class AuthenticationFields(models.Model):
    """Settings of each kind; those of the kinds that are not chosen are empty."""

    authentication = models.CharField(
        max_length=8, choices=Authentication, default=Authentication.NONE
    )
    username = models.CharField("user name", max_length=255, blank=True)
    password = EncryptedTextField(blank=True)
    bearer_token = EncryptedTextField(blank=True)

    token_url = models.CharField(
        "token address",
        max_length=500,
        blank=True,
        validators=[validate_base_url],
        help_text="Of the token server, such as "
        "https://login.example.org/realms/hospital/protocol/openid-connect/token.",
    )
    client_id = models.CharField("client ID", max_length=255, blank=True)
    client_secret = EncryptedTextField("client secret", blank=True)
    token_scope = models.CharField(
        "scope",
        max_length=500,
        blank=True,
        help_text="As the archive's vendor says; several with spaces between them.",
    )
    token_audience = models.CharField(
        "audience",
        max_length=500,
        blank=True,
        help_text="Only where the token server asks for one, as Auth0 does.",
    )
    service_account_key = EncryptedTextField(
        "service account key",
        blank=True,
        help_text="The whole JSON file that Google made for the service account.",
    )
    aws_region = models.CharField(
        "AWS region", max_length=40, blank=True, help_text="Such as us-east-1."
    )
    aws_access_key_id = models.CharField("access key ID", max_length=128, blank=True)
    aws_secret_access_key = EncryptedTextField("secret access key", blank=True)
    aws_session_token = EncryptedTextField(
        "session token",
        blank=True,
        help_text="Only with temporary keys, which stop working when it expires.",
    )
    custom_headers = EncryptedTextField(
        "headers",
        blank=True,
        help_text="One in each line, as X-Api-Key: value. They go with every request.",
    )
    login_provider = models.CharField(
        "identity provider",
        max_length=64,
        blank=True,
        help_text="The provider_id in VIEWERHUB_OIDC_PROVIDERS; blank if there is one "
        "only.",
    )

    class Meta:
        abstract = True

    def unused_authentication_fields(self) -> list[str]:
        """The fields of all kinds but the chosen one."""
        used = FIELDS_OF.get(self.authentication, ())
        return [name for name in AUTHENTICATION_FIELDS if name not in used]

    def credentials(self, user: AnyUser = None) -> Credentials | None:
        """What a client sends, for a user where that matters.

        Raises ``SecretUnreadableError`` for a lost secret, and ``LoginNeededError``.
        """
        if self.authentication == HttpAuthentication.USER:
            return _user_token(self, user)
        make = _MAKERS.get(self.authentication)
        return make(self) if make else None


def _user_token(fields: AuthenticationFields, user: AnyUser) -> UserToken:
    provider = identity_provider(fields.login_provider)
    if provider is None or user is None or not user.is_active:
        raise LoginNeededError(is_configured=provider is not None)
    return UserToken(user=str(user.pk), provider=provider, logins=STORED_LOGINS)


def _oauth2(fields: AuthenticationFields) -> ClientCredentials:
    return ClientCredentials(
        token_url=fields.token_url,
        client_id=fields.client_id,
        client_secret=fields.client_secret,
        scope=fields.token_scope,
        audience=fields.token_audience,
    )


def _aws(fields: AuthenticationFields) -> AwsKeys:
    return AwsKeys(
        region=fields.aws_region,
        access_key_id=fields.aws_access_key_id,
        secret_access_key=fields.aws_secret_access_key,
        session_token=fields.aws_session_token,
    )


_MAKERS: Final[dict[str, Any]] = {
    HttpAuthentication.BASIC: lambda fields: BasicCredentials(
        username=fields.username, password=fields.password
    ),
    HttpAuthentication.BEARER: lambda fields: BearerToken(token=fields.bearer_token),
    HttpAuthentication.OAUTH2: _oauth2,
    HttpAuthentication.GOOGLE: lambda fields: ServiceAccountKey(
        key=fields.service_account_key
    ),
    HttpAuthentication.AWS: _aws,
    HttpAuthentication.HEADERS: lambda fields: CustomHeaders(
        headers=parse_headers(fields.custom_headers)
    ),
}
