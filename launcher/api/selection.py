"""What a launch request of the REST API selects, or every problem its values have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.utils.timezone import get_default_timezone
from pydantic import BaseModel

from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
    StudyFilter,
)
from launcher.api.schemas import IDENTIFIERS, LaunchFilter, LaunchRequest
from launcher.criteria import MAXIMUM_IDENTIFIERS, Problem
from launcher.dates import read_birth_date, read_period
from launcher.identifiers import (
    description_text,
    identifier,
    modality,
    patient_identifier,
    patient_name,
    unique_identifier,
)

T = TypeVar("T")


def read_selection(request: LaunchRequest, problems: list[Problem]) -> Selection:
    """The selection, of use only if nothing was added to ``problems``."""
    if problem := _count_problem(request):
        problems.append(problem)
        return Selection()

    def texts(name: str, convert: Callable[[str], T]) -> tuple[T, ...]:
        return _unique(
            _read(path, text, convert, problems) for path, text in _paths(request, name)
        )

    def items(name: str, entity: Callable[..., T]) -> tuple[T, ...]:
        return _unique(
            entity(**_values(path, item, problems))
            for path, item in _paths(request, name)
        )

    return Selection(
        patients=_unique(
            [
                *items("patients", PatientIdentifier),
                *texts("patient_ids", patient_identifier),
            ]
        ),
        study_instance_uids=texts("study_instance_uids", unique_identifier),
        accession_numbers=texts("accession_numbers", identifier),
        series=items("series", SeriesIdentifier),
        instances=items("instances", InstanceIdentifier),
        study_filter=_study_filter(request.study_filter, problems),
    )


def _study_filter(wanted: LaunchFilter, problems: list[Problem]) -> StudyFilter:
    zone = get_default_timezone()

    def read(name: str, text: str | None, convert: Callable[[str], T]) -> T | None:
        path = f"study_filter.{name}"
        return None if text is None else _read(path, text, convert, problems)

    def texts(name: str, convert: Callable[[str], str]) -> tuple[str, ...]:
        return _unique(
            _read(f"study_filter.{path}", text, convert, problems)
            for path, text in _paths(wanted, name)
        )

    earliest = read(
        "earliest", wanted.earliest, lambda text: read_period(text, zone)[0]
    )
    latest = read("latest", wanted.latest, lambda text: read_period(text, zone)[1])
    if not problems and earliest and latest and earliest > latest:
        message = "Is later than the latest, so that no study can match."
        problems.append(Problem(field="study_filter.earliest", message=message))
    name, birth_date = wanted.patient_name or None, wanted.patient_birth_date
    return StudyFilter(
        modalities_in_study=texts("modalities_in_study", modality),
        description_contains=texts("description_contains", description_text),
        earliest=earliest,
        latest=latest,
        most_recent=wanted.most_recent,
        patient_name=read("patient_name", name, patient_name) or "",
        patient_birth_date=read("patient_birth_date", birth_date, read_birth_date)
        or "",
    )


def _count_problem(request: LaunchRequest) -> Problem | None:
    counts = {name: len(getattr(request, name)) for name in IDENTIFIERS}
    count = sum(counts.values())
    if not count:
        message = f"Give at least one of {', '.join(IDENTIFIERS)}."
        return Problem(field="identifiers", message=message)
    if count <= MAXIMUM_IDENTIFIERS:
        return None
    message = f"{count} identifiers in one launch. Send at most {MAXIMUM_IDENTIFIERS}."
    return Problem(field=max(counts, key=counts.__getitem__), message=message)


def _paths(request: BaseModel, name: str) -> Iterable[tuple[str, Any]]:
    for position, value in enumerate(getattr(request, name)):
        yield f"{name}[{position}]", value


def _values(path: str, item: BaseModel, problems: list[Problem]) -> dict[str, str]:
    """Fields of a patient, series or instance; those left empty may be left out."""
    fields = type(item).model_fields
    return {
        name: _read(
            f"{path}.{name}",
            text,
            unique_identifier if name.endswith("_uid") else identifier,
            problems,
        )
        for name, text in item
        if text or fields[name].is_required()
    }


def _read(
    path: str, text: str, convert: Callable[[str], T], problems: list[Problem]
) -> T:
    try:
        return convert(text)
    except ValueError as error:
        problems.append(Problem(field=path, message=str(error)))
        return text  # type: ignore[return-value]  # nothing is made of it


def _unique(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))
