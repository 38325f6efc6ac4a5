"""The event loop of a worker process, in a thread of its own.

Tasks run in a pool of threads and hand their coroutine to this loop, so that pooled
connections to the archives live across tasks and one process runs many builds.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="archive-loop", daemon=True).start()
    return loop


def start(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Start a coroutine on the shared loop; its result can be waited for in a thread."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop())


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the shared loop and wait for its result."""
    return start(coroutine).result()
