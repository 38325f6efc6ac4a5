"""DICOM objects of the test archive, attribute by attribute."""

from __future__ import annotations

import hashlib
from io import BytesIO

from pydicom import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiationDoseSRStorage,
)

from tests.dicom_plan import PlannedPatient, PlannedSeries, PlannedStudy

SOP_CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "CR": ComputedRadiographyImageStorage,
    "US": UltrasoundImageStorage,
    "OT": SecondaryCaptureImageStorage,
    "XA": XRayAngiographicImageStorage,
    "KO": KeyObjectSelectionDocumentStorage,
    "PR": GrayscaleSoftcopyPresentationStateStorage,
    "SR": XRayRadiationDoseSRStorage,
    "DOC": EncapsulatedPDFStorage,
}
DOCUMENTS = frozenset({"KO", "PR", "SR", "DOC"})
PDF = (
    b"%PDF-1.3\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)


def study_attributes(patient: PlannedPatient, study: PlannedStudy) -> Dataset:
    """What all instances of the study have in common, its UID excepted."""
    dataset = Dataset()
    character_set = patient.specific_character_set
    dataset.SpecificCharacterSet = (
        character_set if isinstance(character_set, str) else list(character_set)
    )
    dataset.PatientName = patient.patient_name
    dataset.PatientID = patient.patient_id
    if patient.issuer_of_patient_id:
        dataset.IssuerOfPatientID = patient.issuer_of_patient_id
    dataset.PatientBirthDate = patient.patient_birth_date
    dataset.PatientSex = patient.patient_sex
    dataset.StudyDate = study.date
    dataset.StudyTime = study.time
    dataset.AccessionNumber = study.accession_number
    dataset.StudyID = study.key[:16].upper()
    dataset.StudyDescription = study.description
    dataset.ReferringPhysicianName = study.referring_physician_name
    for keyword in study.without:
        if keyword in dataset:
            del dataset[keyword]
    return dataset


def series_attributes(common: Dataset, series: PlannedSeries, number: int) -> Dataset:
    """What all instances of the series have in common, its UID excepted."""
    dataset = Dataset()
    dataset.update(common)
    dataset.Modality = series.modality
    dataset.SeriesNumber = number
    dataset.SeriesDescription = series.description
    dataset.SeriesDate = common.StudyDate
    dataset.SOPClassUID = SOP_CLASSES[series.modality]
    if series.frames:
        dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
    return dataset


def add_content(dataset: Dataset, study: PlannedStudy, series: PlannedSeries) -> None:
    """Pixels, or just enough of a document to be stored, listed and opened."""
    if series.modality not in DOCUMENTS:
        _add_pixels(dataset, series)
    elif series.modality == "DOC":
        dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
        dataset.DocumentTitle = "Report"
        dataset.EncapsulatedDocument = PDF + bytes(len(PDF) % 2)
    else:
        _add_references(dataset, SOP_CLASSES[study.series[0].modality])


def _add_pixels(dataset: Dataset, series: PlannedSeries) -> None:
    bits = 8 if series.modality in {"US", "OT"} else 16
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    if series.frames:
        dataset.NumberOfFrames = series.frames
    dataset.Rows = dataset.Columns = series.size
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    if series.modality == "CT":
        dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    value = bytes(pixel_length(series))
    dataset.add_new("PixelData", "OW" if bits == 16 else "OB", value)


def pixel_length(series: PlannedSeries) -> int:
    """Bytes of Pixel Data that are made up; it is the last element of the file."""
    if series.source or series.modality in DOCUMENTS:
        return 0
    bytes_per_pixel = 1 if series.modality in {"US", "OT"} else 2
    return series.size * series.size * bytes_per_pixel * max(series.frames, 1)


def pixel_data(seed: str, length: int) -> bytes:
    """Noise: always the same for a seed, and not compressible."""
    return hashlib.shake_128(seed.encode()).digest(length)


def _add_references(dataset: Dataset, sop_class_uid: str) -> None:
    """The first image of the study's first series, as KO, PR and SR refer to it."""
    image = Dataset()
    image.ReferencedSOPClassUID = sop_class_uid
    image.ReferencedSOPInstanceUID = f"{dataset.StudyInstanceUID}.1"
    if dataset.Modality == "PR":
        series = Dataset()
        series.SeriesInstanceUID = dataset.SeriesInstanceUID
        series.ReferencedImageSequence = [image]
        dataset.ReferencedSeriesSequence = [series]
        dataset.ContentLabel = "WINDOW"
        dataset.PresentationLUTShape = "IDENTITY"
        return
    title = Dataset()
    title.CodeValue = "113000" if dataset.Modality == "KO" else "113701"
    title.CodingSchemeDesignator = "DCM"
    title.CodeMeaning = "Of Interest" if dataset.Modality == "KO" else "Dose Report"
    reference = Dataset()
    reference.RelationshipType = "CONTAINS"
    reference.ValueType = "IMAGE"
    reference.ReferencedSOPSequence = [image]
    dataset.ValueType = "CONTAINER"
    dataset.ContinuityOfContent = "SEPARATE"
    dataset.ConceptNameCodeSequence = [title]
    dataset.ContentSequence = [reference]


def tidy(dataset: Dataset) -> None:
    """Remove what archives may change without changing the image: padding after the
    dataset, and a VR of Pixel Data that compressed images should not have."""
    if "DataSetTrailingPadding" in dataset:
        del dataset.DataSetTrailingPadding
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset["PixelData"].VR = "OB"


def encode(dataset: Dataset) -> bytes:
    """The dataset as a file (PS3.10), with its own transfer syntax."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
