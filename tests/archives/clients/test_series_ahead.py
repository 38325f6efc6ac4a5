"""Series retrieved once, ahead of the requests for their images."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import evt

from archives.clients.base import DimseEndpoint, UserIdentity
from archives.clients.dimse import DimseClient
from archives.clients.image_cache import FILE, ImageCache
from archives.embedded.index import Index
from tests.archives.clients.test_dimse_retrieval import (
    Recording,
    Stored,
    endpoint_of,
    identifier_of,
)
from tests.dicom_files import DicomFiles, StoredInstance
from tests.loops import run


class Counting(Recording):
    """Counts retrievals by level, and the objects it sends."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.levels: list[str] = []
        self.sent = 0

    def get(self, event: evt.Event) -> Iterator[Any]:
        self.levels.append(str(event.identifier.QueryRetrieveLevel))
        for result in super().get(event):
            self.sent += isinstance(result, tuple) and result[1] is not None
            yield result


@pytest.fixture(scope="module")
def index(dicom_files: DicomFiles) -> Index:
    return Index(dicom_files.paths(dicom_files.group("demo")))


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(directory=tmp_path / "images")


@pytest.fixture
def lung(dicom_files: DicomFiles) -> list[Stored]:
    """A series of 20 images."""
    study = dicom_files.study("ct")
    return [(study, study.series[1], one) for one in study.series[1].instances]


async def image(endpoint: DimseEndpoint, stored: Stored) -> tuple[bytes, int | None]:
    """What a viewer gets: the file, and the length that was announced."""
    async with (
        DimseClient(endpoint) as client,
        client.retrieve_instance(identifier_of(stored)) as stream,
    ):
        content = b"".join([piece async for piece in stream])
        return content, stream.content_length


async def four_at_a_time(
    endpoint: DimseEndpoint, wanted: list[Stored]
) -> dict[StoredInstance, bytes]:
    """As Weasis opens a series."""
    slots = asyncio.Semaphore(4)

    async def one(stored: Stored) -> tuple[StoredInstance, bytes]:
        async with slots:
            return stored[2], (await image(endpoint, stored))[0]

    return dict(await asyncio.gather(*map(one, wanted)))


def is_as_stored(
    received: dict[StoredInstance, bytes], dicom_files: DicomFiles
) -> bool:
    def content(file: bytes) -> bytes:
        return file[144 + int.from_bytes(file[140:144], "little") :]

    return all(
        content(file) == content(dicom_files.path(instance).read_bytes())
        for instance, file in received.items()
    )


def test_series_is_retrieved_once(index, cache, lung, dicom_files):
    with Counting(index) as archive:
        endpoint = endpoint_of(archive, image_cache=cache)
        received = run(four_at_a_time(endpoint, lung))

    assert len(received) == 20
    assert is_as_stored(received, dicom_files)
    assert sorted(archive.levels) == ["IMAGE", "SERIES"]
    assert archive.sent == 21


def test_series_that_was_purged_is_retrieved_again(index, cache, lung):
    async def four_times() -> None:
        for _ in range(4):
            await four_at_a_time(endpoint, lung)
            while (lock := files.lock()) is None:  # the retrieval has not ended yet
                await asyncio.sleep(0.01)
            lock.release()
            for path in cache.directory.glob("*.dcm"):
                path.unlink()

    with Counting(index) as archive:
        endpoint = endpoint_of(archive, image_cache=cache)
        files = cache.series(endpoint.cache_owner, lung[0][1].series_instance_uid)
        run(four_times())

    assert sorted(archive.levels) == ["IMAGE"] * 4 + ["SERIES"] * 4


def test_single_image_costs_only_itself(index, cache, lung):
    with Counting(index) as archive:
        endpoint = endpoint_of(archive, image_cache=cache)
        run(image(endpoint, lung[7]))

    assert archive.levels == ["IMAGE"]
    assert not cache.directory.exists()


def test_cached_image_has_its_length(index, cache, lung):
    async def both() -> list[tuple[bytes, int | None]]:
        return [await image(endpoint, one) for one in [*lung[:2], *lung[:2]]]

    with Counting(index) as archive:
        endpoint = endpoint_of(archive, image_cache=cache)
        first, *rest = run(both())

    assert first[1] is None
    assert all(length == len(content) for content, length in rest)
    assert len(archive.levels) == 2


def test_cached_image_is_in_memory_at_once(index, cache, lung):
    async def both() -> list[tuple[bytes | None, bytes]]:
        found = []
        for stored in [*lung[:2], *lung[:2]]:
            async with (
                DimseClient(endpoint) as client,
                client.retrieve_instance(identifier_of(stored)) as stream,
            ):
                pieces = [piece async for piece in stream]
                found.append((stream.content, b"".join(pieces)))
        return found

    with Counting(index) as archive:
        endpoint = endpoint_of(archive, image_cache=cache)
        (first, _), *rest = run(both())

    assert first is None
    assert all(content == whole for content, whole in rest)


@pytest.mark.parametrize(
    "other",
    [
        {"calling_ae_title": "ANOTHER"},
        {"user_identity": UserIdentity(username="other")},
        {"called_ae_title": "ANOTHER"},
    ],
)
def test_who_asks_otherwise_has_images_of_its_own(index, cache, lung, other):
    """Archives show each caller what it may see."""
    with Counting(index) as archive:
        endpoint = endpoint_of(archive, image_cache=cache)
        run(four_at_a_time(endpoint, lung[:3]))

    uid = lung[0][1].series_instance_uid
    sop_instance_uid = lung[1][2].sop_instance_uid
    assert cache.series(endpoint.cache_owner, uid).has(sop_instance_uid)
    owner = replace(endpoint, **other).cache_owner
    assert not cache.series(owner, uid).has(sop_instance_uid)


def test_cache_belongs_to_the_user_of_the_hub_alone(index, cache, lung):
    with Counting(index) as archive:
        run(four_at_a_time(endpoint_of(archive, image_cache=cache), lung))

    modes = [stat.S_IMODE(path.stat().st_mode) for path in cache.directory.iterdir()]
    assert set(modes) == {0o600}
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700
    names = " ".join(path.name for path in cache.directory.iterdir())
    assert lung[0][1].series_instance_uid not in names


@pytest.mark.parametrize("options", [{}, {"maximum_associations": 1}])
def test_without_cache_or_associations_images_come_by_themselves(
    options, index, cache, lung, dicom_files
):
    options = {"image_cache": cache, **options} if options else {}
    with Counting(index) as archive:
        received = run(four_at_a_time(endpoint_of(archive, **options), lung[:6]))

    assert is_as_stored(received, dicom_files)
    assert archive.levels == ["IMAGE"] * 6


def test_processes_retrieve_a_series_once(index, cache, lung, dicom_files):
    """Two event loops are like two processes: nothing but the directory is shared."""

    async def together() -> list[dict[StoredInstance, bytes]]:
        loops = [
            asyncio.to_thread(run, four_at_a_time(endpoint, lung)) for _ in range(2)
        ]
        return await asyncio.gather(*loops)

    with Counting(index) as archive:
        endpoint = endpoint_of(archive, image_cache=cache)
        received = run(together())

    assert all(is_as_stored(one, dicom_files) for one in received)
    assert archive.levels.count("SERIES") == 1


class Reversed(Counting):
    """Sends the last image first."""

    def _selected(self, event: evt.Event) -> Any:
        return list(reversed(super()._selected(event) or []))


def test_order_of_the_archive_does_not_matter(index, cache, lung, dicom_files):
    with Reversed(index) as archive:
        received = run(four_at_a_time(endpoint_of(archive, image_cache=cache), lung))

    assert is_as_stored(received, dicom_files)
    assert archive.levels.count("SERIES") == 1


class Aborting(Counting):
    """Dies after some images of a series, the first time."""

    def get(self, event: evt.Event) -> Iterator[Any]:
        is_first = "SERIES" not in self.levels
        for number, result in enumerate(super().get(event)):
            if number == 5 and is_first and self.levels[-1] == "SERIES":
                event.assoc.abort()
                return
            yield result


def test_images_come_after_the_retrieval_of_their_series_broke_off(
    index, cache, lung, dicom_files
):
    with Aborting(index) as archive:
        received = run(four_at_a_time(endpoint_of(archive, image_cache=cache), lung))

    assert len(received) == 20
    assert is_as_stored(received, dicom_files)
    assert not list(cache.directory.glob("*.part"))


class OnlyImages(Counting):
    """Refuses to retrieve at SERIES level."""

    def get(self, event: evt.Event) -> Iterator[Any]:
        if event.identifier.QueryRetrieveLevel == "SERIES":
            self.levels.append("SERIES")
            yield 1
            yield 0xA900, None
            return
        yield from super().get(event)


def test_archive_that_sends_no_series_is_asked_for_one_once(
    index, cache, lung, dicom_files
):
    study = lung[0][0]
    others = [(study, study.series[2], one) for one in study.series[2].instances]
    with OnlyImages(index) as archive:
        endpoint = endpoint_of(archive, image_cache=cache)
        received = run(four_at_a_time(endpoint, [*lung, *others]))

    assert is_as_stored(received, dicom_files)
    assert archive.levels.count("SERIES") == 1


# The cache by itself


def add(cache: ImageCache, series: str, name: str, content: bytes) -> None:
    with cache.series("A", series).lock():
        image = cache.series("A", series).create(name)
        image.write(content)
        image.finish()


def test_purge_keeps_the_newest_images_below_the_maximum(tmp_path):
    cache = ImageCache(directory=tmp_path, maximum_bytes=2500 + 2 * FILE)
    for number in range(4):
        add(cache, "1.2", f"1.2.{number}", bytes(1000))

    cache.purge()

    series = cache.series("A", "1.2")
    assert [series.has(f"1.2.{number}") for number in range(4)] == [
        False,
        False,
        True,
        True,
    ]


def test_purge_removes_what_is_old(tmp_path):
    cache = ImageCache(directory=tmp_path, maximum_age=-1)
    add(cache, "1.2", "1.2.1", b"old")
    cache.series("A", "1.2").request()

    cache.purge()

    assert not list(tmp_path.iterdir())


def test_purge_removes_what_a_killed_process_left(tmp_path):
    cache = ImageCache(directory=tmp_path)
    series = cache.series("A", "1.2")
    lock = series.lock()
    series.create("1.2.1").write(b"half")
    cache.purge()
    assert list(tmp_path.glob("*.part"))  # it still arrives

    lock.release()
    cache.purge()

    assert not list(tmp_path.glob("*.part"))


def test_discarded_series_is_gone_and_its_readers_finish(tmp_path):
    cache = ImageCache(directory=tmp_path)
    for uid in ("1.2", "1.3"):
        add(cache, uid, f"{uid}.1", b"pixels")
    mine, other = cache.series("A", "1.2"), cache.series("A", "1.3")
    reader = mine.open("1.2.1")

    cache.discard([mine.key])

    assert not mine.has("1.2.1")
    assert other.has("1.3.1")
    assert reader.read() == b"pixels"
    assert reader.update()
    reader.close()


def test_series_that_arrives_while_it_is_discarded_goes_afterwards(tmp_path):
    cache = ImageCache(directory=tmp_path)
    series = cache.series("A", "1.2")
    for is_discarded in (True, False):  # who retrieves it again may keep it
        with series.lock(), series.arriving():
            if is_discarded:
                cache.discard([series.key])
            arriving = series.create("1.2.1")
            arriving.write(b"pixels")
            arriving.finish()
            assert series.has("1.2.1")
        assert series.has("1.2.1") != is_discarded


def test_series_has_one_retriever(tmp_path):
    series = ImageCache(directory=tmp_path).series("A", "1.2")
    with series.lock():
        assert series.lock() is None
    assert series.lock() is not None


def test_memory_gives_what_the_disk_does_and_nothing_where_it_can_not(
    tmp_path, monkeypatch
):
    series = ImageCache(directory=tmp_path).series("archive", "1.2")
    content = bytes(range(256)) * 8192  # several pieces
    with series.lock():
        arriving = series.create("1.2.3")
        arriving.write(content)
        arriving.finish()
    image = series.open("1.2.3")

    first = image.read_from_memory() or image.read()
    monkeypatch.setattr(os, "preadv", refuse)

    assert image.read_from_memory() == b""
    assert first + b"".join(iter(image.read, b"")) == content
    assert image.is_read
    image.close()


def refuse(*arguments: object) -> int:
    raise BlockingIOError("It is not in memory.")


def test_image_that_arrives_is_read_as_it_grows(tmp_path):
    series = ImageCache(directory=tmp_path).series("A", "1.2")
    with series.lock():
        arriving = series.create("1.2.1")
        arriving.write(bytes(1 << 20))
        reader, late = series.open("1.2.1"), series.open("1.2.1")
        assert not reader.is_whole
        assert sum(map(len, iter(reader.read, b""))) == 1 << 20
        arriving.write(b"end")
        arriving.finish()
        assert reader.update()
        assert reader.is_whole
        assert reader.read() == b"end"
        late.close()
        reader.close()


@pytest.mark.parametrize("length", [0, 10])
def test_image_whose_arrival_failed_is_not_taken_for_whole(tmp_path, length):
    series = ImageCache(directory=tmp_path).series("A", "1.2")
    with series.lock():
        arriving = series.create("1.2.1")
        arriving.write(bytes(1 << 20))
        reader = series.open("1.2.1")
        reader.read() if length else None
        arriving.discard()

        assert not reader.update()
        assert not reader.is_whole
        reader.close()
    assert series.open("1.2.1") is None
