"""ASGI entry point.

What viewers ask for (manifests and images), and what asks archives, may be awaited for a
long time by many at once, so those requests get no thread of their own; every other gets
one.
"""

import asyncio
import os
from asyncio import FIRST_COMPLETED
from collections.abc import Awaitable, Callable, Coroutine
from io import BytesIO
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.signals import request_finished, request_started
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "viewerhub.settings")
django.setup(set_prefix=False)

import viewerhub.urls  # noqa: E402, F401  # with all views
from archives.models import image_cache  # noqa: E402
from launcher.threads import own_thread, release_connection  # noqa: E402
from viewerhub.startup import keep_freed_memory, make_ready  # noqa: E402

keep_freed_memory()
# What a killed process left there.
if (_cache := image_cache()) is not None:
    _cache.purge()

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

VIEWER_PATHS = ("/m/", "/gateway/")
WAITING_PATHS = (
    "/api/v1/studies",
    "/manifest",
    "/search/r/",
    "/weasis-pacs-connector/manifest",
)


class _Handler(ASGIHandler):
    """Django's handler without the middleware that is for others' requests."""

    left_out: frozenset[str]

    def load_middleware(self, is_async: bool = False) -> None:
        everything = settings.MIDDLEWARE
        settings.MIDDLEWARE = [one for one in everything if one not in self.left_out]
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = everything


class PortalHandler(_Handler):
    """Django's handler with all of a request in one thread, and at one go.

    Django would go back to the event loop for the view, for some of the middleware and
    for its signals: there and back takes longer than most of what is done there.
    """

    left_out = frozenset(("launcher.middleware.viewer_requests",))

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        with body:
            set_script_prefix(get_script_prefix(scope))
            request, refusal = self.create_request(scope, body)
            if request is not None:
                async with own_thread():
                    turn = _Turn(self, request, scope)
                    try:
                        await _unless_left(self._answer(turn, send), receive)
                    finally:
                        if not turn.is_over:  # the thread comes to it when it can
                            await sync_to_async(turn.end)()
            elif refusal is not None:
                await self.send_response(refusal, send)

    async def _answer(self, turn: "_Turn", send: Send) -> None:
        await self.send_response(await sync_to_async(turn.respond)(), send)


class _Turn:
    """A request in its thread, which ends there whatever becomes of its client.

    Otherwise the thread would keep its database connection, and read from a body that is
    closed already.
    """

    def __init__(
        self, handler: PortalHandler, request: HttpRequest, scope: Scope
    ) -> None:
        self.is_over = False
        self._handler = handler
        self._request = request
        self._scope = scope
        self._response: HttpResponseBase | None = None

    def respond(self) -> HttpResponseBase:
        """The response; the request is over then, unless it has still to be read."""
        request_started.send(sender=type(self._handler), scope=self._scope)
        response = self._response = self._handler.get_response(self._request)
        if isinstance(response, FileResponse):
            response.block_size = self._handler.chunk_size
        if not response.streaming:
            self.end()
        return response

    def end(self) -> None:
        """Give back what the request had; again, it does nothing."""
        if self.is_over:
            return
        self.is_over = True
        if self._response is None:  # the client left while the view waited
            request_finished.send(sender=type(self._handler))
        else:
            self._response.close()


class ViewerHandler(ASGIHandler):
    """Django's handler without what surrounds a request: its body, signals and threads.

    Of thousands of images each would cost as much as the view. These views read no body,
    and call the database by ``launcher.threads``, which gives connections back.
    """

    # Views choose the size of pieces; each that is cut again is copied and sent by itself.
    chunk_size = 1 << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        set_script_prefix(get_script_prefix(scope))
        request, refusal = self.create_request(scope, BytesIO())
        if request is None:
            if refusal is not None:
                await self.send_response(refusal, send)
            return
        await _unless_left(self._answer(request, send), receive)

    async def _answer(self, request: HttpRequest, send: Send) -> None:
        # Not closed: that is a signal, too, and they open nothing that it would close.
        await self.send_response(await self.run_get_response(request), send)


async def _unless_left(answer: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Answer the client, or stop that when it has closed the connection."""
    answering = asyncio.create_task(answer)
    leaving = asyncio.create_task(_left(receive))
    try:
        await asyncio.wait([answering, leaving], return_when=FIRST_COMPLETED)
    finally:
        leaving.cancel()
        # Nobody takes the answer, unless it is sent; views let archives go.
        if not answering.done():
            answering.cancel()
            await asyncio.wait([answering])
    if not answering.cancelled():
        answering.result()


async def _left(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


class WaitingHandler(_Handler):
    """Without a thread for each request, for views that wait while archives are asked.

    What middleware does takes that one thread for a moment; views do their own work by
    ``launcher.threads.in_thread``.
    """

    # It knows threads only, and what it does is for other requests.
    left_out = frozenset(("whitenoise.middleware.WhiteNoiseMiddleware",))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.handle(scope, receive, send)

    async def _get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        await sync_to_async(release_connection)()  # of the middleware
        response: HttpResponseBase = await super()._get_response_async(request)  # type: ignore[misc]
        return response


_portal = PortalHandler()
_viewers = ViewerHandler()
_waiting = WaitingHandler()


def _handler(path: str) -> ASGIHandler:
    if path.startswith(VIEWER_PATHS):
        return _viewers
    return _waiting if path.startswith(WAITING_PATHS) else _portal


make_ready()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":  # no lifespan, no web sockets
        raise ValueError(f"ViewerHub serves HTTP only, not {scope['type']}.")
    await _handler(scope["path"])(scope, receive, send)
