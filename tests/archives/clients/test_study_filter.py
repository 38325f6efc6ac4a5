"""The filter by itself: see ``test_filtered_studies`` for what clients make of it."""

import unicodedata
from dataclasses import replace
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.clients.study_filter import (
    days,
    keep,
    newest_of_each_patient,
    only_modality,
    passes,
)
from archives.entities import Patient, Series, Study, StudyFilter
from tests.loops import run

STUDY = Study(
    study_instance_uid="1.1",
    patient=Patient(patient_id="P1", patient_name="Doe^Jane"),
    study_date="20240719",
    study_time="101530.25",
    study_description="CT Épaule  gauche",
    modalities_in_study=("CT", "SR "),
)


def moment(text):
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    "study_filter",
    [
        StudyFilter(),
        StudyFilter(modalities_in_study=("MR", "CT")),
        StudyFilter(modalities_in_study=("SR",)),
        StudyFilter(description_contains=("knee", "epaule gauche")),
        StudyFilter(description_contains=("ÉPAULE",)),
        StudyFilter(earliest=moment("2024-07-19T10:15:30.250")),
        StudyFilter(latest=moment("2024-07-19T10:15:30.250")),
        StudyFilter(patient_name="DOE^JANE", patient_birth_date="19700131"),
    ],
)
def test_study_passes(study_filter):
    assert passes(STUDY, study_filter)


@pytest.mark.parametrize(
    "study_filter",
    [
        StudyFilter(modalities_in_study=("C",)),
        StudyFilter(modalities_in_study=("CTX", "MR")),
        StudyFilter(description_contains=("knee", "droite")),
        StudyFilter(earliest=moment("2024-07-19T10:15:30.250001")),
        StudyFilter(latest=moment("2024-07-19T10:15:30.249999")),
        StudyFilter(patient_name="ROE^JANE"),
        StudyFilter(modalities_in_study=("CT",), description_contains=("knee",)),
    ],
)
def test_study_does_not_pass(study_filter):
    assert not passes(STUDY, study_filter)


@pytest.mark.parametrize("text", ["", "yesterday", "20240231", "2024"])
@pytest.mark.parametrize("keeps_undated", [True, False])
def test_study_without_a_date_passes_only_where_it_is_wanted(text, keeps_undated):
    study = replace(STUDY, study_date=text)
    in_july = StudyFilter(
        earliest=moment("2024-07-01"),
        latest=moment("2024-08-01"),
        keeps_undated=keeps_undated,
    )

    assert passes(study, in_july) == keeps_undated
    assert passes(study, StudyFilter(most_recent=1))


@pytest.mark.parametrize("text", ["", "1", "99", "1015:", "noon"])
def test_study_without_a_time_is_of_any_time_of_its_day(text):
    study = replace(STUDY, study_time=text)

    assert passes(study, StudyFilter(earliest=moment("2024-07-19T23:59")))
    assert passes(study, StudyFilter(latest=moment("2024-07-19T00:00")))
    assert not passes(study, StudyFilter(earliest=moment("2024-07-20")))


@pytest.mark.parametrize(
    ("written_date", "written_time"),
    [
        ("2024.07.19", "10:15:30"),
        ("20240719\\20250101", "101530\\1"),
        ("2024-07-19", "1015"),
    ],
)
def test_study_date_is_read_in_its_older_forms(written_date, written_time):
    study = replace(STUDY, study_date=written_date, study_time=written_time)

    assert passes(
        study,
        StudyFilter(
            earliest=moment("2024-07-19T10:15"), latest=moment("2024-07-19T10:16")
        ),
    )


DATES = st.dates(date(2023, 1, 1), date(2025, 1, 1)).map(lambda day: f"{day:%Y%m%d}")
TIMES = st.from_regex(
    r"(([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?)?", fullmatch=True
)
BOUNDS = st.none() | st.datetimes(datetime(2023, 1, 1), datetime(2025, 1, 1))
MODALITIES = st.lists(st.sampled_from(["CT", "MR", "SR", "KO"]), max_size=3).map(tuple)
TEXTS = st.text(alphabet="abÀàéE ", max_size=4)


def simply_passes(study, study_filter):
    """The same, on digits and letters as they stand."""

    def plain(text):
        letters = unicodedata.normalize("NFD", text)
        letters = [one for one in letters if unicodedata.category(one) != "Mn"]
        return " ".join("".join(letters).upper().split())

    digits = study.study_date + study.study_time.replace(".", "")
    written = [
        f"{bound:%Y%m%d%H%M%S%f}" if bound else None
        for bound in (study_filter.earliest, study_filter.latest)
    ]
    is_in_time = study_filter.keeps_undated if any(written) else True
    if study.study_date:
        is_in_time = (written[0] or "0") <= digits.ljust(20, "9") and digits.ljust(
            20, "0"
        ) <= (written[1] or "9")
    wanted = study_filter.modalities_in_study
    texts = study_filter.description_contains
    return (
        is_in_time
        and (not wanted or any(one in wanted for one in study.modalities_in_study))
        and (
            not texts
            or any(plain(text) in plain(study.study_description) for text in texts)
        )
    )


studies = st.builds(
    Study,
    study_instance_uid=st.sampled_from(["1.1", "1.2", "1.3", "1.4", "1.5"]),
    patient=st.builds(
        Patient,
        patient_id=st.sampled_from(["P1", "P2 ", ""]),
        issuer_of_patient_id=st.sampled_from(["", "NORTH"]),
        patient_name=st.sampled_from(["Doe^Jane", "Roe^Ann"]),
    ),
    study_date=st.just("") | DATES,
    study_time=TIMES,
    study_description=TEXTS,
    modalities_in_study=MODALITIES,
)
filters = st.builds(
    StudyFilter,
    modalities_in_study=MODALITIES,
    description_contains=st.lists(TEXTS, max_size=2).map(tuple),
    earliest=BOUNDS,
    latest=BOUNDS,
    keeps_undated=st.booleans(),
)


@given(studies, filters)
def test_passing_agrees_with_a_simple_reading(study, study_filter):
    assert passes(study, study_filter) == simply_passes(study, study_filter)


@given(studies, filters)
def test_days_to_ask_for_are_never_too_few(study, study_filter):
    first, last = days(study_filter)
    if passes(study, study_filter) and (first or last):
        day = datetime.strptime(study.study_date, "%Y%m%d").date()
        assert (first or day) <= day <= (last or day)


def test_days_to_ask_for_are_those_of_the_bounds():
    july = StudyFilter(
        earliest=moment("2024-07-01T23:00"), latest=moment("2024-07-31T01:00")
    )

    assert days(july) == (date(2024, 7, 1), date(2024, 7, 31))
    assert days(replace(july, keeps_undated=True)) == (None, None)
    assert days(StudyFilter(earliest=datetime.min, latest=datetime.max)) == (None, None)


def test_only_one_modality_is_asked_for():
    assert only_modality(StudyFilter(modalities_in_study=("CT",))) == "CT"
    assert only_modality(StudyFilter(modalities_in_study=("CT", "MR"))) == ""


def key_of(study):
    patient = study.patient
    if not patient.patient_id:
        return ("", patient.issuer_of_patient_id, patient.patient_name)
    return (patient.patient_id.strip(), patient.issuer_of_patient_id)


@given(st.lists(studies, max_size=12), st.integers(1, 3))
def test_newest_of_each_patient_leaves_out_only_what_is_older(found, number):
    kept = newest_of_each_patient(found, number)

    assert kept == [study for study in found if study in kept]
    for key in set(map(key_of, found)):
        everything = {s.study_instance_uid for s in found if key_of(s) == key}
        uids = {s.study_instance_uid for s in kept if key_of(s) == key}
        assert len(uids) == min(number, len(everything))

        def when(uid, key=key):
            return max(
                s.study_date
                and (s.study_date + s.study_time.replace(".", "")).ljust(20, "0")
                for s in found
                if s.study_instance_uid == uid and key_of(s) == key
            )

        left_out = everything - uids
        assert not left_out or max(map(when, left_out)) <= min(map(when, uids))


def kept(found, study_filter, of_series):
    asked = []

    async def find_modalities(study):
        asked.append(study.study_instance_uid)
        return of_series[study.study_instance_uid]

    return run(keep(found, study_filter, find_modalities)), asked


def test_series_decide_only_where_nothing_else_does():
    unknown = replace(STUDY, study_instance_uid="1.2", modalities_in_study=())
    other = replace(unknown, study_instance_uid="1.3")
    old = replace(unknown, study_instance_uid="1.4", study_date="19990101")
    known = replace(
        unknown,
        study_instance_uid="1.5",
        series=(Series(series_instance_uid="1", modality="CT"),),
    )
    study_filter = StudyFilter(
        modalities_in_study=("CT",), earliest=moment("2024-01-01")
    )

    found, asked = kept(
        [STUDY, unknown, other, old, known],
        study_filter,
        {"1.2": {"SR", "CT"}, "1.3": {"MR"}},
    )

    assert [study.study_instance_uid for study in found] == ["1.1", "1.2", "1.5"]
    assert set(found[1].modalities_in_study) == {"SR", "CT"}
    assert asked == ["1.2", "1.3"]


def test_most_recent_counts_what_passed_the_rest():
    older = replace(STUDY, study_instance_uid="1.0", study_date="20200101")
    newer = replace(
        STUDY,
        study_instance_uid="1.2",
        study_date="20250101",
        modalities_in_study=("MR",),
    )

    found, _ = kept(
        [older, newer, STUDY],
        StudyFilter(modalities_in_study=("CT",), most_recent=1),
        {},
    )

    assert found == [STUDY]
