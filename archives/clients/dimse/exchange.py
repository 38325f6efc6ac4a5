"""DIMSE messages as they arrive, piece by piece, for the operation that awaits them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container

from archives.clients.dimse import messages
from archives.clients.dimse.messages import Command
from archives.clients.dimse.negotiation import AcceptedContext
from archives.clients.dimse.pdu import Fragment, PduError


class Exchange(ABC):
    """The messages of one operation, as they arrive."""

    service: str
    message_id: int
    context: AcceptedContext

    @abstractmethod
    def command_received(self, context_id: int, command: Command) -> bool:
        """Whether this was the final response."""

    @abstractmethod
    def data_received(self, content: bytes, *, is_last: bool) -> None:
        """A piece of the data set that the last command announced."""

    @abstractmethod
    def failed(self, error: Exception) -> None:
        """The operation can't go on: the association is lost."""


class MessageReader:
    """Puts the presentation data values of an association together (PS3.8 Annex E)."""

    def __init__(self) -> None:
        self._command = bytearray()
        self._dataset_context_id: int | None = None
        self._is_final = False

    def receive(
        self, fragment: Fragment, exchange: Exchange | None, contexts: Container[int]
    ) -> bool:
        """Whether the exchange has ended. Raises ``PduError`` or ``CommandError``.

        ``contexts`` are the IDs that were accepted.
        """
        expects_dataset = self._dataset_context_id is not None
        if exchange is None or fragment.is_command is expects_dataset:
            raise PduError("a command or data set that was not expected")
        if fragment.is_command:
            return self._command_part(fragment, exchange, contexts)
        return self._dataset_part(fragment, exchange)

    def _dataset_part(self, fragment: Fragment, exchange: Exchange) -> bool:
        if fragment.context_id != self._dataset_context_id:
            raise PduError("a data set in another presentation context")
        if fragment.is_last:
            self._dataset_context_id = None
        if not self._is_final:
            exchange.data_received(fragment.content, is_last=fragment.is_last)
            return False
        return self._ends(fragment.is_last)

    def _command_part(
        self, fragment: Fragment, exchange: Exchange, contexts: Container[int]
    ) -> bool:
        content = fragment.content
        if len(self._command) + len(content) > messages.LONGEST_COMMAND:
            raise PduError("command set too long")
        if not fragment.is_last:
            self._command += content
            return False
        if self._command:
            content = bytes(self._command) + content
            self._command.clear()
        if fragment.context_id not in contexts:
            raise PduError("a command in a presentation context not negotiated")
        command = messages.parse_command(content)
        self._is_final = exchange.command_received(fragment.context_id, command)
        if command.has_dataset:
            # also of a final response: Orthanc sends one after a C-CANCEL
            self._dataset_context_id = fragment.context_id
            return False
        return self._ends(self._is_final)

    def _ends(self, is_end: bool) -> bool:
        if is_end:
            self._is_final = False
        return is_end
