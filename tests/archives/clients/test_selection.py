from __future__ import annotations

from dataclasses import replace

import pytest

from archives.clients.selection import (
    belongs,
    belongs_whole,
    is_near_miss,
    restrict,
)
from archives.entities import (
    Instance,
    InstanceIdentifier,
    Patient,
    PatientIdentifier,
    Selection,
    Series,
    SeriesIdentifier,
    Study,
    StudyFilter,
)

STUDY = Study(
    study_instance_uid="1.1",
    patient=Patient(patient_id="P1 ", issuer_of_patient_id="NORTH"),
    accession_number=" A7",
    series=(
        Series(
            series_instance_uid="1.1.1",
            instances=(
                Instance(sop_instance_uid="1.1.1.1"),
                Instance(sop_instance_uid="1.1.1.2"),
            ),
        ),
        Series(
            series_instance_uid="1.1.2",
            instances=(Instance(sop_instance_uid="1.1.2.1"),),
        ),
    ),
)


def patients(patient_id: str, issuer: str = "") -> Selection:
    identifier = PatientIdentifier(patient_id=patient_id, issuer_of_patient_id=issuer)
    return Selection(patients=(identifier,))


@pytest.mark.parametrize(
    "selection",
    [
        patients("P1"),
        patients(" P1", "NORTH"),
        Selection(study_instance_uids=("1.9", "1.1")),
        Selection(accession_numbers=("A7 ",)),
    ],
)
def test_belongs_whole_accepts_what_the_selection_names(selection):
    assert belongs_whole(STUDY, selection)
    assert belongs(STUDY, selection)
    assert restrict(STUDY, selection) == STUDY


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        patients("p1"),
        patients("P"),
        patients(""),
        patients("P1", "SOUTH"),
        Selection(study_instance_uids=("1.10",)),
        Selection(accession_numbers=("A8",)),
        Selection(accession_numbers=("", " ")),
        Selection(
            series=(
                SeriesIdentifier(series_instance_uid="1.1.1", study_instance_uid="2"),
            )
        ),
    ],
)
def test_belongs_refuses_another_study(selection):
    assert not belongs(STUDY, selection)


@pytest.mark.parametrize(
    ("selection", "is_fair"),
    [
        (patients("P1", "SOUTH"), True),
        (patients("p1"), True),
        (Selection(accession_numbers=("a7",)), True),
        (patients("P2", "NORTH"), False),
        (Selection(study_instance_uids=("1.10",)), False),
    ],
)
def test_near_miss_is_what_the_archive_could_not_know(selection, is_fair):
    assert is_near_miss(STUDY, selection) == is_fair


@pytest.mark.parametrize(
    ("known", "wanted", "is_same"),
    [
        (("NORTH", "1.2"), ("SOUTH", "1.2"), True),
        (("NORTH", "1.2"), ("NORTH", "1.3"), False),
        (("NORTH", ""), ("NORTH", "1.2"), True),
        (("NORTH", ""), ("SOUTH", "1.2"), False),
        (("1.2", ""), ("SOUTH", "1.2"), True),
        (("NORTH", "1.2"), ("1.2", ""), True),
        (("NORTH", "1.2"), ("NORTH", ""), True),
        (("", "1.2"), ("NORTH", ""), False),
        (("", ""), ("NORTH", "1.2"), True),
        (("NORTH", "1.2"), ("", ""), True),
    ],
)
def test_issuers_are_compared_by_universal_id_or_by_name(known, wanted, is_same):
    study = Study(
        study_instance_uid="1.1",
        patient=Patient(
            patient_id="P1", issuer_of_patient_id=known[0], universal_entity_id=known[1]
        ),
    )
    patient = PatientIdentifier(
        patient_id="P1", issuer_of_patient_id=wanted[0], universal_entity_id=wanted[1]
    )

    assert belongs(study, Selection(patients=(patient,))) == is_same


def test_belongs_refuses_the_study_of_somebody_else():
    study_filter = StudyFilter(patient_name="Roe^Ann")
    study = Study(
        study_instance_uid="1.1",
        patient=Patient(patient_id="P1", patient_name="Doe^Jane"),
    )

    for selection in (
        patients("P1"),
        Selection(study_instance_uids=("1.1",)),
        Selection(
            series=(
                SeriesIdentifier(series_instance_uid="1", study_instance_uid="1.1"),
            )
        ),
    ):
        assert belongs(study, selection)
        checked = replace(selection, study_filter=study_filter)
        assert not belongs(study, checked)
        assert not is_near_miss(study, checked)


def test_belongs_takes_any_issuer_where_the_archive_knows_none():
    study = Study(study_instance_uid="1.1", patient=Patient(patient_id="P1"))

    assert belongs(study, patients("P1", "NORTH"))


def test_belongs_never_matches_an_empty_accession_number():
    study = Study(study_instance_uid="1.1")

    assert not belongs(study, Selection(accession_numbers=("",)))


def test_belongs_knows_a_study_by_its_selected_series():
    named = SeriesIdentifier(series_instance_uid="1.1.9", study_instance_uid="1.1")
    unnamed = SeriesIdentifier(series_instance_uid="1.1.2")

    assert belongs(STUDY, Selection(series=(named,)))
    assert belongs(STUDY, Selection(series=(unnamed,)))


def test_restrict_keeps_only_selected_series_and_instances():
    selection = Selection(
        series=(SeriesIdentifier(series_instance_uid="1.1.2"),),
        instances=(
            InstanceIdentifier(sop_instance_uid="1.1.1.2", series_instance_uid="1.1.1"),
        ),
    )

    first, second = restrict(STUDY, selection).series

    assert first.instances == (Instance(sop_instance_uid="1.1.1.2"),)
    assert second == STUDY.series[1]


def test_restrict_drops_instances_of_another_series():
    wrong_series = InstanceIdentifier(
        sop_instance_uid="1.1.1.2",
        series_instance_uid="1.1.2",
        study_instance_uid="1.1",
    )

    assert restrict(STUDY, Selection(instances=(wrong_series,))).series == ()
