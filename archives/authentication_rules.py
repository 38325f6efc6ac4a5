"""What the settings of a kind of authentication must be: field -> what to do about it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from archives.clients.base import HttpAuthentication
from archives.custom_headers import headers_problem
from archives.identity_providers import provider_ids

if TYPE_CHECKING:
    from archives.models import Archive

_NEEDED: Final[dict[str, dict[str, str | Promise]]] = {
    HttpAuthentication.BASIC: {
        "username": _("Basic authentication needs a user name.")
    },
    HttpAuthentication.BEARER: {
        "bearer_token": _("Bearer authentication needs a token.")
    },
    HttpAuthentication.OAUTH2: {
        "token_url": _("OAuth2 needs the address of the token server."),
        "client_id": _("OAuth2 needs a client ID."),
        "client_secret": _("OAuth2 needs a client secret."),
    },
    HttpAuthentication.GOOGLE: {
        "service_account_key": _("A service account needs its JSON key.")
    },
    HttpAuthentication.AWS: {
        "aws_region": _("Signed requests need the region of the data store."),
        "aws_access_key_id": _("Signed requests need an access key ID."),
        "aws_secret_access_key": _("Signed requests need a secret access key."),
    },
    HttpAuthentication.HEADERS: {
        "custom_headers": _("Enter at least one header, as X-Api-Key: value.")
    },
}
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-\d+")
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_]+")


def authentication_problems(archive: Archive) -> dict[str, str]:
    kind = archive.authentication
    needed = _NEEDED.get(kind, {})
    found = {
        field: str(text)
        for field, text in needed.items()
        if not getattr(archive, field)
    }
    match kind:
        case HttpAuthentication.OAUTH2:
            more = _oauth2_problems(archive)
        case HttpAuthentication.GOOGLE:
            more = {"service_account_key": _key_problem(archive.service_account_key)}
        case HttpAuthentication.AWS:
            more = _aws_problems(archive)
        case HttpAuthentication.HEADERS:
            more = {"custom_headers": headers_problem(archive.custom_headers)}
        case HttpAuthentication.USER:
            more = _provider_problems(archive.login_provider)
        case _:
            more = {}
    return {field: text for field, text in more.items() if text} | found


def _oauth2_problems(archive: Archive) -> dict[str, str]:
    found: dict[str, str] = {}
    if "#" in archive.token_url:
        found |= {"token_url": gettext("Leave out everything from # on.")}
    for field in ("token_scope", "token_audience"):
        if not getattr(archive, field).isprintable():
            found[field] = gettext("Enter it in one line, without control characters.")
    return found


def _provider_problems(chosen: str) -> dict[str, str]:
    known = provider_ids()
    if not known:
        return {
            "login_provider": gettext(
                "Nobody can sign in by OpenID Connect yet: let the hub's operator set "
                "VIEWERHUB_OIDC_PROVIDERS, or choose another kind."
            )
        }
    if chosen and chosen not in known:
        text = gettext("There is none of this name: %(names)s.")
        return {"login_provider": text % {"names": ", ".join(known)}}
    if not chosen and len(known) > 1:
        text = gettext("Choose one of them: %(names)s.")
        return {"login_provider": text % {"names": ", ".join(known)}}
    return {}


def _key_problem(text: str) -> str:
    """Of a service account's key; never quotes it."""
    if not text:
        return ""
    try:
        key: Any = json.loads(text)
        fields = [key[name] for name in ("client_email", "token_uri", "private_key")]
        if key["type"] != "service_account" or not all(map(_is_text, fields)):
            raise ValueError
        if urlsplit(fields[1]).scheme not in ("http", "https"):
            raise ValueError
        load_pem_private_key(fields[2].encode(), password=None)
    except (ValueError, TypeError, KeyError, RecursionError):
        return gettext(
            "This is not the JSON key of a service account: paste the whole file."
        )
    return ""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _aws_problems(archive: Archive) -> dict[str, str]:
    found = {}
    if archive.aws_region and not _REGION.fullmatch(archive.aws_region):
        found["aws_region"] = gettext("A region is written as us-east-1.")
    if archive.aws_access_key_id and not _KEY_ID.fullmatch(archive.aws_access_key_id):
        found["aws_access_key_id"] = gettext(
            "An access key ID has letters and digits only."
        )
    token = archive.aws_session_token
    if not (token.isascii() and token.isprintable()):
        found |= {
            "aws_session_token": gettext("A token is one line of plain characters.")
        }
    return found
