"""C-MOVE (PS3.4 C.4.2) to the hub's storage service, which fills the image cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from archives.clients import matches as tags
from archives.clients.base import DimseEndpoint
from archives.clients.dimse import failures, messages, uids
from archives.clients.dimse.association import Association
from archives.clients.dimse.dataset import encode_identifier
from archives.clients.dimse.exchange import Exchange
from archives.clients.dimse.keys import IMAGE, SERIES, Keys
from archives.clients.dimse.messages import Command, CommandError
from archives.clients.dimse.negotiation import AcceptedContext, move_proposal
from archives.clients.dimse.pool import pool_of
from archives.clients.image_cache import CachedSeries
from archives.clients.turns import counts_as_image
from archives.entities import InstanceIdentifier

# How often the cache is looked at for what the storage service received.
_POLL_SECONDS: Final = 0.02
_REQUESTS_PER_POLL: Final = 250


class _Move(Exchange):
    """``done`` is the status of the final response."""

    service = "the retrieval (C-MOVE)"

    def __init__(self, association: Association, context: AcceptedContext) -> None:
        self.context = context
        self.message_id = association.next_message_id()
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def command_received(self, context_id: int, command: Command) -> bool:
        if command.message_id_being_responded_to != self.message_id:
            raise CommandError("a response to another request")
        if command.status in messages.PENDING:
            return False
        if not self.done.done():
            self.done.set_result(command.status)
        return True

    def data_received(self, content: bytes, *, is_last: bool) -> None:
        """Of a pending response: nothing we use."""

    def failed(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


async def move_series(
    endpoint: DimseEndpoint,
    identifier: InstanceIdentifier,
    files: CachedSeries,
    on_arrival: Callable[[], None],
) -> int:
    """Have a series sent into the cache; the final status, whatever came."""
    keys = {
        tags.QUERY_RETRIEVE_LEVEL: SERIES,
        tags.STUDY_INSTANCE_UID: identifier.study_instance_uid,
        tags.SERIES_INSTANCE_UID: identifier.series_instance_uid,
    }
    is_image = counts_as_image(endpoint.maximum_associations)
    return await _move(endpoint, keys, files, on_arrival, is_image=is_image)


async def move_instance(
    endpoint: DimseEndpoint, identifier: InstanceIdentifier, files: CachedSeries
) -> None:
    """Have one object sent into the cache. Raises ``ArchiveError`` if it is not there."""
    uid = identifier.sop_instance_uid
    keys = {
        tags.QUERY_RETRIEVE_LEVEL: IMAGE,
        tags.STUDY_INSTANCE_UID: identifier.study_instance_uid,
        tags.SERIES_INSTANCE_UID: identifier.series_instance_uid,
        tags.SOP_INSTANCE_UID: uid,
    }
    status = await _move(endpoint, keys, files, lambda: None, is_image=True)
    if files.has(uid):
        return
    if status in {messages.SUCCESS, messages.NO_SUCH_INSTANCE}:
        raise failures.not_found(endpoint)
    raise _failure(endpoint, status)


def _failure(endpoint: DimseEndpoint, status: int) -> Exception:
    is_refused = status in {messages.NOT_AUTHORIZED, messages.SOP_CLASS_NOT_SUPPORTED}
    if is_refused or status >> 12 == 0xC:
        return failures.failed(endpoint, _Move.service, status)
    return failures.not_moved(endpoint, status)


async def _move(
    endpoint: DimseEndpoint,
    keys: Keys,
    files: CachedSeries,
    on_arrival: Callable[[], None],
    *,
    is_image: bool,
) -> int:
    async def run(association: Association) -> int:
        watching = asyncio.ensure_future(_watch(association, files, on_arrival))
        try:
            return await _moved(association, keys)
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    files.request()
    return await pool_of(endpoint).run(
        move_proposal(endpoint.root), run, is_image=is_image
    )


async def _moved(association: Association, keys: Keys) -> int:
    endpoint = association.endpoint
    context = association.acceptance.context_of(uids.MOVE[endpoint.root])
    if context is None:
        raise failures.not_offered(endpoint, "C-MOVE")
    move = _Move(association, context)
    command = messages.move_request(
        move.message_id, context.abstract_syntax, endpoint.move_destination
    )
    identifier = encode_identifier(
        keys,
        is_explicit=context.transfer_syntax == uids.EXPLICIT_VR_LITTLE_ENDIAN,
        archive_name=endpoint.name,
    )
    association.begin(move, command, identifier)
    try:
        return await move.done
    except asyncio.CancelledError:
        association.cancel(move)
        raise


async def _watch(
    association: Association, files: CachedSeries, on_arrival: Callable[[], None]
) -> None:
    """Look for what arrives: archives need not say anything before all is sent."""
    seen, polls = files.modified(), 0
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        now = files.modified()
        if now != seen:
            seen = now
            association.is_alive()
            on_arrival()
        polls += 1
        if polls % _REQUESTS_PER_POLL == 0:
            files.request()
