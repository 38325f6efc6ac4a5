"""Requests that Django's views answer: one thread each, from their beginning to their end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from django.core.signals import request_finished, request_started
from django.dispatch import Signal
from django.http import FileResponse, HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tests.asgi import serve_hub
from tests.processes import wait_until
from viewerhub.asgi import PortalHandler

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

reached, released = threading.Event(), threading.Event()
found: list[object] = []
OTHERS = 3  # requests in which the hub notices that somebody left


async def wait(request: HttpRequest) -> HttpResponse:
    reached.set()
    await asyncio.Event().wait()
    return HttpResponse()


@csrf_exempt
def read(request: HttpRequest) -> HttpResponse:
    reached.set()
    released.wait(20)
    try:
        found.append(request.read())
    except ValueError as error:
        found.append(error)
    return HttpResponse()


def send(request: HttpRequest) -> FileResponse:
    reached.set()
    released.wait(20)
    response = FileResponse(Path(__file__).open("rb"))  # noqa: SIM115
    found.append(response.file_to_stream)
    return response


urlpatterns = [path("wait", wait), path("read", read), path("send", send)]


@pytest.fixture(autouse=True)
def events() -> None:
    reached.clear()
    released.clear()
    found.clear()


@contextmanager
def heard(signal: Signal) -> Iterator[list[int]]:
    """The threads in which a signal is sent."""
    threads: list[int] = []

    def hear(**kwargs: object) -> None:
        threads.append(threading.get_ident())

    signal.connect(hear)
    try:
        yield threads
    finally:
        signal.disconnect(hear)


# Django minds that files are read in the thread.
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("path", ["/accounts/login/", "/static/viewerhub/logo.svg"])
def test_request_begins_and_ends_once_in_its_thread(path):
    seen = []

    def began(**kwargs):
        seen.append(("began", threading.get_ident()))

    def ended(**kwargs):
        seen.append(("ended", threading.get_ident()))

    with serve_hub() as address:
        request_started.connect(began)
        request_finished.connect(ended)
        try:
            assert httpx2.get(address + path).status_code == 200
            assert wait_until(lambda: len(seen) == 2)
        finally:
            request_started.disconnect(began)
            request_finished.disconnect(ended)

    (first, thread), (last, same) = seen
    assert (first, last) == ("began", "ended")
    assert thread == same != threading.get_ident()


@pytest.fixture
def hub(settings) -> Iterator[str]:
    """These views, with the middleware of production."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [
        one for one in settings.MIDDLEWARE if not one.startswith("tests.")
    ]
    with serve_hub(PortalHandler()) as address:
        yield address


def ask_and_leave(hub: str, request: str) -> None:
    """Close the connection once the view has the request, and let the hub notice."""
    where = urlsplit(hub)
    with socket.create_connection((where.hostname, where.port)) as client:
        client.sendall(request.encode())
        assert reached.wait(20)
    for _ in range(OTHERS):
        assert httpx2.get(f"{hub}/none").status_code == 404


def test_request_is_over_whose_client_leaves_a_view_that_waits(hub):
    with heard(request_finished) as ended:
        ask_and_leave(hub, "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")

        assert wait_until(lambda: len(ended) == OTHERS + 1)


def test_body_can_be_read_when_its_client_has_left(hub):
    head = "POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"
    ask_and_leave(hub, f"{head}abc")
    released.set()

    assert wait_until(lambda: bool(found))
    assert found == [b"abc"]


def test_file_is_closed_whose_client_has_left(hub):
    ask_and_leave(hub, "GET /send HTTP/1.1\r\nHost: localhost\r\n\r\n")
    released.set()

    assert wait_until(lambda: bool(found))
    [file] = found
    assert wait_until(lambda: file.closed)
