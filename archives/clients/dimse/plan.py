"""Which queries a selection takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from archives.clients import matches as tags
from archives.clients.dimse.hierarchy import StudyNode
from archives.clients.dimse.keys import Keys, date_range
from archives.clients.study_filter import days, only_modality
from archives.entities import Selection

# A query stays below 4 KiB, and an archive with long lists below its limits.
_UIDS_PER_QUERY: Final = 50
# More are shared out over several associations.
_INSTANCES_PER_QUERY: Final = 1000


def searches(selection: Selection) -> Iterator[Keys]:
    """Keys of STUDY level queries; of a patient, with as much of the filter as they take."""
    narrowing = {tags.STUDY_DATE: date_range(*days(selection.study_filter))}
    if modality := only_modality(selection.study_filter):
        narrowing[tags.MODALITIES_IN_STUDY] = modality
    # the issuer is compared in the answers: archives that keep none would find nothing
    for patient_id in dict.fromkeys(one.patient_id for one in selection.patients):
        if patient_id.strip():
            yield {tags.PATIENT_ID: patient_id, **narrowing}
    for accession_number in dict.fromkeys(selection.accession_numbers):
        if accession_number.strip():
            yield {tags.ACCESSION_NUMBER: accession_number}


def selected_parts(selection: Selection, whole: set[str]) -> dict[str, list[str]]:
    """Study UID -> selected series, none if an instance's series is unknown."""
    parts: dict[str, list[str]] = {}
    unknown = set()
    for one in (*selection.series, *selection.instances):
        study_uid = one.study_instance_uid
        if not study_uid or study_uid in whole:
            continue
        series_uids = parts.setdefault(study_uid, [])
        if not one.series_instance_uid:
            unknown.add(study_uid)
        elif one.series_instance_uid not in series_uids:
            series_uids.append(one.series_instance_uid)
    return parts | {study_uid: [] for study_uid in unknown}


def chunks(uids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(uids), _UIDS_PER_QUERY):
        yield uids[start : start + _UIDS_PER_QUERY]


def shares(nodes: Iterable[StudyNode]) -> Iterator[frozenset[str]]:
    """Studies in groups that are worth an association each."""
    share: set[str] = set()
    instances = 0
    for node in nodes:
        expected = node.expected or 0
        if share and (
            len(share) >= _UIDS_PER_QUERY or instances + expected > _INSTANCES_PER_QUERY
        ):
            yield frozenset(share)
            share, instances = set(), 0
        share.add(node.uid)
        instances += expected
    if share:
        yield frozenset(share)
