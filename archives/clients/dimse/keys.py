"""Keys of our queries (PS3.4 C.6.1.1 and C.6.2.1): what is matched and what is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final

from archives.clients import matches as tags
from archives.entities import StudyQuery

STUDY: Final = "STUDY"
SERIES: Final = "SERIES"
IMAGE: Final = "IMAGE"

Keys = dict[int, str]


def _asked(*attributes: int) -> Keys:
    return dict.fromkeys(attributes, "")


# Counts are what a whole study is checked against. Modalities in Study is left to
# searches: archives compute it for each answer.
STUDY_KEYS: Final = _asked(
    *tags.PATIENT_ATTRIBUTES,
    *tags.STUDY_ATTRIBUTES,
    tags.NUMBER_OF_STUDY_RELATED_SERIES,
    tags.NUMBER_OF_STUDY_RELATED_INSTANCES,
)
_SEARCHED_STUDY_KEYS: Final = STUDY_KEYS | _asked(tags.MODALITIES_IN_STUDY)
# What they are left out for, asked where a selection needs it.
MODALITIES_KEYS: Final = _asked(tags.MODALITIES_IN_STUDY)
UNIVERSAL_ID_KEYS: Final = _asked(tags.ISSUER_OF_PATIENT_ID_QUALIFIERS)
SERIES_KEYS: Final = _asked(
    tags.STUDY_INSTANCE_UID,
    *tags.SERIES_ATTRIBUTES,
    tags.NUMBER_OF_SERIES_RELATED_INSTANCES,
)
INSTANCE_KEYS: Final = _asked(
    tags.STUDY_INSTANCE_UID, tags.SERIES_INSTANCE_UID, *tags.INSTANCE_ATTRIBUTES
)
# Without SOP Class UID: archives that do not index it (Orthanc) read the file of every
# instance to answer, which takes four times as long.
MANIFEST_INSTANCE_KEYS: Final = _asked(
    tags.STUDY_INSTANCE_UID,
    tags.SERIES_INSTANCE_UID,
    tags.SOP_INSTANCE_UID,
    tags.INSTANCE_NUMBER,
)


def search_keys(query: StudyQuery) -> Keys:
    """A STUDY level query for what a user typed."""
    keys = {
        tags.PATIENT_NAME: query.patient_name,
        tags.PATIENT_ID: query.patient_id,
        tags.ISSUER_OF_PATIENT_ID: query.issuer_of_patient_id,
        tags.PATIENT_SEX: query.patient_sex,
        tags.ACCESSION_NUMBER: query.accession_number,
        tags.STUDY_INSTANCE_UID: uid_list(query.study_instance_uids),
        tags.STUDY_DATE: date_range(query.study_date_from, query.study_date_to),
        tags.MODALITIES_IN_STUDY: "\\".join(query.modalities_in_study),
        tags.STUDY_DESCRIPTION: query.study_description,
        tags.REFERRING_PHYSICIAN_NAME: query.referring_physician_name,
    }
    if query.patient_birth_date is not None:
        keys[tags.PATIENT_BIRTH_DATE] = f"{query.patient_birth_date:%Y%m%d}"
    return _SEARCHED_STUDY_KEYS | keys


def date_range(first: date | None, last: date | None) -> str:
    """PS3.4 C.2.2.2.5.1; empty if there is no bound."""
    if first is None and last is None:
        return ""
    # strftime does not pad years before 1000
    start, end = (
        day.isoformat().replace("-", "") if day is not None else ""
        for day in (first, last)
    )
    return start if start == end else f"{start}-{end}"


def uid_list(uids: Iterable[str]) -> str:
    """List of UID matching (PS3.4 C.2.2.2.2)."""
    return "\\".join(uids)
