from __future__ import annotations

import asyncio
import json

from archives.clients.base import DicomWebEndpoint
from archives.clients.dicomweb import DicomWebClient
from archives.clients.pool import close_connections
from archives.entities import Series
from tests.archives.clients.test_tls import TRUSTED, server_context
from tests.http2_server import Http2Server
from tests.loops import run


def one_series(path: str) -> bytes:
    """The one series of every study, named after it."""
    study = path.split("/")[2]
    if "offset=" in path:
        return b"[]"
    return json.dumps([{"0020000E": {"vr": "UI", "Value": [f"{study}.1"]}}]).encode()


def test_requests_share_one_http2_connection_and_are_bounded(tmp_path):
    server = Http2Server(one_series)
    studies = [f"1.{number}" for number in range(12)]

    async def main() -> list[tuple[Series, ...]]:
        async with server.running(server_context(tmp_path)) as url:
            endpoint = DicomWebEndpoint(
                name="North", url=url, tls=TRUSTED, maximum_connections=3
            )
            try:
                client = DicomWebClient(endpoint)
                return await asyncio.gather(*map(client.find_series, studies))
            finally:
                await close_connections()

    found = run(main())

    assert [series.series_instance_uid for (series,) in found] == [
        f"{study}.1" for study in studies
    ]
    assert server.connections <= 3
    assert len(server.paths) >= len(studies)
    assert 1 < server.most_open_streams <= 3
