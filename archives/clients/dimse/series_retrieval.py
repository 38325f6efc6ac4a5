"""C-GET of a whole series (PS3.4 C.4.3) into the image cache."""

from __future__ import annotations

import asyncio

from archives.clients import matches as tags
from archives.clients.base import DimseEndpoint
from archives.clients.dimse import failures, messages, uids
from archives.clients.dimse.association import Association
from archives.clients.dimse.dataset import encode_identifier
from archives.clients.dimse.exchange import Exchange
from archives.clients.dimse.keys import SERIES
from archives.clients.dimse.messages import Command, CommandError
from archives.clients.dimse.negotiation import AcceptedContext, retrieval_proposals
from archives.clients.dimse.part10 import file_head
from archives.clients.dimse.pool import pool_of
from archives.clients.spool import Spool
from archives.clients.turns import counts_as_image
from archives.entities import InstanceIdentifier


class SeriesRetrieval(Exchange):
    """One C-GET; ``done`` is set by its final response.

    Objects that can't be sent are the archive's to count: they are missing afterwards.
    """

    service = "the retrieval (C-GET)"

    def __init__(
        self, association: Association, context: AcceptedContext, spool: Spool
    ) -> None:
        self.association = association
        self.context = context
        self.message_id = association.next_message_id()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.objects = 0
        self._spool = spool
        self._store: tuple[int, Command] | None = None

    def command_received(self, context_id: int, command: Command) -> bool:
        if command.command_field == messages.C_STORE_RQ:
            self._store_requested(context_id, command)
            return False
        if command.message_id_being_responded_to != self.message_id:
            raise CommandError("a response to another request")
        if command.status in messages.PENDING:
            return False
        if not self.done.done():
            self._ended(command.status)
        return True

    def _store_requested(self, context_id: int, command: Command) -> None:
        context = self.association.acceptance.contexts[context_id]
        if not command.has_dataset:
            raise CommandError("a C-STORE without an object")
        if context.abstract_syntax != command.affected_sop_class_uid:
            raise CommandError("a C-STORE in a context of another SOP class")
        self._store = context_id, command
        head = file_head(
            command.affected_sop_class_uid,
            command.affected_sop_instance_uid,
            context.transfer_syntax,
        )
        self._spool.begin(command.affected_sop_instance_uid, head)

    def data_received(self, content: bytes, *, is_last: bool) -> None:
        if self._store is None:
            raise CommandError("a data set that was not announced")
        self._spool.add(content, is_last=is_last)
        if self._spool.is_full:
            self.association.pause_reading()
        if not is_last:
            return
        context_id, command = self._store
        self._store = None
        self.objects += 1
        response = messages.store_response(command, messages.SUCCESS)
        self.association.send(context_id, response)

    def written(self) -> None:
        """The spool has made room, or has failed."""
        if self._spool.has_failed:
            self.association.abort()
        elif self._spool.has_room:
            self.association.resume_reading()

    def failed(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def _ended(self, status: int) -> None:
        is_partly = messages.is_warning(status) or status == messages.NOT_PERFORMED
        if status == messages.SUCCESS or is_partly:
            self.done.set_result(None)
        else:
            endpoint = self.association.endpoint
            self.done.set_exception(failures.failed(endpoint, self.service, status))


async def retrieve_series(
    endpoint: DimseEndpoint,
    identifier: InstanceIdentifier,
    sop_class_uid: str,
    spool: Spool,
) -> int:
    """Have the series of an instance sent; how many objects came, also after an error.

    Those of another class than the instance may be missing.
    """

    async def run(association: Association) -> int:
        return await _retrieve(association, identifier, spool)

    proposal = retrieval_proposals(endpoint.root, sop_class_uid)[0]
    is_image = counts_as_image(endpoint.maximum_associations)
    return await pool_of(endpoint).run(proposal, run, is_image=is_image)


async def _retrieve(
    association: Association, identifier: InstanceIdentifier, spool: Spool
) -> int:
    endpoint = association.endpoint
    context = association.acceptance.context_of(uids.GET[endpoint.root])
    if context is None:
        raise failures.get_not_offered(endpoint)
    retrieval = SeriesRetrieval(association, context, spool)
    spool.on_written = retrieval.written
    command = messages.get_request(retrieval.message_id, context.abstract_syntax)
    keys = encode_identifier(
        {
            tags.QUERY_RETRIEVE_LEVEL: SERIES,
            tags.STUDY_INSTANCE_UID: identifier.study_instance_uid,
            tags.SERIES_INSTANCE_UID: identifier.series_instance_uid,
        },
        is_explicit=context.transfer_syntax == uids.EXPLICIT_VR_LITTLE_ENDIAN,
        archive_name=endpoint.name,
    )
    association.begin(retrieval, command, keys)
    try:
        await retrieval.done
    except asyncio.CancelledError:
        association.abort()
        raise
    finally:
        await spool.flush()
    return retrieval.objects
