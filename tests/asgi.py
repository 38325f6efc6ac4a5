"""The hub's own ASGI application on loopback, in this process and so on the test database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import uvicorn
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import async_only_middleware

from archives.clients import close_connections
from launcher import store
from tests.environment import free_port


@async_only_middleware
def close_after_request(
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Close what a request of the test client opened to archives, with its loop."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        response = await get_response(request)
        if isinstance(request, WSGIRequest):
            await close_connections()
        return response

    return middleware


class HubServer(uvicorn.Server):
    """Says when it accepts connections, and closes those to archives at its end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_ready = threading.Event()

    async def startup(self, sockets: list[object] | None = None) -> None:
        await super().startup(sockets)  # type: ignore[arg-type]
        self.is_ready.set()

    async def shutdown(self, sockets: list[object] | None = None) -> None:
        await super().shutdown(sockets)  # type: ignore[arg-type]
        await close_connections()
        await store.redis().aclose()


@contextmanager
def serve_hub(handler: ASGIHandler | None = None) -> Iterator[str]:
    """Its address, while it runs in a thread; of all handlers, or of one."""
    from viewerhub.asgi import application

    port = free_port()
    config = uvicorn.Config(
        handler or application,
        port=port,
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = HubServer(config)
    thread = threading.Thread(target=asyncio.run, args=[server.serve()])
    thread.start()
    try:
        assert server.is_ready.wait(20), "The hub did not start."
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
