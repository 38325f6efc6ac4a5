"""Event loops of tests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from archives.clients import close_connections

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, which also closes what clients keep open to archives.

    A connection left to the garbage collector is a warning in whatever test runs then.
    """

    async def closing() -> T:
        try:
            return await main
        finally:
            await close_connections()

    return asyncio.run(closing())
