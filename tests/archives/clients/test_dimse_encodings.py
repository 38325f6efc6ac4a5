"""Every encoding and kind of object arrives by C-GET as an archive stores it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from archives.clients.base import DimseEndpoint
from archives.embedded import EmbeddedArchive
from archives.entities import InstanceIdentifier
from tests.archives.clients.test_dimse_retrieval import (
    WithoutClasses,
    endpoint_of,
    retrieved,
    run,
)
from tests.dcmtk import start_dcmqrscp
from tests.dicom_files import DicomFiles, uid
from tests.orthanc import start_orthanc
from tests.requirements import needs
from tests.storing import store

STUDY = uid("encodings")
JPEG = "1.2.840.10008.1.2.4."
ENCAPSULATED = {
    "JPEG baseline": f"{JPEG}50",
    "JPEG extended": f"{JPEG}51",
    "JPEG lossless": f"{JPEG}57",
    "JPEG lossless, first order": f"{JPEG}70",
    "JPEG-LS": f"{JPEG}80",
    "JPEG-LS, near lossless": f"{JPEG}81",
    "JPEG 2000 lossless": f"{JPEG}90",
    "JPEG 2000": f"{JPEG}91",
    "MPEG-2": f"{JPEG}100",
    "MPEG-4": f"{JPEG}102",
    "HEVC": f"{JPEG}107",
    "HTJ2K lossless": f"{JPEG}201",
    "HTJ2K": f"{JPEG}203",
    "RLE": "1.2.840.10008.1.2.5",
}
PLAIN = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
STORAGE = "1.2.840.10008.5.1.4.1.1."
CLASSES = {
    "CT": f"{STORAGE}2",
    "Enhanced CT": f"{STORAGE}2.1",
    "US multi-frame": f"{STORAGE}3.1",
    "Key object": f"{STORAGE}88.59",
    "Presentation state": f"{STORAGE}11.1",
    "Comprehensive SR": f"{STORAGE}88.33",
    "PDF": f"{STORAGE}104.1",
    "Private": "1.2.840.113619.4.26",
}


def object_of(name: str, sop_class_uid: str, syntax: str) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = uid("encodings", name, "1")
    dataset.PatientID = "ENCODINGS"
    dataset.PatientName = "Encoded^Otherwise"
    dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = ""
    dataset.StudyInstanceUID = STUDY
    dataset.SeriesInstanceUID = uid("encodings", name)
    dataset.StudyID = dataset.SeriesNumber = dataset.InstanceNumber = "1"
    dataset.Modality = "OT"
    dataset.ReferringPhysicianName = ""
    dataset.Rows = dataset.Columns = 8
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    pixels = bytes(range(64))
    if syntax in ENCAPSULATED.values():
        dataset.NumberOfFrames = 2
        dataset.PixelData = encapsulate([pixels, pixels])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PixelData = pixels
        dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each encoding, and of each kind of object."""
    folder = tmp_path_factory.mktemp("encodings")
    kinds = {name: (f"{STORAGE}7", syntax) for name, syntax in ENCAPSULATED.items()}
    kinds |= {name: (f"{STORAGE}7", syntax) for name, syntax in PLAIN.items()}
    kinds |= {name: (one, ExplicitVRLittleEndian) for name, one in CLASSES.items()}
    files = {}
    for name, (sop_class_uid, syntax) in kinds.items():
        files[name] = folder / f"{len(files):02d}.dcm"
        dataset = object_of(name, sop_class_uid, syntax)
        dataset.save_as(files[name], enforce_file_format=True)
    return files


def content_of(file: bytes) -> bytes:
    """The data set of a DICOM file, without preamble and File Meta Information."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


def check_all(
    endpoint: DimseEndpoint, paths: dict[str, Path], *, converts: bool = False
) -> None:
    """That each object comes as stored; uncompressed ones maybe in another syntax."""

    async def retrieve_each() -> dict[str, bytes]:
        return {
            name: await retrieved(endpoint, identifier_of(dcmread(path)))
            for name, path in paths.items()
        }

    for name, received in run(retrieve_each()).items():
        stored = paths[name].read_bytes()
        meta, expected = dcmread(BytesIO(received)).file_meta, dcmread(paths[name])
        if not converts or name in ENCAPSULATED:
            assert meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID, name
            if name != "deflated":  # which every sender deflates anew
                assert content_of(received) == content_of(stored), name
        assert dcmread(BytesIO(received)) == expected, name


def identifier_of(dataset: Dataset) -> InstanceIdentifier:
    return InstanceIdentifier(
        study_instance_uid=dataset.StudyInstanceUID,
        series_instance_uid=dataset.SeriesInstanceUID,
        sop_instance_uid=dataset.SOPInstanceUID,
    )


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> DicomFiles:
    return DicomFiles(tmp_path_factory.mktemp("none"), ())


def test_orthanc_without_http_sends_every_encoding_as_stored(nothing, paths):
    needs("orthanc")
    known = {name: path for name, path in paths.items() if "HTJ2K" not in name}
    off = {"HttpServerEnabled": False, "Plugins": []}
    with start_orthanc(nothing.folder, nothing, configuration=off) as server:
        store(server.host, server.dicom_port, server.ae_title, known.values())
        check_all(endpoint_of(server, port=server.dicom_port), known)


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("+xe", ("implicit", "explicit", *CLASSES)),
        ("+xs", ("JPEG lossless, first order",)),
        ("+xy", ("JPEG baseline",)),
        ("+xx", ("JPEG extended",)),
        ("+xw", ("JPEG 2000",)),
        ("+xt", ("JPEG-LS",)),
        ("+xr", ("RLE",)),
        ("+xv", ("JPEG 2000 lossless",)),
        ("+xu", ("JPEG-LS, near lossless",)),
        ("+xd", ("deflated",)),
        ("+xm", ("MPEG-2",)),
    ],
)
def test_dcmqrscp_sends_every_encoding_it_takes(option, names, nothing, paths):
    needs("dcmtk")
    taken = {name: paths[name] for name in names if name != "Private"}
    folder = nothing.folder / option
    with start_dcmqrscp(folder, nothing, groups=(), options=[option]) as server:
        store(server.host, server.port, server.ae_title, taken.values())
        check_all(endpoint_of(server), taken, converts=True)


def test_embedded_archive_sends_every_encoding_as_stored(paths):
    with EmbeddedArchive(paths.values()) as archive:
        check_all(endpoint_of(archive), paths)


def test_an_archive_that_tells_no_class_sends_usual_encodings(paths):
    usual = {
        name: path
        for name, path in paths.items()
        if name in {"RLE", "JPEG-LS", "JPEG 2000", "JPEG baseline", "PDF", "implicit"}
    }
    with WithoutClasses(usual.values()) as archive:
        check_all(endpoint_of(archive), usual)
