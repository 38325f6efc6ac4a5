"""Which presentation contexts an instance is retrieved with, and its association."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from functools import partial

from archives.clients import matches as tags
from archives.clients.base import DimseEndpoint, DimseRetrieval, InstanceStream
from archives.clients.dimse import failures
from archives.clients.dimse.association import Association
from archives.clients.dimse.keys import IMAGE, Keys
from archives.clients.dimse.knowledge import knowledge_of
from archives.clients.dimse.moving import move_instance, move_series
from archives.clients.dimse.negotiation import retrieval_proposals
from archives.clients.dimse.pool import pool_of
from archives.clients.dimse.queries import Queries, within
from archives.clients.dimse.retrieval import Retrieval, retrieve
from archives.clients.dimse.series_retrieval import retrieve_series
from archives.clients.series_ahead import CachedStream, Series, series_ahead_of
from archives.clients.spool import Spool
from archives.clients.turns import series_at_once
from archives.entities import InstanceIdentifier
from archives.errors import (
    ArchiveRefusedError,
    ArchiveResponseError,
    InstanceNotFoundError,
)


@asynccontextmanager
async def retrieve_instance(
    endpoint: DimseEndpoint, identifier: InstanceIdentifier
) -> AsyncIterator[InstanceStream]:
    """One instance, in the transfer syntax it is stored in if the archive agrees."""
    async with AsyncExitStack() as stack:
        stream: InstanceStream | None = None
        if endpoint.image_cache is not None and knowledge_of(endpoint).sends_series:
            ahead = series_ahead_of(
                endpoint,
                endpoint.image_cache,
                partial(_retrieve_series, endpoint),
                at_once=series_at_once(endpoint.maximum_associations),
            )
            stream = await stack.enter_async_context(ahead.instance(identifier))
        if stream is None:
            is_moved = endpoint.retrieval == DimseRetrieval.C_MOVE
            by_itself = _move_instance if is_moved else _retrieve_instance
            stream = await stack.enter_async_context(by_itself(endpoint, identifier))
        yield stream


@asynccontextmanager
async def _move_instance(
    endpoint: DimseEndpoint, identifier: InstanceIdentifier
) -> AsyncIterator[InstanceStream]:
    if endpoint.image_cache is None or not endpoint.move_destination:
        raise failures.no_storage(endpoint)
    series = Series(endpoint, endpoint.image_cache, identifier)
    async with within(endpoint):
        await move_instance(endpoint, identifier, series.files)
    image = series.files.open(identifier.sop_instance_uid)
    if image is None:
        raise failures.not_found(endpoint)
    with closing(image):
        yield CachedStream(series, image, identifier.sop_instance_uid)


@asynccontextmanager
async def _retrieve_instance(
    endpoint: DimseEndpoint, identifier: InstanceIdentifier
) -> AsyncIterator[Retrieval]:
    async with within(endpoint):
        association, retrieval = await _start(endpoint, identifier)
    try:
        yield retrieval
    finally:
        if not retrieval.is_whole:
            association.abort()
        pool_of(endpoint).give_back(association)


async def _retrieve_series(endpoint: DimseEndpoint, series: Series) -> int:
    identifier = series.identifier
    if endpoint.retrieval == DimseRetrieval.C_MOVE:
        return await move_series(endpoint, identifier, series.files, series.arrived)
    knowledge = knowledge_of(endpoint)
    uid = identifier.series_instance_uid
    sop_class_uid = knowledge.sop_classes.get(uid)
    if sop_class_uid is None:
        async with within(endpoint):
            sop_class_uid = await _sop_class(endpoint, identifier)
        if sop_class_uid:
            knowledge.remember_sop_class(uid, sop_class_uid)
    spool = Spool(series.cache, series.files, series.arrived)
    try:
        return await retrieve_series(endpoint, identifier, sop_class_uid, spool)
    except ArchiveRefusedError:
        raise
    except ArchiveResponseError:  # some only send images one by one
        knowledge.sends_series = spool.has_written
        raise


async def _start(
    endpoint: DimseEndpoint, identifier: InstanceIdentifier
) -> tuple[Association, Retrieval]:
    """Instances of a series are nearly always of one class, so one query is enough."""
    knowledge = knowledge_of(endpoint)
    remembered = knowledge.sop_classes.get(identifier.series_instance_uid)
    if remembered:
        try:
            return await _retrieve_as(endpoint, identifier, remembered)
        except (ArchiveRefusedError, InstanceNotFoundError):
            raise
        except ArchiveResponseError:
            sop_class_uid = await _sop_class(endpoint, identifier)
            if sop_class_uid == remembered:
                raise
    else:
        sop_class_uid = await _sop_class(endpoint, identifier)
    if sop_class_uid:
        knowledge.remember_sop_class(identifier.series_instance_uid, sop_class_uid)
    return await _retrieve_as(endpoint, identifier, sop_class_uid)


async def _retrieve_as(
    endpoint: DimseEndpoint, identifier: InstanceIdentifier, sop_class_uid: str
) -> tuple[Association, Retrieval]:
    async def start(association: Association) -> Retrieval:
        return await retrieve(association, identifier)

    *first, last = retrieval_proposals(endpoint.root, sop_class_uid)
    for proposal in first:
        with suppress(failures.NotSentError):
            return await pool_of(endpoint).start(proposal, start, is_image=True)
    return await pool_of(endpoint).start(last, start, is_image=True)


async def _sop_class(endpoint: DimseEndpoint, identifier: InstanceIdentifier) -> str:
    """Of an instance; empty if the archive does not tell."""
    keys: Keys = {
        tags.STUDY_INSTANCE_UID: identifier.study_instance_uid,
        tags.SERIES_INSTANCE_UID: identifier.series_instance_uid,
        tags.SOP_INSTANCE_UID: identifier.sop_instance_uid,
        tags.SOP_CLASS_UID: "",
    }
    try:
        found = await Queries(endpoint).attributes(IMAGE, keys)
    except ArchiveResponseError:
        return ""
    if not found:
        raise failures.not_found(endpoint)
    return found[0].get(tags.SOP_CLASS_UID, "")
