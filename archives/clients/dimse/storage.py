"""The hub's storage service (PS3.4 Annex B): where archives send objects by C-MOVE.

It takes objects of series that a viewer waits for, from archives that are registered,
and puts them into the image cache. Everything else is refused. It runs in a process of
its own, so that it may write files without a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final, cast

from archives.clients.base import DimseEndpoint
from archives.clients.dimse import messages, pdu, uids
from archives.clients.dimse.exchange import Exchange, MessageReader
from archives.clients.dimse.messages import Command, CommandError
from archives.clients.dimse.negotiation import (
    AcceptedContext,
    AssociationRequest,
    encode_acceptance,
    parse_request,
)
from archives.clients.dimse.part10 import file_head
from archives.clients.dimse.pdu import PduError, PduReader
from archives.clients.dimse.stored_uid import series_instance_uid
from archives.clients.image_cache import ImageCache, new_file

logger = logging.getLogger(__name__)

Senders = Callable[[], Awaitable[Sequence[DimseEndpoint]]]
"""The archives that may send now."""

_IDLE_SECONDS: Final = 120.0
_MOST_ASSOCIATIONS: Final = 64
_PURGES_PER_CACHE: Final = 16
_CANNOT_UNDERSTAND: Final = 0xC000
_NOT_ASSOCIATED: Final = 1 << 18  # bytes that an A-ASSOCIATE-RQ never has
# (result, source, reason) of rejections (PS3.8 Table 9-21)
_CALLING_NOT_RECOGNIZED: Final = (1, 1, 3)
_CALLED_NOT_RECOGNIZED: Final = (1, 1, 7)
_CONGESTED: Final = (2, 3, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """``port`` 0 takes a free one."""

    ae_title: str
    cache: ImageCache
    host: str = "0.0.0.0"  # noqa: S104 - archives are other machines
    port: int = 11112


class StorageService:
    """Listens between ``start`` and ``stop``."""

    def __init__(self, settings: StorageSettings, senders: Senders) -> None:
        self.settings = settings
        self.port = settings.port
        self._senders = senders
        self._associations: set[_Association] = set()
        self._server: asyncio.Server | None = None
        self._unpurged_bytes = 0

    async def start(self) -> None:
        """Raises ``OSError`` if the port is taken."""
        loop = asyncio.get_running_loop()
        settings = self.settings
        _remove_incoming(settings.cache.directory)
        self._server = await loop.create_server(
            lambda: _Association(self), settings.host, settings.port
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for association in list(self._associations):
                association.abort()
            await self._server.wait_closed()

    def connected(self, association: _Association) -> bool:
        self._associations.add(association)
        return len(self._associations) <= _MOST_ASSOCIATIONS

    def disconnected(self, association: _Association) -> None:
        self._associations.discard(association)

    async def senders(self, ae_title: str, address: str) -> list[DimseEndpoint]:
        """Registered archives that this peer is, by its AE title and address."""
        candidates = [
            one for one in await self._senders() if one.called_ae_title == ae_title
        ]
        loop = asyncio.get_running_loop()
        found = []
        for endpoint in candidates:
            with suppress(OSError, UnicodeError):
                known = await loop.getaddrinfo(
                    endpoint.host, None, type=socket.SOCK_STREAM
                )
                if _plain(address) in {_plain(str(one[4][0])) for one in known}:
                    found.append(endpoint)
        return found

    def written(self, size: int) -> None:
        cache = self.settings.cache
        self._unpurged_bytes += size
        if self._unpurged_bytes > cache.maximum_bytes // _PURGES_PER_CACHE:
            self._unpurged_bytes = 0
            cache.purge()


def _plain(address: str) -> str:
    """Without a zone, and an IPv4 address as itself where sockets are IPv6."""
    parsed = ip_address(address.partition("%")[0])
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _remove_incoming(directory: Path) -> None:
    for path in directory.glob("*.incoming"):
        path.unlink(missing_ok=True)


class _Association(asyncio.Protocol):
    """A peer that sends: what it proposed, then its C-STOREs and C-ECHOs."""

    def __init__(self, service: StorageService) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._reader = PduReader(pdu.A_ASSOCIATE_RQ)
        self._messages = MessageReader()
        self._received = 0
        self._storing: _Storing | None = None
        self._contexts: dict[int, AcceptedContext] = {}
        self._deciding: asyncio.Task[None] | None = None
        self._maximum_pdu_length = 0
        self._idle: asyncio.TimerHandle | None = None

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        connection = transport.get_extra_info("socket")
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._is_welcome = self._service.connected(self)
        self._heard()

    def data_received(self, data: bytes) -> None:
        self._heard()
        self._received += len(data)
        try:
            if self._storing is None and self._received > _NOT_ASSOCIATED:
                raise PduError("too much before an association")
            for pdu_type, body in self._reader.feed(data):
                self._pdu_received(pdu_type, body)
        except (PduError, CommandError):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.disconnected(self)
        if self._idle is not None:
            self._idle.cancel()
        if self._deciding is not None:
            self._deciding.cancel()
        if self._storing is not None:
            self._storing.close()

    def _heard(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._loop.call_later(_IDLE_SECONDS, self.abort)

    # Protocol

    def _pdu_received(self, pdu_type: int, body: bytes) -> None:
        if pdu_type == pdu.A_ASSOCIATE_RQ and self._deciding is None:
            request = parse_request(body)
            self._deciding = self._loop.create_task(self._decide(request))
        elif pdu_type == pdu.P_DATA_TF and self._storing is not None:
            for fragment in pdu.fragments(body):
                self._messages.receive(fragment, self._storing, self._contexts)
        elif pdu_type == pdu.A_RELEASE_RQ and self._storing is not None:
            self._transport.write(pdu.encode_release_response())
            self._transport.close()
        elif pdu_type == pdu.A_ABORT:
            self._transport.close()
        else:
            raise PduError(f"unexpected PDU of type {pdu_type:#04x}")

    async def _decide(self, request: AssociationRequest) -> None:
        address = str(self._transport.get_extra_info("peername")[0])
        try:
            senders = await self._service.senders(request.calling_ae_title, address)
        except Exception:
            logger.exception("The registered archives can't be read.")
            self._reject(_CONGESTED)
            return
        if not self._is_welcome:
            self._reject(_CONGESTED)
        elif request.called_ae_title != self._service.settings.ae_title:
            self._reject(_CALLED_NOT_RECOGNIZED)
        elif not senders:
            logger.warning(
                "%s at %s is no archive whose images come by C-MOVE.",
                request.calling_ae_title,
                address,
            )
            self._reject(_CALLING_NOT_RECOGNIZED)
        else:
            self._accept(request, senders)

    def _reject(self, reason: tuple[int, int, int]) -> None:
        self._transport.write(pdu.encode_rejection(*reason))
        self._transport.close()

    def _accept(
        self, request: AssociationRequest, senders: list[DimseEndpoint]
    ) -> None:
        self._contexts = _accepted(request)
        self._maximum_pdu_length = request.maximum_pdu_length
        self._storing = _Storing(self, self._service, senders, self._contexts)
        self._transport.write(encode_acceptance(request, self._contexts))

    def send(self, context_id: int, command: bytes) -> None:
        limit = self._maximum_pdu_length
        self._transport.write(pdu.encode_message(context_id, command, None, limit))

    def abort(self) -> None:
        self._transport.write(pdu.encode_abort())
        self._transport.close()


def _accepted(request: AssociationRequest) -> dict[int, AcceptedContext]:
    """Each context in the first encoding that the hub knows: senders put first what
    they have."""
    accepted = {}
    for context_id, (abstract_syntax, transfer_syntaxes) in request.contexts.items():
        is_echo = abstract_syntax == uids.VERIFICATION
        known = uids.UNCOMPRESSED if is_echo else uids.STORED
        syntaxes = [uid for uid in transfer_syntaxes if uid in known]
        if abstract_syntax and syntaxes:
            accepted[context_id] = AcceptedContext(
                context_id=context_id,
                abstract_syntax=abstract_syntax,
                transfer_syntax=syntaxes[0],
            )
    return accepted


class _Storing(Exchange):
    """The objects of one association, each written to a file and then judged."""

    service = "C-STORE"

    def __init__(
        self,
        association: _Association,
        service: StorageService,
        senders: list[DimseEndpoint],
        contexts: dict[int, AcceptedContext],
    ) -> None:
        self._association = association
        self._service = service
        self._cache = service.settings.cache
        self._senders = senders
        self._contexts = contexts
        self._context_id = 0
        self._command: Command | None = None
        self._path: Path | None = None
        self._descriptor = -1
        self._size = 0
        self._status = messages.SUCCESS

    def command_received(self, context_id: int, command: Command) -> bool:
        if command.command_field == messages.C_ECHO_RQ and not command.has_dataset:
            self._association.send(context_id, messages.echo_response(command))
            return False
        if command.command_field != messages.C_STORE_RQ or not command.has_dataset:
            raise CommandError("neither a C-STORE nor a C-ECHO")
        context = self._contexts[context_id]
        if context.abstract_syntax != command.affected_sop_class_uid:
            raise CommandError("a C-STORE in a context of another SOP class")
        self._context_id, self._command = context_id, command
        self._size, self._status = 0, messages.SUCCESS
        head = file_head(
            command.affected_sop_class_uid,
            command.affected_sop_instance_uid,
            context.transfer_syntax,
        )
        try:
            self._path, self._descriptor = new_file(self._cache.directory)
        except OSError:
            self._status = messages.OUT_OF_RESOURCES
        self._write(head)
        return False

    def data_received(self, content: bytes, *, is_last: bool) -> None:
        self._write(content)
        if is_last and self._command is not None:
            status = self._status or self._judge(self._command)
            self.close()
            self._service.written(self._size)
            response = messages.store_response(self._command, status)
            self._association.send(self._context_id, response)

    def failed(self, error: Exception) -> None:
        self.close()

    def close(self) -> None:
        """Forget an object that is not whole, or not wanted."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _write(self, content: bytes) -> None:
        self._size += len(content)
        if self._size > self._cache.maximum_bytes:
            self._status = messages.OUT_OF_RESOURCES
        if self._status != messages.SUCCESS:
            return
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            self._status = messages.OUT_OF_RESOURCES

    def _judge(self, command: Command) -> int:
        """Keep an object whose series is waited for; the status to answer."""
        assert self._path is not None  # noqa: S101 - it was written without error
        uid = series_instance_uid(self._path)
        if uid is None:
            return _CANNOT_UNDERSTAND
        for endpoint in self._senders:
            series = self._cache.series(endpoint.cache_owner, uid)
            if series.is_requested:
                try:
                    series.adopt(self._path, command.affected_sop_instance_uid)
                except OSError:
                    return messages.OUT_OF_RESOURCES
                self._path = None
                return messages.SUCCESS
        return messages.NOT_AUTHORIZED
