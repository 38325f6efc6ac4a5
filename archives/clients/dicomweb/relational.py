"""Finding the study of a series or instance that was selected without it."""

from __future__ import annotations

from dataclasses import replace

from archives.clients.dicomweb.search import Level, Search
from archives.clients.matches import (
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Attributes,
)
from archives.clients.parallel import run_all
from archives.entities import InstanceIdentifier, Selection, SeriesIdentifier
from archives.errors import ArchiveResponseError


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
    if not search.endpoint.quirks.is_relational:
        raise ArchiveResponseError(message)
    try:
        answers = await search.find(level, path, [(key, uid)], tags, expected=1)
    except ArchiveResponseError as error:
        raise ArchiveResponseError(message, status=error.status) from error
    return next((each for each in answers.matches if each.get(level.value) == uid), {})
