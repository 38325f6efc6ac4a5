"""C-GET of one instance (PS3.4 C.4.3), handed on as a DICOM file while it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from archives.clients import matches as tags
from archives.clients.dimse import failures, messages, uids
from archives.clients.dimse.association import Association
from archives.clients.dimse.dataset import encode_identifier
from archives.clients.dimse.exchange import Exchange
from archives.clients.dimse.keys import IMAGE
from archives.clients.dimse.messages import Command, CommandError
from archives.clients.dimse.negotiation import AcceptedContext
from archives.clients.dimse.part10 import file_head
from archives.entities import InstanceIdentifier

# The archive has to wait while more than this is not yet taken.
_MOST_WAITING: Final = 1 << 20
_FEW_WAITING: Final = 1 << 18


class Retrieval(Exchange):
    """One C-GET. Iterating gives the pieces of the file; a broken transfer raises.

    The object is whole when its last piece has arrived; the final response of the
    archive, which may come much later, is not waited for.
    """

    content_length: int | None = None
    content: bytes | None = None
    service = "the retrieval (C-GET)"

    def __init__(
        self,
        association: Association,
        context: AcceptedContext,
        identifier: InstanceIdentifier,
    ) -> None:
        self.association = association
        self.context = context
        self.message_id = association.next_message_id()
        self.is_whole = False
        self._identifier = identifier
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._store: tuple[int, Command] | None = None
        self._is_refused = False
        self._error: Exception | None = None
        self._news = asyncio.Event()

    async def started(self) -> None:
        """Wait for the object to begin. Raises ``InstanceNotFoundError`` if none comes."""
        await self._news.wait()
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await self._news.wait()
            self._news.clear()
            pieces, self._pieces = self._pieces, []
            self._waiting_bytes = 0
            self.association.resume_reading()
            if pieces:
                yield b"".join(pieces)
            if not self._pieces:
                if self.is_whole:
                    return
                if self._error is not None:
                    raise self._error

    # Called by the association

    def command_received(self, context_id: int, command: Command) -> bool:
        if command.command_field == messages.C_STORE_RQ:
            self._store_requested(context_id, command)
            return False
        if command.message_id_being_responded_to != self.message_id:
            raise CommandError("a response to another request")
        if command.status in messages.PENDING:
            return False
        if not self.is_whole and self._error is None:
            self._fail(self._failure(command))
        return True

    def _store_requested(self, context_id: int, command: Command) -> None:
        context = self.association.acceptance.contexts[context_id]
        if not command.has_dataset:
            raise CommandError("a C-STORE without an object")
        if context.abstract_syntax != command.affected_sop_class_uid:
            raise CommandError("a C-STORE in a context of another SOP class")
        self._store = context_id, command
        self._is_refused = (
            self._error is not None
            or self.is_whole
            or command.affected_sop_instance_uid != self._identifier.sop_instance_uid
        )
        if not self._is_refused:
            head = file_head(
                command.affected_sop_class_uid,
                command.affected_sop_instance_uid,
                context.transfer_syntax,
            )
            self._add(head)

    def data_received(self, content: bytes, *, is_last: bool) -> None:
        if not self._is_refused:
            self._add(content)
        if not is_last or self._store is None:
            return
        context_id, command = self._store
        status = messages.SUCCESS
        if self._is_refused:
            # it was not asked for: let the archive stop rather than send a whole study
            status = messages.UNABLE_TO_STORE
            self.association.cancel(self)
        else:
            self.is_whole = True
            self.association.resume_reading()
        self.association.send(context_id, messages.store_response(command, status))

    def failed(self, error: Exception) -> None:
        if not self.is_whole:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._news.set()

    def _failure(self, command: Command) -> Exception:
        """A final response, and the object did not come."""
        endpoint, status = self.association.endpoint, command.status
        is_done = status == messages.SUCCESS
        if is_done or status == messages.NO_SUCH_INSTANCE:
            return failures.not_found(endpoint)
        if messages.is_warning(status) or status == messages.NOT_PERFORMED:
            return failures.not_sent(endpoint, status)
        return failures.failed(endpoint, self.service, status)

    def _add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes > _MOST_WAITING:
            self.association.pause_reading()
        self._news.set()


async def retrieve(
    association: Association, identifier: InstanceIdentifier
) -> Retrieval:
    """Start a C-GET, and wait for the object to begin."""
    endpoint = association.endpoint
    context = association.acceptance.context_of(uids.GET[endpoint.root])
    if context is None:
        raise failures.get_not_offered(endpoint)
    retrieval = Retrieval(association, context, identifier)
    command = messages.get_request(retrieval.message_id, context.abstract_syntax)
    keys = encode_identifier(
        {
            tags.QUERY_RETRIEVE_LEVEL: IMAGE,
            tags.STUDY_INSTANCE_UID: identifier.study_instance_uid,
            tags.SERIES_INSTANCE_UID: identifier.series_instance_uid,
            tags.SOP_INSTANCE_UID: identifier.sop_instance_uid,
        },
        is_explicit=context.transfer_syntax == uids.EXPLICIT_VR_LITTLE_ENDIAN,
        archive_name=endpoint.name,
    )
    association.begin(retrieval, command, keys)
    try:
        await retrieval.started()
    except asyncio.CancelledError:
        association.abort()
        raise
    return retrieval
