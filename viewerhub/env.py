"""Reading the environment: values may come from files, secrets must exist in production.

Where ``NAME_FILE`` is set, the value of ``NAME`` is what that file holds.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping


class _Environment(FileAwareMapping):  # type: ignore[misc]
    def __getitem__(self, name: str) -> str:
        try:
            return str(super().__getitem__(name)).strip()  # files end with a line feed
        except OSError as error:
            raise ImproperlyConfigured(
                f"{name}_FILE names a file that can't be read: {error.strerror}."
            ) from error


class _Env(environ.Env):  # type: ignore[misc]
    ENVIRON = _Environment()


env = _Env()
_HTTPS_ORIGIN = re.compile(r"https://[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?")
_HOST_NAME = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*\.?")


def text(name: str, default: str = "") -> str:
    """The value as it is: ``env.str`` takes one that begins with $ for a reference."""
    return str(_Env.ENVIRON.get(name) or default)


def networks(name: str, default: str = "") -> list[str]:
    """IP addresses and CIDR ranges, separated by commas."""
    ranges = [part.strip() for part in text(name, default).split(",") if part.strip()]
    for part in ranges:
        try:
            ip_network(part, strict=False)
        except ValueError as error:
            raise ImproperlyConfigured(
                f"{name} takes IP addresses and ranges such as 10.1.0.0/16, "
                f"separated by commas, and “{part}” is none."
            ) from error
    return ranges


def hosts_and_networks(name: str) -> list[str]:
    """IP addresses, CIDR ranges and host names (``*.`` for all below a domain)."""
    entries = [part.strip() for part in text(name).split(",") if part.strip()]
    for part in entries:
        try:
            ip_network(part, strict=False)
        except ValueError as error:
            if _looks_like_address(part) or not _HOST_NAME.fullmatch(part):
                raise ImproperlyConfigured(
                    f"{name} takes IP addresses, ranges such as 10.1.0.0/16 and host "
                    "names such as pacs.example.org or *.example.org, separated by "
                    f"commas, and “{part}” is none."
                ) from error
    return entries


def _looks_like_address(part: str) -> bool:
    return not set(part) - set("0123456789.")


def origin_of(url: str) -> str:
    """Scheme, host and port of an http(s) address; empty if it has none."""
    parts = urlsplit(url)
    is_web = parts.scheme in {"http", "https"} and parts.hostname
    return f"{parts.scheme}://{parts.netloc}" if is_web else ""


def https_origins(name: str) -> list[str]:
    """Origins of pages, as browsers name them, separated by commas."""
    origins = [part.strip() for part in text(name).split(",") if part.strip()]
    for origin in origins:
        if not _HTTPS_ORIGIN.fullmatch(origin):
            raise ImproperlyConfigured(
                f"{name} takes origins such as https://ohif.example.org, in small "
                "letters, without a path and separated by commas, and "
                f"“{origin}” is none."
            )
    return origins


def identity_providers(name: str) -> list[dict[str, Any]]:
    """The apps of allauth's OpenID Connect provider, as a JSON list."""
    try:
        providers = json.loads(text(name, "[]"))
        usable = [one for one in providers if origin_of(one["settings"]["server_url"])]
    except (ValueError, TypeError, KeyError, AttributeError):
        usable = []
        providers = None
    if usable != providers:
        raise ImproperlyConfigured(
            f"{name} takes a JSON list of providers, each with provider_id, name, "
            "client_id, secret and the server_url in its settings: docs/security.md."
        )
    return usable


def require(*names: str) -> None:
    """Raise ``ImproperlyConfigured`` naming every variable without a value."""
    missing = [name for name in names if not text(name)]
    if missing:
        raise ImproperlyConfigured(
            "ViewerHub is in production mode (VIEWERHUB_PRODUCTION) and needs "
            f"{', '.join(missing)}. Set each one, or its name followed by _FILE to the "
            "path of a file that holds the value."
        )


def generated_secret(path: Path, *, size: int = 48) -> str:
    """The secret kept in a file, made at the first call from ``size`` random bytes.

    For use outside production.
    """
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(size))
    try:
        os.link(draft, path)  # fails if another process was first: its value counts
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()
