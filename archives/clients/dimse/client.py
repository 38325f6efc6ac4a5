"""``DimseClient``: the contract of ``ArchiveClient`` over C-ECHO, C-FIND and C-GET."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from archives.clients import matches as tags
from archives.clients.base import DimseEndpoint, InstanceStream, ProgressCallback
from archives.clients.dimse.keys import (
    IMAGE,
    INSTANCE_KEYS,
    SERIES,
    SERIES_KEYS,
    STUDY,
    search_keys,
)
from archives.clients.dimse.queries import Queries, within
from archives.clients.dimse.retrievals import retrieve_instance
from archives.clients.dimse.verification import ask_for_echo, verify
from archives.clients.dimse.whole_studies import (
    find_selected_studies,
    find_whole_studies,
)
from archives.clients.matches import instance_of, series_of, study_of
from archives.entities import (
    Instance,
    InstanceIdentifier,
    Selection,
    Series,
    Study,
    StudyMatches,
    StudyQuery,
    VerificationStep,
    WholeStudies,
)


class DimseClient:
    """An archive that speaks DIMSE. See ``archives.clients.base.ArchiveClient``."""

    def __init__(self, endpoint: DimseEndpoint) -> None:
        self.endpoint = endpoint

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing: associations stay in the pool for a few seconds."""

    async def verify(self) -> tuple[VerificationStep, ...]:
        return await verify(self.endpoint)

    async def echo(self) -> None:
        async with within(self.endpoint):
            await ask_for_echo(self.endpoint)

    async def find_studies(self, query: StudyQuery) -> StudyMatches:
        limit = max(query.limit, 0)
        async with within(self.endpoint):
            found = await Queries(self.endpoint).attributes(
                STUDY, search_keys(query), limit=limit + 1
            )
        studies = {
            study.study_instance_uid: study
            for study in map(study_of, found)
            if study.study_instance_uid
        }
        return StudyMatches(
            studies=tuple(studies.values())[:limit], has_more=len(found) > limit
        )

    async def find_series(self, study_instance_uid: str) -> tuple[Series, ...]:
        keys = SERIES_KEYS | {tags.STUDY_INSTANCE_UID: study_instance_uid}
        async with within(self.endpoint):
            found = await Queries(self.endpoint).attributes(SERIES, keys)
        series = (
            series_of(attributes)
            for attributes in found
            if attributes.get(tags.STUDY_INSTANCE_UID) in {None, "", study_instance_uid}
        )
        unique = {one.series_instance_uid: one for one in series}
        unique.pop("", None)
        return tuple(unique.values())

    async def find_instances(
        self, study_instance_uid: str, series_instance_uid: str
    ) -> tuple[Instance, ...]:
        keys = INSTANCE_KEYS | {
            tags.STUDY_INSTANCE_UID: study_instance_uid,
            tags.SERIES_INSTANCE_UID: series_instance_uid,
        }
        async with within(self.endpoint):
            found = await Queries(self.endpoint).attributes(IMAGE, keys)
        instances = (
            instance_of(attributes)
            for attributes in found
            if attributes.get(tags.SERIES_INSTANCE_UID)
            in {None, "", series_instance_uid}
        )
        unique = {one.sop_instance_uid: one for one in instances}
        unique.pop("", None)
        return tuple(unique.values())

    async def find_selected_studies(self, selection: Selection) -> tuple[Study, ...]:
        async with within(self.endpoint):
            return await find_selected_studies(self.endpoint, selection)

    async def find_whole_studies(
        self, selection: Selection, *, on_progress: ProgressCallback | None = None
    ) -> WholeStudies:
        async with within(self.endpoint):
            return await find_whole_studies(self.endpoint, selection, on_progress)

    def retrieve_instance(
        self, identifier: InstanceIdentifier, transfer_syntax: str = ""
    ) -> AbstractAsyncContextManager[InstanceStream]:
        return retrieve_instance(self.endpoint, identifier)
