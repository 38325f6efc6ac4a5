"""Whole launches from archives that speak DIMSE alone, as Weasis loads them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from archives.embedded import EmbeddedArchive
from tests.dcmtk import start_dcmqrscp
from tests.dicom_files import DicomFiles, StoredStudy
from tests.environment import free_port
from tests.orthanc import start_orthanc
from tests.processes import ServerProcess, accepts
from tests.requirements import needs
from tests.servers import WithoutGet
from tests.stack import HOST, ROOT, Stack
from tests.storing import store
from tests.test_end_to_end import assert_has_all_of, launch_of

GROUPS = ("demo", "compressed")


def test_orthanc_without_http_serves_every_image(
    stack: Stack, dicom_files: DicomFiles, tmp_path
) -> None:
    needs("orthanc")
    studies = dicom_files.group(*GROUPS)
    off = {"HttpServerEnabled": False, "Plugins": []}
    with start_orthanc(tmp_path, dicom_files, configuration=off) as archive:
        port, title = archive.dicom_port, archive.ae_title
        store(HOST, port, title, dicom_files.paths(studies))
        stack.add_dimse_archive("orthanc", port=port, ae_title=title)

        result = stack.open(launch_of(studies, "orthanc"))

    assert_has_all_of(result, studies, dicom_files)


def test_dcmqrscp_serves_every_image(
    stack: Stack, dicom_files: DicomFiles, tmp_path
) -> None:
    needs("dcmtk")
    with start_dcmqrscp(tmp_path, dicom_files) as archive:
        stack.add_dimse_archive("dcmtk", port=archive.port, ae_title=archive.ae_title)

        result = stack.open(launch_of(archive.studies, "dcmtk"))

    assert_has_all_of(result, archive.studies, dicom_files)


# It takes one compressed Transfer Syntax, which an option names. There is no option for
# JPEG Lossless of any predictor (1.2.840.10008.1.2.4.57), only for its first order.
DCMQRSCP_TAKES = {
    "+xi": ImplicitVRLittleEndian,
    "+xd": DeflatedExplicitVRLittleEndian,
    "+xr": RLELossless,
    "+xy": JPEGBaseline8Bit,
    "+xs": JPEGLosslessSV1,
    "+xt": JPEGLSLossless,
    "+xu": JPEGLSNearLossless,
    "+xv": JPEG2000Lossless,
    "+xw": JPEG2000,
}


def test_dcmqrscp_serves_every_encoding_it_takes(
    stack: Stack, dicom_files: DicomFiles, tmp_path
) -> None:
    """One study, whose series are spread over an archive for each encoding."""
    needs("dcmtk")
    study = dicom_files.study("compressed")
    launch = [("studyUID", study.study_instance_uid)]
    with ExitStack() as archives:
        for option, syntax in DCMQRSCP_TAKES.items():
            slug = f"dcmtk{option[1:]}"
            archive = archives.enter_context(
                start_dcmqrscp(
                    tmp_path / slug, dicom_files, groups=(), options=[option]
                )
            )
            part = only(study, syntax)
            assert part.series
            paths = dicom_files.paths([part])
            store(HOST, archive.port, archive.ae_title, paths)
            stack.add_dimse_archive(slug, port=archive.port, ae_title=archive.ae_title)
            launch.append(("archive", slug))

        result = stack.open(launch)

    part = only(study, *DCMQRSCP_TAKES.values())
    undone = [DeflatedExplicitVRLittleEndian]  # it inflates what it sends
    assert_has_all_of(result, [part], dicom_files, undone=undone)


def only(study: StoredStudy, *syntaxes: str) -> StoredStudy:
    """The study with its series in one of these Transfer Syntaxes alone."""
    series = [
        one
        for one in study.series
        if {each.transfer_syntax_uid for each in one.instances} <= set(syntaxes)
    ]
    return replace(study, series=tuple(series))


def test_every_encoding_is_among_the_files(dicom_files: DicomFiles) -> None:
    """Of those that archives hold; what is below loads each of them."""
    found = {
        instance.transfer_syntax_uid
        for study in dicom_files.group(*GROUPS)
        for instance in study.instances
    }

    assert found == {
        ExplicitVRLittleEndian,
        JPEGLossless,
        *DCMQRSCP_TAKES.values(),
    }


@pytest.fixture
def storage(stack: Stack) -> Iterator[int]:
    """The port of the running storage service."""
    port = free_port()
    process = ServerProcess(
        [sys.executable, "manage.py", "storage_scp", "--port", str(port)],
        folder=ROOT,
        log=stack.folder / "storage.log",
        environment=stack.environment,
        inherits=False,
    )
    with process:
        process.start(lambda: accepts(port))
        yield port


def test_archive_without_c_get_serves_every_image(
    stack: Stack, dicom_files: DicomFiles, storage: int
) -> None:
    studies = dicom_files.group(*GROUPS)
    files = dicom_files.paths(studies)
    hub = {"VIEWERHUB": (HOST, storage)}
    with WithoutGet(files, destinations=hub) as archive:
        stack.add_dimse_archive(
            "moving", port=archive.port, ae_title=archive.ae_title, retrieval="c-move"
        )

        result = stack.open(launch_of(studies, "moving"))

    assert_has_all_of(result, studies, dicom_files)


class Dying(EmbeddedArchive):
    """Ends the association after a few images, every time a series is asked for."""

    def get(self, event):
        for number, result in enumerate(super().get(event)):
            if number == 4:
                event.assoc.abort()
                return
            yield result


def test_series_that_breaks_off_is_completed(
    stack: Stack, dicom_files: DicomFiles
) -> None:
    studies = dicom_files.group("demo")
    with Dying(dicom_files.paths(studies)) as archive:
        stack.add_dimse_archive("dying", port=archive.port, ae_title=archive.ae_title)

        result = stack.open(launch_of(studies, "dying"))

    assert_has_all_of(result, studies, dicom_files)
