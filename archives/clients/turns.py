"""How much one archive is asked at a time, so that nobody keeps others out.

Images pass through the hub as fast as their viewer takes them, so that a slow one holds
its connection for long. One of several connections is therefore always left to queries.
"""

from __future__ import annotations

import asyncio
from typing import Final

# Weasis gives an image up after 15 s without an answer.
IMAGE_SECONDS: Final = 10.0


def series_at_once(maximum: int) -> int:
    """How many series are retrieved ahead: single images, and queries, have a turn left.

    Of two turns, queries and single images share the one.
    """
    return min(maximum - 1, max(maximum - 2, 1))


def counts_as_image(maximum: int) -> bool:
    """Whether a series that is retrieved ahead takes a turn of the images."""
    return maximum > 2


class Turns:
    """``maximum`` at once, all but one of them for images."""

    def __init__(self, maximum: int) -> None:
        self._all = asyncio.Semaphore(max(maximum, 1))
        self._images = asyncio.Semaphore(max(maximum - 1, 1))

    async def acquire(self, *, is_image: bool) -> None:
        """Wait in line. Raises ``TimeoutError`` where an image would come too late."""
        if not is_image:
            await self._all.acquire()
            return
        async with asyncio.timeout(IMAGE_SECONDS):
            await self._images.acquire()
            try:
                await self._all.acquire()
            except BaseException:
                self._images.release()
                raise

    def release(self, *, is_image: bool) -> None:
        self._all.release()
        if is_image:
            self._images.release()
