"""C-ECHO (PS3.7 9.1.5) and C-FIND (PS3.4 C.4.1) on an association."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from archives.clients import matches as tags
from archives.clients.dimse import failures, messages, uids
from archives.clients.dimse.association import Association
from archives.clients.dimse.dataset import (
    LONGEST_IDENTIFIER,
    DatasetError,
    Elements,
    encode_identifier,
    read_elements,
)
from archives.clients.dimse.exchange import Exchange
from archives.clients.dimse.messages import Command, CommandError
from archives.clients.dimse.negotiation import AcceptedContext

OnAnswer = Callable[[Elements], bool]
"""Takes an answer; false means that no more are wanted."""


class _Request(Exchange):
    """What C-ECHO and C-FIND have in common: a final response, or a failure."""

    def __init__(
        self, association: Association, context: AcceptedContext, service: str
    ) -> None:
        self.association = association
        self.context = context
        self.service = service
        self.message_id = association.next_message_id()
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def command_received(self, context_id: int, command: Command) -> bool:
        if command.message_id_being_responded_to != self.message_id:
            raise CommandError("a response to another request")
        if command.status in messages.PENDING:
            return self._pending_received(command)
        if not self.done.done():
            self._ended(command.status)
        elif command.status != messages.CANCELLED:
            # our C-CANCEL crossed the response: some archives then close or confuse
            self.association.retire()
        return True

    def _pending_received(self, command: Command) -> bool:
        raise CommandError("a pending response to C-ECHO")

    def _ended(self, status: int) -> None:
        if status == messages.SUCCESS or messages.is_warning(status):
            self.done.set_result(True)
        else:
            endpoint = self.association.endpoint
            error = failures.failed(endpoint, self.service, status)
            self.done.set_exception(error)

    def data_received(self, content: bytes, *, is_last: bool) -> None:
        raise CommandError("a data set that was not announced")

    def failed(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class _Find(_Request):
    def __init__(
        self, association: Association, context: AcceptedContext, on_answer: OnAnswer
    ) -> None:
        super().__init__(association, context, "the query")
        self._is_explicit = context.transfer_syntax == uids.EXPLICIT_VR_LITTLE_ENDIAN
        self._on_answer = on_answer
        self._identifier = bytearray()

    def _pending_received(self, command: Command) -> bool:
        if not command.has_dataset:
            raise CommandError("a pending response without an identifier")
        return False

    def data_received(self, content: bytes, *, is_last: bool) -> None:
        if len(self._identifier) + len(content) > LONGEST_IDENTIFIER:
            raise DatasetError("identifier too long")
        if not is_last or self._identifier:
            self._identifier += content
            if not is_last:
                return
            content = bytes(self._identifier)
            self._identifier.clear()
        if self.done.done():  # cancelled, and the archive has not noticed yet
            return
        elements = read_elements(content, is_explicit=self._is_explicit)
        if not self._on_answer(elements):
            self.done.set_result(False)
            # not before what has arrived already is read: it may be all there is
            asyncio.get_running_loop().call_soon(self.association.cancel, self)


async def echo(association: Association) -> None:
    context = association.acceptance.context_of(uids.VERIFICATION)
    if context is None:
        raise failures.not_offered(association.endpoint, "C-ECHO (Verification)")
    request = _Request(association, context, "C-ECHO")
    command = messages.echo_request(request.message_id, context.abstract_syntax)
    association.begin(request, command, None)
    await request.done


async def find(
    association: Association,
    level: str,
    keys: Mapping[int, str],
    on_answer: OnAnswer,
) -> bool:
    """Query once; whether all answers came, false if ``on_answer`` wanted no more.

    If it wanted no more, or the awaiting task is cancelled, a C-CANCEL is sent, and the
    association stays busy until the archive obeys: see ``Association.settle``.
    """
    endpoint = association.endpoint
    context = association.acceptance.context_of(uids.FIND[endpoint.root])
    if context is None:
        raise failures.not_offered(endpoint, "queries (C-FIND)")
    identifier = encode_identifier(
        {tags.QUERY_RETRIEVE_LEVEL: level, **keys},
        is_explicit=context.transfer_syntax == uids.EXPLICIT_VR_LITTLE_ENDIAN,
        character_set=endpoint.specific_character_set,
        archive_name=endpoint.name,
    )
    request = _Find(association, context, on_answer)
    command = messages.find_request(request.message_id, context.abstract_syntax)
    association.begin(request, command, identifier)
    try:
        return await request.done
    except asyncio.CancelledError:
        association.cancel(request)
        raise
