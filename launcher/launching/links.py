"""Signed links as a way to launch: whose they are, and that each is used once."""

from __future__ import annotations

import hashlib
import time

from django.conf import settings
from django.core.cache import cache

from launcher import signed_links
from launcher.criteria import Problem
from launcher.launching.callers import Caller, touch
from launcher.launching.refusals import RefusedError
from launcher.models import ApiClient
from launcher.signed_links import LinkError, SignedLink


def caller_of_link(path: str, query: str, body: bytes = b"") -> Caller:
    """The client that signed a link; raises ``RefusedError``.

    An unknown client and a wrong signature are told apart by nothing. A link with a body
    has to name its digest, and one that names a digest has to come with that body.
    """
    try:
        link = signed_links.read(path, query)
        client = ApiClient.objects.active().filter(slug=link.client).first()
        may_launch = client and client.has_scope(ApiClient.Scope.LAUNCH)
        signed_links.verify(
            link,
            secret=client.signing_secret if client and may_launch else "",
            now=int(time.time()),
            lifetime=settings.VIEWERHUB_SIGNED_LINK_LIFETIME,
        )
        _check_body(link, body)
    except LinkError as error:
        raise _refused(str(error)) from error
    if client is None:  # an empty secret verifies nothing
        raise _refused("The signature is not right.")
    touch(client)
    return Caller(api_client=client, link=link)


def _check_body(link: SignedLink, body: bytes) -> None:
    has_body = bool(body or link.body_sha256)
    if has_body and hashlib.sha256(body).hexdigest() != link.body_sha256:
        raise LinkError(
            f"The link has to name the SHA-256 of the body it is sent with, as "
            f"{signed_links.BODY}=…"
        )


def _refused(message: str) -> RefusedError:
    return RefusedError(403, [Problem(field=signed_links.SIGNATURE, message=message)])


def claim(link: SignedLink) -> None:
    """Use a link up, until nothing can be done with it any more; ``RefusedError``."""
    remaining = max(1, link.expires - int(time.time()) + 1)
    if not cache.add(_key(link), 1, remaining):
        raise _refused(
            "This link was used already: each opens once. Go back to where it came "
            "from, and open it again."
        )


def release(link: SignedLink) -> None:
    """Let a link be used after all: nothing came of it."""
    cache.delete(_key(link))


def _key(link: SignedLink) -> str:
    return f"signed-link:{link.signature}"
