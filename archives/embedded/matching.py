"""Attribute matching of queries (PS3.4 C.2.2.2), on values as text.

Several values are joined by a backslash, as on the wire.
"""

from __future__ import annotations

import re
from functools import lru_cache

_RANGES = frozenset({"DA", "TM"})
_NUMBERS = frozenset({"DS", "IS", "US"})


def matches(vr: str, key: str, value: str) -> bool:
    """Whether one of the values fits the key; an empty key fits everything."""
    if not key or key == "*":
        return True
    values = value.split("\\")
    if vr in _RANGES:
        return any(_in_range(key, one) for one in values if one)
    return any(
        _matches_one(vr, alternative, one)
        for alternative in key.split("\\")
        for one in values
    )


def _matches_one(vr: str, key: str, value: str) -> bool:
    if vr == "UI":
        return key == value
    if vr in _NUMBERS:
        return _same_number(key, value)
    if vr == "PN":
        return _matches_name(key.casefold(), value.casefold())
    return bool(_pattern(key).fullmatch(value))


def _matches_name(key: str, value: str) -> bool:
    """Compare with the whole name and with each component group (PS3.5 6.2.1.1).

    Empty components at the end of a group are not significant.
    """
    groups = [group.rstrip("^") for group in value.split("=")]
    pattern = _pattern("=".join(group.rstrip("^") for group in key.split("=")))
    return any(map(pattern.fullmatch, ["=".join(groups).rstrip("="), *groups]))


@lru_cache(maxsize=256)
def _pattern(key: str) -> re.Pattern[str]:
    expressions = {"*": ".*", "?": "."}
    parts = (
        expressions.get(part, re.escape(part)) for part in re.split(r"([*?])", key)
    )
    return re.compile("".join(parts), re.DOTALL)


def _in_range(key: str, value: str) -> bool:
    """``20260101-20260131``, open at one end, or one value, which includes all that
    begins with it: the range matching of dates and times (PS3.4 C.2.2.2.5)."""
    # Dots and colons are how ACR-NEMA separated the parts of dates and times.
    date_or_time = value.translate({ord("."): "", ord(":"): ""})
    lower, dash, upper = key.translate({ord("."): "", ord(":"): ""}).partition("-")
    if not dash:
        return date_or_time.startswith(lower)
    return lower <= date_or_time and (
        not upper or date_or_time <= upper or date_or_time.startswith(upper)
    )


def _same_number(key: str, value: str) -> bool:
    try:
        return float(key) == float(value)
    except ValueError:
        return key == value
