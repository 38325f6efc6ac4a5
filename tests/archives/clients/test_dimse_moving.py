"""Images by C-MOVE to the hub's storage service, from archives without C-GET."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, build_context

from archives.clients.base import DimseEndpoint, DimseRetrieval
from archives.clients.dimse.storage import StorageService, StorageSettings
from archives.clients.image_cache import ImageCache
from archives.embedded import EmbeddedArchive
from archives.embedded.index import Index
from archives.errors import (
    ArchiveRefusedError,
    ArchiveResponseError,
    InstanceNotFoundError,
)
from tests.archives.clients.test_dimse_retrieval import (
    Stored,
    endpoint_of,
)
from tests.archives.clients.test_series_ahead import (
    four_at_a_time,
    image,
    is_as_stored,
)
from tests.dcmtk import start_dcmqrscp
from tests.dicom_files import DicomFiles
from tests.loops import run
from tests.requirements import needs
from tests.servers import WithoutGet

HUB = "VIEWERHUB-STORE"


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(directory=tmp_path / "images")


@pytest.fixture(scope="module")
def index(dicom_files: DicomFiles) -> Index:
    return Index(dicom_files.paths(dicom_files.group("demo", "compressed")))


@asynccontextmanager
async def storage(
    cache: ImageCache, *senders: DimseEndpoint, port: int = 0
) -> AsyncIterator[StorageService]:
    async def registered() -> Sequence[DimseEndpoint]:
        return senders

    settings = StorageSettings(ae_title=HUB, host="127.0.0.1", port=port, cache=cache)
    service = StorageService(settings, registered)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def moving(archive: Any, cache: ImageCache | None, **options: Any) -> DimseEndpoint:
    return endpoint_of(
        archive,
        retrieval=DimseRetrieval.C_MOVE,
        move_destination=HUB,
        image_cache=cache,
        **options,
    )


def load(
    archive: EmbeddedArchive, endpoint: DimseEndpoint, wanted: list[Stored]
) -> dict[Any, bytes]:
    """What a viewer gets, with the archive sending to our storage service."""

    async def main() -> dict[Any, bytes]:
        assert endpoint.image_cache is not None
        async with storage(endpoint.image_cache, endpoint) as service:
            archive.destinations[HUB] = "127.0.0.1", service.port
            return await four_at_a_time(endpoint, wanted)

    return run(main())


def stored_in(dicom_files: DicomFiles, *groups: str) -> list[Stored]:
    return [
        (study, series, instance)
        for study in dicom_files.group(*groups)
        for series in study.series
        for instance in series.instances
    ]


def test_every_image_comes_by_c_move(index, cache, dicom_files):
    wanted = stored_in(dicom_files, "demo", "compressed")
    with WithoutGet(index) as archive:
        received = load(archive, moving(archive, cache), wanted)

    assert len(received) == len(wanted)
    for instance, content in received.items():
        (cache.directory / "one").write_bytes(content)
        file = dcmread(cache.directory / "one")
        assert file == dicom_files.read(instance)
        assert file.file_meta.TransferSyntaxUID == instance.transfer_syntax_uid
    assert not list(cache.directory.glob("*.incoming"))


def test_dcmqrscp_sends_by_c_move(tmp_path, cache, dicom_files, free_port):
    needs("dcmtk")
    study = dicom_files.study("mr")
    wanted = [one for one in stored_in(dicom_files, "demo") if one[0] is study]
    port = free_port()
    with start_dcmqrscp(
        tmp_path, dicom_files, groups=["demo"], destinations={HUB: ("127.0.0.1", port)}
    ) as archive:
        endpoint = moving(archive, cache)

        async def main() -> dict[Any, bytes]:
            async with storage(cache, endpoint, port=port):
                return await four_at_a_time(endpoint, wanted)

        received = run(main())

    assert len(received) == 20
    assert is_as_stored(received, dicom_files)


def test_destination_that_is_not_registered_says_what_to_do(index, cache, dicom_files):
    wanted = stored_in(dicom_files, "demo")[0]
    with (
        WithoutGet(index) as archive,
        pytest.raises(ArchiveRefusedError, match=f"does not know {HUB}"),
    ):
        run(image(moving(archive, cache), wanted))


def test_storage_service_that_does_not_run_is_told(
    index, cache, dicom_files, free_port
):
    wanted = stored_in(dicom_files, "demo")[0]
    with WithoutGet(index) as archive:
        archive.destinations[HUB] = "127.0.0.1", free_port()
        with pytest.raises((ArchiveResponseError, ArchiveRefusedError), match=HUB):
            run(image(moving(archive, cache), wanted))


def test_c_move_without_cache_says_what_to_do(index, dicom_files):
    wanted = stored_in(dicom_files, "demo")[0]
    with (
        WithoutGet(index) as archive,
        pytest.raises(ArchiveRefusedError, match="needs the hub's image cache"),
    ):
        run(image(moving(archive, None), wanted))


def test_unknown_image_is_not_found(index, cache, dicom_files):
    study, series, _ = stored_in(dicom_files, "demo")[0]
    unknown = study, series, dicom_files.study("mr").series[0].instances[0]
    with WithoutGet(index) as archive, pytest.raises(InstanceNotFoundError):
        load(archive, moving(archive, cache), [unknown])


# Who may send what


def send(port: int, files: list[Path], *, calling: str, called: str = HUB) -> list[int]:
    """Statuses of C-STOREs; empty if the association was refused."""
    datasets = [dcmread(path) for path in files]
    contexts = [
        build_context(one.SOPClassUID, one.file_meta.TransferSyntaxUID)
        for one in datasets
    ]
    entity = AE(ae_title=calling)
    association = entity.associate("127.0.0.1", port, contexts, ae_title=called)
    if not association.is_established:
        return []
    statuses = [association.send_c_store(one).Status for one in datasets]
    association.release()
    return statuses


@pytest.mark.parametrize(
    ("sender", "is_requested", "expected"),
    [
        ({}, True, [0]),
        ({}, False, [0x0124]),
        ({"calling": "OTHER"}, True, []),
        ({"called": "OTHER"}, True, []),
        ({"host": "192.0.2.1"}, True, []),
    ],
)
def test_only_objects_that_are_waited_for_are_taken_from_archives(
    sender, is_requested, expected, cache, dicom_files
):
    study, series, instance = stored_in(dicom_files, "demo")[0]
    endpoint = DimseEndpoint(
        name="Archive",
        host=sender.pop("host", "127.0.0.1"),
        port=104,
        called_ae_title="ARCHIVE",
    )
    files = cache.series(endpoint.cache_owner, series.series_instance_uid)
    other = cache.series(endpoint.cache_owner, study.series[1].series_instance_uid)
    (files if is_requested else other).request()
    options = {"calling": "ARCHIVE", **sender}

    async def main() -> list[int]:
        async with storage(cache, endpoint) as service:
            paths = [dicom_files.path(instance)]
            return await asyncio.to_thread(send, service.port, paths, **options)

    assert run(main()) == expected
    assert files.has(instance.sop_instance_uid) == (expected == [0])
    assert not list(cache.directory.glob("*.incoming"))
