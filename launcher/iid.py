"""IHE Invoke Image Display (RAD TF-2 4.106, transaction RAD-106): its rules.

A request is for a patient or for studies. What it may name follows from that; everything
else that the hub's own launch URLs know (archive, template, filters) may come along.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from launcher.criteria import CriteriaError, Problem

REQUEST_TYPE: Final = "requestType"
VIEWER_TYPE: Final = "viewerType"
DIAGNOSTIC_QUALITY: Final = "diagnosticQuality"
KEY_IMAGES_ONLY: Final = "keyImagesOnly"
# The basic image review that every viewer offers (RAD TF-2 4.106.4.1.2).
BASIC_REVIEW: Final = "IHE_BIR"

PATIENT: Final = "PATIENT"
STUDY: Final = "STUDY"
# What a request of a type may name; the rest is left out, as unknown parameters are.
_IDENTIFIERS: Final = {
    PATIENT: ("patientID",),
    STUDY: ("studyUID", "accessionNumber"),
}
_ALL_IDENTIFIERS: Final = frozenset(
    ("patientID", "studyUID", "accessionNumber", "seriesUID", "objectUID")
)
_LOSSY_TRANSFER_SYNTAXES: Final = frozenset(
    f"1.2.840.10008.1.2.4.{number}"
    for number in ("50", "51", "81", "91", "93", "203", *map(str, range(100, 109)))
)

Parameters = Sequence[tuple[str, str]]


class UnsatisfiableError(CriteriaError):
    """A request in order whose wishes can't be met: 406 in the profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IidRequest:
    """``parameters`` as a launch URL of the hub would have them.

    ``viewer_type`` is the viewer that is asked for by name, or empty.
    """

    parameters: tuple[tuple[str, str], ...]
    viewer_type: str = ""
    needs_diagnostic_quality: bool = False


def is_iid(parameters: Parameters) -> bool:
    """Whether a launch URL is meant as an IID request."""
    return any(name == REQUEST_TYPE for name, _ in parameters)


def read(parameters: Parameters) -> IidRequest:
    """Apply the rules; raises ``CriteriaError`` (400) or ``UnsatisfiableError`` (406).

    What is left of a request that breaks them is what ``readable`` says.
    """
    problems: list[Problem] = []
    request_type = _request_type(parameters, problems)
    if request_type:
        _check_identifiers(parameters, request_type, problems)
    needs_quality = _flag(parameters, DIAGNOSTIC_QUALITY, problems)
    key_images_only = _flag(parameters, KEY_IMAGES_ONLY, problems)
    _one(parameters, VIEWER_TYPE, problems)
    if problems:
        raise CriteriaError(problems)
    if key_images_only:
        message = "The hub opens whole studies. Leave it out, or send false."
        raise UnsatisfiableError([Problem(field=KEY_IMAGES_ONLY, message=message)])
    return replace(readable(parameters), needs_diagnostic_quality=needs_quality)


def readable(parameters: Parameters) -> IidRequest:
    """A request without its wishes, whether or not it is in order."""
    types = set(_values(parameters, VIEWER_TYPE))
    viewer_type = types.pop() if len(types) == 1 else ""
    viewer = "" if viewer_type == BASIC_REVIEW else viewer_type
    request_type = _request_type(parameters, [])
    return IidRequest(
        parameters=_translated(parameters, request_type, viewer), viewer_type=viewer
    )


def _request_type(parameters: Parameters, problems: list[Problem]) -> str:
    given = _values(parameters, REQUEST_TYPE)
    if len(given) == 1 and given[0] in _IDENTIFIERS:
        return given[0]
    message = f"Give {PATIENT} or {STUDY}, in capitals, once."
    problems.append(Problem(field=REQUEST_TYPE, message=message))
    return ""


def _check_identifiers(
    parameters: Parameters, request_type: str, problems: list[Problem]
) -> None:
    values = {
        name: [
            part
            for value in _values(parameters, name)
            for part in value.split(",")
            if part.strip()
        ]
        for name in _IDENTIFIERS[request_type]
    }
    if request_type == PATIENT and len(values["patientID"]) != 1:
        message = f"{REQUEST_TYPE}={PATIENT} needs the ID of one patient."
        problems.append(Problem(field="patientID", message=message))
    if request_type == STUDY and sum(map(bool, values.values())) != 1:
        message = f"{REQUEST_TYPE}={STUDY} needs either studyUID or accessionNumber, not both."
        problems.append(Problem(field="studyUID", message=message))


def _flag(parameters: Parameters, name: str, problems: list[Problem]) -> bool:
    given = _one(parameters, name, problems)
    if given not in {"", "true", "false"}:
        problems.append(Problem(field=name, message="Give true or false."))
    return given == "true"


def _one(parameters: Parameters, name: str, problems: list[Problem]) -> str:
    given = set(_values(parameters, name))
    if len(given) > 1:
        problems.append(Problem(field=name, message="Give one value only."))
    return min(given, default="")


def _values(parameters: Parameters, name: str) -> list[str]:
    return [value.strip() for key, value in parameters if key == name]


def _translated(
    parameters: Parameters, request_type: str, viewer: str
) -> tuple[tuple[str, str], ...]:
    kept_identifiers = _IDENTIFIERS.get(request_type, _ALL_IDENTIFIERS)
    left_out = _ALL_IDENTIFIERS.difference(kept_identifiers)
    if viewer:
        left_out |= {"viewer"}
    kept = [(name, value) for name, value in parameters if name not in left_out]
    return (*kept, ("viewer", viewer)) if viewer else tuple(kept)


def viewer_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Problems with ``viewer`` in the words of the profile."""
    return [
        Problem(field=VIEWER_TYPE, message=problem.message)
        if problem.field == "viewer"
        else problem
        for problem in problems
    ]


def check_quality(*, transfer_syntax: str, compression_rate: int | None) -> None:
    """Raise ``UnsatisfiableError`` if images are asked for with a loss."""
    if transfer_syntax in _LOSSY_TRANSFER_SYNTAXES or compression_rate:
        message = (
            "The launch template asks the archive for compressed images. Name another "
            "by template=…, or leave this out."
        )
        raise UnsatisfiableError([Problem(field=DIAGNOSTIC_QUALITY, message=message)])
