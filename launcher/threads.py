"""Threads and database connections, for no longer than something is computed.

Archives may let a request wait for many seconds. Meanwhile it keeps neither, so that any
number of waiting requests leave those to others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, ParamSpec, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")

# So many threads wait for the next request, with the connections that may be kept open.
KEPT: Final = 8

_idle: deque[ThreadPoolExecutor] = deque()


@asynccontextmanager
async def own_thread() -> AsyncGenerator[None]:
    """One thread for everything synchronous within; afterwards others may have it.

    A new thread, and a database connection in it, would cost a request as much as its
    queries do.
    """
    executor = _idle.pop() if _idle else ThreadPoolExecutor(max_workers=1)
    try:
        async with ThreadSensitiveContext(executor=executor):
            yield
    finally:
        executor.submit(_keep, executor)  # once it is done with what was cancelled, too


def _keep(executor: ThreadPoolExecutor) -> None:
    if len(_idle) < KEPT:
        _idle.append(executor)
    else:
        executor.shutdown(wait=False)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that may use the database, in a thread for this call alone.

    Where the request has a thread of its own in any case, it is called in that.
    """
    call = sync_to_async(_without_trace)
    if SyncToAsync.thread_sensitive_context.get(None):
        return await call(function, *args, **kwargs)
    async with own_thread():
        return await call(function, *args, **kwargs)


async def in_shared_thread(
    function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """The same in one thread for all, one call after the other.

    For what viewers ask, who may be thousands: each call is a query by an index.
    """
    return await sync_to_async(_without_trace)(function, *args, **kwargs)


def _without_trace(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return function(*args, **kwargs)
    finally:
        release_connection()


def release_connection() -> None:
    """Give this thread's database connection back, unless a transaction needs it."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
