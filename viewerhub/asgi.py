"""ASGI entry point.

What viewers ask for (manifests and images) may be awaited for a long time by many at
once, so those requests get no thread of their own; Django gives one to every other.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import django
from django.core.handlers.asgi import ASGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "viewerhub.settings")
django.setup(set_prefix=False)

from archives.models import image_cache  # noqa: E402

# What a killed process left there.
if (_cache := image_cache()) is not None:
    _cache.purge()

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

VIEWER_PATHS = ("/m/", "/gateway/")


class ViewerHandler(ASGIHandler):
    """Django's handler without its thread per request.

    Database calls of these views share one thread: each is a single indexed query, and
    waiting happens on the event loop.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.handle(scope, receive, send)


_portal = ASGIHandler()
_viewers = ViewerHandler()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":  # no lifespan, no web sockets
        raise ValueError(f"ViewerHub serves HTTP only, not {scope['type']}.")
    is_viewer = scope["path"].startswith(VIEWER_PATHS)
    await (_viewers if is_viewer else _portal)(scope, receive, send)
