"""What the hub got from identity providers for its users: tokens, encrypted, renewed.

Kept only while an archive asks for the user's own login, and as long as the user is
logged in or has launches that are open. See docs/security.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, Self, TypeVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections, models
from django.db.models import Q
from django.utils import timezone
from redis.exceptions import RedisError

from archives.clients.credentials import Grant, LoginOverError, UserToken
from archives.errors import ArchiveUnavailableError
from archives.fields import EncryptedTextField, SecretUnreadableError
from archives.shared_tokens import only_one, redis

Result = TypeVar("Result")
Renew = Callable[[str], Awaitable[Grant]]

# A token is renewed in this last part of its life, which still serves.
EARLY_SHARE: Final = 0.1
EARLY_SECONDS: Final = 60.0
# How long a process goes by what it read: the end of a login reaches it after that.
REREAD_SECONDS: Final = 60.0


class UserLoginQuerySet(models.QuerySet["UserLogin"]):
    def useless(self, now: datetime) -> Self:
        """Those that nobody may use, or could."""
        has_expired = Q(expires__lte=now, refresh_token="")
        return self.filter(Q(user__is_active=False) | has_expired)

    def without_session(self, now: datetime) -> Self:
        """Those that serve launches alone, if there are any."""
        return self.filter(session_ends__lte=now)


class UserLogin(models.Model):
    """A user's tokens of one identity provider."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="provider_logins"
    )
    provider = models.CharField(max_length=64)
    # Not in exports, not even encrypted: another hub has no business with them.
    access_token = EncryptedTextField(serialize=False)
    refresh_token = EncryptedTextField(blank=True, serialize=False)
    issued = models.DateTimeField()
    # Of the access token; null where the provider does not tell.
    expires = models.DateTimeField(null=True)
    session_ends = models.DateTimeField()

    objects = UserLoginQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "provider"], name="one_login_per_provider"
            )
        ]

    def __str__(self) -> str:
        return f"Login of user {self.user_id} by {self.provider}"

    def grant(self, refused: str, now: datetime) -> Grant | None:
        """The access token as it is, unless it is to be renewed and can be."""
        left = (self.expires - now).total_seconds() if self.expires else REREAD_SECONDS
        life = (self.expires - self.issued).total_seconds() if self.expires else 0.0
        early = min(EARLY_SECONDS, EARLY_SHARE * life)
        is_old = left <= early or self.access_token == refused
        if left <= 0 or (is_old and self.refresh_token):
            return None
        return Grant(self.access_token, min(left, REREAD_SECONDS))


def keep(
    user: User,
    provider: str,
    *,
    access_token: str,
    refresh_token: str,
    expires: datetime | None,
) -> None:
    """Remember what a login brought. Providers may leave out a refresh token they gave
    before."""
    now = timezone.now()
    values: dict[str, object] = {
        "access_token": access_token,
        "issued": now,
        "expires": expires,
        "session_ends": now + timedelta(seconds=settings.SESSION_COOKIE_AGE),
    }
    if refresh_token:
        values["refresh_token"] = refresh_token
    UserLogin.objects.update_or_create(user=user, provider=provider, defaults=values)


class StoredLogins:
    """The clients' ``UserLogins``, in the database.

    A refresh token is often good for one use: processes take turns by a lock in Redis,
    so that no transaction stays open while the provider is asked.
    """

    async def current(
        self, credentials: UserToken, refused: str, renew: Renew
    ) -> Grant:
        login = await _in_thread(lambda: _load(credentials))
        if grant := login.grant(refused, timezone.now()):
            return grant
        try:
            async with (
                redis() as connection,
                only_one(connection, f"viewerhub:login:{login.pk}:lock") as is_ours,
            ):
                login = await _in_thread(lambda: _load(credentials))
                if grant := login.grant(refused, timezone.now()):
                    return grant
                if not is_ours:
                    raise ArchiveUnavailableError(
                        "The identity provider did not answer in time: try again later."
                    )
                return await _renewed(login, refused, renew)
        except RedisError:
            raise ArchiveUnavailableError(
                "The hub can't reach its store: try again in a minute."
            ) from None


async def _renewed(login: UserLogin, refused: str, renew: Renew) -> Grant:
    """A new token, kept; the old one while it is good and the provider is not there."""
    asked = timezone.now()
    try:
        if not login.refresh_token:
            raise LoginOverError
        grant = await renew(login.refresh_token)
    except LoginOverError:
        await _in_thread(lambda: _as_read(login).delete())
        raise
    except ArchiveUnavailableError:
        left = (login.expires - asked).total_seconds() if login.expires else 0.0
        if left <= 0 or login.access_token == refused:
            raise
        return Grant(login.access_token, min(left, REREAD_SECONDS))
    values = {
        "access_token": grant.token,
        "issued": asked,
        "expires": asked + timedelta(seconds=grant.seconds),
    }
    if grant.refresh_token:
        values["refresh_token"] = grant.refresh_token
    await _in_thread(lambda: _as_read(login).update(**values))
    return Grant(grant.token, min(grant.seconds, REREAD_SECONDS))


def _as_read(login: UserLogin) -> UserLoginQuerySet:
    """The row, unless a login of the user took its place meanwhile."""
    return UserLogin.objects.filter(pk=login.pk, issued=login.issued)


def _load(credentials: UserToken) -> UserLogin:
    login = UserLogin.objects.filter(
        user=int(credentials.user),
        provider=credentials.provider.provider_id,
        user__is_active=True,
    ).first()
    if login is None:
        raise LoginOverError
    try:
        if login.access_token and login.refresh_token is not None:  # decrypted now
            return login
    except SecretUnreadableError:  # as good as none
        pass
    raise LoginOverError


async def _in_thread(function: Callable[[], Result]) -> Result:
    """Ask the database from whatever event loop."""

    def ask() -> Result:
        try:
            return function()
        finally:
            connections.close_all()

    return await asyncio.to_thread(ask)


STORED_LOGINS: Final = StoredLogins()
