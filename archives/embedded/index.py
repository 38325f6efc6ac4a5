"""What a folder of DICOM files holds, as patients, studies, series and instances."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, cast

import pydicom
from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, PN_DELIMS, TEXT_VR_DELIMS

from archives.embedded.matching import matches

Attributes = dict[int, str]


class Level(StrEnum):
    """Query/Retrieve Level (0008,0052), from the top."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


def _tag(keyword: str) -> int:
    return cast(int, tag_for_keyword(keyword))


def _tags(keywords: str) -> tuple[int, ...]:
    return tuple(map(_tag, keywords.split()))


# The attributes of each level that can be asked for (PS3.4 C.6.1.1).
TAGS: Final = {
    Level.PATIENT: _tags(
        "PatientName PatientID IssuerOfPatientID PatientBirthDate PatientBirthTime"
        " PatientSex OtherPatientIDs EthnicGroup PatientComments"
    ),
    Level.STUDY: _tags(
        "StudyInstanceUID StudyDate StudyTime AccessionNumber StudyID StudyDescription"
        " ReferringPhysicianName NameOfPhysiciansReadingStudy InstitutionName"
        " PatientAge PatientSize PatientWeight AdmittingDiagnosesDescription"
    ),
    Level.SERIES: _tags(
        "SeriesInstanceUID Modality SeriesNumber SeriesDescription SeriesDate"
        " SeriesTime BodyPartExamined ProtocolName Laterality OperatorsName"
        " PerformingPhysicianName Manufacturer ManufacturerModelName StationName"
        " PerformedProcedureStepStartDate PerformedProcedureStepStartTime"
        " FrameOfReferenceUID"
    ),
    Level.IMAGE: _tags(
        "SOPInstanceUID SOPClassUID InstanceNumber ContentDate ContentTime"
        " AcquisitionDate AcquisitionTime AcquisitionNumber ImageType NumberOfFrames"
        " Rows Columns BitsAllocated SamplesPerPixel"
    ),
}
COUNTS: Final = {
    Level.PATIENT: _tags(
        "NumberOfPatientRelatedStudies NumberOfPatientRelatedSeries"
        " NumberOfPatientRelatedInstances"
    ),
    Level.STUDY: _tags("NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances"),
    Level.SERIES: _tags("NumberOfSeriesRelatedInstances"),
    Level.IMAGE: (),
}
PATIENT_ID: Final = _tag("PatientID")
PATIENT_NAME: Final = _tag("PatientName")
ISSUER: Final = _tag("IssuerOfPatientID")
STUDY_UID: Final = _tag("StudyInstanceUID")
SERIES_UID: Final = _tag("SeriesInstanceUID")
INSTANCE_UID: Final = _tag("SOPInstanceUID")
SOP_CLASS: Final = _tag("SOPClassUID")
MODALITY: Final = _tag("Modality")
MODALITIES: Final = _tag("ModalitiesInStudy")
SOP_CLASSES: Final = _tag("SOPClassesInStudy")
UNIQUE_KEYS: Final = {
    Level.PATIENT: PATIENT_ID,
    Level.STUDY: STUDY_UID,
    Level.SERIES: SERIES_UID,
    Level.IMAGE: INSTANCE_UID,
}
VRS: Final = {
    tag: dictionary_VR(tag)
    for tags in (*TAGS.values(), *COUNTS.values(), (MODALITIES, SOP_CLASSES))
    for tag in tags
}
_READ: Final = [tag for tags in TAGS.values() for tag in tags]


@dataclass(frozen=True, slots=True, eq=False)
class IndexedInstance:
    path: Path
    sop_class_uid: UID
    transfer_syntax_uid: UID
    attributes: Attributes


@dataclass(frozen=True, slots=True, eq=False)
class Entity:
    """A patient, study, series or instance with the attributes of all levels above."""

    attributes: Attributes
    instances: tuple[IndexedInstance, ...]


def bundled_files() -> list[Path]:
    """The files inside the installed pydicom package, in a constant order."""
    return _files_below(Path(pydicom.__file__).parent / "data")


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class Index:
    """The entities of each level, in the order of the files.

    Files that are no composite instances (DICOMDIR, palettes), that are cut short, or
    that are not in the encoding they claim, are left out. Of several files with one SOP Instance UID, the first counts.
    """

    def __init__(self, source: Path | Iterable[Path]) -> None:
        paths = _files_below(source) if isinstance(source, Path) else source
        self.instances: dict[str, IndexedInstance] = {}
        with warnings.catch_warnings():
            # Files with odd values are served as they are; nobody can act on a warning.
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", "Expected .* VR, but found")
            for path in paths:
                instance = _read(path)
                if instance is not None:
                    uid = instance.attributes[INSTANCE_UID]
                    self.instances.setdefault(uid, instance)
        self._entities = {
            level: _group(self.instances.values(), level) for level in Level
        }

    def find(self, level: Level, keys: Mapping[int, str]) -> Iterator[Entity]:
        """Entities of this level that match all keys which this level can have."""
        for entity in self._entities[level]:
            if all(
                matches(VRS[tag], key, entity.attributes[tag])
                for tag, key in keys.items()
                if tag in entity.attributes
            ):
                yield entity


def _read(path: Path) -> IndexedInstance | None:
    try:
        with path.open("rb") as file:
            dataset = pydicom.dcmread(
                file, stop_before_pixels=True, specific_tags=_READ
            )
            remaining = path.stat().st_size - file.tell()
    except (InvalidDicomError, EOFError, OSError, UserWarning, ValueError):
        return None
    attributes = {tag: text_value(dataset, tag) for tag in _READ}
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    uids = (STUDY_UID, SERIES_UID, INSTANCE_UID, SOP_CLASS)
    if not syntax or not all(map(attributes.get, uids)):
        return None
    is_plain = not (syntax.is_compressed or syntax.is_deflated)
    if is_plain and 0 < remaining < _pixel_length(attributes):
        return None
    return IndexedInstance(path, UID(attributes[SOP_CLASS]), syntax, attributes)


def _pixel_length(attributes: Attributes) -> int:
    """The least bytes of Pixel Data if it is not compressed; 0 if there is none."""
    product = 1
    for tag in _tags("Rows Columns SamplesPerPixel BitsAllocated"):
        product *= int(attributes[tag] or 0)
    frames = attributes[_tag("NumberOfFrames")]
    is_color = attributes[_tag("SamplesPerPixel")] == "3"
    # Colors may be stored at half the resolution (PS3.3 C.7.6.3.1.2).
    return product * int(frames if frames.isdecimal() else 1) // (16 if is_color else 8)


def text_value(dataset: Dataset, tag: int) -> str:
    """The element's value without padding; "" if it is absent.

    Read from the raw bytes: values that break the rules of their VR are kept.
    """
    if tag not in dataset:
        return ""
    element = dataset.get_item(tag)
    if not isinstance(element, RawDataElement):
        values = element.value if element.VM > 1 else [element.value]
        return "\\".join("" if value is None else str(value) for value in values)
    raw = element.value or b""
    vr = VRS.get(tag, "LO")
    if vr == "US":
        order: Final = "little" if element.is_little_endian else "big"
        return str(int.from_bytes(raw[:2], order)) if raw else ""
    if vr not in CUSTOMIZABLE_CHARSET_VR:
        return _stripped(raw.decode("latin-1"))
    delimiters = set(PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS)
    encodings = convert_encodings(_character_sets(dataset))
    return _stripped(decode_bytes(raw, encodings, delimiters))


def _character_sets(dataset: Dataset) -> list[str]:
    value = dataset.get("SpecificCharacterSet") or ""
    return [value] if isinstance(value, str) else list(value)


def _stripped(text: str) -> str:
    return "\\".join(value.strip(" \0") for value in text.split("\\"))


def _group(instances: Iterable[IndexedInstance], level: Level) -> list[Entity]:
    groups: dict[str, list[IndexedInstance]] = defaultdict(list)
    for instance in instances:
        groups[_identity(instance.attributes, level)].append(instance)
    return [_entity(level, members) for members in groups.values()]


def _identity(attributes: Attributes, level: Level) -> str:
    if level is not Level.PATIENT:
        return attributes[UNIQUE_KEYS[level]]
    return "\0".join(attributes[tag] for tag in (PATIENT_ID, ISSUER, PATIENT_NAME))


def _entity(level: Level, members: list[IndexedInstance]) -> Entity:
    attributes: Attributes = {}
    first = members[0].attributes
    levels = list(Level)
    for upper in levels[: levels.index(level) + 1]:
        attributes |= {tag: first[tag] for tag in TAGS[upper]}
    below = [UNIQUE_KEYS[lower] for lower in levels[levels.index(level) + 1 :]]
    for tag, unique_key in zip(COUNTS[level], below, strict=False):
        distinct = {member.attributes[unique_key] for member in members}
        attributes[tag] = str(len(distinct))
    if level is Level.STUDY:
        attributes[MODALITIES] = _distinct(members, MODALITY)
        attributes[SOP_CLASSES] = _distinct(members, SOP_CLASS)
    return Entity(attributes, tuple(members))


def _distinct(members: list[IndexedInstance], tag: int) -> str:
    values = dict.fromkeys(member.attributes[tag] for member in members)
    return "\\".join(filter(None, values))
