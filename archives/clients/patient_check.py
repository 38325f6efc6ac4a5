"""Whether a study is of the person a launch names beside its identifiers.

A guard against a wrong identifier, not a search: people and systems write one name in
many ways, and only what contradicts is refused.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from archives.entities import Patient, StudyFilter

# Letters that have no accent to be taken off, as they are written without them.
_PLAIN: Final = str.maketrans(
    {"ø": "o", "æ": "a", "œ": "o", "đ": "d", "ð": "d", "ł": "l", "ı": "i", "þ": "th"}
)
_UMLAUTS: Final = re.compile(r"([aou])e")  # ä, ö, ü as ae, oe, ue
_DATE: Final = re.compile(r"([0-9]{4})[.-]?([0-9]{2})[.-]?([0-9]{2})")


def is_of_patient(patient: Patient, study_filter: StudyFilter) -> bool:
    """Whether name and birth date do not contradict, where both are known."""
    return is_same_name(
        patient.patient_name, study_filter.patient_name
    ) and is_same_birth_date(
        patient.patient_birth_date, study_filter.patient_birth_date
    )


def is_same_birth_date(one: str, other: str) -> bool:
    days = {"".join(day.groups()) for day in map(_DATE.fullmatch, (one, other)) if day}
    return len(days) <= 1


def is_same_name(one: str, other: str) -> bool:
    """Whether two PNs (PS3.5 6.2.1) may be of the same person.

    One group (alphabetic, ideographic, phonetic) that agrees is enough. In it the family
    names are the same, and one has the given and middle names of the other, or the
    first of them; prefix and suffix are not looked at. Case, accents and punctuation
    make no difference, and a name without ``^`` is read word by word.
    """
    ones, others = _groups(one), _groups(other)
    if not ones or not others:
        return True
    return any(_is_same_group(group, known) for group in ones for known in others)


def _groups(name: str) -> list[str]:
    return [group for group in name.split("=") if _words(group)]


def _is_same_group(one: str, other: str) -> bool:
    if "^" not in one or "^" not in other:
        return _begins(_name_words(one), _name_words(other))
    family, given = _parts(one)
    other_family, other_given = _parts(other)
    is_family_known = bool(family and other_family)
    return (family == other_family or not is_family_known) and _begins(
        given, other_given
    )


def _parts(group: str) -> tuple[list[str], list[str]]:
    """Words of the family name, and of given and middle names."""
    family, *rest = group.split("^")
    return _words(family), _words(" ".join(rest[:2]))


def _name_words(group: str) -> list[str]:
    return _words(" ".join(group.split("^")[:3]))


def _begins(one: list[str], other: list[str]) -> bool:
    """Whether the shorter list is the beginning of the longer one."""
    return all(word == known for word, known in zip(one, other, strict=False))


def _words(text: str) -> list[str]:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(one for one in decomposed if not unicodedata.combining(one))
    plain = re.sub(r"['’`´.]", "", plain.translate(_PLAIN))
    return _UMLAUTS.sub(r"\1", " ".join(re.findall(r"[^\W_]+", plain))).split()
