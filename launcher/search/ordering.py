"""The order of merged studies, and pages of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from archives.entities import Study
from launcher.search.asking import FoundStudy
from launcher.search.person_names import fold

PAGE_SIZE: Final = 50


def _text(value: str) -> str | None:
    return fold(value) or None


def _name(study: Study) -> tuple[str, ...] | None:
    """Family name first, then given, whatever characters are between them."""
    groups = study.patient.patient_name.split("=")
    group = next((one for one in groups if one.strip("^ ")), "")
    parts = tuple(map(fold, group.split("^")))
    return parts if any(parts) else None


def _digits(value: str, length: int) -> str:
    return "".join(filter(str.isdecimal, value))[:length]


def _date(study: Study) -> tuple[str, str] | None:
    day = _digits(study.study_date, 8)
    return (day, _digits(study.study_time, 6).ljust(6, "0")) if day else None


# What a study is ordered by, ``None`` where it has no such value.
_VALUES: Final[Mapping[str, Callable[[Study], Any]]] = {
    "patient_name": _name,
    "patient_id": lambda study: _text(study.patient.patient_id),
    "patient_sex": lambda study: _text(study.patient.patient_sex),
    "patient_birth_date": lambda study: (
        _digits(study.patient.patient_birth_date, 8) or None
    ),
    "accession_number": lambda study: _text(study.accession_number),
    "study_date": _date,
    "study_description": lambda study: _text(study.study_description),
    "modalities": lambda study: _text(" ".join(sorted(study.modalities_in_study))),
    "series": lambda study: study.number_of_study_related_series,
    "instances": lambda study: study.number_of_study_related_instances,
}
COLUMNS: Final = tuple(_VALUES)
# Where a first click means the greatest or newest first.
_DESCENDING_FIRST: Final = frozenset({"study_date", "series", "instances"})


@dataclass(frozen=True, slots=True)
class Order:
    """A column and a direction; in addresses ``patient_name`` or ``-study_date``."""

    column: str = "study_date"
    is_descending: bool = True

    @classmethod
    def parse(cls, text: str) -> Order:
        """Newest first where the text names no column."""
        column = text.removeprefix("-")
        return cls(column, text.startswith("-")) if column in _VALUES else cls()

    def __str__(self) -> str:
        return f"-{self.column}" if self.is_descending else self.column

    def chosen(self, column: str) -> Order:
        """What a click on the head of a column asks for."""
        if column == self.column:
            return Order(column, not self.is_descending)
        return Order(column, column in _DESCENDING_FIRST)


NEWEST_FIRST: Final = Order()


def arrange(found: Sequence[FoundStudy], order: Order) -> list[FoundStudy]:
    """Studies that are newest first, in another order.

    Those without a value come last in both directions, and equal ones stay newest first.
    """
    value_of = _VALUES[order.column]
    valued = [(value_of(one.study), one) for one in found]
    known = [pair for pair in valued if pair[0] is not None]
    known.sort(key=lambda pair: pair[0], reverse=order.is_descending)
    return [one for _, one in known] + [one for value, one in valued if value is None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of all studies; ``start`` is how many are before them."""

    studies: tuple[FoundStudy, ...]
    start: int
    total: int

    @property
    def first(self) -> int:
        """The number of the first one, as people count."""
        return self.start + 1

    @property
    def end(self) -> int:
        return self.start + len(self.studies)


def page_of(
    found: Sequence[FoundStudy],
    key_of: Callable[[FoundStudy], Hashable],
    *,
    after: str = "",
    before: str = "",
) -> Page:
    """The page that begins after the study of a key, or ends before it.

    The first page where no study has the key: it may be gone since. Studies that come
    in while a page is looked at are before or after it, and never push it on.
    """
    start, key = 0, after or before
    if key:
        index = next((n for n, one in enumerate(found) if key_of(one) == key), None)
        if index is not None:
            start = index + 1 if after else max(0, index - PAGE_SIZE)
    if start >= len(found):
        start = 0
    return Page(
        studies=tuple(found[start : start + PAGE_SIZE]), start=start, total=len(found)
    )
