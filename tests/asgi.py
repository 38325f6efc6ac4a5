"""The hub's own ASGI application on loopback, in this process and so on the test database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from archives.clients import close_connections
from launcher import store
from tests.environment import free_port


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
def serve_hub() -> Iterator[str]:
    """Its address, while it runs in a thread."""
    from viewerhub.asgi import application

    port = free_port()
    config = uvicorn.Config(
        application, port=port, lifespan="off", log_config=None, access_log=False
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
