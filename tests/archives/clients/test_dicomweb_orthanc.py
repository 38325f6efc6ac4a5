"""DICOMweb on an Orthanc that is set up as production ones are: limits and a login."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from archives.clients import (
    ArchiveClient,
    DicomWebEndpoint,
    close_connections,
    open_client,
)
from archives.clients.credentials import BasicCredentials
from archives.entities import PatientIdentifier, Selection, StudyQuery
from archives.errors import ArchiveRefusedError
from tests.dicom_files import DicomFiles
from tests.loops import run
from tests.orthanc import Orthanc, start_orthanc
from tests.requirements import needs

T = TypeVar("T")
LIMITS = {"LimitFindResults": 7, "LimitFindInstances": 7}


@pytest.fixture(scope="module")
def limited(
    tmp_path_factory: pytest.TempPathFactory, dicom_files: DicomFiles
) -> Iterator[Orthanc]:
    needs("orthanc")
    with start_orthanc(
        tmp_path_factory.mktemp("limited"),
        dicom_files,
        auth=("viewer", "right"),
        configuration=LIMITS,
    ) as orthanc:
        orthanc.upload(dicom_files.paths(dicom_files.group("many", "demo")))
        yield orthanc


def ask(
    orthanc: Orthanc, password: str, action: Callable[[ArchiveClient], Awaitable[T]]
) -> T:
    endpoint = DicomWebEndpoint(
        name="Limited",
        url=orthanc.dicomweb_url,
        credentials=BasicCredentials(username="viewer", password=password),
    )

    async def main() -> T:
        try:
            async with open_client(endpoint) as client:
                return await action(client)
        finally:
            await close_connections()

    return run(main())


def test_find_whole_studies_gets_past_the_limits(limited):
    patients = tuple(PatientIdentifier(patient_id=name) for name in ("MANY", "DEMO-1"))
    stored = limited.dataset.group("many") + limited.dataset.of_patient("DEMO-1")

    found = ask(
        limited,
        "right",
        lambda client: client.find_whole_studies(Selection(patients=patients)),
    )

    assert {
        study.study_instance_uid: sorted(
            one.sop_instance_uid for series in study.series for one in series.instances
        )
        for study in found.studies
    } == {study.study_instance_uid: sorted(study.sop_instance_uids) for study in stored}
    assert not found.is_truncated


def test_a_wrong_password_is_refused(limited):
    with pytest.raises(ArchiveRefusedError, match="check the user name and password"):
        ask(limited, "wrong", lambda client: client.find_studies(StudyQuery()))
