"""Which of the selected studies to keep, for every protocol the same.

Archives are asked for no more than they can filter, and everything is decided here once
more: they ignore keys they do not know, and compare descriptions letter by letter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Final

from archives.clients.parallel import run_all
from archives.clients.patient_check import is_of_patient
from archives.entities import Patient, Study, StudyFilter

# PS3.5 6.2, and how ACR-NEMA wrote dates and times.
_DA: Final = re.compile(r"([0-9]{4})[.-]?([0-9]{2})[.-]?([0-9]{2})")
_TM: Final = re.compile(
    r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]{1,6}))?)?)?"
)
# Of a day: hour, minute, second, microsecond.
_FIRST: Final = (0, 0, 0, 0)
_LAST: Final = (23, 59, 59, 999_999)

FindModalities = Callable[[Study], Coroutine[Any, Any, Iterable[str]]]


def passes(study: Study, study_filter: StudyFilter) -> bool:
    """Whether the study passes all that can be told of it alone.

    A study of which no modality is known has none of those that are wanted.
    """
    wanted = study_filter.modalities_in_study
    return (
        is_of_patient(study.patient, study_filter)
        and (not wanted or not modalities_of(study).isdisjoint(_codes(wanted)))
        and _has_description(study, study_filter)
        and _is_in_period(study, study_filter)
    )


def modalities_of(study: Study) -> frozenset[str]:
    """As the archive listed them, or else those of the series that are known."""
    series = (series.modality for series in study.series)
    return _codes(study.modalities_in_study) or _codes(series)


def _codes(modalities: Iterable[str]) -> frozenset[str]:
    return frozenset(filter(None, (code.strip().upper() for code in modalities)))


async def keep(
    studies: Iterable[Study], study_filter: StudyFilter, find_modalities: FindModalities
) -> list[Study]:
    """The studies that pass, the newest of each patient if so many are wanted.

    ``find_modalities`` asks the series of a study. It is called only for those studies
    that depend on it: all else is right, and the archive did not list their modalities.
    """
    anyhow = replace(study_filter, modalities_in_study=())
    kept = [study for study in studies if passes(study, anyhow)]
    if study_filter.modalities_in_study:
        unknown = [study for study in kept if not modalities_of(study)]
        found = await run_all([find_modalities(study) for study in unknown])
        known = {
            study.study_instance_uid: replace(study, modalities_in_study=tuple(codes))
            for study, codes in zip(unknown, found, strict=True)
        }
        kept = [known.get(study.study_instance_uid, study) for study in kept]
        kept = [study for study in kept if passes(study, study_filter)]
    if study_filter.most_recent is None:
        return kept
    return newest_of_each_patient(kept, study_filter.most_recent)


def newest_of_each_patient(studies: Sequence[Study], number: int) -> list[Study]:
    """At most so many studies of each patient, those without a date last.

    The order is kept. Patients are the same whose ID and issuer are. A study that is
    there several times (in several archives) counts once, and is kept each time.
    """
    moments: dict[tuple[str, ...], dict[str, datetime]] = {}
    for study in studies:
        of_patient = moments.setdefault(_patient_key(study.patient), {})
        known = of_patient.get(study.study_instance_uid, datetime.min)
        of_patient[study.study_instance_uid] = max(known, _moment(study))
    newest = {
        (patient, uid)
        for patient, by_uid in moments.items()
        for uid in sorted(by_uid, key=by_uid.__getitem__, reverse=True)[:number]
    }
    return [
        study
        for study in studies
        if (_patient_key(study.patient), study.study_instance_uid) in newest
    ]


def _patient_key(patient: Patient) -> tuple[str, ...]:
    key = (patient.patient_id.strip(), patient.issuer_of_patient_id.strip())
    return key if key[0] else (*key, patient.patient_name, patient.patient_birth_date)


def days(study_filter: StudyFilter) -> tuple[date | None, date | None]:
    """First and last Study Date an archive may be asked for, ``None`` without bound."""
    if study_filter.keeps_undated:  # a range finds no study without a date
        return None, None
    first = study_filter.earliest and study_filter.earliest.date()
    last = study_filter.latest and study_filter.latest.date()
    return (
        None if first == date.min else first,
        None if last == date.max else last,
    )


def only_modality(study_filter: StudyFilter) -> str:
    """The modality an archive may be asked for: lists are not matched by all of them."""
    wanted = study_filter.modalities_in_study
    return wanted[0] if len(wanted) == 1 else ""


def _has_description(study: Study, study_filter: StudyFilter) -> bool:
    wanted = study_filter.description_contains
    description = _folded(study.study_description)
    return not wanted or any(_folded(text) in description for text in wanted)


def _folded(text: str) -> str:
    """Without case, accents and repeated spaces."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(one for one in decomposed if not unicodedata.combining(one))
    return " ".join(plain.casefold().split())


def _is_in_period(study: Study, study_filter: StudyFilter) -> bool:
    """Whether the study may have been within the period.

    A study without a time may have been at any time of its day.
    """
    earliest, latest = study_filter.earliest, study_filter.latest
    if earliest is None and latest is None:
        return True
    period = _period(study)
    if period is None:
        return study_filter.keeps_undated
    first, last = period
    return (earliest is None or last >= earliest) and (
        latest is None or first <= latest
    )


def _moment(study: Study) -> datetime:
    period = _period(study)
    return period[0] if period else datetime.min


def _period(study: Study) -> tuple[datetime, datetime] | None:
    """The first and last moment that date and time leave open; ``None`` without date."""
    day = _DA.fullmatch(study.study_date.split("\\")[0].strip())
    if day is None:
        return None
    for time in (_time(study.study_time), ()):
        try:
            return _completed(day, time, _FIRST), _completed(day, time, _LAST)
        except ValueError:  # there is no such time, or no such day
            continue
    return None


def _completed(
    day: re.Match[str], time: tuple[int, ...], rest: tuple[int, ...]
) -> datetime:
    year, month, day_of_month = map(int, day.groups())
    hour, minute, second, microsecond = (*time, *rest[len(time) :])
    return datetime(year, month, day_of_month, hour, minute, second, microsecond)


def _time(text: str) -> tuple[int, ...]:
    """Hour, minute, second and microsecond, as far as they are given."""
    match = _TM.fullmatch(text.split("\\")[0].strip())
    if match is None:
        return ()
    hour, minute, second, fraction = match.groups()
    parts = [int(part) for part in (hour, minute, second) if part]
    if len(parts) == 3:
        parts[2] = 59 if parts[2] == 60 else parts[2]  # a leap second
    if fraction:
        parts.append(int(f"{fraction:0<6}"))
    return tuple(parts)
