"""How the hub proves to a DICOMweb archive who it is: the fields, by kind."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.models import AnonymousUser, User
from django.db import models
from django.utils.translation import gettext_lazy as _

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
    NONE = HttpAuthentication.NONE.value, _("None")
    BASIC = HttpAuthentication.BASIC.value, _("User name and password (Basic)")
    BEARER = HttpAuthentication.BEARER.value, _("Bearer token that does not change")
    OAUTH2 = HttpAuthentication.OAUTH2.value, _("OAuth2 client credentials")
    GOOGLE = HttpAuthentication.GOOGLE.value, _("Google service account")
    AWS = HttpAuthentication.AWS.value, _("AWS access keys (SigV4)")
    HEADERS = HttpAuthentication.HEADERS.value, _("Headers of your own")
    USER = HttpAuthentication.USER.value, _("The user's own login (OpenID Connect)")


class AuthenticationFields(models.Model):
    """Settings of each kind; those of the kinds that are not chosen are empty."""

    authentication = models.CharField(
        _("authentication"),
        max_length=8,
        choices=Authentication,
        default=Authentication.NONE,
        help_text=_("How the hub proves to the archive who it is."),
    )
    username = models.CharField(
        _("user name"),
        max_length=255,
        blank=True,
        help_text=_("The hub's own account at the archive."),
    )
    password = EncryptedTextField(
        _("password"),
        blank=True,
        help_text=_("It is stored encrypted, and never shown again."),
    )
    bearer_token = EncryptedTextField(
        _("bearer token"),
        blank=True,
        help_text=_(
            "The hub sends it with every request. It is stored encrypted, and never "
            "shown again."
        ),
    )

    token_url = models.CharField(
        _("token address"),
        max_length=500,
        blank=True,
        validators=[validate_base_url],
        help_text=_(
            "The address of the token server, such as "
            "https://login.example.org/realms/hospital/protocol/openid-connect/token."
        ),
    )
    client_id = models.CharField(
        _("client ID"),
        max_length=255,
        blank=True,
        help_text=_("What the token server calls the hub."),
    )
    client_secret = EncryptedTextField(
        _("client secret"),
        blank=True,
        help_text=_("It is stored encrypted, and never shown again."),
    )
    token_scope = models.CharField(
        _("scope"),
        max_length=500,
        blank=True,
        help_text=_(
            "What the archive's vendor says. Several have spaces between them."
        ),
    )
    token_audience = models.CharField(
        _("audience"),
        max_length=500,
        blank=True,
        help_text=_("Only some token servers ask for one, as Auth0 does."),
    )
    service_account_key = EncryptedTextField(
        _("service account key"),
        blank=True,
        help_text=_(
            "The whole JSON file that Google made for the service account. It is "
            "stored encrypted."
        ),
    )
    aws_region = models.CharField(
        _("AWS region"),
        max_length=40,
        blank=True,
        help_text=_("The region of the data store, such as us-east-1."),
    )
    aws_access_key_id = models.CharField(
        _("access key ID"),
        max_length=128,
        blank=True,
        help_text=_("The access key of an AWS account that may read the data store."),
    )
    aws_secret_access_key = EncryptedTextField(
        _("secret access key"),
        blank=True,
        help_text=_("It is stored encrypted, and never shown again."),
    )
    aws_session_token = EncryptedTextField(
        _("session token"),
        blank=True,
        help_text=_("Only temporary keys have one. They stop working when it expires."),
    )
    custom_headers = EncryptedTextField(
        _("headers"),
        blank=True,
        help_text=_(
            "Write one in each line, as X-Api-Key: value. They go with every request."
        ),
    )
    login_provider = models.CharField(
        _("identity provider"),
        max_length=64,
        blank=True,
        help_text=_(
            "The provider_id in VIEWERHUB_OIDC_PROVIDERS. It may stay blank if there "
            "is one only."
        ),
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
