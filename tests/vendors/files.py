"""What the archives hold: studies, and a DICOM file for each of their instances."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from archives.entities import Instance, Series, Study
from tests.dicomweb_studies import make_study

CT = "1.2.840.10008.5.1.4.1.1.2"


def studies() -> tuple[Study, ...]:
    """Two patients; the first has two studies, of which one has MR series."""
    head = make_study(
        "1.2.1",
        series=2,
        instances=3,
        study_date="20260131",
        study_time="101500",
        accession_number="ACC-1",
        study_description="CT Head",
        referring_physician_name="Jones^Mary",
        patient={"patient_birth_date": "19700405", "patient_sex": "F"},
    )
    knee = make_study(
        "1.2.2",
        series=1,
        instances=2,
        study_date="20250630",
        study_time="080000",
        accession_number="ACC-2",
        study_description="MR Knee left",
        referring_physician_name="Jones^Mary",
        patient={"patient_birth_date": "19700405", "patient_sex": "F"},
    )
    other = make_study(
        "1.2.3",
        series=1,
        instances=2,
        study_date="20260201",
        study_time="120000",
        accession_number="ACC-3",
        study_description="CT Thorax",
        referring_physician_name="Smith^Ann",
        patient={
            "patient_id": "P2",
            "patient_name": "Donald^John",
            "patient_birth_date": "19800101",
            "patient_sex": "M",
        },
    )
    return head, _of_modality(knee, "MR"), other


def many(count: int) -> tuple[Study, ...]:
    """Studies of one patient, each with one image; two on each day."""
    first = date(2000, 1, 1)
    return tuple(
        make_study(
            f"1.3.{number}",
            series=1,
            instances=1,
            accession_number=f"N{number}",
            study_date=f"{first + timedelta(days=number // 2):%Y%m%d}",
        )
        for number in range(count)
    )


def _of_modality(study: Study, modality: str) -> Study:
    series = tuple(replace(each, modality=modality) for each in study.series)
    return replace(study, series=series)


def files_of(studies: Iterable[Study]) -> dict[str, bytes]:
    """SOP Instance UID -> a DICOM file (PS3.10) without pixels."""
    return {
        instance.sop_instance_uid: _file(study, series, instance)
        for study in studies
        for series in study.series
        for instance in series.instances
    }


def write(folder: Path, studies: Iterable[Study]) -> list[Path]:
    """The same files, for archives that read them from a folder."""
    paths = []
    for uid, content in files_of(studies).items():
        paths.append(folder / f"{uid}.dcm")
        paths[-1].write_bytes(content)
    return paths


def _file(study: Study, series: Series, instance: Instance) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID = instance.sop_class_uid
    dataset.SOPInstanceUID = instance.sop_instance_uid
    dataset.StudyInstanceUID = study.study_instance_uid
    dataset.SeriesInstanceUID = series.series_instance_uid
    dataset.PatientID = study.patient.patient_id
    dataset.PatientName = study.patient.patient_name
    dataset.PatientBirthDate = study.patient.patient_birth_date
    dataset.PatientSex = study.patient.patient_sex
    dataset.StudyDate = study.study_date
    dataset.StudyTime = study.study_time
    dataset.AccessionNumber = study.accession_number
    dataset.StudyDescription = study.study_description
    dataset.ReferringPhysicianName = study.referring_physician_name
    dataset.Modality = series.modality
    dataset.SeriesNumber = series.series_number
    dataset.SeriesDescription = series.series_description
    dataset.InstanceNumber = instance.instance_number
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
