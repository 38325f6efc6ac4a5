"""Writes the files of ``tests.dicom_plan``, always the same, and says what they hold.

The truth is independent of the code under test: it is what was written, per study, so
that tests compare what an archive answered, or a viewer received, with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from tests import dicom_objects
from tests.dicom_plan import GROUPS, PlannedPatient, PlannedSeries, PlannedStudy


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    sop_instance_uid: str
    sop_class_uid: str
    instance_number: int | None
    transfer_syntax_uid: str
    file: str  # relative to the folder


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSeries:
    series_instance_uid: str
    modality: str
    series_number: int | None
    series_description: str
    instances: tuple[StoredInstance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStudy:
    """One study as it was written; a value that is absent or empty in the file is ""."""

    group: str
    key: str
    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    study_date: str
    study_time: str
    accession_number: str
    study_id: str
    study_description: str
    referring_physician_name: str
    series: tuple[StoredSeries, ...]

    @property
    def instances(self) -> tuple[StoredInstance, ...]:
        return tuple(instance for one in self.series for instance in one.instances)

    @property
    def sop_instance_uids(self) -> frozenset[str]:
        return frozenset(instance.sop_instance_uid for instance in self.instances)

    @property
    def modalities(self) -> frozenset[str]:
        return frozenset(one.modality for one in self.series)


@dataclass(frozen=True, slots=True)
class DicomFiles:
    """A folder of DICOM files and the truth about it."""

    folder: Path
    studies: tuple[StoredStudy, ...]

    def study(self, key: str) -> StoredStudy:
        return next(study for study in self.studies if study.key == key)

    def group(self, *names: str) -> tuple[StoredStudy, ...]:
        return tuple(study for study in self.studies if study.group in names)

    def of_patient(
        self, patient_id: str, issuer_of_patient_id: str | None = None
    ) -> tuple[StoredStudy, ...]:
        return tuple(
            study
            for study in self.studies
            if study.patient_id == patient_id
            and issuer_of_patient_id in (None, study.issuer_of_patient_id)
        )

    def path(self, instance: StoredInstance) -> Path:
        return self.folder / instance.file

    def paths(self, studies: Iterable[StoredStudy] | None = None) -> list[Path]:
        """The files of these studies, by default of all."""
        return [
            self.path(instance)
            for study in (self.studies if studies is None else studies)
            for instance in study.instances
        ]

    def read(self, instance: StoredInstance) -> Dataset:
        return dcmread(self.path(instance))

    def save(self) -> None:
        """Write the truth beside the files, for other processes."""
        truth = json.dumps([asdict(study) for study in self.studies])
        (self.folder / "truth.json").write_text(truth)

    @classmethod
    def load(cls, folder: Path) -> DicomFiles:
        studies = json.loads((folder / "truth.json").read_text())
        return cls(folder, tuple(map(_study_from_json, studies)))


def write(folder: Path, groups: Iterable[str] = GROUPS) -> DicomFiles:
    """Write the files of these groups below ``folder``; the whole set takes about 2 s."""
    patients = (patient for group in groups for patient in GROUPS[group]())
    return write_patients(folder, patients)


def write_patients(folder: Path, patients: Iterable[PlannedPatient]) -> DicomFiles:
    """The same for patients of the caller's own plan."""
    studies = [
        _write_study(folder, patient, study)
        for patient in patients
        for study in patient.studies
    ]
    files = DicomFiles(folder, tuple(studies))
    files.save()
    return files


def uid(*parts: object) -> str:
    """The same UID for the same parts; lengths vary, odd and even (PS3.5 B.2)."""
    return f"2.25.{uuid5(NAMESPACE_OID, '/'.join(map(str, parts))).int}"


def _study_from_json(study: dict) -> StoredStudy:
    study["series"] = tuple(
        StoredSeries(
            **{
                **series,
                "instances": tuple(
                    StoredInstance(**one) for one in series["instances"]
                ),
            }
        )
        for series in study["series"]
    )
    return StoredStudy(**study)


def _write_study(
    folder: Path, patient: PlannedPatient, study: PlannedStudy
) -> StoredStudy:
    common = dicom_objects.study_attributes(patient, study)
    common.StudyInstanceUID = study.uid or uid(patient.issuer_of_patient_id, study.key)
    series = tuple(
        _write_series(folder, common, study, number)
        for number in range(1, len(study.series) + 1)
    )
    text = {
        keyword: str(common.get(keyword) or "")
        for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "StudyID")
    }
    return StoredStudy(
        group=patient.group,
        key=study.key,
        study_instance_uid=common.StudyInstanceUID,
        patient_id=patient.patient_id,
        issuer_of_patient_id=patient.issuer_of_patient_id,
        patient_name=patient.patient_name,
        patient_birth_date=patient.patient_birth_date,
        patient_sex=patient.patient_sex,
        study_date=text["StudyDate"],
        study_time=text["StudyTime"],
        accession_number=text["AccessionNumber"],
        study_id=text["StudyID"],
        study_description=study.description,
        referring_physician_name=study.referring_physician_name,
        series=series,
    )


def _write_series(
    folder: Path, common: Dataset, study: PlannedStudy, number: int
) -> StoredSeries:
    series = study.series[number - 1]
    first = dicom_objects.series_attributes(common, series, number)
    first.SeriesInstanceUID = series.uid or uid(common.StudyInstanceUID, number)
    target = folder / study.key / f"{number:02d}"
    target.mkdir(parents=True)
    instances = []
    for index, (dataset, content) in enumerate(_encoded(first, study, series), 1):
        path = target / f"{index:04d}.dcm"
        path.write_bytes(content)
        is_numbered = "InstanceNumber" not in series.without
        instances.append(
            StoredInstance(
                sop_instance_uid=_sop_instance_uid(first, series, index),
                sop_class_uid=dataset.SOPClassUID,
                instance_number=index if is_numbered else None,
                transfer_syntax_uid=dataset.file_meta.TransferSyntaxUID,
                file=str(path.relative_to(folder)),
            )
        )
    return StoredSeries(
        series_instance_uid=first.SeriesInstanceUID,
        modality=series.modality,
        series_number=None if "SeriesNumber" in series.without else number,
        series_description=series.description,
        instances=tuple(instances),
    )


def _sop_instance_uid(first: Dataset, series: PlannedSeries, number: int) -> str:
    return series.first_uid or f"{first.SeriesInstanceUID}.{1000 + number}"


def _encoded(
    first: Dataset, study: PlannedStudy, series: PlannedSeries
) -> Iterator[tuple[Dataset, bytes]]:
    """Each instance as a file. Only the first of a series of tiny images is encoded: in
    the others, UID and number have the same length and are put in its place."""
    template_uid = _sop_instance_uid(first, series, 1)
    dataset = _dataset(first, study, series, template_uid)
    template = dicom_objects.encode(dataset)
    pixels = dicom_objects.pixel_length(series)
    for number in range(1, series.instances + 1):
        sop_instance_uid = _sop_instance_uid(first, series, number)
        content = template.replace(template_uid.encode(), sop_instance_uid.encode())
        content = content.replace(b"IS\x04\x000001", b"IS\x04\x00%04d" % number)
        if pixels:
            noise = dicom_objects.pixel_data(sop_instance_uid, pixels)
            content = content[:-pixels] + noise
        yield dataset, content


def _dataset(
    first: Dataset, study: PlannedStudy, series: PlannedSeries, sop_instance_uid: str
) -> Dataset:
    if series.source:
        path = get_testdata_file(series.source, download=False)
        assert isinstance(path, str)
        dataset = dcmread(path)
        dataset.update(first)
        if series.syntax:
            dataset.file_meta.TransferSyntaxUID = UID(series.syntax)
        dicom_objects.tidy(dataset)
    else:
        dataset = Dataset()
        dataset.update(first)
        dicom_objects.add_content(dataset, study, series)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPInstanceUID = UID(sop_instance_uid)
    dataset.InstanceNumber = "0001"
    for keyword in (*study.without, *series.without):
        if keyword in dataset:
            del dataset[keyword]
    meta = dataset.file_meta
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def digest(content: bytes) -> str:
    """A short name of these bytes, to compare and print."""
    return hashlib.sha256(content).hexdigest()[:16]
