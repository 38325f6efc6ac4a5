"""Bodies that pass through the hub, as fast as their viewer takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import structlog

logger = structlog.get_logger(__name__)

STALL_SECONDS: Final = 60.0
# So that a slow viewer has taken something in that time: it may share a thin line with
# many other images.
MAXIMUM_PIECE: Final = 640 * 1024

_closing: set[asyncio.Task[None]] = set()


async def streamed(
    body: AsyncIterator[bytes], stack: AsyncExitStack
) -> AsyncIterator[bytes]:
    """The body, with the archive's connection, which ``stack`` closes afterwards.

    A viewer that leaves, or takes nothing for ``STALL_SECONDS`` and is cut off, does not
    keep the connection from others.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one

    def close(_: object) -> None:
        """Django forgets a body that was not sent to its end, and does not close it."""
        closing = loop.create_task(stack.aclose())
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)

    def cut_off() -> None:
        logger.warning("viewer_stalled", seconds=STALL_SECONDS)
        task.cancel()  # it waits until the viewer takes more

    task.add_done_callback(close)
    async with stack:
        async for piece in body:
            for start in range(0, len(piece), MAXIMUM_PIECE):
                timer = loop.call_later(STALL_SECONDS, cut_off)
                try:
                    yield piece[start : start + MAXIMUM_PIECE]
                finally:
                    timer.cancel()
    task.remove_done_callback(close)
