"""An archive that speaks DICOMweb (PS3.18): QIDO-RS, WADO-RS and WADO-URI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date
from types import TracebackType
from typing import Self

from archives.clients.base import DicomWebEndpoint, InstanceStream, ProgressCallback
from archives.clients.dicomweb import pass_through
from archives.clients.dicomweb.contents import INSTANCE_TAGS, SERIES_TAGS
from archives.clients.dicomweb.named_studies import STUDY_TAGS
from archives.clients.dicomweb.rendered import rendered
from archives.clients.dicomweb.retrieval import retrieve_instance
from archives.clients.dicomweb.search import Answers, Level, Search, path_to
from archives.clients.dicomweb.verification import ask_for_one_study, verify
from archives.clients.dicomweb.whole_studies import (
    find_selected_studies,
    find_whole_studies,
)
from archives.clients.http import HttpSession
from archives.clients.matches import (
    SERIES_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Attributes,
    instance_of,
    series_of,
    study_of,
)
from archives.clients.parallel import run_all
from archives.clients.pass_through import Forwarded, JsonObject
from archives.clients.pictures import Rendering
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
from archives.errors import ArchiveResponseError


class DicomWebClient:
    """The contract of ``ArchiveClient`` over DICOMweb."""

    def __init__(self, endpoint: DicomWebEndpoint) -> None:
        self._http = HttpSession(endpoint)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Connections stay in the pool of the event loop."""

    async def verify(self) -> tuple[VerificationStep, ...]:
        return await verify(self._http)

    async def echo(self) -> None:
        async with self._http.deadline():
            await ask_for_one_study(self._http)

    async def find_studies(self, query: StudyQuery) -> StudyMatches:
        search = Search(self._http)
        async with self._http.deadline():
            answers = await run_all(
                [
                    search.find(
                        Level.STUDIES,
                        "studies",
                        _keys(query, uids, modality),
                        STUDY_TAGS,
                        limit=query.limit + 1,
                    )
                    for uids in self._uid_keys(query)
                    # Not every archive takes a list of modalities.
                    for modality in query.modalities_in_study or ("",)
                ]
            )
        studies = _merged(answers)
        limit = search.memory.study_limit or query.limit + 1
        has_more = len(studies) > query.limit or any(
            answer.is_truncated or len(answer.matches) >= limit for answer in answers
        )
        return StudyMatches(studies=studies[: query.limit], has_more=has_more)

    async def find_series(self, study_instance_uid: str) -> tuple[Series, ...]:
        path = path_to("studies", study_instance_uid, "series")
        found = await self._find(Level.SERIES, path, (*SERIES_TAGS, STUDY_INSTANCE_UID))
        return tuple(
            series_of(match)
            for match in found
            if match.get(STUDY_INSTANCE_UID) in (None, "", study_instance_uid)
        )

    async def find_instances(
        self, study_instance_uid: str, series_instance_uid: str
    ) -> tuple[Instance, ...]:
        path = path_to(
            "studies", study_instance_uid, "series", series_instance_uid, "instances"
        )
        found = await self._find(Level.INSTANCES, path, INSTANCE_TAGS)
        return tuple(
            instance_of(match)
            for match in found
            if match.get(SERIES_INSTANCE_UID) in (None, "", series_instance_uid)
        )

    async def find_selected_studies(self, selection: Selection) -> tuple[Study, ...]:
        async with self._http.deadline():
            return await find_selected_studies(Search(self._http), selection)

    async def find_whole_studies(
        self, selection: Selection, *, on_progress: ProgressCallback | None = None
    ) -> WholeStudies:
        async with self._http.deadline():
            return await find_whole_studies(Search(self._http), selection, on_progress)

    def retrieve_instance(
        self, identifier: InstanceIdentifier, transfer_syntax: str = ""
    ) -> AbstractAsyncContextManager[InstanceStream]:
        return retrieve_instance(self._http, identifier, transfer_syntax)

    def forward(
        self, path: Sequence[str], *, query: str = "", accept: str, byte_range: str = ""
    ) -> AbstractAsyncContextManager[Forwarded]:
        return pass_through.forward(
            self._http, path, query=query, accept=accept, byte_range=byte_range
        )

    def metadata(
        self, path: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[JsonObject]]:
        return pass_through.metadata(self._http, path)

    async def rendered(
        self, identifier: InstanceIdentifier, wanted: Rendering
    ) -> bytes | None:
        async with self._http.deadline():
            return await rendered(self._http, identifier, wanted)

    async def search(
        self,
        level: Level,
        path: Sequence[str],
        keys: Sequence[tuple[str, str]],
        fields: Sequence[tuple[str, str]],
    ) -> list[JsonObject]:
        async with self._http.deadline():
            return await pass_through.search(self._http, level, path, keys, fields)

    def _uid_keys(self, query: StudyQuery) -> Sequence[str]:
        """One list of all UIDs, or each for itself where lists are not understood."""
        uids = query.study_instance_uids
        if len(uids) > 1 and not self._http.endpoint.quirks.takes_uid_lists:
            return uids
        return (",".join(uids),)

    async def _find(
        self, level: Level, path: str, tags: Iterable[int]
    ) -> list[Attributes]:
        async with self._http.deadline():
            answers = await Search(self._http).find(level, path, [], tags)
        if answers.is_truncated:
            raise ArchiveResponseError(
                f"{self._http.name} has more {level.name.lower()} than the hub accepts."
            )
        return answers.matches


def _keys(query: StudyQuery, uids: str, modality: str) -> list[tuple[str, str]]:
    keys = [
        ("PatientName", query.patient_name),
        ("PatientID", query.patient_id),
        ("IssuerOfPatientID", query.issuer_of_patient_id),
        ("PatientBirthDate", _da(query.patient_birth_date)),
        ("PatientSex", query.patient_sex),
        ("AccessionNumber", query.accession_number),
        ("StudyInstanceUID", uids),
        ("StudyDate", _range(query.study_date_from, query.study_date_to)),
        ("ModalitiesInStudy", modality),
        ("StudyDescription", query.study_description),
        ("ReferringPhysicianName", query.referring_physician_name),
    ]
    return [(name, value) for name, value in keys if value]


def _range(earliest: date | None, latest: date | None) -> str:
    if earliest == latest:
        return _da(earliest)
    return f"{_da(earliest)}-{_da(latest)}"


def _da(day: date | None) -> str:
    return f"{day:%Y%m%d}" if day else ""


def _merged(answers: Sequence[Answers]) -> tuple[Study, ...]:
    """Each study once; the newest first where the archive's order is lost by merging."""
    studies = {
        study.study_instance_uid: study
        for answer in answers
        for study in map(study_of, answer.matches)
    }
    if len(answers) == 1:
        return tuple(studies.values())
    newest = sorted(
        studies.values(), key=lambda s: (s.study_date, s.study_time), reverse=True
    )
    return tuple(newest)
