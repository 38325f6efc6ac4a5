from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import pytest

from archives.clients.dicomweb import DicomWebClient
from archives.entities import Instance, Patient, Series, Study, StudyQuery
from archives.errors import ArchiveResponseError
from tests.dicomweb_server import DicomWebServer
from tests.dicomweb_studies import make_study, serving
from tests.loops import run

STUDIES = tuple(
    make_study(f"1.{number}", series=1, instances=1) for number in range(1, 26)
)
PATIENT = StudyQuery(patient_id="P1", limit=100)
NONE = [(204, b""), (404, b""), (200, b""), (200, b"[]"), (410, b"gone")]


def ask(
    action: Callable[[DicomWebClient], Awaitable[Any]],
    *studies: Study,
    endpoint: dict[str, Any] | None = None,
    **behaviour: Any,
) -> tuple[Any, DicomWebServer]:
    async def main() -> tuple[Any, DicomWebServer]:
        async with serving(*studies, endpoint=endpoint, **behaviour) as (
            client,
            server,
        ):
            return await action(client), server

    return run(main())


@pytest.mark.parametrize(
    "behaviour",
    [
        {},
        {"page_cap": 7},
        {"page_cap": 1},
        {"page_cap": 25},
        {"page_cap": 5, "warns": True},
        {"ignores_limit": True},
        {"ignores_limit": True, "ignores_offset": True},
        {"ignores_offset": True},
        {"compresses": True},
        {"takes_include_fields": False},
        *({"none_status": status, "none_body": body} for status, body in NONE),
        {"none_status": 400},
        {"none_status": 416},
    ],
)
def test_find_studies_finds_each_study_once(behaviour):
    matches, _ = ask(lambda client: client.find_studies(PATIENT), *STUDIES, **behaviour)

    assert [study.study_instance_uid for study in matches.studies] == [
        study.study_instance_uid for study in STUDIES
    ]
    assert not matches.has_more


@pytest.mark.parametrize("page_size", [1, 4, 24, 25, 26])
def test_find_studies_asks_in_pages(page_size):
    matches, server = ask(
        lambda client: client.find_studies(PATIENT),
        *STUDIES,
        endpoint={"page_size": page_size},
    )

    assert len(matches.studies) == 25
    assert {request.keys["limit"] for request in server.requests} == {str(page_size)}


@pytest.mark.parametrize("page_cap", [3, 10_000])
def test_find_studies_says_if_there_are_more(page_cap):
    query = StudyQuery(patient_id="P1", limit=10)

    matches, _ = ask(
        lambda client: client.find_studies(query), *STUDIES, page_cap=page_cap
    )
    all_of_them, _ = ask(
        lambda client: client.find_studies(query), *STUDIES[:10], page_cap=page_cap
    )

    assert (len(matches.studies), matches.has_more) == (10, True)
    assert (len(all_of_them.studies), all_of_them.has_more) == (10, False)


@pytest.mark.parametrize(("status", "body"), NONE)
def test_find_studies_takes_every_form_of_none(status, body):
    matches, _ = ask(
        lambda client: client.find_studies(PATIENT), none_status=status, none_body=body
    )

    assert matches.studies == ()
    assert not matches.has_more


def test_find_studies_learns_how_long_pages_are():
    async def twice(client: DicomWebClient) -> None:
        await client.find_studies(PATIENT)
        await client.find_studies(
            StudyQuery(patient_id="P1", study_instance_uids=("1.2",))
        )

    _, server = ask(twice, *STUDIES)

    offsets = [request.keys.get("offset", "0") for request in server.requests]
    assert offsets == ["0", "25", "0"]


def test_find_studies_sends_every_key():
    query = StudyQuery(
        patient_name="Do*^J?ne",
        patient_id="A/1",
        issuer_of_patient_id="NORTH",
        patient_birth_date=date(1961, 2, 14),
        patient_sex="F",
        accession_number="A 7",
        study_instance_uids=("1.2", "1.3"),
        study_date_from=date(2026, 1, 1),
        modalities_in_study=("CT",),
        study_description="Thorax*",
        referring_physician_name="Okafor*",
        limit=5,
    )

    _, server = ask(lambda client: client.find_studies(query))

    keys, _, fields = server.requests[0].query.partition("&includefield=")
    assert keys == (
        "PatientName=Do*^J?ne&PatientID=A/1&IssuerOfPatientID=NORTH"
        "&PatientBirthDate=19610214&PatientSex=F&AccessionNumber=A%207"
        "&StudyInstanceUID=1.2,1.3&StudyDate=20260101-&ModalitiesInStudy=CT"
        "&StudyDescription=Thorax*&ReferringPhysicianName=Okafor*"
    )
    assert "00081030&includefield=" in fields
    assert fields.endswith("&limit=6")
    assert server.requests[0].headers["accept"] == "application/dicom+json"


@pytest.mark.parametrize(
    ("first", "last", "key"),
    [
        (date(2026, 1, 1), date(2026, 1, 31), "20260101-20260131"),
        (None, date(2026, 1, 31), "-20260131"),
        (date(2026, 1, 1), date(2026, 1, 1), "20260101"),
    ],
)
def test_find_studies_sends_date_ranges(first, last, key):
    query = StudyQuery(study_date_from=first, study_date_to=last)

    _, server = ask(lambda client: client.find_studies(query))

    assert server.requests[0].keys["StudyDate"] == key


def test_find_studies_takes_several_modalities_as_alternatives():
    older = make_study("1.1", study_date="20250101")
    newer = make_study("1.2", study_date="20260101")
    query = StudyQuery(patient_id="P1", modalities_in_study=("CT", "MR"))

    matches, server = ask(
        lambda client: client.find_studies(query), older, newer, takes_uid_lists=False
    )

    assert [study.study_instance_uid for study in matches.studies] == ["1.2", "1.1"]
    assert {request.keys["ModalitiesInStudy"] for request in server.requests} == {
        "CT",
        "MR",
    }


def test_find_studies_reads_every_attribute():
    study = make_study(
        patient={
            "patient_id": "P1",
            "patient_name": "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "issuer_of_patient_id": "NORTH",
        },
        study_time="101530.5",
        accession_number="A7",
        study_description="Épaule <gauche>",
    )

    matches, _ = ask(lambda client: client.find_studies(PATIENT), study)

    (found,) = matches.studies
    assert found == Study(
        study_instance_uid="1.1",
        patient=Patient(
            patient_id="P1",
            patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう",
            issuer_of_patient_id="NORTH",
        ),
        study_date="20260131",
        study_time="101530.5",
        accession_number="A7",
        study_description="Épaule <gauche>",
        modalities_in_study=("CT",),
        number_of_study_related_series=2,
        number_of_study_related_instances=6,
    )


def test_find_series_gives_all_without_instances():
    series, _ = ask(
        lambda client: client.find_series("1.1"), make_study(series=5), page_cap=2
    )

    assert len(series) == 5
    assert series[1] == Series(
        series_instance_uid="1.1.2",
        modality="CT",
        series_number=2,
        series_description="Series 2",
        number_of_series_related_instances=3,
    )


def test_find_instances_gives_all_of_one_series():
    instances, _ = ask(
        lambda client: client.find_instances("1.1", "1.1.2"), make_study()
    )

    assert len(instances) == 3
    assert instances[0] == Instance(
        sop_instance_uid="1.1.2.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        instance_number=1,
    )


@pytest.mark.parametrize(("status", "body"), NONE)
def test_find_series_and_instances_of_an_unknown_study_are_none(status, body):
    async def both(client: DicomWebClient) -> tuple[Any, Any]:
        return await client.find_series("9"), await client.find_instances("9", "9.1")

    found, _ = ask(both, make_study(), none_status=status, none_body=body)

    assert found == ((), ())


def test_find_instances_refuses_more_than_the_cap():
    with pytest.raises(ArchiveResponseError, match="North has more instances"):
        ask(
            lambda client: client.find_instances("1.1", "1.1.1"),
            make_study(instances=5),
            endpoint={"maximum_answers": 4},
        )
