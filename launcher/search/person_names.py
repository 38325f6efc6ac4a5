"""Person names: what users type, what archives are asked, and what screens show.

A PN (PS3.5 6.2.1) has up to three groups between ``=`` (alphabetic, ideographic,
phonetic), each of five components between ``^`` (family, given, middle, prefix, suffix).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

_WIDE: Final = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC")
_KANA: Final = ("HIRAGANA", "KATAKANA")
# Characters that a PN uses for itself, that separate values, or that end a text.
_UNUSABLE: Final = re.compile(r"[\\\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameGroup:
    """One group for a screen; ``language`` is a guess that picks the right glyphs."""

    family: str
    rest: str
    language: str = ""


def name_key(text: str) -> str:
    """The matching key for what a user typed, "" if there is nothing to match.

    ``martin ali`` becomes ``martin*^ali*``: the beginnings of family and given name. A
    comma or ``^`` separates them where the family name has several words. Names in East
    Asian writing are looked for in every group of the name.
    """
    text = _UNUSABLE.sub(" ", text).split("=")[0].strip()
    family, separator, given = text.replace("^", ",").partition(",")
    if not separator:
        family, _, given = text.partition(" ")
    words = [
        "*".join(part.replace(",", " ").split()).strip("*") for part in (family, given)
    ]
    if not any(words):
        return ""
    if is_wide(text):
        return _collapse(f"*{'*'.join(filter(None, words))}*")
    key = f"{words[0]}*"
    if words[1]:
        key += f"^{words[1]}*"
    leading = "*" if text.startswith("*") and words[0] else ""
    return _collapse(leading + key)


def name_parts(text: str) -> tuple[str, str]:
    """The keys for family and given name that a text means, "" for what is not asked.

    In East Asian writing, the first stands for the whole name.
    """
    family, _, given = name_key(text).partition("^")
    return family if family != "*" else "", given


def _collapse(key: str) -> str:
    return re.sub(r"\*+", "*", key)


def is_wide(text: str) -> bool:
    """Whether the text has characters of an ideographic or phonetic group."""
    return any(unicodedata.name(one, "").startswith(_WIDE) for one in text)


def selectivity(text: str) -> int:
    """How many letters and digits a text brings; an ideograph is worth two."""
    return sum(1 + is_wide(one) for one in text if one.isalnum())


def fold(text: str) -> str:
    """The text without case, accents and repeated spaces, to compare with others."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(one for one in decomposed if not unicodedata.combining(one))
    return " ".join(plain.casefold().split())


def wildcard_match(key: str, value: str) -> bool:
    """Wild card matching (PS3.4 C.2.2.2.4), but without regard to case and accents."""
    # fnmatch builds expressions that take linear time, whatever the key; its only other
    # special character is the bracket.
    return fnmatchcase(fold(value), fold(key).replace("[", "[[]"))


def name_matches(key: str, patient_name: str) -> bool:
    """Whether any group of a name matches a key of ``name_key``."""
    return any(
        wildcard_match(key, group.strip())
        for group in (patient_name, *patient_name.split("="))
    )


def name_groups(patient_name: str) -> tuple[NameGroup, ...]:
    """The groups that say something, alphabetic first."""
    language = _language(patient_name)
    return tuple(
        _group(text, "" if number == 0 and not is_wide(text) else language)
        for number, text in enumerate(patient_name.split("=")[:3])
        if text.strip("^ ")
    )


def _group(text: str, language: str) -> NameGroup:
    parts = [part.strip() for part in text.split("^")]
    family, given, middle, prefix, suffix = (parts + [""] * 5)[:5]
    rest = " ".join(filter(None, (prefix, given, middle)))
    return NameGroup(
        family=family,
        rest=", ".join(filter(None, (rest, suffix, *parts[5:]))),
        language=language,
    )


def _language(text: str) -> str:
    scripts = {unicodedata.name(one, "").split(" ")[0] for one in text}
    if scripts & set(_KANA):
        return "ja"
    if "HANGUL" in scripts:
        return "ko"
    return "zh" if "CJK" in scripts else ""
