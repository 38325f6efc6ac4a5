"""What a user searches for -> the queries that ask it, and which answers satisfy them.

The quick box takes any one identifier; ``recognise`` says what it is taken for. Archives
ignore keys they do not know, and most compare letter for letter, so that every answer is
checked here again, without regard to case and accents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Any, Final

from archives.entities import Study, StudyQuery
from launcher.search.person_names import (
    fold,
    name_key,
    name_matches,
    selectivity,
    wildcard_match,
)

# A search needs a key this long, or a period this short, to spare the archives.
MINIMUM_CHARACTERS: Final = 3
MAXIMUM_DAYS: Final = 31

# "2.25." is followed by a UUID (PS3.5 B.2); any other UID has more dots.
_UID: Final = re.compile(r"2\.25\.[0-9]{4,}|[0-2](\.[0-9]+){3,}")
_DATE: Final = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")


class Recognised(StrEnum):
    """What the text of the quick box is taken for."""

    NOTHING = ""
    NAME = "name"
    PATIENT_ID = "patient_id"
    IDENTIFIER = "identifier"
    UID = "uid"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCriteria:
    """A search as the user stated it; empty means "any". Archives are slugs, in order.

    ``quick_as`` is what the user says that the quick box holds: a name or an identifier.
    """

    quick: str = ""
    quick_as: str = ""
    patient_name: str = ""
    patient_id: str = ""
    accession_number: str = ""
    study_date_from: date | None = None
    study_date_to: date | None = None
    modalities: tuple[str, ...] = ()
    study_description: str = ""
    referring_physician_name: str = ""
    patient_birth_date: date | None = None
    patient_sex: str = ""
    archives: tuple[str, ...] = ()

    @property
    def recognised(self) -> Recognised:
        """What the quick box is taken for: what the user says, or what it looks like."""
        looks = recognise(self.quick)
        return Recognised(self.quick_as) if looks and self.quick_as else looks

    @property
    def asks_for_name(self) -> bool:
        return bool(self.patient_name) or self.recognised == Recognised.NAME

    @property
    def asks_for_number(self) -> bool:
        """Whether an identifier is asked for, of any kind."""
        is_name = self.recognised in (Recognised.NOTHING, Recognised.NAME)
        return bool(self.patient_id or self.accession_number) or not is_name

    @property
    def has_further_filters(self) -> bool:
        """Whether anything but identifiers, the name and the period narrows it."""
        return any(
            (
                self.modalities,
                self.study_description,
                self.referring_physician_name,
                self.patient_birth_date,
                self.patient_sex,
                self.archives,
            )
        )

    def is_selective(self) -> bool:
        """Whether archives may be asked this: see ``MINIMUM_CHARACTERS`` and days."""
        keys = (self.quick, self.patient_name, self.patient_id, self.accession_number)
        if any(map(_is_selective_key, keys)):
            return True
        if self.patient_birth_date:
            return True
        return (days := self.days()) is not None and days <= MAXIMUM_DAYS

    def days(self) -> int | None:
        """Length of the period, ``None`` if it is open."""
        if not self.study_date_from:
            return None
        last = self.study_date_to or date.today()
        return (last - self.study_date_from).days + 1

    def queries(self, limit: int) -> tuple[StudyQuery, ...]:
        """Alternatives: a study that satisfies one of them is searched for."""
        patient_id, _, issuer = self.patient_id.partition("^^^")
        common = StudyQuery(
            patient_name=name_key(self.patient_name),
            patient_id=patient_id.strip(),
            issuer_of_patient_id=_issuer(issuer),
            patient_birth_date=self.patient_birth_date,
            patient_sex=self.patient_sex,
            accession_number=self.accession_number.strip(),
            study_date_from=self.study_date_from,
            study_date_to=self.study_date_to,
            modalities_in_study=self.modalities,
            study_description=_contains(self.study_description),
            referring_physician_name=name_key(self.referring_physician_name),
            limit=limit,
        )
        return tuple(_with_quick(common, self.quick.strip(), self.recognised))


_DATES: Final = ("study_date_from", "study_date_to", "patient_birth_date")
_TUPLES: Final = ("modalities", "archives")


def criteria_to_json(criteria: SearchCriteria) -> dict[str, Any]:
    values = asdict(criteria)
    return values | {
        name: values[name].isoformat() if values[name] else "" for name in _DATES
    }


def criteria_from_json(values: Mapping[str, Any]) -> SearchCriteria:
    """What ``criteria_to_json`` made, also by a version with more or fewer criteria."""
    known = {name: values[name] for name in SearchCriteria.__slots__ if name in values}
    for name in known.keys() & set(_DATES):
        known[name] = date.fromisoformat(known[name]) if known[name] else None
    for name in known.keys() & set(_TUPLES):
        known[name] = tuple(known[name])
    return SearchCriteria(**known)


def _is_selective_key(text: str) -> bool:
    """Long enough; or of any length, if it is the whole ID of a patient and an issuer."""
    key, is_patient_id, _ = text.partition("^^^")
    length = selectivity(key)
    is_whole = bool(is_patient_id) and not set("*?") & set(key)
    return length >= MINIMUM_CHARACTERS or (is_whole and length > 0)


def recognise(text: str) -> Recognised:
    text = text.strip()
    if not text:
        return Recognised.NOTHING
    if _UID.fullmatch(text):
        return Recognised.UID
    if "^^^" in text:
        return Recognised.PATIENT_ID
    if any(one.isdigit() for one in text) or set("_/#&") & set(text):
        return Recognised.IDENTIFIER
    return Recognised.NAME


def _with_quick(
    common: StudyQuery, text: str, recognised: Recognised
) -> Iterable[StudyQuery]:
    match recognised:
        case Recognised.UID:
            yield replace(common, study_instance_uids=(text,))
        case Recognised.PATIENT_ID:
            patient_id, _, issuer = text.partition("^^^")
            yield replace(
                common,
                patient_id=patient_id.strip(),
                issuer_of_patient_id=_issuer(issuer),
            )
        case Recognised.IDENTIFIER:
            yield replace(common, patient_id=text)
            yield replace(common, accession_number=text)
        case Recognised.NAME:
            yield replace(common, patient_name=name_key(text))
        case Recognised.NOTHING:
            yield common


def _issuer(text: str) -> str:
    """The namespace of an HL7 CX assigning authority, or its OID where it has no more."""
    namespace, *universal = text.split("^", 1)[0].split("&")
    return (namespace or (universal[0] if universal else "")).strip()


def _contains(text: str) -> str:
    text = " ".join(text.strip("*").split())
    return f"*{text}*" if text else ""


def spellings(query: StudyQuery) -> tuple[StudyQuery, ...]:
    """The queries to send for one that has text to be found within a description.

    Archives compare descriptions letter for letter (PS3.4 C.2.2.2), and users do not type
    them as the modality did. So the longest word is asked for in the spellings there
    are; ``satisfies`` checks the rest.
    """
    words = re.split(r"[*?\s]+", query.study_description)
    word = max(words, key=len)
    if not word:
        return (query,)
    return tuple(
        replace(query, study_description=f"*{spelling}*")
        for spelling in dict.fromkeys((word, word.upper(), word.lower(), word.title()))
    )


def satisfies(study: Study, query: StudyQuery) -> bool:
    """Whether a study has what the query asks for, as far as the archive tells.

    A value that was left out can't be checked: it counts as right for birth date, sex and
    modalities, which many archives do not return, and as wrong for all others.
    """
    patient = study.patient
    return (
        _is_uid_right(study, query)
        and _is_text_right(query.patient_id, patient.patient_id)
        and len(_known(query.issuer_of_patient_id, patient.issuer_of_patient_id)) <= 1
        and _is_text_right(query.accession_number, study.accession_number)
        and _is_name_right(query.patient_name, patient.patient_name)
        and _is_text_right(query.study_description, study.study_description)
        and _is_name_right(
            query.referring_physician_name, study.referring_physician_name
        )
        and _is_date_right(study.study_date, query)
        and _is_modality_right(study, query)
        and len(_known(query.patient_sex, patient.patient_sex)) <= 1
        and _is_birth_date_right(patient.patient_birth_date, query)
    )


def _is_uid_right(study: Study, query: StudyQuery) -> bool:
    uids = query.study_instance_uids
    return not uids or study.study_instance_uid in uids


def _is_text_right(key: str, value: str) -> bool:
    return not key or wildcard_match(key, value)


def _is_name_right(key: str, value: str) -> bool:
    return not key or name_matches(key, value)


def _known(*values: str) -> set[str]:
    return set(filter(None, map(fold, values)))


def _is_date_right(value: str, query: StudyQuery) -> bool:
    """A date that can't be read is let pass: the archive may know better."""
    first, last = query.study_date_from, query.study_date_to
    if not first and not last:
        return True
    found = read_date(value)
    if found is None:
        return bool(value)
    return (not first or first <= found) and (not last or found <= last)


def _is_modality_right(study: Study, query: StudyQuery) -> bool:
    wanted, found = query.modalities_in_study, study.modalities_in_study
    return not wanted or not found or not set(wanted).isdisjoint(found)


def _is_birth_date_right(value: str, query: StudyQuery) -> bool:
    found = read_date(value)
    return not query.patient_birth_date or found in (None, query.patient_birth_date)


def read_date(text: str) -> date | None:
    """A DA (PS3.5 6.2), also in its old form with dots; ``None`` if it is no date."""
    match = _DATE.fullmatch(text.strip())
    try:
        return date(*map(int, match.groups())) if match else None
    except ValueError:
        return None
