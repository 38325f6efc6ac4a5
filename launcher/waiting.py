"""Waiting for a build, with a sign of life for the client, and a new worker if its own died."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from typing import Final

import structlog
from asgiref.sync import sync_to_async
from django.conf import settings

from archives.clients.base import Progress
from launcher import events, services, store

logger = structlog.get_logger(__name__)

# Between two signs of life: Weasis gives up after 30 s of silence, proxies often sooner.
KEEP_ALIVE: Final = 4.0
# An archive that has sent nothing for this long does not extend the deadline.
RECEIVING: Final = 10.0


async def until_done(
    build_id: str,
    archive_ids: Collection[int],
    *,
    was_finished: bool,
    deadline: float,
) -> AsyncIterator[None]:
    """Ends when the build is done or the deadline (seconds from now) is over.

    Yields every ``KEEP_ALIVE`` seconds until then. While answers of these archives keep
    coming in, the deadline moves, up to the longest a build may last. ``was_finished``
    tells that the build was done once: if its bytes are gone it is built again.
    """
    started = last_change = time.monotonic()
    seen: dict[int, Progress] = {}
    is_lost = was_finished
    with events.listener().watch(build_id) as event:
        while True:
            event.clear()
            collected = await store.load_progress(build_id, archive_ids)
            if collected.is_done:
                return
            if is_lost or await store.lost_worker(build_id):
                await _restart(build_id)
                is_lost = False
            now = time.monotonic()
            if collected.progress != seen:
                seen, last_change = collected.progress, now
            limit = deadline
            if seen and now - last_change < RECEIVING:
                limit = settings.VIEWERHUB_BUILD_TIMEOUT
            remaining = started + limit - now
            if remaining <= 0:
                return
            try:
                async with asyncio.timeout(min(KEEP_ALIVE, remaining)):
                    await event.wait()
            except TimeoutError:
                yield


async def _restart(build_id: str) -> None:
    """Queue the build again, unless another waiter just did."""
    if await store.claim_restart(build_id):
        logger.warning("build_restarted", build_id=build_id)
        await sync_to_async(services.restart_build)(build_id)
