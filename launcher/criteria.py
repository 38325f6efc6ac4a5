"""Launch parameters -> an immutable selection, or every problem they have.

Meaning of the parameters: those of weasis-pacs-connector and ViewerHub. Each identifier
may be repeated and may hold several values between commas; several kinds are a union.
Filters then say which of the studies to keep. Parameters that are not known here are
ignored, so that a RIS may add its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final, TypeVar

from archives.entities import (
    InstanceIdentifier,
    Selection,
    SeriesIdentifier,
    StudyFilter,
)
from launcher.dates import read_birth_date, read_period
from launcher.identifiers import (
    count,
    description_text,
    free_text,
    identifier,
    modality,
    patient_identifier,
    patient_name,
    unique_identifier,
)

T = TypeVar("T")
Values = Mapping[str, Sequence[str]]

PATIENT_ID: Final = "patientID"
STUDY_UID: Final = "studyUID"
ACCESSION_NUMBER: Final = "accessionNumber"
SERIES_UID: Final = "seriesUID"
OBJECT_UID: Final = "objectUID"
IDENTIFIERS: Final = (PATIENT_ID, STUDY_UID, ACCESSION_NUMBER, SERIES_UID, OBJECT_UID)
LOWER: Final = "lowerDateTime"
UPPER: Final = "upperDateTime"
# What may hold several values between commas. Texts of other parameters may have commas.
_LISTS: Final = frozenset(
    {*IDENTIFIERS, "modalitiesInStudy", "containsInDescription", "archive"}
)
_KNOWN: Final = _LISTS | {
    *(LOWER, UPPER, "mostRecentResults", "patientName", "patientBirthDate"),
    *("template", "viewer", "user", "host", "pro", "arg", "cdb", "wcfg"),
}
LEGACY: Final = "legacy"

# More than this is a mistake, or an attempt to list the archive.
MAXIMUM_IDENTIFIERS: Final = 500
MAXIMUM_VALUES: Final = 100  # of any other parameter


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


class ForbiddenError(CriteriaError):
    """Parameters that are well-formed, but that this caller or archive may not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchExtras:
    """What a launch asks of the viewer besides what to open, as it was sent.

    ``properties`` are ``pro`` (``key value``), ``commands`` are ``arg``. Nothing of it is
    safe in a command line yet.
    """

    user: str = ""
    host: str = ""
    properties: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    cdb: str = ""
    wcfg: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchCriteria:
    """What a launch asks for. Empty ``archives`` means the template's, or all."""

    selection: Selection
    archives: tuple[str, ...] = ()
    template: str = ""
    viewer: str = ""
    extras: LaunchExtras = LaunchExtras()


def parse(
    parameters: Iterable[tuple[str, str]],
    *,
    zone: tzinfo = UTC,
    date_meaning: str = "ihe",
    needs_selection: bool = True,
) -> LaunchCriteria:
    """Read name and value pairs in their order; raises ``CriteriaError``.

    The arguments are those of ``read``.
    """
    criteria, problems = read(
        parameters,
        zone=zone,
        date_meaning=date_meaning,
        needs_selection=needs_selection,
    )
    if problems:
        raise CriteriaError(problems)
    return criteria


def read(
    parameters: Iterable[tuple[str, str]],
    *,
    zone: tzinfo = UTC,
    date_meaning: str = "ihe",
    needs_selection: bool = True,
) -> tuple[LaunchCriteria, tuple[Problem, ...]]:
    """What can be read of name and value pairs, and all that is wrong with the others.

    ``zone`` is where the archives are: study dates are local. ``date_meaning`` is "ihe"
    (``lowerDateTime`` is the earliest) or "legacy" (it is the latest, and studies without
    a date are kept), as weasis-pacs-connector has it. Without ``needs_selection`` nothing
    has to be selected.
    """
    reader = _Reader(parameters, needs_selection)
    criteria = LaunchCriteria(
        selection=reader.selection(zone, date_meaning == LEGACY),
        archives=reader.all("archive", identifier),
        template=reader.one("template", identifier),
        viewer=reader.one("viewer", identifier),
        extras=reader.extras(),
    )
    return criteria, tuple(reader.problems)


class _Reader:
    """Values by parameter; collects what is wrong with them."""

    def __init__(
        self, parameters: Iterable[tuple[str, str]], needs_selection: bool
    ) -> None:
        self.problems: list[Problem] = []
        self._values = _values_by_name(parameters)
        is_empty = not any(self._values.get(name) for name in IDENTIFIERS)
        if needs_selection and is_empty:
            names = ", ".join(IDENTIFIERS)
            self.refuse("identifiers", f"Give at least one of {names}.")
        self._refuse_too_many()

    def refuse(self, name: str, message: str) -> None:
        self.problems.append(Problem(field=name, message=message))

    def all(self, name: str, convert: Callable[[str], T]) -> tuple[T, ...]:
        """Each different value once, in order."""
        values = self._values.get(name, ())
        found = []
        for number, text in enumerate(values, 1):
            try:
                found.append(convert(text))
            except ValueError as error:
                which = f"Value {number}: " if len(values) > 1 else ""
                self.refuse(name, f"{which}{error}")
        return _unique(found)

    def one(self, name: str, convert: Callable[[str], str]) -> str:
        return self._optional(name, convert) or ""

    def _optional(self, name: str, convert: Callable[[str], T]) -> T | None:
        if len(_unique(self._values.get(name, ()))) > 1:
            self.refuse(name, "Give one value only.")
            return None
        return next(iter(self.all(name, convert)), None)

    def selection(self, zone: tzinfo, is_legacy: bool) -> Selection:
        return Selection(
            patients=self.all(PATIENT_ID, patient_identifier),
            study_instance_uids=self.all(STUDY_UID, unique_identifier),
            accession_numbers=self.all(ACCESSION_NUMBER, identifier),
            series=tuple(
                SeriesIdentifier(series_instance_uid=uid)
                for uid in self.all(SERIES_UID, unique_identifier)
            ),
            instances=tuple(
                InstanceIdentifier(sop_instance_uid=uid)
                for uid in self.all(OBJECT_UID, unique_identifier)
            ),
            study_filter=self._study_filter(zone, is_legacy),
        )

    def _study_filter(self, zone: tzinfo, is_legacy: bool) -> StudyFilter:
        earliest, latest = self._dates(zone, is_legacy)
        return StudyFilter(
            modalities_in_study=self.all("modalitiesInStudy", modality),
            description_contains=self.all("containsInDescription", description_text),
            earliest=earliest,
            latest=latest,
            keeps_undated=is_legacy and (earliest, latest) != (None, None),
            most_recent=self._optional("mostRecentResults", count),
            patient_name=self.one("patientName", patient_name),
            patient_birth_date=self.one("patientBirthDate", read_birth_date),
        )

    def _dates(
        self, zone: tzinfo, is_legacy: bool
    ) -> tuple[datetime | None, datetime | None]:
        first, last = (UPPER, LOWER) if is_legacy else (LOWER, UPPER)
        earliest = self._optional(first, lambda text: read_period(text, zone)[0])
        latest = self._optional(last, lambda text: read_period(text, zone)[1])
        if earliest and latest and earliest > latest:
            self.refuse(
                first,
                f"is later than {last}, so that no study can match. Exchange them, or "
                "have the meaning of dates set for your link.",
            )
        return earliest, latest

    def extras(self) -> LaunchExtras:
        return LaunchExtras(
            user=self.one("user", free_text),
            host=self.one("host", free_text),
            properties=self.all("pro", free_text),
            commands=self.all("arg", free_text),
            cdb=self.one("cdb", free_text),
            wcfg=self.one("wcfg", free_text),
        )

    def _refuse_too_many(self) -> None:
        """Too many values are named once, and not looked at one by one."""
        counts = {name: len(values) for name, values in self._values.items()}
        total = sum(counts.get(name, 0) for name in IDENTIFIERS)
        if total > MAXIMUM_IDENTIFIERS:
            self.refuse(
                max(IDENTIFIERS, key=lambda name: counts.get(name, 0)),
                f"{total} identifiers in one launch. Send at most "
                f"{MAXIMUM_IDENTIFIERS}.",
            )
        for name, number in counts.items():
            is_identifier = name in IDENTIFIERS
            if not is_identifier and number > MAXIMUM_VALUES:
                self.refuse(name, f"{number} values. Send at most {MAXIMUM_VALUES}.")
            if (
                total > MAXIMUM_IDENTIFIERS
                if is_identifier
                else number > MAXIMUM_VALUES
            ):
                del self._values[name]


def _values_by_name(parameters: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Without blank values and the spaces around them."""
    values: dict[str, list[str]] = {}
    for name, value in parameters:
        if name in _KNOWN:
            parts = value.split(",") if name in _LISTS else [value]
            stripped = (part.strip(" ") for part in parts)
            values.setdefault(name, []).extend(filter(None, stripped))
    return values


def _unique(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))
