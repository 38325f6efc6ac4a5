"""Who gets an account, and what is kept of a login by an identity provider."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from allauth.account.adapter import DefaultAccountAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from cryptography.fernet import InvalidToken
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone

from archives.authentication import Authentication
from archives.fields import key_ring
from archives.models import Archive
from archives.user_logins import UserLogin, keep

# Where a login carries its tokens until it is complete, encrypted: allauth may keep it
# in the session meanwhile, while a second factor is asked for, say.
_SEALED: Final = "viewerhub_tokens"


def sends_mail() -> bool:
    """Whether the hub has a mail server, which a link to a new password comes by."""
    return not settings.EMAIL_BACKEND.endswith("dummy.EmailBackend")


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Local accounts are made by administrators only."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Those whom the hospital's identity provider lets in get one at their first login."""

    def is_open_for_signup(
        self, request: HttpRequest, sociallogin: SocialLogin
    ) -> bool:
        return bool(settings.VIEWERHUB_OIDC_CREATE_USERS)

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Take the tokens out of allauth's hands, before anything is stored."""
        token, sociallogin.token = sociallogin.token, None
        archives = Archive.objects.filter(authentication=Authentication.USER)
        if token is None or not archives.exists():
            return
        expires = token.expires_at.isoformat() if token.expires_at else ""
        values = [token.token, token.token_secret, expires]
        sealed = key_ring().encrypt(json.dumps(values).encode()).decode()
        sociallogin.state = {**sociallogin.state, _SEALED: sealed}
        if sociallogin.is_existing and sociallogin.user == request.user:
            keep_tokens(sociallogin)  # connected again: nobody logs in


def keep_tokens(sociallogin: SocialLogin | None, **_: Any) -> None:
    """Store what a login brought, now that it is complete."""
    sealed = sociallogin.state.get(_SEALED) if sociallogin else None
    if sociallogin is None or not sealed:
        return
    try:
        access_token, refresh_token, expires = json.loads(key_ring().decrypt(sealed))
    except InvalidToken:  # the keys changed since
        return
    keep(
        sociallogin.user,
        sociallogin.account.provider,
        access_token=access_token,
        refresh_token=refresh_token,
        expires=datetime.fromisoformat(expires) if expires else None,
    )


def keep_tokens_of_login(sociallogin: SocialLogin | None = None, **_: Any) -> None:
    """For ``user_logged_in``, which has a social login or none."""
    keep_tokens(sociallogin)


def end_session(user: User | None, **_: Any) -> None:
    """From the logout on, tokens are kept for launches that are open only."""
    if user is not None:
        UserLogin.objects.filter(user=user).update(session_ends=timezone.now())


def forget_tokens(socialaccount: SocialAccount, **_: Any) -> None:
    """A user has nothing to do with a provider any more."""
    UserLogin.objects.filter(
        user=socialaccount.user_id, provider=socialaccount.provider
    ).delete()
