"""Waiting for a build, with a sign of life for the client, and a new worker if its own died."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass, field
from typing import Final

import structlog
from django.conf import settings
from django.db import DatabaseError
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from archives.clients.base import Progress
from launcher import events, services, store
from launcher.store import Standing
from launcher.threads import in_thread

logger = structlog.get_logger(__name__)

# Between two signs of life: Weasis gives up after 30 s of silence, proxies often sooner.
KEEP_ALIVE: Final = 4.0
# An archive that has sent nothing for this long does not extend the deadline.
RECEIVING: Final = 10.0
# Then a build that no worker began is queued again: its message may be lost.
UNCLAIMED: Final = 5.0
# How long Redis may be away: it is restarted in less.
OUTAGE: Final = 10.0


async def until_done(
    build_id: str,
    archive_ids: Collection[int],
    *,
    was_finished: bool,
    deadline: float,
) -> AsyncGenerator[None]:
    """Ends when the build is done or the deadline (seconds from now) is over.

    Yields every ``KEEP_ALIVE`` seconds until then. While answers of these archives keep
    coming in, the deadline moves, up to the longest a build may last. ``was_finished``
    tells that the build was done once: if its bytes are gone it is built again. Raises
    ``RedisError`` if Redis stays away for ``OUTAGE`` seconds.
    """
    wait = _Wait(deadline)
    with events.listener().watch(build_id) as watch:
        while not watch.is_done:
            watch.clear()
            standing = await _look(build_id, archive_ids, wait)
            if standing:
                if standing.is_done:
                    return
                if not standing.has_worker and (
                    standing.was_started or was_finished or wait.age() > UNCLAIMED
                ):
                    await _restart(build_id)
                wait.saw(standing.progress)
            remaining = wait.remaining()
            if remaining <= 0:
                return
            try:
                async with asyncio.timeout(min(KEEP_ALIVE, remaining)):
                    await watch.wait()
            except TimeoutError:
                yield


@dataclass(slots=True)
class _Wait:
    """Since when somebody waits, and when something last happened. In seconds."""

    deadline: float
    started: float = field(default_factory=time.monotonic)
    last_look: float = field(default_factory=time.monotonic)
    last_change: float = 0.0
    progress: dict[int, Progress] = field(default_factory=dict)

    def age(self) -> float:
        return time.monotonic() - self.started

    def saw(self, progress: dict[int, Progress]) -> None:
        self.last_look = time.monotonic()
        if progress != self.progress:
            self.progress, self.last_change = progress, self.last_look

    def remaining(self) -> float:
        is_receiving = time.monotonic() - self.last_change < RECEIVING
        limit: float = self.deadline
        if self.progress and is_receiving:
            limit = settings.VIEWERHUB_BUILD_TIMEOUT
        return limit - self.age()


async def _look(
    build_id: str, archive_ids: Collection[int], wait: _Wait
) -> Standing | None:
    """How the build stands; ``None`` while Redis is away, if not for too long."""
    try:
        return await store.look(build_id, archive_ids)
    except RedisError:
        if time.monotonic() - wait.last_look > OUTAGE:
            raise
        return None


async def _restart(build_id: str) -> None:
    """Queue the build again, unless another waiter just did."""
    try:
        if await store.claim_restart(build_id):
            await in_thread(services.restart_build, build_id)
            logger.warning("build_restarted", build_id=build_id)
    except (RedisError, OperationalError, DatabaseError) as error:
        name = type(error).__name__
        logger.warning("build_not_restarted", build_id=build_id, error=name)
