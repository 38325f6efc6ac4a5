"""Which studies a selection names, asked at STUDY level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from archives.clients.dicomweb.capped import find_all_studies
from archives.clients.dicomweb.query_string import widened
from archives.clients.dicomweb.search import Answers, Level, Parameters, Search
from archives.clients.matches import (
    MODALITIES_IN_STUDY,
    NUMBER_OF_STUDY_RELATED_INSTANCES,
    NUMBER_OF_STUDY_RELATED_SERIES,
    PATIENT_ATTRIBUTES,
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_ATTRIBUTES,
    STUDY_INSTANCE_UID,
    Attributes,
    study_of,
)
from archives.clients.parallel import run_all
from archives.clients.selection import belongs, is_near_miss
from archives.entities import InstanceIdentifier, Selection, SeriesIdentifier, Study
from archives.errors import ArchiveResponseError

STUDY_TAGS: Final = (
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
    """The studies of a selection whose series and instances all name their study."""
    keys = [
        *(("PatientID", patient.patient_id) for patient in selection.patients),
        *(("AccessionNumber", number) for number in selection.accession_numbers),
    ]
    uids = [
        *selection.study_instance_uids,
        *(series.study_instance_uid for series in selection.series),
        *(instance.study_instance_uid for instance in selection.instances),
    ]
    by_key, by_uid = await run_all(
        [
            run_all([_find_by_key(search, selection, *key) for key in keys]),
            _find_by_uids(search, tuple(dict.fromkeys(uids))),
        ]
    )
    named = NamedStudies()
    for answers in (*by_key, *by_uid):
        named.is_truncated |= answers.is_truncated
        for study in map(study_of, answers.matches):
            if belongs(study, selection):
                named.studies.setdefault(study.study_instance_uid, study)
            elif not is_near_miss(study, selection):
                named.dropped.add(study.study_instance_uid)
    return named


async def _find_by_key(
    search: Search, selection: Selection, name: str, value: str
) -> Answers:
    answers = await find_all_studies(search, [(name, value)], STUDY_TAGS)
    pattern = widened(value) if search.endpoint.quirks.takes_wildcards else ""
    if not pattern or any(
        belongs(study_of(each), selection) for each in answers.matches
    ):
        return answers
    # One page: a pattern of a few characters may match half of the archive.
    limit = search.endpoint.page_size
    wider = await _find(search, [(name, pattern)], limit=limit)
    is_cut = len(wider.matches) == limit
    wider.matches = [
        each for each in wider.matches if belongs(study_of(each), selection)
    ]
    wider.is_truncated = is_cut and not wider.matches
    return wider


async def _find_by_uids(search: Search, uids: Sequence[str]) -> list[Answers]:
    """By lists where there are many and the archive takes lists, else one by one."""
    answers: list[Answers] = []
    memory = search.memory
    is_listed = (
        search.endpoint.quirks.takes_uid_lists
        and memory.takes_uid_lists
        and len(uids) > search.endpoint.maximum_connections
    )
    if is_listed:
        chunks = [
            uids[start : start + _UIDS_PER_LIST]
            for start in range(0, len(uids), _UIDS_PER_LIST)
        ]
        answers = await run_all([_find_by_list(search, chunk) for chunk in chunks])
    found = {
        each.get(STUDY_INSTANCE_UID) for answer in answers for each in answer.matches
    }
    singles = await run_all(
        [
            _find(search, [("StudyInstanceUID", uid)], expected=1)
            for uid in uids
            if uid not in found
        ]
    )
    if is_listed and any(answer.matches for answer in singles):
        memory.takes_uid_lists = False
    return [*answers, *singles]


async def _find_by_list(search: Search, uids: Sequence[str]) -> Answers:
    try:
        return await _find(
            search, [("StudyInstanceUID", ",".join(uids))], expected=len(uids)
        )
    except ArchiveResponseError:
        return Answers()  # a list is not understood; each is asked for alone then


async def _find(
    search: Search,
    keys: Parameters,
    *,
    expected: int | None = None,
    limit: int | None = None,
) -> Answers:
    return await search.find(
        Level.STUDIES, "studies", keys, STUDY_TAGS, expected=expected, limit=limit
    )


async def name_studies(search: Search, selection: Selection) -> Selection:
    """The selection with the study of every series and instance, by relational searches.

    What the archive does not know is left out.
    """
    series = await run_all([_name_series(search, each) for each in selection.series])
    instances = await run_all(
        [_name_instance(search, each) for each in selection.instances]
    )
    return replace(
        selection,
        series=tuple(filter(None, series)),
        instances=tuple(filter(None, instances)),
    )


async def _name_series(
    search: Search, wanted: SeriesIdentifier
) -> SeriesIdentifier | None:
    if wanted.study_instance_uid:
        return wanted
    uid = wanted.series_instance_uid
    match = await _find_alone(search, Level.SERIES, "SeriesInstanceUID", uid)
    study_uid = match.get(STUDY_INSTANCE_UID)
    return replace(wanted, study_instance_uid=study_uid) if study_uid else None


async def _name_instance(
    search: Search, wanted: InstanceIdentifier
) -> InstanceIdentifier | None:
    if wanted.study_instance_uid:
        return wanted
    uid = wanted.sop_instance_uid
    match = await _find_alone(search, Level.INSTANCES, "SOPInstanceUID", uid)
    study_uid, series_uid = (
        match.get(STUDY_INSTANCE_UID),
        match.get(SERIES_INSTANCE_UID),
    )
    if not study_uid or wanted.series_instance_uid not in ("", series_uid):
        return None
    return replace(
        wanted, study_instance_uid=study_uid, series_instance_uid=series_uid or ""
    )


async def _find_alone(search: Search, level: Level, key: str, uid: str) -> Attributes:
    tags = (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)
    path = level.name.lower()
    message = (
        f"{search.endpoint.name} can't find {path} without their study: name the "
        "study too, or open the whole study."
    )
    if not search.endpoint.quirks.finds_across_studies:
        raise ArchiveResponseError(message)
    try:
        answers = await search.find(level, path, [(key, uid)], tags, expected=1)
    except ArchiveResponseError as error:
        raise ArchiveResponseError(message, status=error.status) from error
    return next((each for each in answers.matches if each.get(level.value) == uid), {})
