"""Options of ``add_archive`` for how the hub logs in to a DICOMweb archive.

Secrets come from an environment variable, standard input or a file: other users of the
machine see command lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from archives.authentication import Authentication
from archives.presets import PRESETS

PASSWORD_VARIABLE: Final = "VIEWERHUB_ARCHIVE_PASSWORD"  # noqa: S105

EXPLANATION: Final = f"""\
The password of --basic may follow the user name after a colon. Other users of the machine
can see command lines, so better give only the user name, and the password in the
environment variable {PASSWORD_VARIABLE} or, with --password-stdin, on standard input.
The token of --bearer, the client secret of --oauth2 and the secret access key of --aws
come from there in any case."""

# Which option a field of the model comes from, for errors.
OPTIONS: Final = {
    "authentication": "--basic",
    "username": "--basic",
    "password": "--basic",
    "bearer_token": "--bearer",
    "token_url": "--oauth2",
    "client_id": "--client-id",
    "client_secret": "--oauth2",
    "token_scope": "--scope",
    "token_audience": "--audience",
    "service_account_key": "--google-key",
    "aws_region": "--aws",
    "aws_access_key_id": "--access-key-id",
    "aws_secret_access_key": "--aws",
    "custom_headers": "--headers",
    "login_provider": "--user-login",
}
_KINDS: Final = (
    "basic",
    "bearer",
    "oauth2",
    "google_key",
    "aws",
    "headers",
    "user_login",
)
_SECRETS: Final = {
    "basic": "password",
    "bearer": "token",
    "oauth2": "client secret",
    "aws": "secret access key",
}


def add_login_options(parser: CommandParser) -> None:
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--basic", metavar="USER[:PASSWORD]", help="Basic authentication, see below"
    )
    kinds.add_argument(
        "--bearer", action="store_true", help="a bearer token, see below"
    )
    kinds.add_argument(
        "--oauth2",
        metavar="TOKEN_URL",
        help="OAuth2 client credentials, with --client-id; see below",
    )
    kinds.add_argument(
        "--google-key", metavar="FILE", help="the JSON key of a Google service account"
    )
    kinds.add_argument(
        "--aws",
        metavar="REGION",
        help="AWS access keys, with --access-key-id; see below",
    )
    kinds.add_argument(
        "--headers", metavar="FILE", help="headers of your own, one in each line"
    )
    kinds.add_argument(
        "--user-login",
        metavar="PROVIDER",
        nargs="?",
        const="",
        help="the user's own login, by a provider_id of VIEWERHUB_OIDC_PROVIDERS",
    )
    parser.add_argument("--client-id", metavar="ID", help="the client of --oauth2")
    parser.add_argument("--scope", help="for --oauth2; the product's own if not given")
    parser.add_argument(
        "--audience", help="for --oauth2, if its token server wants one"
    )
    parser.add_argument("--access-key-id", metavar="ID", help="the key of --aws")
    parser.add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password or token from standard input",
    )


def chosen_login(options: Mapping[str, Any]) -> str:
    """The option that says how to log in, or ``""``."""
    return next((kind for kind in _KINDS if options[kind] not in (None, False)), "")


def login_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the options give; raises ``CommandError``."""
    makers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "basic": _basic,
        "bearer": _bearer,
        "oauth2": _oauth2,
        "google_key": _google,
        "aws": _aws,
        "headers": _headers,
        "user_login": _user_login,
    }
    kind = chosen_login(options)
    return makers[kind](options) if kind else {}


def _basic(options: Mapping[str, Any]) -> dict[str, Any]:
    username, colon, password = options["basic"].partition(":")
    if options["password_stdin"] or not colon:
        password = _secret("basic", options)
    elif not password:
        raise _no_secret("basic")
    return {
        "authentication": Authentication.BASIC,
        "username": username,
        "password": password,
    }


def _bearer(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "authentication": Authentication.BEARER,
        "bearer_token": _secret("bearer", options),
    }


def _oauth2(options: Mapping[str, Any]) -> dict[str, Any]:
    product = PRESETS.get(options["product"] or "")
    given = {"client_id": options["client_id"], "token_audience": options["audience"]}
    given["token_scope"] = options["scope"] or (product and product.scope) or None
    return {
        "authentication": Authentication.OAUTH2,
        "token_url": options["oauth2"],
        "client_secret": _secret("oauth2", options),
        **{name: value for name, value in given.items() if value is not None},
    }


def _google(options: Mapping[str, Any]) -> dict[str, Any]:
    key = _content("google-key", options["google_key"])
    return {"authentication": Authentication.GOOGLE, "service_account_key": key}


def _aws(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {"aws_access_key_id": options["access_key_id"]}
    return {
        "authentication": Authentication.AWS,
        "aws_region": options["aws"],
        "aws_secret_access_key": _secret("aws", options),
        **{name: value for name, value in given.items() if value is not None},
    }


def _headers(options: Mapping[str, Any]) -> dict[str, Any]:
    lines = _content("headers", options["headers"])
    return {"authentication": Authentication.HEADERS, "custom_headers": lines}


def _user_login(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "authentication": Authentication.USER,
        "login_provider": options["user_login"],
    }


def _content(option: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--{option}: {path} is no text file to read.") from error


def _secret(option: str, options: Mapping[str, Any]) -> str:
    if options["password_stdin"]:
        secret = sys.stdin.readline().rstrip("\r\n")
    else:
        secret = os.environ.get(PASSWORD_VARIABLE, "")
    if not secret:
        raise _no_secret(option)
    return secret


def _no_secret(option: str) -> CommandError:
    return CommandError(
        f"--{option}: there is no {_SECRETS[option]}. Set {PASSWORD_VARIABLE}, or use "
        "--password-stdin."
    )
