"""Which studies a selection names, asked at STUDY level and filtered there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from archives.clients.dicomweb.capped import find_all_studies
from archives.clients.dicomweb.query_string import widened
from archives.clients.dicomweb.search import (
    Answers,
    Level,
    Parameters,
    Search,
    path_to,
)
from archives.clients.matches import (
    ISSUER_OF_PATIENT_ID_QUALIFIERS,
    MODALITIES_IN_STUDY,
    MODALITY,
    NUMBER_OF_STUDY_RELATED_INSTANCES,
    NUMBER_OF_STUDY_RELATED_SERIES,
    PATIENT_ATTRIBUTES,
    SERIES_INSTANCE_UID,
    STUDY_ATTRIBUTES,
    STUDY_INSTANCE_UID,
    UNIVERSAL_ENTITY_ID,
    Attributes,
    study_of,
)
from archives.clients.parallel import run_all
from archives.clients.selection import asks_universal_ids, belongs, is_near_miss
from archives.clients.study_filter import days, keep, only_modality
from archives.entities import Selection, Study
from archives.errors import ArchiveResponseError

STUDY_TAGS: Final[tuple[int, ...]] = (
    *STUDY_ATTRIBUTES,
    *PATIENT_ATTRIBUTES,
    MODALITIES_IN_STUDY,
    NUMBER_OF_STUDY_RELATED_SERIES,
    NUMBER_OF_STUDY_RELATED_INSTANCES,
)
_UIDS_PER_LIST: Final = 25


@dataclass(slots=True)
class NamedStudies:
    studies: dict[str, Study] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    is_truncated: bool = False


async def find_named_studies(search: Search, selection: Selection) -> NamedStudies:
    """The studies of a selection whose series and instances all name their study.

    Only those that pass its filter.
    """
    return await _StudyLevel(search, selection).find()


class _StudyLevel:
    def __init__(self, search: Search, selection: Selection) -> None:
        self._search = search
        self._selection = selection
        self._tags = STUDY_TAGS
        if asks_universal_ids(selection):
            self._tags += (ISSUER_OF_PATIENT_ID_QUALIFIERS, UNIVERSAL_ENTITY_ID)

    async def find(self) -> NamedStudies:
        selection = self._selection
        patient_ids = dict.fromkeys(one.patient_id for one in selection.patients)
        numbers = dict.fromkeys(selection.accession_numbers)
        parts = (*selection.series, *selection.instances)
        of_parts = (part.study_instance_uid for part in parts)
        uids = dict.fromkeys([*selection.study_instance_uids, *of_parts])
        by_key = run_all(
            [
                *map(self._by_patient, patient_ids),
                *(self._by_key("AccessionNumber", number) for number in numbers),
            ]
        )
        named = NamedStudies()
        for found in await run_all([by_key, self._by_uids(tuple(uids))]):
            for answers in found:
                self._take(answers, named)
        if selection.study_filter:
            studies = named.studies.values()
            kept = await keep(studies, selection.study_filter, self._modalities)
            named.studies = {study.study_instance_uid: study for study in kept}
        return named

    def _take(self, answers: Answers, named: NamedStudies) -> None:
        named.is_truncated |= answers.is_truncated
        for study in map(study_of, answers.matches):
            if belongs(study, self._selection):
                named.studies.setdefault(study.study_instance_uid, study)
            elif not is_near_miss(study, self._selection):
                named.dropped.add(study.study_instance_uid)

    async def _by_patient(self, patient_id: str) -> Answers:
        """Asks for as much of the filter as the archive takes."""
        study_filter = self._selection.study_filter
        period = tuple(map(_da, days(study_filter)))
        modality = only_modality(study_filter)
        keys = [("ModalitiesInStudy", modality)] if modality else []
        if not keys and not any(period):
            return await self._by_key("PatientID", patient_id)
        try:
            found = await self._by_key("PatientID", patient_id, keys, *period)
        except ArchiveResponseError as error:
            if error.status != "400":
                raise
            return await self._by_key("PatientID", patient_id)
        if not keys or self._any_belongs(found):
            return found
        # to match by modality is optional: some answer nothing instead of ignoring it
        return await self._by_key("PatientID", patient_id, [], *period)

    async def _by_key(
        self,
        name: str,
        value: str,
        keys: Parameters = (),
        first: str = "",
        last: str = "",
    ) -> Answers:
        search = self._search
        answers = await find_all_studies(
            search, [(name, value), *keys], self._tags, first=first, last=last
        )
        pattern = widened(value) if search.endpoint.quirks.takes_wildcards else ""
        if not pattern or self._any_belongs(answers):
            return answers
        # One page: a pattern of a few characters may match half of the archive.
        limit = search.endpoint.page_size
        wider = await self._find([(name, pattern), *keys], limit=limit)
        is_cut = len(wider.matches) == limit
        wider.matches = [each for each in wider.matches if self._belongs(each)]
        wider.is_truncated = is_cut and not wider.matches
        return wider

    def _any_belongs(self, answers: Answers) -> bool:
        return any(map(self._belongs, answers.matches))

    def _belongs(self, match: Attributes) -> bool:
        return belongs(study_of(match), self._selection)

    async def _by_uids(self, uids: Sequence[str]) -> list[Answers]:
        """By lists where there are many and the archive takes lists, else one by one."""
        answers: list[Answers] = []
        endpoint, memory = self._search.endpoint, self._search.memory
        is_listed = (
            endpoint.quirks.takes_uid_lists
            and memory.takes_uid_lists
            and len(uids) > endpoint.maximum_connections
        )
        if is_listed:
            chunks = [
                uids[start : start + _UIDS_PER_LIST]
                for start in range(0, len(uids), _UIDS_PER_LIST)
            ]
            answers = await run_all(map(self._by_list, chunks))
        found = {
            each.get(STUDY_INSTANCE_UID)
            for answer in answers
            for each in answer.matches
        }
        singles = await run_all(
            [
                self._find([("StudyInstanceUID", uid)], expected=1)
                for uid in uids
                if uid not in found
            ]
        )
        if is_listed and any(answer.matches for answer in singles):
            memory.takes_uid_lists = False
        return [*answers, *singles]

    async def _by_list(self, uids: Sequence[str]) -> Answers:
        try:
            return await self._find(
                [("StudyInstanceUID", ",".join(uids))], expected=len(uids)
            )
        except ArchiveResponseError:
            return Answers()  # a list is not understood; each is asked for alone then

    async def _find(
        self,
        keys: Parameters,
        *,
        expected: int | None = None,
        limit: int | None = None,
    ) -> Answers:
        return await self._search.find(
            Level.STUDIES, "studies", keys, self._tags, expected=expected, limit=limit
        )

    async def _modalities(self, study: Study) -> Iterable[str]:
        """Those of the series, for archives that do not list them at STUDY level."""
        path = path_to("studies", study.study_instance_uid, "series")
        tags = (MODALITY, SERIES_INSTANCE_UID, STUDY_INSTANCE_UID)
        answers = await self._search.find(Level.SERIES, path, [], tags)
        uid = study.study_instance_uid
        return {
            match.get(MODALITY, "")
            for match in answers.matches
            if match.get(STUDY_INSTANCE_UID, uid) in ("", uid)
        }


def _da(day: date | None) -> str:
    return day.isoformat().replace("-", "") if day else ""
