"""The image cache forgets the series of launches that have ended.

Each machine with web servers has a cache. Whoever ends a launch tells them all by Redis
which series no open launch lists any more; what is not heard is removed by its age.

In Redis, with a lifetime: ``viewerhub:listed:<build>`` is the set of series that a build
lists, by their keys in the cache, and ``viewerhub:listing:<key>`` the builds that list a
series, each with the time until which that counts.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Iterable
from typing import Any, Final, cast
from uuid import UUID

import structlog
from django.conf import settings
from redis.exceptions import RedisError

from archives.errors import ArchiveError
from archives.models import Archive, image_cache
from launcher import background, store
from launcher.models import Launch
from launcher.store import Answer

logger = structlog.get_logger(__name__)

CHANNEL: Final = "viewerhub:images-ended"
# How much longer than launches it is known what they listed: the sweeper comes after.
_MARGIN: Final = 600
_KEY: Final = re.compile(r"[0-9a-f]{32}")
_KEYS_PER_MESSAGE: Final = 1000


def remember(
    build_id: str, archives: Iterable[Archive], answers: Iterable[Answer]
) -> None:
    """Note which series a build of these archives lists."""
    cache = image_cache()
    if cache is None:
        return
    owners = {archive.pk: _owner(archive) for archive in archives}
    keys = {
        cache.series(owner, series.series_instance_uid).key
        for answer in answers
        if (owner := owners.get(answer.archive_id))
        for study in answer.studies
        for series in study.series
    }
    if keys:
        try:
            background.run(_remember(build_id, keys))
        except RedisError:
            logger.warning("cached_images_not_noted", build_id=build_id)


def _owner(archive: Archive) -> str:
    """Whom the cache has the archive's images from; empty if it has none."""
    try:
        endpoint = archive.image_endpoint()
    except ArchiveError:
        return ""
    return endpoint.cache_owner if endpoint.image_cache is not None else ""


async def _remember(build_id: str, keys: Collection[str]) -> None:
    lifetime, now = settings.VIEWERHUB_LAUNCH_LIFETIME + _MARGIN, int(time.time())
    async with store.redis().pipeline(transaction=False) as pipe:
        pipe.sadd(_listed(build_id), *keys)
        pipe.expire(_listed(build_id), lifetime)
        for key in keys:
            pipe.zremrangebyscore(_listing(key), 0, now)
            pipe.zadd(_listing(key), {build_id: now + lifetime})
            pipe.expire(_listing(key), lifetime)
        await pipe.execute()


def forget(build_ids: Collection[UUID]) -> None:
    """Remove the cached series of launches of these builds, which have just ended.

    Those that an open launch lists stay. Without Redis, they go by their age.
    """
    cache = image_cache()
    if cache is None or not build_ids:
        return
    try:
        listing = background.run(_load([str(one) for one in build_ids]))
        launches = Launch.objects.open().filter(
            build_id__in=set().union(*listing.values())
        )
        still_open = {str(one) for one in launches.values_list("build_id", flat=True)}
        ended = [key for key, builds in listing.items() if not builds & still_open]
        cache.discard(ended)
        background.run(_tell(ended))
    except RedisError:
        logger.warning("cached_images_not_removed")


async def _load(build_ids: Collection[str]) -> dict[str, set[str]]:
    """The builds that list each series that one of these lists."""
    async with store.redis().pipeline(transaction=False) as pipe:
        for build_id in build_ids:
            pipe.smembers(_listed(build_id))
        listed = cast(list[set[bytes]], await pipe.execute())
        keys = sorted({key.decode() for found in listed for key in found})
        for key in keys:
            pipe.zrangebyscore(_listing(key), int(time.time()), "+inf")
        listing = cast(list[list[bytes]], await pipe.execute())
    return {
        key: {build_id.decode() for build_id in builds}
        for key, builds in zip(keys, listing, strict=True)
    }


async def _tell(keys: list[str]) -> None:
    for start in range(0, len(keys), _KEYS_PER_MESSAGE):
        message = " ".join(keys[start : start + _KEYS_PER_MESSAGE])
        await store.redis().publish(CHANNEL, message)


async def heard(message: Any) -> None:
    """Remove what another process says has ended."""
    cache = image_cache()
    keys = _KEY.findall(message.decode())
    if cache is not None:
        await asyncio.to_thread(cache.discard, keys)


def _listed(build_id: str) -> str:
    return f"viewerhub:listed:{build_id}"


def _listing(key: str) -> str:
    return f"viewerhub:listing:{key}"
