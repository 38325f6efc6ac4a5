"""Attributes of a match -> entities, shared by both protocols.

A client decodes each answer (a C-FIND identifier, or an object of the DICOM JSON model)
to ``Attributes``: tag -> text, without padding, several values joined by a backslash as
on the wire. Nothing here fails on odd values: archives send them, and users need the
study all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from archives.entities import Instance, Patient, Series, Study

Attributes = Mapping[int, str]

SPECIFIC_CHARACTER_SET: Final = 0x00080005
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
STUDY_DATE: Final = 0x00080020
SERIES_DATE: Final = 0x00080021
STUDY_TIME: Final = 0x00080030
SERIES_TIME: Final = 0x00080031
ACCESSION_NUMBER: Final = 0x00080050
QUERY_RETRIEVE_LEVEL: Final = 0x00080052
MODALITY: Final = 0x00080060
MODALITIES_IN_STUDY: Final = 0x00080061
REFERRING_PHYSICIAN_NAME: Final = 0x00080090
STUDY_DESCRIPTION: Final = 0x00081030
SERIES_DESCRIPTION: Final = 0x0008103E
PATIENT_NAME: Final = 0x00100010
PATIENT_ID: Final = 0x00100020
ISSUER_OF_PATIENT_ID: Final = 0x00100021
ISSUER_OF_PATIENT_ID_QUALIFIERS: Final = 0x00100024  # a sequence of one item
PATIENT_BIRTH_DATE: Final = 0x00100030
PATIENT_SEX: Final = 0x00100040
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
STUDY_ID: Final = 0x00200010
SERIES_NUMBER: Final = 0x00200011
INSTANCE_NUMBER: Final = 0x00200013
NUMBER_OF_STUDY_RELATED_SERIES: Final = 0x00201206
NUMBER_OF_STUDY_RELATED_INSTANCES: Final = 0x00201208
NUMBER_OF_SERIES_RELATED_INSTANCES: Final = 0x00201209
UNIVERSAL_ENTITY_ID: Final = 0x00400032  # in that sequence

PATIENT_ATTRIBUTES: Final = (
    PATIENT_NAME,
    PATIENT_ID,
    ISSUER_OF_PATIENT_ID,
    PATIENT_BIRTH_DATE,
    PATIENT_SEX,
)
STUDY_ATTRIBUTES: Final = (
    STUDY_DATE,
    STUDY_TIME,
    ACCESSION_NUMBER,
    REFERRING_PHYSICIAN_NAME,
    STUDY_DESCRIPTION,
    STUDY_INSTANCE_UID,
    STUDY_ID,
)
SERIES_ATTRIBUTES: Final = (
    SERIES_DATE,
    SERIES_TIME,
    MODALITY,
    SERIES_DESCRIPTION,
    SERIES_INSTANCE_UID,
    SERIES_NUMBER,
)
INSTANCE_ATTRIBUTES: Final = (SOP_CLASS_UID, SOP_INSTANCE_UID, INSTANCE_NUMBER)

_INTEGER_STRING: Final = re.compile(r" *([+-]?[0-9]{1,12}) *(?:\\|$)")


def integer(text: str) -> int | None:
    """The first value of an IS (PS3.5 6.2); ``None`` if empty, malformed or beyond 32 bits."""
    match = _INTEGER_STRING.match(text)
    number = int(match[1]) if match else None
    return number if number is not None and -(2**31) <= number < 2**31 else None


def count(text: str) -> int | None:
    """The same of how many there are; ``None`` where that is less than none."""
    number = integer(text)
    return number if number is not None and number >= 0 else None


def patient_of(attributes: Attributes) -> Patient:
    get = attributes.get
    return Patient(
        patient_id=get(PATIENT_ID, ""),
        issuer_of_patient_id=get(ISSUER_OF_PATIENT_ID, ""),
        patient_name=get(PATIENT_NAME, ""),
        patient_birth_date=get(PATIENT_BIRTH_DATE, ""),
        patient_sex=get(PATIENT_SEX, ""),
        universal_entity_id=get(UNIVERSAL_ENTITY_ID, ""),
    )


def study_of(attributes: Attributes, series: tuple[Series, ...] = ()) -> Study:
    get = attributes.get
    modalities = get(MODALITIES_IN_STUDY, "").split("\\")
    return Study(
        study_instance_uid=get(STUDY_INSTANCE_UID, ""),
        patient=patient_of(attributes),
        study_date=get(STUDY_DATE, ""),
        study_time=get(STUDY_TIME, ""),
        accession_number=get(ACCESSION_NUMBER, ""),
        study_id=get(STUDY_ID, ""),
        study_description=get(STUDY_DESCRIPTION, ""),
        referring_physician_name=get(REFERRING_PHYSICIAN_NAME, ""),
        modalities_in_study=tuple(filter(None, map(str.strip, modalities))),
        number_of_study_related_series=count(get(NUMBER_OF_STUDY_RELATED_SERIES, "")),
        number_of_study_related_instances=count(
            get(NUMBER_OF_STUDY_RELATED_INSTANCES, "")
        ),
        series=series,
    )


def series_of(attributes: Attributes, instances: tuple[Instance, ...] = ()) -> Series:
    get = attributes.get
    return Series(
        series_instance_uid=get(SERIES_INSTANCE_UID, ""),
        modality=get(MODALITY, ""),
        series_number=integer(get(SERIES_NUMBER, "")),
        series_description=get(SERIES_DESCRIPTION, ""),
        series_date=get(SERIES_DATE, ""),
        series_time=get(SERIES_TIME, ""),
        number_of_series_related_instances=count(
            get(NUMBER_OF_SERIES_RELATED_INSTANCES, "")
        ),
        instances=instances,
    )


def instance_of(attributes: Attributes) -> Instance:
    get = attributes.get
    return Instance(
        sop_instance_uid=get(SOP_INSTANCE_UID, ""),
        sop_class_uid=get(SOP_CLASS_UID, ""),
        instance_number=integer(get(INSTANCE_NUMBER, "")),
    )
