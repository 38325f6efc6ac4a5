from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.clients import DimseEndpoint, Endpoint
from archives.embedded import EmbeddedArchive
from archives.entities import Patient, Study, StudyQuery
from archives.errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveUnavailableError,
)
from launcher.search.asking import (
    AnswerState,
    ArchiveAnswer,
    ask,
    ask_archive,
    merge,
    patient_key,
    series_of,
    sort_key,
)
from launcher.search.criteria import SearchCriteria
from tests.environment import free_port
from tests.loops import run
from tests.servers import Choosy, Failing, IgnoresKeys, Limited, Slow


def endpoint_of(archive, **fields):
    return DimseEndpoint(
        name="Main PACS",
        host="127.0.0.1",
        port=archive.port,
        called_ae_title=archive.ae_title,
        **fields,
    )


def answer_of(archive, criteria, *, limit=100, deadline=15.0):
    queries = criteria.queries(limit)
    return run(ask(endpoint_of(archive), queries, deadline=deadline))


@pytest.fixture(scope="module")
def files(dicom_files):
    return dicom_files.paths(dicom_files.group("demo", "charsets", "issuers"))


@pytest.fixture(scope="module")
def archive(files):
    with EmbeddedArchive(files) as running:
        yield running


def uids(dicom_files, *keys):
    return {dicom_files.study(key).study_instance_uid for key in keys}


def found(answer):
    assert answer.state == AnswerState.ANSWERED, answer.message
    return {study.study_instance_uid for study in answer.studies}


@pytest.mark.parametrize(
    ("criteria", "keys"),
    [
        ({"quick": "lindqvist ast"}, ["ct", "ct-prior", "cr"]),
        ({"quick": "DEMO-2"}, ["mr", "us"]),
        ({"quick": "A1001"}, ["ct"]),
        ({"quick": "DEMO-1^^^HOSPITAL-A"}, ["ct", "ct-prior", "cr"]),
        ({"quick": "DEMO-1^^^HOSPITAL-B"}, []),
        ({"quick": "山田"}, ["cs-2022-jp"]),
        ({"patient_name": "lindqvist", "modalities": ("CR", "US")}, ["cr"]),
        (
            {"patient_name": "lindqvist", "study_description": "thorax"},
            ["ct", "ct-prior"],
        ),
        (
            {"patient_name": "lindqvist", "study_date_from": date(2026, 3, 2)},
            ["ct", "cr"],
        ),
        ({"patient_id": "DEMO-1", "accession_number": "A1002"}, ["cr"]),
        ({"patient_id": "DEMO-?", "patient_sex": "M"}, ["mr", "us"]),
    ],
)
def test_archive_is_asked_for_what_the_user_states(
    archive, dicom_files, criteria, keys
):
    answer = answer_of(archive, SearchCriteria(**criteria))

    assert found(answer) == uids(dicom_files, *keys)
    assert not answer.has_more
    assert answer.left_out == 0


def test_study_is_found_by_its_uid(archive, dicom_files):
    uid = dicom_files.study("mr").study_instance_uid

    assert found(answer_of(archive, SearchCriteria(quick=uid))) == {uid}


def test_answers_that_do_not_fit_are_left_out_and_counted(files, dicom_files):
    with IgnoresKeys(files) as archive:
        answer = answer_of(archive, SearchCriteria(quick="lindqvist"))

    assert found(answer) == uids(dicom_files, "ct", "ct-prior", "cr")
    everything = dicom_files.group("demo", "charsets", "issuers")
    assert answer.left_out == len(everything) - 3


def test_more_matches_than_the_limit_are_told(archive):
    answer = answer_of(archive, SearchCriteria(patient_id="DEMO-?"), limit=2)

    assert len(answer.studies) == 2
    assert answer.has_more


def test_refusal_names_the_archive(files):
    with Choosy(files) as archive:
        answer = answer_of(archive, SearchCriteria(quick="DEMO-1"))

    assert answer.state == AnswerState.REFUSED
    assert "Main PACS" in answer.message


def test_dead_archive_is_unavailable():
    endpoint = DimseEndpoint(
        name="Main PACS", host="127.0.0.1", port=free_port(), called_ae_title="X"
    )

    answer = run(ask(endpoint, [StudyQuery(patient_id="1")]))

    assert answer.state == AnswerState.UNAVAILABLE
    assert "Main PACS" in answer.message


def test_failure_status_is_a_failed_answer(files):
    with Failing(files) as archive:
        answer = answer_of(archive, SearchCriteria(quick="DEMO-1"))

    assert answer.state == AnswerState.FAILED
    assert answer.studies == ()


def test_silent_archive_is_given_up_and_told_so(files):
    with Slow(files) as archive:
        answer = answer_of(archive, SearchCriteria(quick="DEMO-1"), deadline=0.3)

    assert answer.state == AnswerState.UNAVAILABLE
    assert answer.message.startswith("Main PACS did not answer within 0.3 seconds.")


def test_fault_of_the_hub_is_a_failed_answer(archive, caplog):
    impossible = endpoint_of(archive, outgoing=None)

    answer = run(ask(impossible, [StudyQuery(patient_id="DEMO-1")]))

    assert answer.state == AnswerState.FAILED
    assert (
        "Main PACS could not be asked because of an error in the hub" in answer.message
    )
    assert "archive_client_failed" in caplog.text
    with pytest.raises(ArchiveError, match="error in the hub"):
        run(series_of(impossible, "1.2.3"))


def test_messages_hold_nothing_that_was_searched(files):
    with Slow(files) as archive:
        answer = answer_of(archive, SearchCriteria(quick="lindqvist"), deadline=0.2)

    assert "lindqvist" not in answer.message.lower()


def test_series_come_in_the_order_of_their_numbers(archive, dicom_files):
    study = dicom_files.study("ct")

    series = run(series_of(endpoint_of(archive), study.study_instance_uid))

    assert [one.series_number for one in series] == [1, 2, 3, 4, 5, 6]
    assert series[1].series_description == "Lung 1.0"


def test_series_of_a_silent_archive_fail_in_words(files, dicom_files):
    uid = dicom_files.study("ct").study_instance_uid

    with Slow(files) as archive, pytest.raises(ArchiveUnavailableError, match="Main"):
        run(series_of(endpoint_of(archive), uid, deadline=0.2))


def test_limit_of_the_archive_itself_is_no_error(files):
    with Limited(files) as archive:
        archive.limit = 2
        answer = answer_of(archive, SearchCriteria(patient_id="DEMO-?"))

    assert len(answer.studies) == 2


# Merging


def study(uid, day="20260101", **fields):
    return Study(study_instance_uid=uid, study_date=day, **fields)


def answered(*studies):
    return ArchiveAnswer(
        state=AnswerState.ANSWERED, asked=datetime.now(UTC), studies=studies
    )


def test_merge_lists_each_study_once_newest_first():
    merged = merge(
        {
            "main": answered(study("1.1", "20250101"), study("1.2", "20260101")),
            "old": answered(study("1.1", "20250101"), study("1.3", "")),
        }
    )

    assert [one.study.study_instance_uid for one in merged] == ["1.2", "1.1", "1.3"]
    assert [one.archives for one in merged] == [("main",), ("main", "old"), ("old",)]


def test_merge_completes_what_one_archive_does_not_say():
    first = study("1.1", modalities_in_study=("CT",), number_of_study_related_series=2)
    second = study(
        "1.1",
        modalities_in_study=("CT", "SR"),
        study_description="Thorax",
        number_of_study_related_series=3,
        number_of_study_related_instances=40,
    )

    (merged,) = merge({"main": answered(first), "old": answered(second)})

    assert merged.study.modalities_in_study == ("CT", "SR")
    assert merged.study.study_description == "Thorax"
    assert merged.study.number_of_study_related_series == 3
    assert merged.study.number_of_study_related_instances == 40


def test_merge_tells_archives_that_name_another_patient():
    first = study("1.1", patient=Patient(patient_id="A"))
    second = study("1.1", patient=Patient(patient_id="B"))

    (merged,) = merge({"main": answered(first), "old": answered(second)})

    assert merged.study.patient.patient_id == "A"
    assert merged.other_patients == ("old",)


DAYS = st.sampled_from(["", "20260101", "20250630", "2025.06.30", "99999999", "x"])
STUDIES = st.builds(
    Study,
    study_instance_uid=st.sampled_from(["1.1", "1.2", "1.3", "1.4"]),
    study_date=DAYS,
    study_time=st.sampled_from(["", "10", "101500.5", "no"]),
)


@given(st.lists(STUDIES), st.lists(STUDIES))
def test_merge_is_sorted_and_loses_nothing(some, others):
    merged = merge({"a": answered(*some), "b": answered(*others)})

    uids = [one.study.study_instance_uid for one in merged]
    assert sorted(uids) == sorted({one.study_instance_uid for one in [*some, *others]})
    assert list(merged) == sorted(merged, key=sort_key)


def test_patients_differ_by_issuer_and_without_ids_by_name():
    def key(**fields):
        return patient_key(Patient(**fields))

    assert key(patient_id="1 ") == key(patient_id="1", patient_name="A")
    assert key(patient_id="1", issuer_of_patient_id="A") != key(
        patient_id="1", issuer_of_patient_id="B"
    )
    assert key(patient_name="A") != key(patient_name="B")


def test_ask_archive_answers_for_one_whose_password_is_unreadable():
    class Unreadable:
        name = "Old archive"

        def endpoint(self, user: object = None) -> Endpoint:
            raise ArchiveRefusedError("A stored password of Old archive is lost.")

    answer = run(ask_archive(Unreadable(), [StudyQuery(patient_id="1")]))

    assert answer.state == AnswerState.REFUSED
    assert "Old archive" in answer.message
