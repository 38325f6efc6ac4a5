"""Finding the study of a series or instance that was selected without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from archives.clients import matches as tags
from archives.clients.dimse.keys import IMAGE, SERIES, Keys, uid_list
from archives.clients.dimse.queries import Queries, together
from archives.clients.matches import Attributes
from archives.entities import InstanceIdentifier, Selection, SeriesIdentifier
from archives.errors import ArchiveResponseError

_UIDS_PER_QUERY: Final = 50


async def resolve_parents(queries: Queries, selection: Selection) -> Selection:
    """The selection with the study of every series and instance the archive knows.

    What it does not know keeps no study, and is found in none. Raises
    ``ArchiveResponseError`` if it refuses relational queries (PS3.4 C.4.1.2.2.2).
    """
    series_uids = {
        one.series_instance_uid
        for one in selection.series
        if not one.study_instance_uid
    }
    instance_uids = {
        one.sop_instance_uid
        for one in selection.instances
        if not one.study_instance_uid
    }
    if not series_uids and not instance_uids:
        return selection
    of_series = await _ask(queries, SERIES, tags.SERIES_INSTANCE_UID, series_uids)
    of_instances = await _ask(queries, IMAGE, tags.SOP_INSTANCE_UID, instance_uids)
    return replace(
        selection,
        series=tuple(_resolved_series(selection.series, of_series)),
        instances=tuple(_resolved_instances(selection.instances, of_instances)),
    )


async def _ask(
    queries: Queries, level: str, tag: int, uids: set[str]
) -> dict[str, Attributes]:
    ordered = sorted(uids)
    chunks = (
        ordered[start : start + _UIDS_PER_QUERY]
        for start in range(0, len(ordered), _UIDS_PER_QUERY)
    )
    asked = (_keys(tag, chunk) for chunk in chunks)
    try:
        answers = await together(*(queries.attributes(level, keys) for keys in asked))
    except ArchiveResponseError as error:
        raise ArchiveResponseError(
            f"{queries.endpoint.name} does not find a series or an image without its "
            "study. Give the Study Instance UID as well.",
            status=error.status,
        ) from error
    return {one.get(tag, ""): one for answer in answers for one in answer}


def _keys(tag: int, uids: Iterable[str]) -> Keys:
    parents = {tags.STUDY_INSTANCE_UID: "", tags.SERIES_INSTANCE_UID: ""}
    return parents | {tag: uid_list(uids)}


def _resolved_series(
    series: Iterable[SeriesIdentifier], found: dict[str, Attributes]
) -> Iterator[SeriesIdentifier]:
    for one in series:
        parent = found.get(one.series_instance_uid, {}).get(tags.STUDY_INSTANCE_UID)
        yield (
            replace(one, study_instance_uid=parent)
            if parent and not one.study_instance_uid
            else one
        )


def _resolved_instances(
    instances: Iterable[InstanceIdentifier], found: dict[str, Attributes]
) -> Iterator[InstanceIdentifier]:
    for one in instances:
        parent = found.get(one.sop_instance_uid, {})
        study_uid = parent.get(tags.STUDY_INSTANCE_UID)
        yield (
            replace(
                one,
                study_instance_uid=study_uid,
                series_instance_uid=one.series_instance_uid
                or parent.get(tags.SERIES_INSTANCE_UID, ""),
            )
            if study_uid and not one.study_instance_uid
            else one
        )
