"""Waiting for builds without a thread, a connection or a database query per waiter.

Each event loop has one Redis subscription; whoever waits holds a future. By the same one
comes word of launches that have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from redis.exceptions import RedisError

from launcher import cached_images, store

logger = structlog.get_logger(__name__)

_listeners: WeakKeyDictionary[asyncio.AbstractEventLoop, BuildListener]
_listeners = WeakKeyDictionary()


class Watch(asyncio.Event):
    """Set when a build may be done; ``is_done`` says that it was told to be."""

    is_done = False


class BuildListener:
    """Wakes waiters when a build is done, and has images removed that nobody may open.

    It listens from the first wait or ``start`` on.
    """

    def __init__(self) -> None:
        self._waiters: dict[str, set[Watch]] = {}
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def watch(self, build_id: str) -> Iterator[Watch]:
        """An event that is set when the build is done, or may be: look again then.

        That is when the subscription was lost for a while, since what was published
        meanwhile is gone.
        """
        watch = Watch()
        self._waiters.setdefault(build_id, set()).add(watch)
        self.start()
        try:
            yield watch
        finally:
            waiters = self._waiters[build_id]
            waiters.discard(watch)
            if not waiters:
                del self._waiters[build_id]

    def start(self) -> None:
        """Listen from now on."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while not _is_cancelled():
            try:
                async with store.redis().pubsub() as pubsub:
                    await pubsub.subscribe(store.CHANNEL, cached_images.CHANNEL)
                    self._wake_all()
                    while not _is_cancelled():
                        message = await pubsub.get_message(
                            ignore_subscribe_messages=True, timeout=5
                        )
                        if message:
                            await self._heard(message)
            except (RedisError, OSError):
                logger.warning("build_subscription_lost")
                await asyncio.sleep(0.5)

    async def _heard(self, message: dict[str, Any]) -> None:
        if message["channel"].decode() == cached_images.CHANNEL:
            await cached_images.heard(message["data"])
        else:
            for watch in self._waiters.get(message["data"].decode(), ()):
                watch.is_done = True
                watch.set()

    def _wake_all(self) -> None:
        for watches in self._waiters.values():
            for watch in watches:
                watch.set()


def _is_cancelled() -> bool:
    """Whether the running task was cancelled: redis-py may swallow that as it connects."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def listener() -> BuildListener:
    """The one listener of the running event loop."""
    return _listeners.setdefault(asyncio.get_running_loop(), BuildListener())
