"""What clients keep open between calls, by event loop, so that it can be closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

Close = Callable[[], Awaitable[None]]

_open: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Close]] = WeakKeyDictionary()


def on_close(close: Close) -> None:
    """Have ``close`` awaited by the next ``close_connections`` of the running loop."""
    _open.setdefault(asyncio.get_running_loop(), []).append(close)


async def close_connections() -> None:
    """Close every connection that clients keep open on the running event loop.

    To be awaited before the loop ends; clients used afterwards connect again.
    """
    for close in _open.pop(asyncio.get_running_loop(), []):
        await close()
