"""Selections as JSON, to be stored, and as a digest, to be recognised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
    Study,
    StudyFilter,
)


def selection_to_json(selection: Selection) -> dict[str, Any]:
    """As plain values, without what is empty; moments as ISO 8601 text."""
    data = {key: value for key, value in asdict(selection).items() if value}
    data.pop("study_filter")
    if selection.study_filter:
        data["study_filter"] = _filter_to_json(selection.study_filter)
    return data


def names_all_of(selection: Selection, study: Study) -> bool:
    """Whether all of a study that it found is selected, as far as that is certain."""
    if not (selection.series or selection.instances):
        return True
    patient = study.patient
    return (
        study.study_instance_uid in selection.study_instance_uids
        or (study.accession_number or None) in selection.accession_numbers
        or any(
            asked.patient_id == patient.patient_id
            and asked.issuer_of_patient_id == patient.issuer_of_patient_id
            and not asked.universal_entity_id
            for asked in selection.patients
        )
    )


def _filter_to_json(study_filter: StudyFilter) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(study_filter).items()
        if value
    }


def selection_from_json(data: Mapping[str, Any]) -> Selection:
    """The inverse of ``selection_to_json``."""
    return Selection(
        patients=tuple(PatientIdentifier(**item) for item in data.get("patients", ())),
        study_instance_uids=tuple(data.get("study_instance_uids", ())),
        accession_numbers=tuple(data.get("accession_numbers", ())),
        series=tuple(SeriesIdentifier(**item) for item in data.get("series", ())),
        instances=tuple(
            InstanceIdentifier(**item) for item in data.get("instances", ())
        ),
        study_filter=_filter_from_json(data.get("study_filter", {})),
    )


def _filter_from_json(data: Mapping[str, Any]) -> StudyFilter:
    values = dict(data)
    for name in ("earliest", "latest"):
        if name in values:
            values[name] = datetime.fromisoformat(values[name])
    for name in ("modalities_in_study", "description_contains"):
        values[name] = tuple(values.get(name, ()))
    return StudyFilter(**values)


def selection_digest(selection: Selection, *scope: str) -> str:
    """SHA-256 of the selection within a scope (its owner and archives).

    The order of identifiers makes a difference: the first one may be opened first.
    """
    text = json.dumps([selection_to_json(selection), scope], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
