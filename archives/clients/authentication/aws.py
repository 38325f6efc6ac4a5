"""Requests signed with AWS Signature Version 4, by botocore."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from archives.clients.credentials import AwsKeys
from archives.errors import ArchiveRefusedError

# Its debug lines quote what is signed, session tokens included.
logging.getLogger("botocore").setLevel(logging.WARNING)


def fully_escaped(url: str) -> str:
    """The same address with only unreserved characters (RFC 3986 2.3) in its query.

    AWS checks the signature of that, whatever was sent.
    """
    address, separator, query = url.partition("?")
    parts = re.split("([&=])", query)
    return (
        address
        + separator
        + "".join(
            part if part in ("&", "=") else quote(unquote_to_bytes(part), safe="-_.~")
            for part in parts
        )
    )


class AwsAuthorizer:
    def __init__(self, keys: AwsKeys, archive_name: str) -> None:
        texts = (keys.access_key_id, keys.region, keys.service, keys.session_token)
        if not all(text.isascii() and text.isprintable() for text in texts):
            raise ArchiveRefusedError(
                f"The AWS keys entered for {archive_name} are none: enter them again."
            )
        self._keys = keys
        self._signer: Any = None

    async def headers(self, url: str) -> Mapping[str, str]:
        if self._signer is None:  # importing botocore takes its time
            self._signer = await asyncio.to_thread(_signer, self._keys)
        return _signed(self._signer, url)

    async def renew(self, refused: Mapping[str, str]) -> bool:
        return False


def _signer(keys: AwsKeys) -> Any:
    from botocore.auth import SigV4Auth
    from botocore.credentials import Credentials

    credentials = Credentials(
        keys.access_key_id, keys.secret_access_key, keys.session_token or None
    )
    return SigV4Auth(credentials, keys.service, keys.region)


def _signed(signer: Any, url: str) -> dict[str, str]:
    """The headers of a GET request to ``url``, which must go out as it is given."""
    from botocore.awsrequest import AWSRequest

    request = AWSRequest("GET", url)
    signer.add_auth(request)
    return {str(name): str(value) for name, value in request.headers.items()}
