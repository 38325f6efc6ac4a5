"""What clients keep open between calls, by event loop and endpoint, until it is closed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Final, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

Close = Callable[[], Awaitable[None]]

# Endpoints change with an archive's settings and with the user, so that pools nobody
# asks for any more have to go.
MAXIMUM_POOLS: Final = 128
IDLE_POOL_SECONDS: Final = 120.0

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


class Pool(Protocol):
    """Connections to one endpoint."""

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses or waits for one of them."""
        ...

    async def close(self) -> None: ...


Key = TypeVar("Key", bound=Hashable)
AnyPool = TypeVar("AnyPool", bound=Pool)


class Pools(Generic[Key, AnyPool]):
    """One pool for each endpoint and event loop, made when it is first asked for.

    Asking also closes pools that have been idle for ``IDLE_POOL_SECONDS``, and beyond
    ``MAXIMUM_POOLS`` those that have been idle longest; never one in use.
    """

    def __init__(self, make: Callable[[Key], AnyPool]) -> None:
        self._make = make
        self._loops: WeakKeyDictionary[
            asyncio.AbstractEventLoop, _PoolsOfLoop[Key, AnyPool]
        ] = WeakKeyDictionary()

    def of(self, key: Key) -> AnyPool:
        """The running event loop's pool."""
        loop = asyncio.get_running_loop()
        pools = self._loops.get(loop)
        if pools is None:
            pools = self._loops[loop] = _PoolsOfLoop(self._make)
            on_close(self._close)
        return pools.of(key, loop.time())

    async def _close(self) -> None:
        if pools := self._loops.pop(asyncio.get_running_loop(), None):
            await pools.close()


class _PoolsOfLoop(Generic[Key, AnyPool]):
    def __init__(self, make: Callable[[Key], AnyPool]) -> None:
        self._make = make
        # The one used last is at the end, each with when that was.
        self._pools: OrderedDict[Key, tuple[AnyPool, float]] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def of(self, key: Key, now: float) -> AnyPool:
        found = self._pools.pop(key, None)
        pool = found[0] if found else self._make(key)
        self._pools[key] = pool, now
        if next(iter(self._pools.values()))[1] < now - IDLE_POOL_SECONDS or (
            len(self._pools) > MAXIMUM_POOLS
        ):
            self._close_idle(key, now - IDLE_POOL_SECONDS)
        return pool

    def _close_idle(self, wanted: Key, since: float) -> None:
        excess = len(self._pools) - MAXIMUM_POOLS
        for key, (pool, used) in list(self._pools.items()):
            if used >= since and excess <= 0:
                return
            if key != wanted and pool.is_idle:
                del self._pools[key]
                excess -= 1
                self._start(pool.close())

    def _start(self, closing: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        for pool, _ in self._pools.values():
            await pool.close()
        await asyncio.gather(*self._closing, return_exceptions=True)
