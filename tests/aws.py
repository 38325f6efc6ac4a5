"""AWS Signature Version 4 as the service checks it, after its documentation alone.

The service decodes what arrives and encodes it again, so that a signature of characters
as they were sent is wrong wherever they need not be sent like that.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from urllib.parse import quote, unquote

from archives.clients.credentials import AwsKeys
from tests.dicomweb_server import Request

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>[^,]+), ?"
    r"SignedHeaders=(?P<names>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


def is_signed(request: Request, keys: AwsKeys) -> bool:
    """Whether the holder of these keys signed the request for this service."""
    sent = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    moment = request.headers.get("x-amz-date", "")
    scope = f"{moment[:8]}/{keys.region}/{keys.service}/aws4_request"
    if not sent or sent["key"] != keys.access_key_id or sent["scope"] != scope:
        return False
    names = sent["names"].split(";")
    token = request.headers.get("x-amz-security-token", "")
    is_complete = {"host", "x-amz-date"} <= set(names) and token == keys.session_token
    return is_complete and sent["signature"] == signature(request, keys, names)


def signature(request: Request, keys: AwsKeys, names: list[str]) -> str:
    """Of a GET request with these signed headers."""
    moment = request.headers["x-amz-date"]
    scope = [moment[:8], keys.region, keys.service, "aws4_request"]
    canonical = "\n".join(
        (
            "GET",
            "/".join(_encoded(each) for each in request.raw_path.split("/")),
            _canonical_query(request.query),
            *(f"{name}:{request.headers[name].strip()}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(b"").hexdigest(),
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", moment, "/".join(scope), digest))
    key = f"AWS4{keys.secret_access_key}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _canonical_query(query: str) -> str:
    pairs = (part.partition("=")[::2] for part in query.split("&") if part)
    decoded = ((unquote(name), unquote(value)) for name, value in pairs)
    return "&".join(
        f"{name}={value}"
        for name, value in sorted(
            (_encoded(name), _encoded(value)) for name, value in decoded
        )
    )


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")
