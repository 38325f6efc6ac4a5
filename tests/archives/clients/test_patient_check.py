import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.clients.patient_check import (
    is_of_patient,
    is_same_birth_date,
    is_same_name,
)
from archives.entities import Patient, StudyFilter


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Doe^Jane", "Doe^Jane"),
        ("Doe^Jane", "DOE^JANE^^^"),
        ("Doe^Jane", " doe ^ jane "),
        ("Doe^Jane", "Doe^Jane^Maria^Dr.^PhD"),
        ("Doe^Jane^Maria", "Doe^Jane Maria"),
        ("Doe", "Doe^Jane"),
        ("Doe Jane", "Doe^Jane"),
        ("Doe, Jane", "DOE^JANE^M"),
        ("", "Doe^Jane"),
        ("^^^", "Doe^Jane"),
        ("^Jane", "Doe^Jane"),
        ("Müller^Jürgen", "MUELLER^JUERGEN"),
        ("Dvořák^Jiří", "DVORAK^JIRI"),
        ("Søren^Ægir", "SOEREN^AEGIR"),
        ("Groß^Łucja", "GROSS^LUCJA"),
        ("O'Brien^Anne-Marie", "OBRIEN^ANNE MARIE"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田^太郎"),
        ("Yamada^Tarou=山田^太郎", "YAMADA^TAROU"),
        ("=山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
)
def test_names_of_one_person_agree(one, other):
    assert is_same_name(one, other)
    assert is_same_name(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Doe^Jane", "Doe^John"),
        ("Doe^Jane", "Roe^Jane"),
        ("Doe^Jane", "Jane^Doe"),
        ("Doe^Jane", "Doe Smith^Jane"),
        ("Doe^Jane^Maria", "Doe^Jane^Anna"),
        ("Doe^J", "Doe^Jane"),
        ("Doe, John", "Doe^Jane"),
        ("山田^太郎", "山田^花子"),
        ("Yamada^Tarou=山田^太郎", "Suzuki^Hanako=鈴木^花子"),
    ],
)
def test_names_of_different_people_do_not_agree(one, other):
    assert not is_same_name(one, other)
    assert not is_same_name(other, one)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("19700131", "19700131", True),
        ("1970.01.31", "19700131", True),
        ("", "19700131", True),
        ("unknown", "19700131", True),
        ("19700130", "19700131", False),
    ],
)
def test_birth_dates_are_compared_where_both_are_known(one, other, is_same):
    assert is_same_birth_date(one, other) == is_same


def test_person_is_checked_by_name_and_by_birth_date():
    patient = Patient(patient_name="Doe^Jane", patient_birth_date="19700131")

    assert is_of_patient(patient, StudyFilter())
    assert is_of_patient(patient, StudyFilter(patient_name="DOE^JANE"))
    assert not is_of_patient(patient, StudyFilter(patient_name="ROE^JANE"))
    assert not is_of_patient(
        patient, StudyFilter(patient_name="DOE^JANE", patient_birth_date="19700201")
    )


WORDS = st.text(alphabet="abcdeäöüéOU-' ", min_size=1, max_size=8)


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_name_agrees_with_how_others_write_it(components):
    name = "^".join(components)

    assert is_same_name(name, name.upper())
    assert is_same_name(name, f"  {name}^^ ")
    assert is_same_name(name, "^".join(components[:2]))


@given(st.text(), st.text())
def test_names_are_compared_whatever_they_hold(one, other):
    assert is_same_name(one, other) == is_same_name(other, one)
    assert is_same_name(one, one)
