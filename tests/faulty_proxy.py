"""A way to an archive that fails in the middle of an image, as networks and archives do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HOST = "127.0.0.1"
A_ABORT = bytes((7, 0, 0, 0, 0, 4, 0, 0, 0, 0))


class FaultyProxy:
    """Passes everything on, until ``fail`` is called.

    Then, for so many times, an answer of more than ``after`` bytes ends there:

    dies      the connection is reset
    closes    it ends as if all were sent
    aborts    the same, after an A-ABORT where a PDU would begin, of a DIMSE archive
    stalls    it stays open, and nothing more comes
    """

    def __init__(self, port: int, *, after: int, is_dimse: bool) -> None:
        self.is_dimse = is_dimse
        self.port = 0
        self.failed = 0
        self._target = port
        self._after = after
        self._fault = ""
        self._left = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()

    def fail(self, fault: str, times: int) -> None:
        self._fault, self._left = fault, times

    def close_connections(self) -> None:
        """All that are open, as archives do with idle ones."""

        async def close() -> None:
            for writer in list(self._writers):
                writer.close()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(20)

    async def _connected(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        archive, to_archive = await asyncio.open_connection(HOST, self._target)
        self._writers |= {to_client, to_archive}
        answer = _Answer(self, archive, to_client)
        ways = {
            asyncio.create_task(self._questions(client, to_archive, answer)),
            asyncio.create_task(answer.pass_on()),
        }
        try:
            with suppress(asyncio.CancelledError):  # at the end of all
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in (to_client, to_archive):
                writer.close()
                self._writers.discard(writer)

    async def _questions(
        self,
        client: asyncio.StreamReader,
        to_archive: asyncio.StreamWriter,
        answer: _Answer,
    ) -> None:
        while piece := await client.read(65536):
            answer.size = 0
            to_archive.write(piece)
            await to_archive.drain()

    def _takes_turn(self, size: int) -> str:
        """The fault that happens now, if any."""
        if size <= self._after or not self._left:
            return ""
        self._left -= 1
        self.failed += 1
        return self._fault

    async def serve(self, is_ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._connected, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        is_ready.set()
        await stop.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Answer:
    """What the archive sends on one connection; ``size`` counts since the last question."""

    def __init__(
        self,
        proxy: FaultyProxy,
        archive: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
    ) -> None:
        self.size = 0
        self._proxy = proxy
        self._archive = archive
        self._to_client = to_client
        self._rest = 0  # of the PDU that is being passed on

    async def pass_on(self) -> None:
        read = self._pdu if self._proxy.is_dimse else self._piece
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while piece := await read():
                self.size += len(piece)
                fault = self._proxy._takes_turn(self.size)
                if fault:
                    await self._end(fault, piece)
                    return
                self._to_client.write(piece)
                await self._to_client.drain()

    async def _piece(self) -> bytes:
        return await self._archive.read(65536)

    async def _pdu(self) -> bytes:
        head = await self._archive.readexactly(6)
        length = int.from_bytes(head[2:], "big")
        return head + await self._archive.readexactly(length)

    async def _end(self, fault: str, piece: bytes) -> None:
        if fault == "dies":
            self._to_client.transport.abort()
            return
        self._to_client.write(
            A_ABORT if fault == "aborts" else piece[: len(piece) // 2]
        )
        await self._to_client.drain()
        if fault == "stalls":
            await asyncio.Event().wait()


@contextmanager
def faulty_proxy(port: int, *, after: int, is_dimse: bool) -> Iterator[FaultyProxy]:
    """One that runs in a thread, before the server at this port of loopback."""
    proxy = FaultyProxy(port, after=after, is_dimse=is_dimse)
    is_ready, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(
        target=lambda: proxy._loop.run_until_complete(proxy.serve(is_ready, stop))
    )
    thread.start()
    try:
        assert is_ready.wait(20)
        yield proxy
    finally:
        proxy._loop.call_soon_threadsafe(stop.set)
        thread.join()
        proxy._loop.close()
