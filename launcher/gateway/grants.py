"""From a request's token to the archive it opens, and what of it."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from django.http import HttpRequest, HttpResponse
from redis.exceptions import RedisError

from archives.clients import Endpoint
from archives.errors import ArchiveError
from archives.models import Archive
from launcher.events import listener
from launcher.gateway.contents import Contents, Patience, contents_of
from launcher.launching.callers import bearer_token
from launcher.models import Launch
from launcher.threads import in_shared_thread
from launcher.tokens import digest

# A viewer asks for thousands of images with one token, and looking it up costs more than
# all else that is done for a small image. A launch that is revoked ends this much later,
# at most, in processes that were just serving it (seconds).
GRANT_SECONDS: Final = 1.0
MAXIMUM_KEPT: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token opens at one archive: its ``contents``, and nothing else.

    ``has_dicomweb`` tells whether ``endpoint`` has QIDO-RS and WADO-RS.
    """

    build_id: str
    archive_id: int
    slug: str
    endpoint: Endpoint
    has_dicomweb: bool
    contents: Contents


async def grant_of(
    request: HttpRequest,
    slug: str,
    *,
    sop_instance_uid: str = "",
    patience: Patience = Patience.FOR_LOST,
) -> Grant | HttpResponse:
    """The grant, or what to answer without one: 401, 404, or 502 and 503 for a fault.

    For the instance that is asked for, if it is one, and with the ``patience`` to wait
    for contents: see ``contents_of``.
    """
    token = bearer_token(request)
    try:
        opened = await _opened(token, slug) if token else None
        if opened is None:
            return _unauthorized()
        if isinstance(opened, Launch):
            return HttpResponse(status=404)
        archive, build_id, endpoint = opened
        if endpoint.image_cache is not None:
            listener().start()  # it hears what the cache must not keep
        contents = await contents_of(
            build_id,
            archive.pk,
            sop_instance_uid=sop_instance_uid,
            patience=patience,
        )
    except ArchiveError as error:  # it has no credentials that could be used
        return HttpResponse(str(error), status=502, content_type="text/plain")
    except RedisError:
        return HttpResponse("The hub can't reach its store.", status=503)
    return Grant(
        build_id=build_id,
        archive_id=archive.pk,
        slug=archive.slug,
        endpoint=endpoint,
        has_dicomweb=archive.protocol == Archive.Protocol.DICOMWEB,
        contents=contents,
    )


Opened = tuple[Archive, str, Endpoint]
_kept: OrderedDict[tuple[str, str], tuple[float, Opened]] = OrderedDict()


async def _opened(token: str, slug: str) -> Opened | Launch | None:
    key = digest(token), slug
    until, opened = _kept.get(key, (0.0, None))
    if opened is not None and time.monotonic() < until:
        return opened
    found = await in_shared_thread(_open, token, slug)
    if isinstance(found, tuple):
        _kept[key] = time.monotonic() + GRANT_SECONDS, found
        _kept.move_to_end(key)
        if len(_kept) > MAXIMUM_KEPT:
            _kept.popitem(last=False)
    return found


def _open(token: str, slug: str) -> Opened | Launch | None:
    """``None`` for no open launch; the launch alone if it has nothing from there."""
    launches = Launch.objects.select_related("user", "api_client")
    launch = launches.filter(image_token_sha256=digest(token)).first()
    if launch is None or not launch.opens():
        return None
    archive = Archive.objects.enabled().filter(slug=slug, build=launch.build_id).first()
    if archive is None:
        return launch
    return archive, str(launch.build_id), archive.image_endpoint(launch.user)


def _unauthorized() -> HttpResponse:
    response = HttpResponse("This image needs a launch.", status=401)
    response["WWW-Authenticate"] = 'Bearer realm="ViewerHub"'
    return response
