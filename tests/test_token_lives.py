"""Tokens of an OAuth2 server that live for seconds, on the whole product as processes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

from archives.entities import Study
from tests.dicomweb_server import Answer
from tests.dicomweb_studies import make_study
from tests.stack import Stack
from tests.token_server import ProtectedServer, TokenServer
from tests.vendors.files import files_of
from tests.vendors.server import serving

PIECES = 10


class DrippingArchive(ProtectedServer):
    """Wants a valid token at the beginning of each answer, and sends images slowly."""

    def __init__(
        self, studies: Iterable[Study], *, token_seconds: float, image_seconds: float
    ) -> None:
        tokens = TokenServer(time.monotonic, token_seconds)
        super().__init__(list(studies), tokens)
        self.behaviour.sends_series = False  # a request, and a token, for each image
        self.image_seconds = image_seconds
        self._files = files_of(self.studies)

    @asynccontextmanager
    async def running(self, context: Any = None) -> AsyncIterator[DrippingArchive]:
        async with self.tokens.running(), super().running(context):
            yield self

    def _file(self, uid: str) -> bytes:
        return self._files[uid]

    def _retrieve(self, uid: str, *, is_multipart: bool) -> Answer:
        answer = super()._retrieve(uid, is_multipart=is_multipart)

        async def drip(writer: asyncio.StreamWriter) -> None:
            whole = _Collected()
            await answer(cast(asyncio.StreamWriter, whole))
            size = math.ceil(len(whole.content) / PIECES)
            for start in range(0, len(whole.content), size):
                writer.write(whole.content[start : start + size])
                await writer.drain()
                await asyncio.sleep(self.image_seconds / PIECES)

        return drip


class _Collected:
    def __init__(self) -> None:
        self.content = b""

    def write(self, piece: bytes) -> None:
        self.content += piece

    async def drain(self) -> None:
        pass


@contextmanager
def archive_of(
    stack: Stack, studies: Iterable[Study], **lives: float
) -> Iterator[DrippingArchive]:
    """An archive of the hub, by OAuth2 client credentials."""
    with serving(DrippingArchive(studies, **lives)) as archive:
        stack.add_dicomweb_archive(
            "oauth2",
            url=archive.url,
            authentication="oauth2",
            token_url=archive.tokens.url,
            client_id="hub",
            client_secret="the secret of the client",
        )
        yield archive


def test_launch_of_twenty_seconds_outlives_its_tokens_and_asks_once_a_life(
    stack: Stack,
) -> None:
    study = make_study(series=2, instances=20)
    with archive_of(stack, [study], token_seconds=2, image_seconds=2) as archive:
        began = time.monotonic()
        result = stack.open({"studyUID": "1.1", "archive": "oauth2"})
        duration = time.monotonic() - began

    assert result.failures == []
    assert len(result.downloaded) == 40
    assert duration >= 20
    assert len(archive.tokens.requests) <= math.ceil(duration / 2) + 1


def test_worker_and_web_server_share_a_token(stack: Stack) -> None:
    study = make_study(series=2, instances=2)
    with archive_of(stack, [study], token_seconds=3600, image_seconds=0) as archive:
        result = stack.open({"studyUID": "1.1", "archive": "oauth2"})

    assert result.failures == []
    assert len(result.downloaded) == 4
    assert len(archive.tokens.requests) == 1
