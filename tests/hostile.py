"""An archive on a socket that says exactly what a test wants it to say.

It runs in the loop of the test. The helpers encode what a well-behaved archive would
send, for the test to cut, repeat or spoil.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Self

from pydicom import Dataset
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ASSOCIATE_RQ

from archives.clients.base import Deadlines, DimseEndpoint

IMPLICIT = "1.2.840.10008.1.2"
# For tests of silence, where nothing else has to happen in time: a busy machine may well
# stand still for a third of a second.
SHORT_ASSOCIATION = Deadlines(association=0.3)
SHORT_ANSWER = Deadlines(first_answer=0.3)


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def value(context_id: int, control: int, content: bytes) -> bytes:
    """A presentation data value."""
    return struct.pack(">IBB", len(content) + 2, context_id, control) + content


def p_data(*values: bytes) -> bytes:
    return pdu(0x04, b"".join(values))


def implicit(dataset: Dataset) -> bytes:
    content = encode(dataset, True, True)
    assert content is not None
    return content


def command_set(**elements: Any) -> bytes:
    dataset = Dataset()
    for keyword, element in elements.items():
        setattr(dataset, keyword, element)
    content = implicit(dataset)
    return b"\0\0\0\0\4\0\0\0" + struct.pack("<I", len(content)) + content


def response(
    request: Request, status: int, *, field: int = 0x8020, has_dataset: bool = False
) -> bytes:
    """The command of a response, as a whole presentation data value."""
    content = command_set(
        CommandField=field,
        MessageIDBeingRespondedTo=request.message_id,
        CommandDataSetType=1 if has_dataset else 0x0101,
        Status=status,
    )
    return value(request.context_id, 3, content)


def answer(request: Request, attributes: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """A pending C-FIND response: the values of its command and of its identifier."""
    dataset = Dataset()
    for keyword, element in attributes.items():
        setattr(dataset, keyword, element)
    return (
        response(request, 0xFF00, has_dataset=True),
        value(request.context_id, 2, implicit(dataset)),
    )


def answers(request: Request, found: Iterable[Mapping[str, Any]]) -> bytes:
    """All PDUs of a query's answers, the final one included."""
    sent = [p_data(part) for one in found for part in answer(request, one)]
    return b"".join(sent) + p_data(response(request, 0x0000))


def store(
    request: Request, context_id: int, sop_class_uid: str, sop_instance_uid: str
) -> bytes:
    """The command of a C-STORE sub-operation."""
    content = command_set(
        AffectedSOPClassUID=sop_class_uid,
        CommandField=0x0001,
        MessageID=request.message_id + 100,
        Priority=0,
        CommandDataSetType=1,
        AffectedSOPInstanceUID=sop_instance_uid,
    )
    return value(context_id, 3, content)


def acceptance(request: A_ASSOCIATE_RQ, *, maximum: int = 16384) -> bytes:
    """An A-ASSOCIATE-AC that accepts everything, as implicit VR or else the first."""
    contexts = b""
    for one in request.presentation_context:
        syntaxes = [str(uid) for uid in one.transfer_syntax]
        syntax = (IMPLICIT if IMPLICIT in syntaxes else syntaxes[0]).encode()
        item = struct.pack(">BxH", 0x40, len(syntax)) + syntax
        body = bytes((one.context_id, 0, 0, 0)) + item
        contexts += struct.pack(">BxH", 0x21, len(body)) + body
    limit = struct.pack(">BxHI", 0x51, 4, maximum)
    user = struct.pack(">BxH", 0x50, len(limit)) + limit
    name = b"1.2.840.10008.3.1.1.1"
    application = struct.pack(">BxH", 0x10, len(name)) + name
    fixed = struct.pack(">HH", 1, 0) + b" " * 32 + bytes(32)
    return pdu(0x02, fixed + application + contexts + user)


@dataclass
class Request:
    """A DIMSE request of the client."""

    context_id: int
    command: Dataset
    identifier: Dataset | None = None

    @property
    def message_id(self) -> int:
        return int(self.command.get("MessageID", 0))

    @property
    def name(self) -> str:
        fields = {0x20: "find", 0x10: "get", 0x30: "echo", 0xFFF: "cancel"}
        return fields.get(self.command.CommandField, "other")


class Peer:
    """A connection of the client, from the archive's side."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.association: A_ASSOCIATE_RQ | None = None

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        """PDU type, and the whole PDU."""
        head = await self._reader.readexactly(6)
        kind, length = struct.unpack(">BxI", head)
        return kind, head + await self._reader.readexactly(length)

    async def requested(self) -> A_ASSOCIATE_RQ:
        kind, data = await self.receive()
        assert kind == 0x01
        self.association = A_ASSOCIATE_RQ()
        self.association.decode(data)
        return self.association

    async def accept(self, **options: Any) -> Self:
        await self.send(acceptance(await self.requested(), **options))
        return self

    def context_id(self, abstract_syntax: str) -> int:
        assert self.association is not None
        for one in self.association.presentation_context:
            if one.abstract_syntax == abstract_syntax:
                return int(one.context_id)
        raise LookupError(abstract_syntax)

    async def request(self) -> Request:
        """The next DIMSE message. A release or abort ends this connection's part."""
        contents: dict[bool, bytes] = {True: b"", False: b""}
        while True:
            kind, data = await self.receive()
            if kind == 0x05:
                await self.send(pdu(0x06, bytes(4)))
                raise EndOfAssociationError("released")
            if kind == 0x07:
                raise EndOfAssociationError("aborted")
            assert kind == 0x04
            position = 6
            while position < len(data):
                length, context_id, control = struct.unpack_from(">IBB", data, position)
                is_command = bool(control & 1)
                contents[is_command] += data[position + 6 : position + 4 + length]
                position += 4 + length
                if not control & 2:
                    continue
                command = decode(BytesIO(contents[True]), True, True)
                if not is_command:
                    identifier = decode(BytesIO(contents[False]), True, True)
                    return Request(context_id, command, identifier)
                if command.CommandDataSetType == 0x0101:
                    return Request(context_id, command)

    def cut(self) -> None:
        """Close the connection at once."""
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


class EndOfAssociationError(Exception):
    """The client released or aborted."""


Behaviour = Callable[[Peer], Awaitable[None]]


@dataclass
class Hostile:
    """Where it listens, and how the client ends its associations, in order: by
    ``released``, ``aborted`` or ``closed``."""

    port: int
    ends: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    associations: int = 0
    failures: list[BaseException] = field(default_factory=list)

    def endpoint(self, **options: Any) -> DimseEndpoint:
        return DimseEndpoint(
            **{
                "name": "Hostile",
                "host": "127.0.0.1",
                "port": self.port,
                "called_ae_title": "HOSTILE",
                **options,
            }
        )


@asynccontextmanager
async def hostile(behaviour: Behaviour) -> AsyncIterator[Hostile]:
    """Serve with ``behaviour`` for each connection; its own failures are raised."""
    peers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        peers.add(task)
        archive.associations += 1
        peer = Peer(reader, writer)
        try:
            await behaviour(peer)
            await reader.read()  # until the client closes
            archive.ends.put_nowait("closed")
        except EndOfAssociationError as end:
            archive.ends.put_nowait(str(end))
        except (asyncio.IncompleteReadError, ConnectionError):
            archive.ends.put_nowait("closed")
        except asyncio.CancelledError:
            pass  # the test is over
        except BaseException as error:
            archive.failures.append(error)
        finally:
            await peer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    archive = Hostile(server.sockets[0].getsockname()[1])
    try:
        yield archive
    finally:
        server.close()
        for task in peers:
            task.cancel()
        await asyncio.gather(*peers, return_exceptions=True)
        await server.wait_closed()
    if archive.failures:
        raise archive.failures[0]
