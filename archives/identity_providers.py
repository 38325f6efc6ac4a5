"""The identity providers that users log in by, as the settings of allauth name them."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings

from archives.clients.credentials import IdentityProvider

_DISCOVERY: Final = "/.well-known/openid-configuration"


def provider_ids() -> list[str]:
    return [_id_of(app) for app in _apps()]


def identity_provider(provider_id: str) -> IdentityProvider | None:
    """The provider of this ``provider_id``; the only one, if that is empty."""
    apps = _apps()
    if not provider_id and len(apps) > 1:
        return None
    for app in apps:
        if not provider_id or _id_of(app) == provider_id:
            return _provider(app)
    return None


def _apps() -> list[dict[str, Any]]:
    providers: dict[str, Any] = settings.SOCIALACCOUNT_PROVIDERS
    return list(providers.get("openid_connect", {}).get("APPS", []))


def _id_of(app: dict[str, Any]) -> str:
    return str(app.get("provider_id", ""))


def _provider(app: dict[str, Any]) -> IdentityProvider:
    more = app.get("settings", {})
    url = str(more.get("server_url", ""))
    overrides = more.get("openid_configuration_overrides", {})
    return IdentityProvider(
        provider_id=_id_of(app),
        name=str(app.get("name", "")),
        # As allauth finds it.
        configuration_url=url if "/.well-known/" in url else url + _DISCOVERY,
        client_id=str(app.get("client_id", "")),
        client_secret=str(app.get("secret", "")),
        token_url=str(overrides.get("token_endpoint", "")),
        token_auth_method=str(more.get("token_auth_method") or ""),
    )
