"""Series of DICOMweb archives, retrieved once, ahead of the requests for their images."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archives.clients.base import DicomWebEndpoint
from archives.clients.dicomweb import DicomWebClient
from archives.clients.image_cache import ImageCache
from archives.entities import InstanceIdentifier
from archives.errors import InstanceNotFoundError
from tests.dicomweb_server import (
    BOUNDARY,
    DicomWebServer,
    dicom_file,
    head,
    raw,
    status,
)
from tests.dicomweb_studies import identifier_of, make_study, serving
from tests.loops import run

STUDY = make_study(series=1, instances=12)
IMAGES = [
    replace(identifier_of(STUDY), sop_instance_uid=one.sop_instance_uid)
    for one in STUDY.series[0].instances
]
SERIES = f"studies/{STUDY.study_instance_uid}/series/{IMAGES[0].series_instance_uid}"
TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(directory=tmp_path / "images")


@asynccontextmanager
async def archive(
    cache: ImageCache, **behaviour: Any
) -> AsyncIterator[tuple[DicomWebEndpoint, DicomWebServer]]:
    async with serving(STUDY, **behaviour) as (_, server):
        endpoint = DicomWebEndpoint(
            name="Web PACS", url=server.url, image_cache=cache, cache_owner="1"
        )
        yield endpoint, server


async def image(
    endpoint: DicomWebEndpoint,
    identifier: InstanceIdentifier,
    transfer_syntax: str = "",
) -> bytes:
    async with (
        DicomWebClient(endpoint) as client,
        client.retrieve_instance(identifier, transfer_syntax) as stream,
    ):
        content = b"".join([piece async for piece in stream])
        assert stream.content_length in {None, len(content)}
        return content


async def all_images(endpoint: DicomWebEndpoint) -> list[bytes]:
    """The first by itself, as it happens, and all others at once."""
    first = await image(endpoint, IMAGES[0])
    return [first, *await asyncio.gather(*(image(endpoint, one) for one in IMAGES[1:]))]


def asked(server: DicomWebServer) -> tuple[int, int]:
    """How often for a series, and for single images."""
    paths = server.paths()
    return paths.count(SERIES), sum("/instances/" in path for path in paths)


FILES = [dicom_file(one.sop_instance_uid) for one in IMAGES]


@pytest.mark.parametrize("tells_part_length", [True, False])
def test_series_is_retrieved_once(cache, tells_part_length):
    async def main():
        async with archive(cache, tells_part_length=tells_part_length) as (one, server):
            assert await all_images(one) == FILES
            assert await all_images(one) == FILES
            return asked(server)

    assert run(main()) == (1, 1)


def test_image_in_another_transfer_syntax_is_not_taken_from_the_series(cache):
    async def main():
        async with archive(cache) as (one, server):
            await all_images(one)
            assert await image(one, IMAGES[3], "1.2.840.10008.1.2.1") == FILES[3]
            return asked(server)

    assert run(main()) == (1, 2)


def test_who_logs_in_otherwise_has_images_of_its_own(cache):
    async def main():
        async with archive(cache) as (one, server):
            await all_images(one)
            await all_images(replace(one, cache_owner="2"))
            return asked(server)

    assert run(main()) == (2, 2)


@pytest.mark.parametrize(
    "answer",
    [
        status(404),
        status(406),
        status(501),
        raw(head(Content_Type="text/html"), b"<p>No</p>"),
        raw(head(Content_Type=TYPE), b"--the-boundary\r\n\r\nno file", then="close"),
    ],
)
def test_archive_that_sends_no_series_is_asked_for_one_once(cache, answer):
    async def main():
        async with archive(cache) as (one, server):
            server.answer_with(f"/dicom-web/{SERIES}", answer)
            assert await all_images(one) == FILES
            assert await all_images(one) == FILES
            return asked(server)

    series, images = run(main())
    assert series == 1
    assert images == 2 * len(IMAGES)


def test_images_come_by_themselves_where_the_series_is_long_in_coming(
    cache, monkeypatch
):
    monkeypatch.setattr("archives.clients.series_ahead._BEGIN_SECONDS", 0.1)

    async def main():
        async with archive(cache) as (one, server):
            server.answer_with(f"/dicom-web/{SERIES}", raw(b"", then="silent"))
            assert await all_images(one) == FILES
            return asked(server)

    assert run(main()) == (1, len(IMAGES))


def test_images_come_after_the_series_broke_off(cache):
    half = b"".join(
        b"--the-boundary\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n"
        for one in FILES[:6]
    )

    async def main():
        async with archive(cache) as (one, server):
            server.answer_with(
                f"/dicom-web/{SERIES}",
                raw(head(Content_Type=TYPE), half, then="close"),
            )
            assert await all_images(one) == FILES
            return asked(server)

    series, images = run(main())
    assert series >= 1
    assert 0 < images <= len(IMAGES)


def test_image_that_is_nowhere_is_not_found(cache):
    async def main():
        async with archive(cache) as (one, _):
            await all_images(one)
            with pytest.raises(InstanceNotFoundError):
                await image(one, replace(IMAGES[0], sop_instance_uid="1.2.3.4"))

    run(main())


def test_full_disk_keeps_no_image_away(cache, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("archives.clients.image_cache.ArrivingImage.write", full)

    async def main():
        async with archive(cache) as (one, _):
            return await all_images(one)

    assert run(main()) == FILES


def test_image_without_an_end_fills_no_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("archives.clients.spool._LARGEST", 0)
    cache = ImageCache(directory=tmp_path / "images", maximum_bytes=2 << 20)
    endless = b"--the-boundary\r\n\r\n" + dicom_file("1.2.3") + bytes(16 << 20)

    async def main():
        async with archive(cache) as (one, server):
            server.answer_with(
                f"/dicom-web/{SERIES}",
                raw(head(Content_Type=TYPE), endless, then="silent"),
            )
            assert [await image(one, each) for each in IMAGES[:2]] == FILES[:2]
            async with asyncio.timeout(5):  # less than a silent archive has
                while server.open_requests:
                    await asyncio.sleep(0.01)

    run(main())
    assert not list(cache.directory.glob("*.part"))


def test_many_small_images_fill_no_disk(tmp_path):
    cache = ImageCache(directory=tmp_path / "images", maximum_bytes=1 << 20)
    parts = b"".join(
        b"--the-boundary\r\n\r\n" + dicom_file(f"1.2.{number}")[:400] + b"\r\n"
        for number in range(2000)
    )

    async def main():
        async with archive(cache) as (one, server):
            server.answer_with(
                f"/dicom-web/{SERIES}",
                raw(head(Content_Type=TYPE), parts, then="close"),
            )
            await all_images(one)

    run(main())
    assert 0 < len(list(cache.directory.glob("*.dcm"))) < 300


def test_without_a_cache_images_come_one_by_one(cache):
    async def main():
        async with archive(cache) as (one, server):
            assert await all_images(replace(one, image_cache=None)) == FILES
            return asked(server)

    assert run(main()) == (0, len(IMAGES))
