"""Images by C-GET from pynetdicom's archive and DCMTK's, and "Verify connection"."""

from __future__ import annotations

import asyncio
from collections import Counter
from io import BytesIO
from typing import Any, TypeVar

import pytest
from pydicom import dcmread
from pynetdicom import evt

from archives.clients import matches as tags
from archives.clients.base import Deadlines, DimseEndpoint, QueryRetrieveRoot
from archives.clients.dimse import DimseClient
from archives.clients.dimse.part10 import file_head
from archives.embedded import EmbeddedArchive, Query
from archives.embedded.index import Attributes, Entity, Index
from archives.embedded.server import Results
from archives.entities import InstanceIdentifier, VerificationStep
from archives.errors import (
    ArchiveRefusedError,
    ArchiveResponseError,
    InstanceNotFoundError,
)
from tests.archives.clients.test_dimse_association import wait_for_associations
from tests.dcmtk import Dcmqrscp
from tests.dicom_files import DicomFiles, StoredInstance, StoredSeries, StoredStudy
from tests.loops import run
from tests.servers import (
    Choosy,
    Failing,
    Hierarchical,
    WithoutCompressedSyntaxes,
    WithoutRetrieval,
)

T = TypeVar("T")

Stored = tuple[StoredStudy, StoredSeries, StoredInstance]


@pytest.fixture(scope="module")
def wanted(dicom_files: DicomFiles) -> list[Stored]:
    """An instance of every series of several kinds, and of every encoding."""
    return [
        (study, series, series.instances[-1])
        for study in dicom_files.group("demo", "charsets", "compressed")
        for series in study.series
    ]


@pytest.fixture(scope="module")
def index(dicom_files: DicomFiles) -> Index:
    return Index(dicom_files.paths(dicom_files.group("demo", "charsets", "compressed")))


class Recording(EmbeddedArchive):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.queries: Counter[str] = Counter()
        self.associations = 0

    def handlers(self) -> list[Any]:
        return [*super().handlers(), (evt.EVT_ACCEPTED, self.accepted)]

    def accepted(self, event: evt.Event) -> None:
        self.associations += 1

    def find(self, event: evt.Event) -> Results:
        self.queries[Query.from_event(event).level] += 1
        return super().find(event)


class WithoutClasses(Recording):
    """Does not say what SOP class an instance is of."""

    def answer(self, query: Query, entity: Entity) -> Attributes:
        answer = super().answer(query, entity)
        answer.pop(tags.SOP_CLASS_UID, None)
        return answer


class Mixed(Recording):
    """Says that everything is a CT image, until asked again."""

    def answer(self, query: Query, entity: Entity) -> Attributes:
        answer = super().answer(query, entity)
        if tags.SOP_CLASS_UID in answer and self.queries["IMAGE"] == 1:
            answer[tags.SOP_CLASS_UID] = "1.2.840.10008.5.1.4.1.1.2"
        return answer


def endpoint_of(archive: Any, **options: Any) -> DimseEndpoint:
    return DimseEndpoint(
        **{
            "name": "Embedded",
            "host": archive.host,
            "called_ae_title": archive.ae_title,
            "port": options.pop("port", None) or archive.port,
            **options,
        }
    )


def identifier_of(stored: Stored) -> InstanceIdentifier:
    study, series, instance = stored
    return InstanceIdentifier(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
    )


async def retrieved(endpoint: DimseEndpoint, identifier: InstanceIdentifier) -> bytes:
    async with (
        DimseClient(endpoint) as client,
        client.retrieve_instance(identifier) as stream,
    ):
        assert stream.content_length is None
        return b"".join([piece async for piece in stream])


async def retrieve_all(endpoint: DimseEndpoint, wanted: list[Stored]) -> list[bytes]:
    identifiers = map(identifier_of, wanted)
    return await asyncio.gather(*(retrieved(endpoint, one) for one in identifiers))


@pytest.mark.parametrize("root", list(QueryRetrieveRoot))
def test_every_object_arrives_as_it_is_stored(root, index, wanted, dicom_files):
    with EmbeddedArchive(index) as archive:
        contents = run(retrieve_all(endpoint_of(archive, root=root), wanted))

    for (_, _, instance), content in zip(wanted, contents, strict=True):
        file = dcmread(BytesIO(content))
        meta = file.file_meta
        assert meta.TransferSyntaxUID == instance.transfer_syntax_uid
        assert meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid
        assert meta.MediaStorageSOPClassUID == instance.sop_class_uid
        assert file == dicom_files.read(instance)


def test_dcmqrscp_sends_every_object(dcmqrscp: Dcmqrscp, dicom_files):
    wanted = [
        (study, series, series.instances[0])
        for study in dcmqrscp.studies
        for series in study.series
    ]

    contents = run(retrieve_all(endpoint_of(dcmqrscp), wanted))

    for (_, _, instance), content in zip(wanted, contents, strict=True):
        assert dcmread(BytesIO(content)) == dicom_files.read(instance)


def test_a_series_costs_one_query_and_few_associations(index, dicom_files):
    study = dicom_files.study("ct")
    series = study.series[1]
    with Recording(index) as archive:
        endpoint = endpoint_of(archive)

        async def main() -> None:
            for instance in series.instances:
                await retrieved(endpoint, identifier_of((study, series, instance)))

        run(main())

    assert archive.queries == {"IMAGE": 1}
    assert archive.associations <= 3


@pytest.mark.parametrize("kind", [WithoutClasses, Hierarchical])
def test_the_class_need_not_be_told(kind, index, wanted, dicom_files):
    usual = [one for one in wanted if one[0].key in {"ct", "mr"}]
    with kind(index) as archive:
        contents = run(retrieve_all(endpoint_of(archive), usual))

    for (_, _, instance), content in zip(usual, contents, strict=True):
        assert dcmread(BytesIO(content)) == dicom_files.read(instance)


def test_a_wrong_class_is_asked_for_again(index, dicom_files):
    study = dicom_files.study("mr")
    series = study.series[0]
    with Mixed(index) as archive:
        endpoint = endpoint_of(archive)
        first, second = (
            identifier_of((study, series, series.instances[n])) for n in (0, 1)
        )
        with pytest.raises(ArchiveResponseError, match="could not send it"):
            run(retrieved(endpoint, first))
        content = run(retrieved(endpoint, second))

    assert dcmread(BytesIO(content)).SOPInstanceUID == second.sop_instance_uid


def test_an_unknown_instance_is_not_found(index, wanted):
    study, series, _ = wanted[0]
    unknown = InstanceIdentifier(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        sop_instance_uid="1.2.3.4.5",
    )
    with EmbeddedArchive(index) as archive, pytest.raises(InstanceNotFoundError):
        run(retrieved(endpoint_of(archive), unknown))


def test_an_archive_without_c_get_says_what_to_do(index, wanted):
    with (
        WithoutRetrieval(index) as archive,
        pytest.raises(ArchiveRefusedError, match="does not offer C-GET to VIEWERHUB"),
    ):
        run(retrieved(endpoint_of(archive), identifier_of(wanted[0])))


def test_an_object_the_archive_cannot_convert_says_so(index, wanted):
    compressed = next(
        one for one in wanted if one[2].transfer_syntax_uid.endswith(".50")
    )
    with (
        WithoutCompressedSyntaxes(index) as archive,
        pytest.raises(ArchiveResponseError, match="could not send it"),
    ):
        run(retrieved(endpoint_of(archive), identifier_of(compressed)))


def test_a_file_head_has_its_length():
    head = file_head("1.2", "1.2.3", "1.2.840.10008.1.2.1")

    dataset = dcmread(BytesIO(head))

    assert head[:132] == bytes(128) + b"DICM"
    assert dataset.file_meta.FileMetaInformationGroupLength == len(head) - 144
    assert dataset.file_meta.MediaStorageSOPInstanceUID == "1.2.3"


# Verify connection


def verify(endpoint: DimseEndpoint) -> tuple[VerificationStep, ...]:
    async def main() -> tuple[VerificationStep, ...]:
        async with DimseClient(endpoint) as client:
            return await client.verify()

    return run(main())


def names(steps: tuple[VerificationStep, ...]) -> list[tuple[str, bool]]:
    return [(step.name, step.is_ok) for step in steps]


ALL = ["Reached", "Association", "Echo", "Query", "Image"]


def test_verify_goes_through_all_steps(index, dicom_files):
    with EmbeddedArchive(index) as archive:
        steps = verify(endpoint_of(archive))

    assert names(steps) == [(name, True) for name in ALL]
    assert all(step.milliseconds > 0 for step in steps)
    said = " ".join(step.message for step in steps)
    for study in dicom_files.group("demo", "charsets", "compressed"):
        assert study.patient_id not in said
        assert study.study_instance_uid not in said
        assert not study.patient_name or study.patient_name not in said


@pytest.mark.parametrize(
    ("kind", "failing", "words"),
    [
        (Choosy, "Association", "calling AE title not recognized"),
        (Failing, "Query", "0xA700, out of resources"),
        (WithoutRetrieval, "Image", "does not offer C-GET"),
    ],
)
def test_verify_ends_at_the_step_that_fails(kind, failing, words, index):
    with kind(index) as archive:
        steps = verify(endpoint_of(archive))
        wait_for_associations()

    passed = ALL[: ALL.index(failing)]
    assert names(steps) == [*((name, True) for name in passed), (failing, False)]
    assert words in steps[-1].message


def test_verify_of_an_empty_archive_tries_no_image():
    with EmbeddedArchive([]) as archive:
        steps = verify(endpoint_of(archive))

    assert names(steps) == [(name, True) for name in ALL[:-1]]
    assert "no studies yet" in steps[-1].message


def test_verify_of_nobody_says_what_to_check(free_port):
    endpoint = DimseEndpoint(
        name="Nobody",
        host="127.0.0.1",
        port=free_port(),
        called_ae_title="NOBODY",
        deadlines=Deadlines(connect=1),
    )

    (step,) = verify(endpoint)

    assert (step.name, step.is_ok) == ("Reached", False)
    assert "refused the connection" in step.message
