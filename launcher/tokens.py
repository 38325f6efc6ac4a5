"""Tokens of launches and API clients: 256 random bits, kept only as SHA-256."""

from __future__ import annotations

import base64
import hashlib
import hmac


def digest(token: str) -> str:
    """What the database keeps of a token: SHA-256, hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def image_token(manifest_token: str) -> str:
    """The token that opens the images of a manifest, stored nowhere.

    It can be had from the manifest token but not the other way round, so a viewer's
    image requests never reveal the manifest's address.
    """
    mac = hmac.new(manifest_token.encode(), b"viewerhub images", hashlib.sha256)
    return base64.urlsafe_b64encode(mac.digest()).decode().rstrip("=")
