"""Launch links that an external system signs for one use.

What is signed is the link itself, from its path to what stands before ``&sig=``, byte for
byte as it is sent: nothing is sorted, decoded or encoded again. The signature is the
HMAC-SHA256 of that under the client's secret, in lower-case hexadecimal.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

SIGNATURE: Final = "sig"
EXPIRY: Final = "exp"
CLIENT: Final = "client"
NONCE: Final = "nonce"
BODY: Final = "bodySHA256"

_SIGNED = re.compile(r"(?:^|&)sig(?:=|&|$)")
_TAIL = re.compile(r"(?P<query>.+)&sig=(?P<signature>[0-9a-f]{64})")
_FORMATS: Final = {
    CLIENT: (re.compile(r"[A-Za-z0-9_-]{1,40}"), "the short name of an API client"),
    EXPIRY: (re.compile(r"[0-9]{1,12}"), "the second it expires, in Unix time"),
    NONCE: (
        re.compile(r"[A-Za-z0-9_-]{8,64}"),
        "8 to 64 letters and digits that no other link has",
    ),
}
_DIGEST = re.compile(r"[0-9a-f]{64}")


class LinkError(ValueError):
    """A signed link that can't be accepted; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedLink:
    """A link as it claims to be, not verified yet.

    ``expires`` is in Unix time. ``body_sha256`` is empty unless the link is for a POST.
    """

    client: str
    expires: int
    signature: str
    signed_text: str
    body_sha256: str = ""


def is_signed(query: str) -> bool:
    """Whether a query claims to be signed, rightly or not."""
    return bool(_SIGNED.search(query))


def read(path: str, query: str) -> SignedLink:
    """Take a link apart; raises ``LinkError``."""
    match = _TAIL.fullmatch(query)
    if not match or is_signed(match["query"]):
        raise LinkError(
            "A signed link ends with &sig= and 64 hexadecimal digits in lower case."
        )
    values = {name: _single(match["query"], name) for name in _FORMATS}
    body = _single(match["query"], BODY, is_required=False)
    if body and not _DIGEST.fullmatch(body):
        raise LinkError(f"{BODY} is 64 hexadecimal digits in lower case.")
    return SignedLink(
        client=values[CLIENT],
        expires=int(values[EXPIRY]),
        signature=match["signature"],
        signed_text=f"{path}?{match['query']}",
        body_sha256=body,
    )


def _single(query: str, name: str, *, is_required: bool = True) -> str:
    found = [value for key, value in parse_qsl(query) if key == name]
    if not found and not is_required:
        return ""
    pattern, meaning = _FORMATS.get(name, (_DIGEST, ""))
    if len(found) != 1 or not pattern.fullmatch(found[0]):
        raise LinkError(f"A signed link has one {name}=, {meaning or 'a SHA-256'}.")
    return found[0]


def verify(link: SignedLink, *, secret: str, now: int, lifetime: int) -> None:
    """Raise ``LinkError`` unless the link was signed with ``secret`` and is in time.

    ``now`` is in Unix time; ``lifetime`` is how many seconds ahead a link may expire.
    """
    expected = signature_of(link.signed_text, secret)
    if not secret or not hmac.compare_digest(expected, link.signature):
        raise LinkError("The signature is not right.")
    if link.expires <= now:
        raise LinkError(
            "This link has expired. Go back to where it came from, and open it again."
        )
    if link.expires > now + lifetime:
        raise LinkError(
            f"A signed link may expire at most {lifetime} seconds from now; this one "
            f"has {link.expires - now} left. Compare the clocks if that is not meant."
        )


def signature_of(text: str, secret: str) -> str:
    return hmac.new(
        secret.encode(), text.encode(errors="surrogatepass"), hashlib.sha256
    ).hexdigest()


def sign(
    path: str,
    parameters: Iterable[tuple[str, str]],
    *,
    client: str,
    secret: str,
    expires: int,
    nonce: str,
) -> str:
    """Path and query of a link signed with ``secret``."""
    signing = [(CLIENT, client), (EXPIRY, str(expires)), (NONCE, nonce)]
    text = f"{path}?{urlencode([*parameters, *signing])}"
    return f"{text}&{SIGNATURE}={signature_of(text, secret)}"
