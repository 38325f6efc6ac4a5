"""Which answers of an archive belong to a selection, for every protocol the same.

Archives ignore keys they do not know, match without regard to case, or mix up patients
that share an identifier. Whatever was asked, only what the selection names is kept.
"""

from __future__ import annotations

from dataclasses import replace

from archives.clients.patient_check import is_of_patient
from archives.entities import (
    Instance,
    InstanceIdentifier,
    Patient,
    PatientIdentifier,
    Selection,
    Series,
    SeriesIdentifier,
    Study,
)


def belongs(study: Study, selection: Selection) -> bool:
    """Whether the selection names the study, as a whole or by something in it.

    Never if it is of another person than the selection says.
    A series or instance that was selected without its study is recognised only when it
    is in ``study.series``.
    """
    parts: tuple[SeriesIdentifier | InstanceIdentifier, ...]
    parts = (*selection.series, *selection.instances)
    return is_of_patient(study.patient, selection.study_filter) and (
        belongs_whole(study, selection)
        or any(study.study_instance_uid == part.study_instance_uid for part in parts)
        or bool(restrict(study, selection).series)
    )


def belongs_whole(study: Study, selection: Selection) -> bool:
    """Whether the selection names the study by patient, Study UID or accession number."""
    accession_number = study.accession_number.strip()
    return (
        study.study_instance_uid in selection.study_instance_uids
        or any(is_same_patient(study.patient, wanted) for wanted in selection.patients)
        or any(
            accession_number == wanted.strip()
            for wanted in selection.accession_numbers
            if wanted.strip()
        )
    )


def is_same_patient(patient: Patient, wanted: PatientIdentifier) -> bool:
    """Equal Patient IDs; equal issuers too, where both are known."""
    wanted_id = wanted.patient_id.strip()
    return (
        bool(wanted_id)
        and patient.patient_id.strip() == wanted_id
        and _is_same_issuer(patient, wanted)
    )


def _is_same_issuer(patient: Patient, wanted: PatientIdentifier) -> bool:
    """By the universal ID where both have one, else by any name that both have."""
    known_id, wanted_id = (one.universal_entity_id.strip() for one in (patient, wanted))
    if known_id and wanted_id:
        return known_id == wanted_id
    known = {known_id, patient.issuer_of_patient_id.strip()} - {""}
    # Some archives have the universal ID where the name belongs.
    names = {wanted_id, wanted.issuer_of_patient_id.strip()} - {""}
    return not known or not names or not known.isdisjoint(names)


def is_near_miss(study: Study, selection: Selection) -> bool:
    """Whether a study that does not belong is a fair answer to what was asked.

    The issuer is not asked for, because archives that keep none would find nothing, and
    an archive may match without regard to case (PS3.4 C.2.2.2.1).
    """
    if not is_of_patient(study.patient, selection.study_filter):
        return False
    patient_id = study.patient.patient_id.strip().casefold()
    accession_number = study.accession_number.strip().casefold()
    return any(
        patient_id == wanted.patient_id.strip().casefold()
        for wanted in selection.patients
    ) or any(
        accession_number == wanted.strip().casefold()
        for wanted in selection.accession_numbers
    )


def asks_universal_ids(selection: Selection) -> bool:
    """Whether answers must tell the universal ID of the issuer."""
    return any(wanted.universal_entity_id for wanted in selection.patients)


def restrict(study: Study, selection: Selection) -> Study:
    """The study without the series and instances that were not selected.

    Nothing is left out of a study that belongs as a whole.
    """
    if belongs_whole(study, selection):
        return study
    kept = (_restrict_series(study, series, selection) for series in study.series)
    return replace(study, series=tuple(series for series in kept if series is not None))


def _restrict_series(
    study: Study, series: Series, selection: Selection
) -> Series | None:
    study_uid, series_uid = study.study_instance_uid, series.series_instance_uid
    if any(
        wanted.series_instance_uid == series_uid
        and wanted.study_instance_uid in ("", study_uid)
        for wanted in selection.series
    ):
        return series
    wanted_uids = {
        wanted.sop_instance_uid
        for wanted in selection.instances
        if wanted.series_instance_uid in ("", series_uid)
        and wanted.study_instance_uid in ("", study_uid)
    }
    instances: tuple[Instance, ...] = tuple(
        instance
        for instance in series.instances
        if instance.sop_instance_uid in wanted_uids
    )
    return replace(series, instances=instances) if instances else None
