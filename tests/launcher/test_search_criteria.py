from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.entities import Patient, Study, StudyQuery
from launcher.search.criteria import (
    MAXIMUM_DAYS,
    Recognised,
    SearchCriteria,
    read_date,
    recognise,
    satisfies,
    spellings,
)

STUDY = Study(
    study_instance_uid="1.2.3",
    patient=Patient(
        patient_id="VH-1",
        issuer_of_patient_id="HOSPITAL-A",
        patient_name="Martin^Alice",
        patient_birth_date="19610214",
        patient_sex="F",
    ),
    study_date="20260302",
    accession_number="A1001",
    study_description="CT Thórax",
    referring_physician_name="Okafor^Ngozi",
    modalities_in_study=("CT", "SR"),
)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", Recognised.NOTHING),
        ("  ", Recognised.NOTHING),
        ("martin ali", Recognised.NAME),
        ("O'Neill-Jones, Ann", Recognised.NAME),
        ("山田", Recognised.NAME),
        ("Martin^Alice", Recognised.NAME),
        ("A100001", Recognised.IDENTIFIER),
        ("4711", Recognised.IDENTIFIER),
        ("a/b", Recognised.IDENTIFIER),
        ("4711^^^HOSPITAL-A", Recognised.PATIENT_ID),
        ("1.2.840.10008.1", Recognised.UID),
        ("2.25.329800735698586629295641978511506172918", Recognised.UID),
        ("1.2", Recognised.IDENTIFIER),
        ("1.2.3.", Recognised.IDENTIFIER),
        ("9.2.3.4.5", Recognised.IDENTIFIER),
    ],
)
def test_quick_text_is_recognised(text, kind):
    assert recognise(text) == kind


def test_user_may_say_what_the_quick_text_is():
    as_name = SearchCriteria(quick="R2 D2", quick_as="name")
    as_identifier = SearchCriteria(quick="MARTIN", quick_as="identifier")

    assert as_name.recognised == Recognised.NAME
    assert as_name.queries(50) == (StudyQuery(patient_name="R2*^D2*", limit=50),)
    assert as_identifier.queries(50) == (
        StudyQuery(patient_id="MARTIN", limit=50),
        StudyQuery(accession_number="MARTIN", limit=50),
    )
    assert SearchCriteria(quick=" ", quick_as="name").recognised == Recognised.NOTHING


def test_identifier_is_asked_for_as_patient_id_and_as_accession_number():
    queries = SearchCriteria(quick=" A1001 ").queries(50)

    assert queries == (
        StudyQuery(patient_id="A1001", limit=50),
        StudyQuery(accession_number="A1001", limit=50),
    )


def test_patient_id_carries_its_issuer():
    expected = StudyQuery(patient_id="4711", issuer_of_patient_id="HOSP", limit=1)

    assert SearchCriteria(quick="4711^^^HOSP").queries(1) == (expected,)
    assert SearchCriteria(patient_id="4711^^^HOSP&1.2&ISO").queries(1) == (expected,)


def test_filters_hold_for_every_alternative_of_the_quick_text():
    criteria = SearchCriteria(quick="A1", modalities=("CT",), patient_sex="F")

    queries = criteria.queries(10)

    assert len(queries) == 2
    assert all(query.modalities_in_study == ("CT",) for query in queries)
    assert all(query.patient_sex == "F" for query in queries)


@pytest.mark.parametrize(
    "text", ["", "*", "**", "?*", "%", "__", "   ", "ab", "a*b", "王"]
)
def test_search_without_a_selective_key_is_too_broad(text):
    for field in ("quick", "patient_name", "patient_id", "accession_number"):
        assert not SearchCriteria(**{field: text}).is_selective()


@given(st.text("*?%_ .,^\\-'", max_size=64))
def test_wildcards_and_signs_alone_are_always_too_broad(text):
    assert not SearchCriteria(quick=text, modalities=("CT",)).is_selective()


@pytest.mark.parametrize("days", [1, 7, MAXIMUM_DAYS])
def test_short_period_is_selective(days):
    last = date(2026, 3, 31)
    first = last - timedelta(days=days - 1)
    criteria = SearchCriteria(study_date_from=first, study_date_to=last)

    assert criteria.is_selective()
    assert not replace(criteria, study_date_to=None).is_selective()
    assert not replace(criteria, study_date_from=None).is_selective()
    longer = last - timedelta(days=MAXIMUM_DAYS)
    assert not replace(criteria, study_date_from=longer).is_selective()


def test_birth_date_and_short_ids_with_issuer_are_selective():
    assert SearchCriteria(patient_birth_date=date(1961, 2, 14)).is_selective()
    assert SearchCriteria(patient_id="7^^^HOSP").is_selective()
    for field in ("patient_id", "quick"):
        assert not SearchCriteria(**{field: "*^^^HOSPITAL"}).is_selective()
        assert not SearchCriteria(**{field: "a*^^^HOSPITAL"}).is_selective()


def test_description_is_asked_for_in_the_spellings_archives_hold():
    (query,) = SearchCriteria(quick="martin", study_description="ct thorax").queries(9)

    assert query.study_description == "*ct thorax*"
    assert [one.study_description for one in spellings(query)] == [
        "*thorax*",
        "*THORAX*",
        "*Thorax*",
    ]
    assert spellings(StudyQuery()) == (StudyQuery(),)


@pytest.mark.parametrize(
    ("fields", "is_satisfied"),
    [
        ({}, True),
        ({"study_instance_uids": ("1.2.3", "1.2.4")}, True),
        ({"study_instance_uids": ("1.2.4",)}, False),
        ({"patient_id": "vh-1"}, True),
        ({"patient_id": "VH-*"}, True),
        ({"patient_id": "VH-11"}, False),
        ({"patient_id": "VH-1", "issuer_of_patient_id": "HOSPITAL-B"}, False),
        ({"accession_number": "A1001"}, True),
        ({"accession_number": "A100"}, False),
        ({"patient_name": "martin*^ali*"}, True),
        ({"patient_name": "martins*"}, False),
        ({"study_description": "*thorax*"}, True),
        ({"study_description": "*abdomen*"}, False),
        ({"referring_physician_name": "oka*"}, True),
        ({"referring_physician_name": "smith*"}, False),
        ({"modalities_in_study": ("MR", "SR")}, True),
        ({"modalities_in_study": ("MR",)}, False),
        ({"patient_sex": "F"}, True),
        ({"patient_sex": "M"}, False),
        ({"patient_birth_date": date(1961, 2, 14)}, True),
        ({"patient_birth_date": date(1961, 2, 15)}, False),
        ({"study_date_from": date(2026, 3, 2)}, True),
        ({"study_date_from": date(2026, 3, 3)}, False),
        ({"study_date_to": date(2026, 3, 2)}, True),
        ({"study_date_to": date(2026, 3, 1)}, False),
    ],
)
def test_answers_are_checked_against_every_key(fields, is_satisfied):
    assert satisfies(STUDY, StudyQuery(**fields)) is is_satisfied


def test_values_that_archives_leave_out_do_not_hide_a_study():
    bare = Study(study_instance_uid="1.2.3")

    assert satisfies(
        bare,
        StudyQuery(
            modalities_in_study=("CT",),
            patient_sex="F",
            patient_birth_date=date(1961, 2, 14),
            issuer_of_patient_id="HOSPITAL-A",
        ),
    )
    assert not satisfies(bare, StudyQuery(study_date_from=date(2026, 1, 1)))
    assert not satisfies(bare, StudyQuery(study_description="*thorax*"))


def test_malformed_date_is_shown_rather_than_hidden():
    odd = replace(STUDY, study_date="2026-13-45")

    assert satisfies(odd, StudyQuery(study_date_from=date(2026, 1, 1)))


@given(st.dates(), st.dates(), st.dates())
def test_period_includes_both_of_its_days(first, last, day):
    study = replace(STUDY, study_date=f"{day:%Y%m%d}".rjust(8, "0"))
    query = StudyQuery(study_date_from=first, study_date_to=last)

    assert satisfies(study, query) is (first <= day <= last)


@given(st.dates())
def test_read_date_reads_both_forms_of_da(day):
    digits = day.isoformat().replace("-", "")

    assert read_date(digits) == day
    assert read_date(day.isoformat().replace("-", ".")) == day


@given(st.text(max_size=12))
def test_read_date_takes_any_text(text):
    assert read_date(text) is None or len(text.strip()) >= 8


@given(
    st.builds(
        SearchCriteria,
        quick=st.text(max_size=64),
        patient_name=st.text(max_size=64),
        patient_id=st.text(max_size=64),
        study_description=st.text(max_size=64),
    )
)
def test_any_text_makes_queries(criteria):
    for query in criteria.queries(10):
        assert spellings(query)
        assert satisfies(STUDY, query) in (True, False)
