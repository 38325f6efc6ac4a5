import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.entities import Patient, Study
from launcher.search.asking import FoundStudy
from launcher.search.ordering import (
    COLUMNS,
    NEWEST_FIRST,
    PAGE_SIZE,
    Order,
    arrange,
    page_of,
)


def found(uid, name="", **fields):
    """A study; those of a test come newest first, as ``merge`` has them."""
    patient = Patient(patient_name=name, **fields.pop("patient", {}))
    study = Study(study_instance_uid=uid, patient=patient, **fields)
    return FoundStudy(study=study, archives=("main",))


def uids(studies):
    return [one.study.study_instance_uid for one in studies]


def arranged(studies, text):
    return uids(arrange(studies, Order.parse(text)))


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("patient_name", Order("patient_name", is_descending=False)),
        ("-series", Order("series", is_descending=True)),
        ("", NEWEST_FIRST),
        ("nonsense", NEWEST_FIRST),
        ("--study_date", NEWEST_FIRST),
    ],
)
def test_order_is_read_from_an_address(text, order):
    assert Order.parse(text) == order
    assert Order.parse(str(order)) == order


def test_second_click_on_a_head_turns_the_order_around():
    by_name = NEWEST_FIRST.chosen("patient_name")

    assert str(by_name) == "patient_name"
    assert str(by_name.chosen("patient_name")) == "-patient_name"
    assert str(by_name.chosen("instances")) == "-instances"
    assert str(by_name.chosen("study_date")) == "-study_date"


def test_names_are_ordered_without_case_and_accents_and_family_first():
    studies = [
        found("1", "Özdemir^Ada"),
        found("2", "lee anna^A"),
        found("3", "LEE^Zoe"),
        found("4", "oz^Ben"),
        found("5", "=山田^太郎"),
        found("6", "^^"),
    ]

    assert arranged(studies, "patient_name") == ["3", "2", "4", "1", "5", "6"]
    assert arranged(studies, "-patient_name") == ["5", "1", "4", "2", "3", "6"]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("direction", ["", "-"])
def test_missing_values_come_last_in_both_directions(column, direction):
    full = found(
        "1",
        "A",
        patient={"patient_id": "1", "patient_sex": "F", "patient_birth_date": "1970"},
        accession_number="1",
        study_date="20260101",
        study_description="x",
        modalities_in_study=("CT",),
        number_of_study_related_series=0,
        number_of_study_related_instances=0,
    )

    assert arranged([found("2"), full], direction + column) == ["1", "2"]


@pytest.mark.parametrize("text", ["patient_name", "-patient_name"])
def test_equal_values_stay_newest_first(text):
    studies = [found("1", "Lee^A"), found("2", "LEE^a"), found("3", "Lée^A")]

    assert arranged(studies, text) == ["1", "2", "3"]


def test_counts_are_ordered_as_numbers():
    studies = [
        found(uid, number_of_study_related_series=number)
        for uid, number in (("1", 9), ("2", 10), ("3", 100))
    ]

    assert arranged(studies, "-series") == ["3", "2", "1"]


def test_oldest_first_looks_at_the_time_too():
    studies = [
        found("1", study_date="2026.01.02"),
        found("2", study_date="20260101", study_time="1015"),
        found("3", study_date="20260101", study_time="093000.5"),
    ]

    assert arranged(studies, "study_date") == ["3", "2", "1"]


TEXTS = st.text(max_size=8)
ANY_STUDY = st.builds(
    found,
    TEXTS,
    TEXTS,
    patient=st.fixed_dictionaries({"patient_id": TEXTS, "patient_birth_date": TEXTS}),
    study_date=TEXTS,
    study_time=TEXTS,
    accession_number=TEXTS,
    study_description=TEXTS,
)


@given(st.lists(ANY_STUDY), st.sampled_from(COLUMNS), st.booleans())
def test_arranging_loses_nothing_whatever_archives_send(studies, column, descending):
    assert sorted(uids(arrange(studies, Order(column, descending)))) == sorted(
        uids(studies)
    )


MANY = [found(str(number)) for number in range(183)]


def page(**where):
    return page_of(MANY, lambda one: one.study.study_instance_uid, **where)


@pytest.mark.parametrize(
    ("where", "first", "end"),
    [
        ({}, 1, 50),
        ({"after": "49"}, 51, 100),
        ({"after": "149"}, 151, 183),
        ({"before": "150"}, 101, 150),
        ({"before": "20"}, 1, 50),
        ({"after": "gone"}, 1, 50),
        ({"before": "gone"}, 1, 50),
        ({"after": "182"}, 1, 50),
    ],
)
def test_page_begins_after_a_study_or_ends_before_it(where, first, end):
    shown = page(**where)

    assert (shown.first, shown.end, shown.total) == (first, end, 183)
    assert uids(shown.studies) == uids(MANY[first - 1 : end])


def test_page_of_nothing_is_empty():
    shown = page_of([], uids)

    assert (shown.studies, shown.total) == ((), 0)


def test_studies_that_come_in_above_do_not_push_a_page_on():
    newer = [found(f"new {number}") for number in range(70)]

    shown = page_of(newer + MANY, lambda one: one.study.study_instance_uid, after="49")

    assert uids(shown.studies) == uids(MANY[50 : 50 + PAGE_SIZE])
    assert shown.first == 121
