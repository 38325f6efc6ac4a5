"""Dates and times of launch parameters, in every way that callers write them.

Understood are ISO 8601 and XML Schema (``2026-01-31``, ``2026-01-31T10:15:30.5+01:00``)
and the DT of DICOM (``20260131101530.5+0100``, PS3.5 6.2), down to a mere year. What is
left out makes a period: ``2026-01`` is all of January.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Final

# A "+" that was not escaped in a URL arrives as a space.
_ZONE: Final = r"(?P<zone>[Zz]|[-+ ][0-9]{2}:?[0-9]{2})?"
_ISO: Final = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?:[Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,12}))?)?)?)?" + _ZONE
)
_DT: Final = re.compile(
    r"(?P<year>[0-9]{4})(?:(?P<month>[0-9]{2})(?:(?P<day>[0-9]{2})"
    r"(?:[Tt]?(?P<hour>[0-9]{2})(?:(?P<minute>[0-9]{2})(?:(?P<second>[0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]{1,12}))?)?)?)?)?)?" + _ZONE
)
# Of a day: hour, minute, second, microsecond.
_FIRST: Final = (0, 0, 0, 0)
_LAST: Final = (23, 59, 59, 999_999)
_DATE: Final = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})")


def read_period(text: str, zone: tzinfo = UTC) -> tuple[datetime, datetime]:
    """The first and the last moment of what is written, as local times of ``zone``.

    A time without a zone is one of ``zone``. Raises ``ValueError``.
    """
    match = _ISO.fullmatch(text) or _DT.fullmatch(text)
    if match is None:
        raise ValueError(
            "is not a date. Write 2026-01-31 or 2026-01-31T10:15:30, with +01:00 or Z "
            "after the time if it is not local."
        )
    offset = _offset(match["zone"])
    if match["zone"] and match["zone"][0] == " " and match["hour"] is None:
        raise ValueError("is not a date: after a space comes the time, as 10:15.")
    try:
        first, last = _period(match)
    except (ValueError, OverflowError) as error:
        raise ValueError("is no day or time that there is.") from error
    if offset is None:
        return first, last
    return _moved(first, offset, zone), _moved(last, offset, zone)


def _period(match: re.Match[str]) -> tuple[datetime, datetime]:
    """Both ends, without regard to the zone; raises ``ValueError``."""
    year, month, day = (
        int(match["year"]),
        _number(match["month"]),
        _number(match["day"]),
    )
    time = [_number(match[name]) for name in ("hour", "minute", "second")]
    fraction = match["fraction"]
    time.append(int(f"{fraction:0<6}"[:6]) if fraction else None)
    if time[0] == 24 and not any(time[1:]):  # how ISO 8601 may write the end of a day
        midnight = _moment(year, month or 1, day or 1, [None] * 4, _FIRST)
        midnight += timedelta(days=1)
        return midnight, midnight
    if time[2] == 60:  # a leap second, unknown to datetime
        time[2] = 59
    last_month = 12 if month is None else month
    last_day = monthrange(year, last_month)[1] if day is None else day
    return (
        _moment(
            year, 1 if month is None else month, 1 if day is None else day, time, _FIRST
        ),
        _moment(year, last_month, last_day, time, _LAST),
    )


def _moment(
    year: int, month: int, day: int, time: Sequence[int | None], default: Sequence[int]
) -> datetime:
    hour, minute, second, microsecond = (
        other if one is None else one for one, other in zip(time, default, strict=True)
    )
    return datetime(year, month, day, hour, minute, second, microsecond)


def _number(text: str | None) -> int | None:
    return int(text) if text else None


def _offset(text: str | None) -> timezone | None:
    if not text:
        return None
    if text in "Zz":
        return UTC
    digits = text[1:].replace(":", "")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        raise ValueError("has a time zone that there is not.")
    distance = timedelta(hours=hours, minutes=minutes)
    return timezone(-distance if text[0] == "-" else distance)


def _moved(moment: datetime, offset: timezone, zone: tzinfo) -> datetime:
    """Local time of ``zone``; at the ends of the calendar, the end itself."""
    try:
        return moment.replace(tzinfo=offset).astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return datetime.min if moment.year < 5000 else datetime.max


def read_birth_date(text: str) -> str:
    """A day as DA (``19700131``), written so or as ISO 8601; raises ``ValueError``."""
    match = _DATE.fullmatch(text)
    try:
        day = date(*map(int, match.groups())) if match else None
    except ValueError:
        day = None
    if day is None:
        raise ValueError("is not a date. Write 1970-01-31.")
    return day.isoformat().replace("-", "")
