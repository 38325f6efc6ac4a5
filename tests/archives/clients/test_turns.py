"""Images that are taken slowly, or not at all, keep nobody from searching."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from archives.clients import close_connections, open_client, turns
from archives.clients.base import ArchiveClient, DimseEndpoint, Endpoint
from archives.embedded import EmbeddedArchive
from archives.entities import InstanceIdentifier, StudyQuery
from archives.errors import ArchiveUnavailableError
from tests.dicom_files import DicomFiles
from tests.dicomweb_studies import identifier_of, make_study, serving
from tests.loops import run

Serving = tuple[Endpoint, InstanceIdentifier]


@asynccontextmanager
async def dicomweb(maximum: int) -> AsyncIterator[Serving]:
    study = make_study()
    options = {"maximum_connections": maximum}
    async with serving(study, endpoint=options) as (client, _):
        yield client._http.endpoint, identifier_of(study)


@asynccontextmanager
async def dimse(maximum: int, files: DicomFiles) -> AsyncIterator[Serving]:
    study = files.group("demo")[0]
    identifier = InstanceIdentifier(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=study.series[0].series_instance_uid,
        sop_instance_uid=study.series[0].instances[0].sop_instance_uid,
    )
    with EmbeddedArchive(files.paths([study])) as archive:
        endpoint = DimseEndpoint(
            name="North",
            host="127.0.0.1",
            port=archive.port,
            called_ae_title=archive.ae_title,
            maximum_associations=maximum,
        )
        try:
            yield endpoint, identifier
        finally:
            await close_connections()


async def search(client: ArchiveClient) -> int:
    async with asyncio.timeout(20):
        return len((await client.find_studies(StudyQuery(limit=10))).studies)


@pytest.mark.parametrize("protocol", ["dicomweb", "dimse"])
@pytest.mark.parametrize(("maximum", "images"), [(4, 3), (2, 1)])
def test_one_connection_is_left_for_searches(
    protocol, maximum, images, dicom_files, monkeypatch
):
    monkeypatch.setattr(turns, "IMAGE_SECONDS", 0.1)

    async def main() -> None:
        served = (
            dicomweb(maximum) if protocol == "dicomweb" else dimse(maximum, dicom_files)
        )
        async with (
            served as (endpoint, identifier),
            open_client(endpoint) as client,
            AsyncExitStack() as stopped,
        ):
            for _ in range(images):
                await stopped.enter_async_context(client.retrieve_instance(identifier))

            with pytest.raises(ArchiveUnavailableError, match="North is busy"):
                await client.retrieve_instance(identifier).__aenter__()
            assert await search(client) == 1

            await stopped.aclose()
            async with client.retrieve_instance(identifier) as stream:
                assert b"".join([piece async for piece in stream])

    run(main())


@pytest.mark.parametrize("protocol", ["dicomweb", "dimse"])
def test_one_connection_serves_images_and_searches(protocol, dicom_files):
    async def main() -> None:
        served = dicomweb(1) if protocol == "dicomweb" else dimse(1, dicom_files)
        async with served as (endpoint, identifier), open_client(endpoint) as client:
            async with client.retrieve_instance(identifier) as stream:
                assert b"".join([piece async for piece in stream])
            assert await search(client) == 1

    run(main())


@pytest.mark.parametrize(("maximum", "series"), [(1, 0), (2, 1), (3, 1), (4, 2)])
def test_series_ahead_leave_turns_for_single_images_and_searches(maximum, series):
    assert turns.series_at_once(maximum) == series
