"""Viewers that stop reading: others go on, and the archive is not kept for them."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack, ExitStack
from urllib.parse import urlsplit

import httpx2
import pytest

from archives.entities import Selection
from launcher.gateway import streaming
from launcher.tasks import build_manifest
from launcher.tokens import image_token
from tests.asgi import serve_hub
from tests.dicomweb_server import Behaviour, DicomWebServer
from tests.dicomweb_studies import make_study
from tests.factories import make_dicomweb_archive, make_launch
from tests.loops import run
from tests.vendors.server import serving

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

STUDY = make_study(series=1, instances=1)
SERIES = STUDY.series[0]
IMAGE = SERIES.instances[0]
FILES = f"wado/1.1/{SERIES.series_instance_uid}/{IMAGE.sop_instance_uid}.dcm"
RETRIEVED = f"studies/1.1/series/{SERIES.series_instance_uid}/instances/{IMAGE.sop_instance_uid}"
LARGE = 16 * 2**20


class LargeImages(DicomWebServer):
    """More of each image than the buffers between archive and viewer hold."""

    def _file(self, uid: str) -> bytes:
        return super()._file(uid) + bytes(LARGE)


@pytest.fixture
def archive():
    with serving(LargeImages([STUDY], Behaviour())) as server:
        yield make_dicomweb_archive(server.url)


@pytest.fixture
def token(archive):
    selection = Selection(study_instance_uids=(STUDY.study_instance_uid,))
    started = make_launch([archive], selection=selection)
    build_manifest(str(started.launch.build_id))
    return image_token(started.manifest_url.rpartition("/m/")[2])


def stopped_viewer(hub: str, path: str, token: str) -> socket.socket:
    """Has asked for an image and got its beginning; it reads no further."""
    parts = urlsplit(hub)
    viewer = socket.socket()
    viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    viewer.settimeout(60)
    viewer.connect((parts.hostname, parts.port))
    request = (
        f"GET {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    viewer.sendall(request.encode())
    assert b" 200 " in viewer.recv(1000)
    return viewer


def rest_of(viewer: socket.socket) -> int:
    """How much comes until the hub closes."""
    size = 0
    try:
        while piece := viewer.recv(1 << 16):
            size += len(piece)
    except ConnectionError:
        pass
    return size


@pytest.mark.parametrize("path", [FILES, f"dicom-web/{RETRIEVED}"])
@pytest.mark.parametrize("leaves", [False, True])
def test_stopped_viewers_keep_nobody_waiting(path, leaves, token, monkeypatch):
    monkeypatch.setattr(streaming, "STALL_SECONDS", 600.0 if leaves else 5.0)
    with serve_hub() as hub, ExitStack() as stack:
        client = stack.enter_context(
            httpx2.Client(
                base_url=f"{hub}/gateway/web/",
                headers={"Authorization": f"Bearer {token}"},
                timeout=60,
            )
        )
        viewers = [
            stack.enter_context(stopped_viewer(hub, f"/gateway/web/{path}", token))
            for _ in range(3)
        ]

        if leaves:
            for viewer in viewers:
                viewer.close()
        found = client.get("dicom-web/studies/1.1/series")
        image = client.get(path)

        assert found.status_code == 200
        assert len(found.json()) == 1
        assert image.status_code == 200
        assert len(image.content) > LARGE
        assert leaves or any([rest_of(viewer) < LARGE for viewer in viewers])


def test_large_pieces_are_passed_on_in_smaller_ones():
    async def body():
        yield b"1" * (streaming.MAXIMUM_PIECE * 2 + 1)
        yield b"2"

    async def main():
        return [piece async for piece in streaming.streamed(body(), AsyncExitStack())]

    pieces = run(main())

    assert [len(piece) for piece in pieces] == [*[streaming.MAXIMUM_PIECE] * 2, 1, 1]
