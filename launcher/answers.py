"""What an archive answered a build, and the bytes that keep it.

JSON and bytes only: nothing in here is executed when it is read.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, Final

from archives.entities import Instance, Patient, Series, Study

# Of the bytes that follow it. To be changed with them: other bytes are not read.
FORMAT: Final = b"\x01"


class UnreadableAnswerError(Exception):
    """The bytes are not what this version of the hub writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one archive answered. ``state`` is one of ``ArchiveOutcome.State``."""

    archive_id: int
    state: str
    message: str = ""
    studies: tuple[Study, ...] = ()
    milliseconds: int = 0

    def counts(self) -> tuple[int, int, int]:
        """Studies, series and instances."""
        series = [series for study in self.studies for series in study.series]
        instances = sum(len(item.instances) for item in series)
        return len(self.studies), len(series), instances


def encode_answer(answer: Answer) -> bytes:
    """Compact JSON (values by position), compressed lightly: speed counts here."""
    data = [
        answer.archive_id,
        answer.state,
        answer.message,
        answer.milliseconds,
        [_study_values(study) for study in answer.studies],
    ]
    text = json.dumps(data, separators=(",", ":"))  # \u escapes keep lone surrogates
    return FORMAT + zlib.compress(text.encode(), 1)


def decode_answer(value: bytes) -> Answer:
    """Raises ``UnreadableAnswerError``: another version of the hub may have written it."""
    if not value.startswith(FORMAT):
        raise UnreadableAnswerError
    try:
        data = json.loads(zlib.decompress(value[len(FORMAT) :]))
        archive_id, state, message, milliseconds, studies = data
        return Answer(
            archive_id=archive_id,
            state=state,
            message=message,
            milliseconds=milliseconds,
            studies=tuple(map(_study, studies)),
        )
    except (zlib.error, ValueError, TypeError) as error:
        raise UnreadableAnswerError from error


def _study_values(study: Study) -> list[Any]:
    patient = study.patient
    return [
        study.study_instance_uid,
        study.study_date,
        study.study_time,
        study.accession_number,
        study.study_id,
        study.study_description,
        study.referring_physician_name,
        [
            patient.patient_id,
            patient.issuer_of_patient_id,
            patient.patient_name,
            patient.patient_birth_date,
            patient.patient_sex,
        ],
        [_series_values(series) for series in study.series],
    ]


def _series_values(series: Series) -> list[Any]:
    return [
        series.series_instance_uid,
        series.modality,
        series.series_number,
        series.series_description,
        series.series_date,
        series.series_time,
        [
            (
                instance.sop_instance_uid,
                instance.sop_class_uid,
                instance.instance_number,
            )
            for instance in series.instances
        ],
    ]


def _study(values: list[Any]) -> Study:
    uid, date, time, accession, study_id, description, physician, patient, series = (
        values
    )
    patient_id, issuer, name, birth_date, sex = patient
    return Study(
        study_instance_uid=uid,
        study_date=date,
        study_time=time,
        accession_number=accession,
        study_id=study_id,
        study_description=description,
        referring_physician_name=physician,
        patient=Patient(
            patient_id=patient_id,
            issuer_of_patient_id=issuer,
            patient_name=name,
            patient_birth_date=birth_date,
            patient_sex=sex,
        ),
        series=tuple(map(_series, series)),
    )


def _series(values: list[Any]) -> Series:
    uid, modality, number, description, date, time, instances = values
    return Series(
        series_instance_uid=uid,
        modality=modality,
        series_number=number,
        series_description=description,
        series_date=date,
        series_time=time,
        instances=tuple(
            Instance(sop_instance_uid=sop, sop_class_uid=sop_class, instance_number=n)
            for sop, sop_class, n in instances
        ),
    )
