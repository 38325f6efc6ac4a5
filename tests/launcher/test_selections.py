import json
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
    StudyFilter,
)
from launcher.selections import (
    selection_digest,
    selection_from_json,
    selection_to_json,
)

FILTER = StudyFilter(
    modalities_in_study=("CT", "MR"),
    description_contains=("knee",),
    earliest=datetime(2024, 7, 19, 10, 15, 30, 250_000),
    latest=datetime(2025, 1, 1),
    keeps_undated=True,
    most_recent=2,
    patient_name="Doe^Jane",
    patient_birth_date="19700131",
)

texts = st.text(max_size=8)
several = st.lists(texts, max_size=3).map(tuple)
filters = st.builds(
    StudyFilter,
    modalities_in_study=several,
    description_contains=several,
    earliest=st.none() | st.datetimes(),
    latest=st.none() | st.datetimes(),
    keeps_undated=st.booleans(),
    most_recent=st.none() | st.integers(1, 99),
    patient_name=texts,
    patient_birth_date=texts,
)


def some(entity, **values):
    return st.lists(st.builds(entity, **values), max_size=2).map(tuple)


selections = st.builds(
    Selection,
    patients=some(
        PatientIdentifier,
        patient_id=texts,
        issuer_of_patient_id=texts,
        universal_entity_id=texts,
    ),
    study_instance_uids=several,
    accession_numbers=several,
    series=some(SeriesIdentifier, series_instance_uid=texts),
    instances=some(
        InstanceIdentifier, sop_instance_uid=texts, study_instance_uid=texts
    ),
    study_filter=filters,
)


@given(selections)
def test_selection_is_the_same_after_json(selection):
    stored = json.dumps(selection_to_json(selection))

    assert selection_from_json(json.loads(stored)) == selection


def test_selection_is_stored_without_what_is_empty():
    assert selection_to_json(Selection(study_instance_uids=("1.2",))) == {
        "study_instance_uids": ("1.2",)
    }


def test_filter_is_stored_as_plain_values():
    data = selection_to_json(Selection(study_filter=FILTER))

    assert data["study_filter"]["earliest"] == "2024-07-19T10:15:30.250000"
    assert data["study_filter"]["most_recent"] == 2


def test_selection_loads_json_from_before_there_were_filters():
    stored = {
        "patients": [{"patient_id": "42", "issuer_of_patient_id": "HOSP"}],
        "series": [{"series_instance_uid": "1.2", "study_instance_uid": ""}],
    }

    assert selection_from_json(stored) == Selection(
        patients=(PatientIdentifier(patient_id="42", issuer_of_patient_id="HOSP"),),
        series=(SeriesIdentifier(series_instance_uid="1.2"),),
    )


def test_digest_depends_on_content_and_scope_only():
    one = Selection(study_instance_uids=("1.2", "1.3"))
    same = Selection(study_instance_uids=("1.2", "1.3"))
    turned = Selection(study_instance_uids=("1.3", "1.2"))
    other = Selection(accession_numbers=("1.2", "1.3"))

    assert selection_digest(one, "user:1", "2") == selection_digest(same, "user:1", "2")
    assert selection_digest(one, "user:1") != selection_digest(one, "user:2")
    assert selection_digest(one, "user:1") != selection_digest(other, "user:1")
    assert selection_digest(one, "user:1") != selection_digest(turned, "user:1")


@given(filters, filters)
def test_digest_tells_filters_apart(one, other):
    def digest(study_filter):
        return selection_digest(
            Selection(study_instance_uids=("1.2",), study_filter=study_filter)
        )

    assert (digest(one) == digest(other)) == (one == other)
