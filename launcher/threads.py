"""Threads and database connections, for no longer than something is computed.

Archives may let a request wait for many seconds. Meanwhile it keeps neither, so that any
number of waiting requests leave those to others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that may use the database, in a thread that ends with the call.

    Where the request has a thread of its own in any case, it is called in that.
    """
    async with ThreadSensitiveContext():
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
