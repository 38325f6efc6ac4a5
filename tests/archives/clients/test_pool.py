"""What is kept open ends when nobody wants it any more."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from archives.clients import close_connections, open_client
from archives.clients import pool as pools_module
from archives.clients.base import DicomWebEndpoint, DimseEndpoint
from archives.clients.dimse.pool import pool_of as associations_of
from archives.clients.http_pool import HttpPool
from archives.clients.http_pool import pool_of as http_pool_of
from archives.embedded import EmbeddedArchive
from archives.entities import StudyQuery
from tests.dicomweb_server import Behaviour, DicomWebServer
from tests.dicomweb_studies import make_study

HTTP = DicomWebEndpoint(name="North", url="http://127.0.0.1:9/dicom-web")
DIMSE = DimseEndpoint(name="South", host="127.0.0.1", port=9, called_ae_title="ANY")


def run(action: Any) -> Any:
    async def main() -> Any:
        try:
            return await action()
        finally:
            await close_connections()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("pool_of", "endpoint"), [(http_pool_of, HTTP), (associations_of, DIMSE)]
)
def test_endpoints_that_were_used_longest_ago_lose_their_pool(
    pool_of, endpoint, monkeypatch
):
    monkeypatch.setattr(pools_module, "MAXIMUM_POOLS", 3)

    async def action() -> None:
        endpoints = [replace(endpoint, name=f"{number}") for number in range(5)]
        first = [pool_of(one) for one in endpoints[:3]]
        pool_of(endpoints[0])
        for one in endpoints[3:]:
            pool_of(one)

        assert pool_of(endpoints[0]) is first[0]
        assert pool_of(endpoints[1]) is not first[1]

    run(action)


def test_pool_in_use_is_never_closed(monkeypatch):
    monkeypatch.setattr(pools_module, "MAXIMUM_POOLS", 1)
    monkeypatch.setattr(pools_module, "IDLE_POOL_SECONDS", -1.0)

    async def action() -> None:
        used = http_pool_of(HTTP)
        with used.in_use():
            http_pool_of(replace(HTTP, name="another"))
            assert http_pool_of(HTTP) is used
        http_pool_of(replace(HTTP, name="another"))
        assert http_pool_of(HTTP) is not used

    run(action)


def test_connections_of_a_pool_that_goes_are_closed(monkeypatch):
    monkeypatch.setattr(pools_module, "MAXIMUM_POOLS", 2)

    async def action() -> None:
        async with DicomWebServer([make_study()], Behaviour()).running() as server:
            for number in range(4):
                endpoint = DicomWebEndpoint(name=f"{number}", url=server.url)
                async with open_client(endpoint) as client:
                    found = await client.find_studies(StudyQuery(patient_id="P1"))
                    assert found.studies
            async with asyncio.timeout(20):
                while len(server._tasks) > 2:
                    await asyncio.sleep(0)

            assert server.connections == 4

    run(action)


def test_association_under_way_keeps_its_pool(
    embedded_archive: EmbeddedArchive, monkeypatch
):
    monkeypatch.setattr(pools_module, "MAXIMUM_POOLS", 1)
    endpoint = replace(
        DIMSE,
        port=embedded_archive.port,
        called_ae_title=embedded_archive.ae_title,
    )

    async def action() -> None:
        pool = associations_of(endpoint)
        async with open_client(endpoint) as client:
            search = asyncio.create_task(client.find_studies(StudyQuery()))
            while pool.is_idle:
                await asyncio.sleep(0)
            associations_of(DIMSE)
            assert associations_of(endpoint) is pool
            await search
        assert pool.is_idle

    run(action)


def test_pool_is_asked_for_again_after_all_were_closed():
    async def action() -> tuple[HttpPool, HttpPool]:
        first = http_pool_of(HTTP)
        await close_connections()
        return first, http_pool_of(HTTP)

    first, second = run(action)

    assert first is not second
