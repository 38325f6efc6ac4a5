"""What every client owes its callers: the same tests over both protocols, on Orthanc.

What was written into the files is the truth; see ``tests.dicom_files``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date, datetime
from io import BytesIO
from typing import Any, TypeVar

import pytest
from pydicom import Dataset, dcmread

from archives.clients import (
    ArchiveClient,
    DicomWebEndpoint,
    DimseEndpoint,
    Endpoint,
    close_connections,
    open_client,
)
from archives.clients.base import Deadlines, Progress
from archives.entities import (
    InstanceIdentifier,
    Patient,
    PatientIdentifier,
    Selection,
    Series,
    SeriesIdentifier,
    Study,
    StudyFilter,
    StudyQuery,
    WholeStudies,
)
from archives.errors import ArchiveUnavailableError, InstanceNotFoundError
from tests.dicom_files import StoredInstance, StoredSeries, StoredStudy
from tests.loops import run
from tests.orthanc import Orthanc

T = TypeVar("T")
UNKNOWN = "2.25.1234567890"
DIMSE, DICOMWEB, WADO_URI = "DIMSE", "DICOMweb", "DICOMweb with WADO-URI"
PADDING = 0xFFFCFFFC


@pytest.fixture(params=[DIMSE, DICOMWEB])
def endpoint(request: pytest.FixtureRequest, orthanc: Orthanc) -> Endpoint:
    return connected(orthanc, request.param)


@pytest.fixture(params=[DIMSE, DICOMWEB, WADO_URI])
def retrieving(request: pytest.FixtureRequest, orthanc: Orthanc) -> Endpoint:
    """For retrieval, which DICOMweb has two ways for."""
    return connected(orthanc, request.param)


def connected(orthanc: Orthanc, protocol: str, **options: Any) -> Endpoint:
    if protocol == DIMSE:
        return DimseEndpoint(
            name="Laboratory",
            host=orthanc.host,
            port=orthanc.dicom_port,
            called_ae_title=orthanc.ae_title,
            **options,
        )
    wado_uri_url = orthanc.wado_uri_url if protocol == WADO_URI else ""
    return DicomWebEndpoint(
        name="Laboratory",
        url=orthanc.dicomweb_url,
        wado_uri_url=wado_uri_url,
        **options,
    )


def ask(endpoint: Endpoint, action: Callable[[ArchiveClient], Awaitable[T]]) -> T:
    async def main() -> T:
        try:
            async with open_client(endpoint) as client:
                return await action(client)
        finally:
            await close_connections()

    return run(main())


def find(endpoint: Endpoint, selection: Selection) -> WholeStudies:
    return ask(endpoint, lambda client: client.find_whole_studies(selection))


def assert_found(found: WholeStudies, *stored: StoredStudy) -> None:
    """Exactly these studies, each whole, with all that was written."""
    uids = [study.study_instance_uid for study in found.studies]
    assert sorted(uids) == sorted(study.study_instance_uid for study in stored)
    studies = {study.study_instance_uid: study for study in found.studies}
    for study in stored:
        assert_study(studies[study.study_instance_uid], study)
    assert not found.is_truncated
    assert found.missing_instances == 0


def assert_study(found: Study, stored: StoredStudy) -> None:
    assert found.patient == Patient(
        patient_id=stored.patient_id,
        issuer_of_patient_id=stored.issuer_of_patient_id,
        patient_name=stored.patient_name,
        patient_birth_date=stored.patient_birth_date,
        patient_sex=stored.patient_sex,
    )
    for name in (
        "study_date",
        "study_time",
        "accession_number",
        "study_id",
        "study_description",
        "referring_physician_name",
    ):
        assert getattr(found, name) == getattr(stored, name), name
    # In whole studies the series tell the modalities; a client need not ask for them.
    assert set(found.modalities_in_study) in (set(), stored.modalities)
    series = {each.series_instance_uid: each for each in found.series}
    assert len(series) == len(found.series) == len(stored.series)
    for each in stored.series:
        assert_series(series[each.series_instance_uid], each)


def assert_series(found: Series, stored: StoredSeries) -> None:
    assert found.modality == stored.modality
    assert found.series_number == stored.series_number
    assert found.series_description == stored.series_description
    assert numbers_of(found) == numbers_of(stored)
    assert len(found.instances) == len(stored.instances)
    # A manifest needs no SOP classes: a client need not ask for them.
    assert classes_of(found) in (
        dict.fromkeys(classes_of(stored), ""),
        classes_of(stored),
    )


def numbers_of(series: Series | StoredSeries) -> dict[str, int | None]:
    return {one.sop_instance_uid: one.instance_number for one in series.instances}


def classes_of(series: Series | StoredSeries) -> dict[str, str]:
    return {one.sop_instance_uid: one.sop_class_uid for one in series.instances}


def identifier_of(
    study: StoredStudy, series: StoredSeries, one: StoredInstance
) -> InstanceIdentifier:
    return InstanceIdentifier(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        sop_instance_uid=one.sop_instance_uid,
    )


def test_find_whole_studies_finds_every_instance_of_every_study_once(endpoint, orthanc):
    stored = orthanc.dataset.studies
    uids = tuple(study.study_instance_uid for study in stored)

    assert_found(find(endpoint, Selection(study_instance_uids=uids)), *stored)


@pytest.mark.parametrize("group", ["demo", "charsets", "edges", "many"])
def test_find_whole_studies_finds_patients(endpoint, orthanc, group):
    stored = orthanc.dataset.group(group)
    patients = tuple(
        PatientIdentifier(
            patient_id=patient_id, issuer_of_patient_id=issuer_of_patient_id
        )
        for patient_id, issuer_of_patient_id in sorted(
            {(study.patient_id, study.issuer_of_patient_id) for study in stored}
        )
    )

    assert_found(find(endpoint, Selection(patients=patients)), *stored)


@pytest.mark.parametrize("issuer", ["HOSPITAL-A", "HOSPITAL-B"])
def test_find_whole_studies_keeps_namesakes_of_another_issuer_out(
    endpoint, orthanc, issuer
):
    wanted = PatientIdentifier(patient_id="SHARED-ID", issuer_of_patient_id=issuer)

    found = find(endpoint, Selection(patients=(wanted,)))

    assert_found(found, *orthanc.dataset.of_patient("SHARED-ID", issuer))


def test_find_whole_studies_without_issuer_takes_all_namesakes(endpoint, orthanc):
    wanted = PatientIdentifier(patient_id="SHARED-ID")

    found = find(endpoint, Selection(patients=(wanted,)))

    assert_found(found, *orthanc.dataset.of_patient("SHARED-ID"))
    assert len(found.studies) == 2


@pytest.mark.parametrize(
    ("accession_number", "keys"),
    [
        ("A1001", ["ct"]),
        ("TWICE", ["accession-1", "accession-2"]),
        ("SHARED-ACC", ["issuer-a", "issuer-b"]),
        ("A&<1>", ["xml"]),
        ("A/1&=+#%", ["quote"]),
        ("A100", []),
    ],
)
def test_find_whole_studies_finds_accession_numbers(
    endpoint, orthanc, accession_number, keys
):
    found = find(endpoint, Selection(accession_numbers=(accession_number,)))

    assert_found(found, *map(orthanc.dataset.study, keys))


def test_find_whole_studies_takes_the_union(endpoint, orthanc):
    study = orthanc.dataset.study
    selection = Selection(
        patients=(PatientIdentifier(patient_id="DEMO-2"),),
        study_instance_uids=(study("mr").study_instance_uid, UNKNOWN),
        accession_numbers=("A0877", "A1010"),
    )

    assert_found(find(endpoint, selection), *map(study, ["mr", "us", "ct-prior"]))


@pytest.mark.parametrize("has_parents", [True, False])
def test_find_whole_studies_finds_selected_series_and_instances(
    endpoint, orthanc, has_parents
):
    study = orthanc.dataset.study("ct")
    whole, part = study.series[1], study.series[2]
    instance = identifier_of(study, part, part.instances[3])
    parent = study.study_instance_uid
    if not has_parents:
        instance = InstanceIdentifier(sop_instance_uid=instance.sop_instance_uid)
        parent = ""
    selection = Selection(
        series=(
            SeriesIdentifier(
                series_instance_uid=whole.series_instance_uid, study_instance_uid=parent
            ),
            SeriesIdentifier(series_instance_uid=UNKNOWN, study_instance_uid=parent),
        ),
        instances=(instance,),
    )

    found = find(endpoint, selection)

    (only,) = found.studies
    series = {each.series_instance_uid: each for each in only.series}
    assert set(series) == {whole.series_instance_uid, part.series_instance_uid}
    assert_series(series[whole.series_instance_uid], whole)
    (one,) = series[part.series_instance_uid].instances
    assert one.sop_instance_uid == instance.sop_instance_uid
    assert not found.is_truncated


def test_find_whole_studies_of_the_unknown_is_empty(endpoint):
    selection = Selection(
        patients=(PatientIdentifier(patient_id="NOBODY"),),
        study_instance_uids=(UNKNOWN,),
        accession_numbers=("NONE",),
        series=(SeriesIdentifier(series_instance_uid=UNKNOWN),),
        instances=(InstanceIdentifier(sop_instance_uid=UNKNOWN),),
    )

    assert find(endpoint, selection) == WholeStudies()


@pytest.mark.parametrize(
    ("study_filter", "keys"),
    [
        (StudyFilter(modalities_in_study=("CT",)), ["ct", "ct-prior"]),
        (StudyFilter(modalities_in_study=("CR", "MR")), ["cr", "mr"]),
        (StudyFilter(modalities_in_study=("XA",)), []),
        (StudyFilter(earliest=datetime(2026, 3, 2, 8, 15, 1)), ["cr"]),
        (StudyFilter(latest=datetime(2025, 11, 20, 12)), ["ct-prior", "mr"]),
        (
            StudyFilter(description_contains=("thorax", "KNEE")),
            ["ct", "ct-prior", "mr"],
        ),
        (StudyFilter(most_recent=1), ["cr", "us"]),
        (StudyFilter(patient_name="MOREAU^BASTIEN"), ["mr", "us"]),
    ],
)
def test_find_selected_and_whole_studies_filter(endpoint, orthanc, study_filter, keys):
    patients = tuple(
        PatientIdentifier(patient_id=patient_id) for patient_id in ("DEMO-1", "DEMO-2")
    )
    selection = Selection(patients=patients, study_filter=study_filter)

    selected = ask(endpoint, lambda client: client.find_selected_studies(selection))

    stored = [orthanc.dataset.study(key) for key in keys]
    assert_found(find(endpoint, selection), *stored)
    assert {
        study.study_instance_uid: set(study.modalities_in_study) for study in selected
    } == {study.study_instance_uid: study.modalities for study in stored}
    assert not any(study.series for study in selected)


def test_find_selected_studies_knows_series_and_instances_alone(endpoint, orthanc):
    ct, mr = orthanc.dataset.study("ct"), orthanc.dataset.study("mr")
    series = SeriesIdentifier(series_instance_uid=ct.series[0].series_instance_uid)
    instance = InstanceIdentifier(sop_instance_uid=mr.instances[0].sop_instance_uid)
    selection = Selection(series=(series,), instances=(instance,))

    selected = ask(endpoint, lambda client: client.find_selected_studies(selection))

    assert {study.study_instance_uid for study in selected} == {
        ct.study_instance_uid,
        mr.study_instance_uid,
    }


def test_find_whole_studies_tells_how_far_it_is(endpoint, orthanc):
    steps: list[Progress] = []
    selection = Selection(patients=(PatientIdentifier(patient_id="DEMO-1"),))

    ask(
        endpoint,
        lambda client: client.find_whole_studies(selection, on_progress=steps.append),
    )

    stored = orthanc.dataset.of_patient("DEMO-1")
    total = sum(len(study.instances) for study in stored)
    assert (steps[-1].studies, steps[-1].instances) == (len(stored), total)
    assert [step.instances for step in steps] == sorted(
        step.instances for step in steps
    )


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        (StudyQuery(patient_name="Lindqvist*"), ["ct", "ct-prior", "cr"]),
        (StudyQuery(patient_id="DEMO-2"), ["mr", "us"]),
        (StudyQuery(patient_id="DEMO-1", modalities_in_study=("CR",)), ["cr"]),
        (
            StudyQuery(patient_id="DEMO-1", modalities_in_study=("CR", "CT")),
            ["ct", "ct-prior", "cr"],
        ),
        (
            StudyQuery(patient_id="DEMO-1", study_date_from=date(2026, 1, 1)),
            ["ct", "cr"],
        ),
        (
            StudyQuery(patient_id="DEMO-1", study_date_to=date(2025, 1, 1)),
            ["ct-prior"],
        ),
        (
            StudyQuery(
                patient_id="DEMO-1",
                study_date_from=date(2026, 3, 2),
                study_date_to=date(2026, 3, 2),
            ),
            ["ct"],
        ),
        (StudyQuery(accession_number="A1010"), ["mr"]),
        (StudyQuery(patient_id="DEMO-1", study_description="Chest*"), ["cr"]),
        (StudyQuery(patient_id="NOBODY"), []),
    ],
)
def test_find_studies_finds_what_matches(endpoint, orthanc, query, keys):
    matches = ask(endpoint, lambda client: client.find_studies(query))

    assert {study.study_instance_uid for study in matches.studies} == {
        orthanc.dataset.study(key).study_instance_uid for key in keys
    }
    assert len(matches.studies) == len(keys)
    assert not matches.has_more


def test_find_studies_finds_several_uids(endpoint, orthanc):
    uids = tuple(orthanc.dataset.study(key).study_instance_uid for key in ("ct", "mr"))

    matches = ask(
        endpoint,
        lambda client: client.find_studies(StudyQuery(study_instance_uids=uids)),
    )

    assert {study.study_instance_uid for study in matches.studies} == set(uids)


@pytest.mark.parametrize(("limit", "has_more"), [(1, True), (39, True), (40, False)])
def test_find_studies_says_if_there_are_more(endpoint, limit, has_more):
    query = StudyQuery(patient_id="MANY", limit=limit)

    matches = ask(endpoint, lambda client: client.find_studies(query))

    assert (len(matches.studies), matches.has_more) == (limit, has_more)


def test_find_studies_counts_what_is_below(endpoint, orthanc):
    matches = ask(
        endpoint, lambda client: client.find_studies(StudyQuery(patient_id="BIG"))
    )

    (study,) = matches.studies
    assert study.number_of_study_related_series == 10
    assert study.number_of_study_related_instances == 3000
    assert study.modalities_in_study == ("CT",)
    assert study.series == ()


def test_find_series_and_instances_find_all(endpoint, orthanc):
    stored = orthanc.dataset.study("ct")
    uid = stored.study_instance_uid
    series = {
        each.series_instance_uid: each
        for each in ask(endpoint, lambda client: client.find_series(uid))
    }

    assert set(series) == {each.series_instance_uid for each in stored.series}
    for each in stored.series:
        found = series[each.series_instance_uid]
        assert found.instances == ()
        assert found.number_of_series_related_instances == len(each.instances)
        instances = ask(
            endpoint,
            lambda client, one=each: client.find_instances(
                uid, one.series_instance_uid
            ),
        )
        complete = replace(found, instances=instances)
        assert_series(complete, each)
        assert classes_of(complete) == classes_of(each)


def test_find_series_and_instances_of_the_unknown_are_none(endpoint, orthanc):
    known = orthanc.dataset.study("ct").study_instance_uid

    assert ask(endpoint, lambda client: client.find_series(UNKNOWN)) == ()
    assert ask(endpoint, lambda client: client.find_instances(known, UNKNOWN)) == ()
    assert ask(endpoint, lambda client: client.find_instances(UNKNOWN, UNKNOWN)) == ()


async def retrieved(client: ArchiveClient, identifier: InstanceIdentifier) -> bytes:
    async with client.retrieve_instance(identifier) as stream:
        content = b"".join([piece async for piece in stream])
        assert stream.content_length in (None, len(content))
        return content


@pytest.mark.parametrize("group", ["demo", "charsets", "edges", "compressed"])
def test_retrieve_instance_gives_what_was_stored(retrieving, orthanc, group):
    wanted = [
        (study, series, series.instances[-1])
        for study in orthanc.dataset.group(group)
        for series in study.series
    ]

    async def retrieve(client: ArchiveClient) -> list[bytes]:
        return await asyncio.gather(
            *(retrieved(client, identifier_of(*each)) for each in wanted)
        )

    for (_, _, one), content in zip(wanted, ask(retrieving, retrieve), strict=True):
        found, stored = dcmread(BytesIO(content)), orthanc.dataset.read(one)
        assert found.file_meta.TransferSyntaxUID == one.transfer_syntax_uid
        assert values_of(found) == values_of(stored)


def values_of(dataset: Dataset) -> dict[int, Any]:
    """What the object says; an archive may drop padding, and correct the VR of pixels."""
    return {element.tag: element.value for element in dataset if element.tag != PADDING}


def test_retrieve_instance_of_the_unknown_says_so(retrieving, orthanc):
    study = orthanc.dataset.study("ct")
    identifier = InstanceIdentifier(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=study.series[0].series_instance_uid,
        sop_instance_uid=UNKNOWN,
    )

    with pytest.raises(InstanceNotFoundError, match="Laboratory"):
        ask(retrieving, lambda client: retrieved(client, identifier))


def test_retrieve_instance_may_be_left_early(retrieving, orthanc):
    study = orthanc.dataset.study("pixels")
    series = study.series[0]
    first, second = (identifier_of(study, series, one) for one in series.instances[:2])

    async def leave_then_retrieve(client: ArchiveClient) -> bytes:
        async with client.retrieve_instance(first) as stream:
            async for _ in stream:
                break
        return await retrieved(client, second)

    content = ask(retrieving, leave_then_retrieve)

    assert dcmread(BytesIO(content)).SOPInstanceUID == second.sop_instance_uid


def test_calls_at_once_do_not_mix(endpoint, orthanc):
    stored = [*orthanc.dataset.group("demo"), *orthanc.dataset.group("many")]

    async def find_all(client: ArchiveClient) -> list[WholeStudies]:
        return await asyncio.gather(
            *(
                client.find_whole_studies(
                    Selection(study_instance_uids=(study.study_instance_uid,))
                )
                for study in stored
            )
        )

    for found, study in zip(ask(endpoint, find_all), stored, strict=True):
        assert_found(found, study)


def test_a_cancelled_call_leaves_the_client_well(endpoint, orthanc):
    study = orthanc.dataset.study("big")
    selection = Selection(study_instance_uids=(study.study_instance_uid,))

    async def cancel_then_find(client: ArchiveClient) -> tuple[Series, ...]:
        is_under_way = asyncio.Event()
        task = asyncio.ensure_future(
            client.find_whole_studies(
                selection, on_progress=lambda progress: is_under_way.set()
            )
        )
        await is_under_way.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await client.find_series(study.study_instance_uid)

    assert len(ask(endpoint, cancel_then_find)) == 10


def test_a_total_deadline_ends_a_call(orthanc):
    study = orthanc.dataset.study("big")
    selection = Selection(study_instance_uids=(study.study_instance_uid,))

    for protocol in (DIMSE, DICOMWEB):
        hurried = connected(orthanc, protocol, deadlines=Deadlines(total=0.02))
        with pytest.raises(ArchiveUnavailableError, match="Laboratory"):
            find(hurried, selection)


@pytest.mark.parametrize(
    "nobody",
    [
        DimseEndpoint(
            name="Laboratory", host="127.0.0.1", port=1, called_ae_title="NOBODY"
        ),
        DicomWebEndpoint(name="Laboratory", url="http://127.0.0.1:1/dicom-web"),
    ],
    ids=[DIMSE, DICOMWEB],
)
@pytest.mark.parametrize(
    "action",
    [
        lambda client: client.echo(),
        lambda client: client.find_studies(StudyQuery(patient_id="DEMO-1")),
        lambda client: client.find_series(UNKNOWN),
        lambda client: client.find_instances(UNKNOWN, UNKNOWN),
        lambda client: client.find_whole_studies(
            Selection(study_instance_uids=(UNKNOWN,))
        ),
        lambda client: client.find_selected_studies(
            Selection(study_instance_uids=(UNKNOWN,))
        ),
        lambda client: retrieved(
            client,
            InstanceIdentifier(
                study_instance_uid=UNKNOWN,
                series_instance_uid=UNKNOWN,
                sop_instance_uid=UNKNOWN,
            ),
        ),
    ],
    ids=[
        *("echo", "studies", "series", "instances", "whole studies", "selected"),
        "retrieve",
    ],
)
def test_an_archive_that_is_down_is_unavailable(nobody, action):
    with pytest.raises(ArchiveUnavailableError, match="Laboratory"):
        ask(nobody, action)


def test_verify_is_well(retrieving, orthanc):
    steps = ask(retrieving, lambda client: client.verify())

    assert len(steps) >= 3
    assert all(step.is_ok and step.message and step.milliseconds >= 0 for step in steps)
    messages = " ".join(step.message for step in steps)
    for study in orthanc.dataset.studies:
        for private in (study.patient_id, study.patient_name, study.study_instance_uid):
            assert not private or private not in messages


def test_echo_is_answered(endpoint):
    assert ask(endpoint, lambda client: client.echo()) is None


@pytest.mark.parametrize(
    "nobody",
    [
        DimseEndpoint(
            name="Laboratory", host="127.0.0.1", port=1, called_ae_title="NOBODY"
        ),
        DicomWebEndpoint(name="Laboratory", url="http://127.0.0.1:1/dicom-web"),
    ],
    ids=[DIMSE, DICOMWEB],
)
def test_verify_ends_with_the_reason(nobody):
    steps = ask(nobody, lambda client: client.verify())

    assert [step.is_ok for step in steps] == [False]
    assert "Laboratory" in steps[0].message
