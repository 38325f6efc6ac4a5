"""Launch parameters -> an immutable selection, or every problem they have.

Meaning of the parameters: those of weasis-pacs-connector and ViewerHub. Each identifier
may be repeated and may hold several values between commas; several kinds are a union.
Parameters that are not known here are ignored, so that a RIS may add its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
)

T = TypeVar("T")

PATIENT_ID: Final = "patientID"
STUDY_UID: Final = "studyUID"
ACCESSION_NUMBER: Final = "accessionNumber"
SERIES_UID: Final = "seriesUID"
OBJECT_UID: Final = "objectUID"
IDENTIFIERS: Final = (PATIENT_ID, STUDY_UID, ACCESSION_NUMBER, SERIES_UID, OBJECT_UID)

# More than this is a mistake, or an attempt to list the archive.
MAXIMUM_IDENTIFIERS: Final = 500
MAXIMUM_LENGTH: Final = 64  # LO and UI (PS3.5 6.2); longer accession numbers exist too

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with one parameter, for the person who made the link."""

    field: str
    message: str


class CriteriaError(ValueError):
    """Parameters that can't be used; ``problems`` names every one."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p.field}: {p.message}" for p in self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchCriteria:
    """What a launch asks for. Empty ``archives`` means the template's, or all."""

    selection: Selection
    archives: tuple[str, ...] = ()
    template: str = ""


def parse(parameters: Iterable[tuple[str, str]]) -> LaunchCriteria:
    """Read name and value pairs in their order; raises ``CriteriaError``."""
    values: dict[str, list[str]] = {}
    for name, value in parameters:
        parts = [part.strip(" ") for part in value.split(",")]
        values.setdefault(name, []).extend(filter(None, parts))
    count = sum(len(values.get(name, ())) for name in IDENTIFIERS)
    if count > MAXIMUM_IDENTIFIERS:
        message = (
            f"{count} identifiers in one launch. Send at most {MAXIMUM_IDENTIFIERS}."
        )
        largest = max(IDENTIFIERS, key=lambda name: len(values.get(name, ())))
        raise CriteriaError([Problem(field=largest, message=message)])
    problems: list[Problem] = []
    selection = _selection(values, problems)
    if not selection and not problems:
        names = ", ".join(IDENTIFIERS)
        problems.append(
            Problem(field="identifiers", message=f"Give at least one of {names}.")
        )
    template = _single(values, "template", problems)
    if problems:
        raise CriteriaError(problems)
    return LaunchCriteria(
        selection=selection,
        archives=_unique(values.get("archive", ())),
        template=template,
    )


def _selection(
    values: Mapping[str, Sequence[str]], problems: list[Problem]
) -> Selection:
    def read(name: str, convert: Callable[[str], T]) -> tuple[T, ...]:
        found = []
        for number, text in enumerate(values.get(name, ()), 1):
            try:
                found.append(convert(text))
            except ValueError as error:
                which = f"Value {number}: " if len(values[name]) > 1 else ""
                problems.append(Problem(field=name, message=f"{which}{error}"))
        return _unique(found)

    return Selection(
        patients=read(PATIENT_ID, patient_identifier),
        study_instance_uids=read(STUDY_UID, unique_identifier),
        accession_numbers=read(ACCESSION_NUMBER, identifier),
        series=tuple(
            SeriesIdentifier(series_instance_uid=uid)
            for uid in read(SERIES_UID, unique_identifier)
        ),
        instances=tuple(
            InstanceIdentifier(sop_instance_uid=uid)
            for uid in read(OBJECT_UID, unique_identifier)
        ),
    )


def _single(
    values: Mapping[str, Sequence[str]], name: str, problems: list[Problem]
) -> str:
    given = _unique(values.get(name, ()))
    if len(given) > 1:
        problems.append(Problem(field=name, message="Give one value only."))
    return given[0] if given else ""


def _unique(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


def identifier(text: str) -> str:
    """An LO or SH matched as a single value (PS3.4 C.2.2.2.1); raises ``ValueError``."""
    if len(text) > MAXIMUM_LENGTH:
        raise ValueError(f"longer than {MAXIMUM_LENGTH} characters.")
    if _CONTROL.search(text):
        raise ValueError("contains a control character.")
    if "\\" in text:
        raise ValueError(
            "contains a backslash. Repeat the parameter for several values."
        )
    if set("*?") & set(text):
        raise ValueError("contains a wildcard (* or ?). Give the whole identifier.")
    if not text.strip():
        raise ValueError("is empty.")
    return text


def unique_identifier(text: str) -> str:
    """A UI (PS3.5 9.1); raises ``ValueError``. Leading zeros are let pass: they exist."""
    if len(text) > MAXIMUM_LENGTH:
        raise ValueError("a UID has at most 64 characters.")
    if not _UID.fullmatch(text):
        raise ValueError(
            "not a UID: it has only digits, with single dots between them."
        )
    return text


def patient_identifier(text: str) -> PatientIdentifier:
    """``ID``, ``ID^^^ISSUER`` or the HL7 CX ``ID^^^NAMESPACE&OID&ISO``.

    The issuer is the namespace, or the OID where that is all there is.
    """
    patient_id, _, assigning_authority = text.partition("^^^")
    namespace, *universal = assigning_authority.split("^", 1)[0].split("&")
    issuer = namespace or (universal[0] if universal else "")
    return PatientIdentifier(
        patient_id=identifier(patient_id),
        issuer_of_patient_id=identifier(issuer) if issuer else "",
    )


def selection_to_json(selection: Selection) -> dict[str, Any]:
    """As plain values, without what is empty."""
    return {key: value for key, value in asdict(selection).items() if value}


def selection_from_json(data: Mapping[str, Any]) -> Selection:
    """The inverse of ``selection_to_json``."""
    return Selection(
        patients=tuple(PatientIdentifier(**item) for item in data.get("patients", ())),
        study_instance_uids=tuple(data.get("study_instance_uids", ())),
        accession_numbers=tuple(data.get("accession_numbers", ())),
        series=tuple(SeriesIdentifier(**item) for item in data.get("series", ())),
        instances=tuple(
            InstanceIdentifier(**item) for item in data.get("instances", ())
        ),
    )


def selection_digest(selection: Selection, *scope: str) -> str:
    """SHA-256 of the canonical selection within a scope (its owner and archives).

    The order and repetition of identifiers make no difference.
    """
    canonical = {
        key: sorted(map(json.dumps, value))
        for key, value in selection_to_json(selection).items()
    }
    text = json.dumps([canonical, scope], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
