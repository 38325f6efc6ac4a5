"""What viewers get when an archive fails while it sends a series ahead."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from archives.clients.base import Deadlines
from archives.clients.dimse import DimseClient
from archives.clients.image_cache import ImageCache
from archives.clients.pool import close_connections
from archives.entities import InstanceIdentifier
from archives.errors import ArchiveError, ArchiveUnavailableError
from tests.hostile import (
    Hostile,
    Peer,
    Request,
    answers,
    hostile,
    p_data,
    response,
    value,
)
from tests.hostile import store as store_command
from tests.loops import run

CT = "1.2.840.10008.5.1.4.1.1.2"
BODY = b"\xe0\x7f\x10\x00" + (1 << 21).to_bytes(4, "little") + bytes(1 << 21)


def identifier(number: int) -> InstanceIdentifier:
    return InstanceIdentifier(
        study_instance_uid="1.2.1",
        series_instance_uid="1.2.1.1",
        sop_instance_uid=f"1.2.1.1.{number}",
    )


async def send_object(peer: Peer, request: Request, uid: str, *, part: float) -> None:
    """A C-STORE of 2 MiB, or the first part of it."""
    context_id = peer.context_id(CT)
    await peer.send(p_data(store_command(request, context_id, CT, uid)))
    stop = int(len(BODY) * part)
    for start in range(0, stop, 65536):
        piece = BODY[start : min(start + 65536, stop)]
        is_last = start + len(piece) == len(BODY)
        await peer.send(p_data(value(context_id, 2 if is_last else 0, piece)))
    if part == 1:
        await peer.request()  # the response to the C-STORE


class Archive:
    """Sends images one by one as it should; ``fail`` is how it sends a series."""

    def __init__(self, fail: str) -> None:
        self.fail = fail
        self.levels: list[str] = []

    async def __call__(self, peer: Peer) -> None:
        await peer.accept()
        while True:
            request = await peer.request()
            assert request.identifier is not None
            uid = request.identifier.get("SOPInstanceUID", "")
            if request.name == "find":
                found = {"SOPClassUID": CT, "SOPInstanceUID": uid}
                await peer.send(answers(request, [found]))
                continue
            self.levels.append(request.identifier.QueryRetrieveLevel)
            if uid:
                await send_object(peer, request, uid, part=1)
            elif self.fail == "refuses":
                await peer.send(p_data(response(request, 0xA900)))
                continue
            elif await self.fails(peer, request):
                return
            await peer.send(p_data(response(request, 0)))

    async def fails(self, peer: Peer, request: Request) -> bool:
        """Whether that is the end of the connection."""
        await send_object(peer, request, "1.2.1.1.2", part=1)
        if self.fail == "leaves out":
            return False
        await send_object(peer, request, "1.2.1.1.3", part=0.75)
        if self.fail == "dies":
            peer.cut()
        elif self.fail == "aborts":
            await peer.send(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00")
        return True  # "stalls"


async def image(archive: Hostile, number: int, **options: Any) -> int:
    """The length of what came whole."""
    async with (
        DimseClient(archive.endpoint(**options)) as client,
        client.retrieve_instance(identifier(number)) as stream,
    ):
        content = b"".join([piece async for piece in stream])
        assert stream.content_length in {None, len(content)}
        return len(content)


def load(archive: Archive, cache: ImageCache) -> list[Any]:
    """Images 1 to 4 asked for together, after them 5 and 3; lengths or errors."""

    is_silent = archive.fail == "stalls"
    options = {
        "image_cache": cache,
        "deadlines": Deadlines(first_answer=1.0) if is_silent else Deadlines(),
    }

    async def main() -> list[Any]:
        async with hostile(archive) as server:
            try:
                together = [image(server, number, **options) for number in (1, 2, 3, 4)]
                results = await asyncio.gather(*together, return_exceptions=True)
                for number in (5, 3):
                    results.append(await image(server, number, **options))
                return results
            finally:
                await close_connections()

    return run(main())


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(directory=tmp_path)


@pytest.mark.parametrize("fail", ["dies", "aborts", "stalls", "leaves out", "refuses"])
def test_no_image_is_cut_and_the_next_one_works(fail, cache):
    archive = Archive(fail)

    *together, fifth, third = load(archive, cache)

    errors = [one for one in together if isinstance(one, BaseException)]
    assert all(isinstance(one, ArchiveError) for one in errors)
    whole = {one for one in (*together, fifth, third) if one not in errors}
    assert len(whole) == 1
    assert whole.pop() > len(BODY)
    assert "SERIES" in archive.levels
    assert not list(cache.directory.glob("*.part"))
    if fail in {"leaves out", "refuses"}:
        assert not errors


def test_image_that_stalls_is_told_while_it_is_waited_for(cache, monkeypatch):
    # So that none is retrieved by itself, on a busy machine either.
    monkeypatch.setattr("archives.clients.series_ahead._PATIENCE_SECONDS", 30.0)
    together = load(Archive("stalls"), cache)

    assert isinstance(together[2], ArchiveUnavailableError)  # in the middle
    assert isinstance(together[3], ArchiveUnavailableError)  # before it begins
    assert "stopped answering" in str(together[3])
