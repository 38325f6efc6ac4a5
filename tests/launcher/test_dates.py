from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.dates import read_birth_date, read_period

ZURICH = ZoneInfo("Europe/Zurich")


def moments(first: str, last: str) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(first), datetime.fromisoformat(last)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-01-31", "2026-01-31", "2026-01-31T23:59:59.999999"),
        ("20260131", "2026-01-31", "2026-01-31T23:59:59.999999"),
        ("2026-02", "2026-02-01", "2026-02-28T23:59:59.999999"),
        ("202402", "2024-02-01", "2024-02-29T23:59:59.999999"),
        ("2026", "2026-01-01", "2026-12-31T23:59:59.999999"),
        ("2024-07-19T10:15", "2024-07-19T10:15", "2024-07-19T10:15:59.999999"),
        ("2024-07-19 10:15", "2024-07-19T10:15", "2024-07-19T10:15:59.999999"),
        ("2024071910", "2024-07-19T10:00", "2024-07-19T10:59:59.999999"),
        ("20240719101530", "2024-07-19T10:15:30", "2024-07-19T10:15:30.999999"),
        ("20240719T101530", "2024-07-19T10:15:30", "2024-07-19T10:15:30.999999"),
        ("20240719101530.25", "2024-07-19T10:15:30.25", "2024-07-19T10:15:30.25"),
        ("2024-07-19T10:15:30.5", "2024-07-19T10:15:30.5", "2024-07-19T10:15:30.5"),
        ("2024-07-19T24:00:00", "2024-07-20T00:00", "2024-07-20T00:00"),
        (
            "2016-12-31T23:59:60",
            "2016-12-31T23:59:59",
            "2016-12-31T23:59:59.999999",
        ),
    ],
)
def test_read_period_is_as_long_as_what_is_left_out(text, first, last):
    assert read_period(text, ZURICH) == moments(first, last)


@pytest.mark.parametrize(
    "text",
    [
        "2024-07-19T10:15:30Z",
        "2024-07-19T10:15:30z",
        "2024-07-19T12:15:30+02:00",
        "2024-07-19T12:15:30 02:00",
        "2024-07-19 12:15:30 0200",
        "2024-07-19T05:15:30-0500",
        "20240719121530+0200",
        "20240719121530 0200",
    ],
)
def test_read_period_moves_other_zones_to_local_time(text):
    first, last = read_period(text, ZURICH)

    assert (first, last) == moments("2024-07-19T12:15:30", "2024-07-19T12:15:30.999999")


def test_read_period_moves_a_day_of_another_zone():
    assert read_period("2024-07-19Z", ZURICH) == moments(
        "2024-07-19T02:00", "2024-07-20T01:59:59.999999"
    )


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("9999-12-31", "9999-12-31", "9999-12-31T23:59:59.999999"),
        ("9999-12-31T23:59:59.999999Z", *["9999-12-31T23:59:59.999999"] * 2),
        ("0001-01-01T00:00:00.0+02:00", *["0001-01-01T00:00"] * 2),
    ],
)
def test_read_period_ends_with_the_calendar(text, first, last):
    assert read_period(text, ZURICH) == moments(first, last)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "19.07.2024", "07/19/2024", "24-07-19", "2024-7-19"),
        *("2024-02-30", "2023-02-29", "0000-01-01", "2024-13", "202400", "20240700"),
        *(
            "2024-07-19T25:00",
            "2024-07-19T24:01",
            "2024-07-19T10:60",
            "9999-12-31T24:00",
        ),
        *("2024-07-19T10:15:61", "2024-07-19T10:15:30+24:00", "2024-07-19 0200"),
        *("2024-07-19T", "-2024-07-19", "12024-07-19", "2024-07-19T10:15Z+01:00"),
        *("٢٠٢٤-٠٧-١٩", "2024-07-19\n", "1721384130", "now", "2024-07-*"),
    ],
)
def test_read_period_refuses_what_is_no_date(text):
    with pytest.raises(ValueError, match=r"date|time"):
        read_period(text, ZURICH)


ZONES = st.integers(-14 * 60, 14 * 60).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
MOMENTS = st.datetimes(datetime(1900, 1, 2), datetime(2200, 1, 1))


@given(MOMENTS, ZONES, ZONES)
def test_read_period_agrees_with_the_calendar_on_iso_8601(moment, written, local):
    aware = moment.replace(tzinfo=written)
    expected = aware.astimezone(local).replace(tzinfo=None)

    first, last = read_period(aware.isoformat(timespec="microseconds"), local)

    assert first == last == expected


@given(MOMENTS, ZONES, st.sampled_from(["%Y%m%d%H%M%S.%f%z", "%Y-%m-%dT%H:%M:%S.%f%z"]))
def test_read_period_reads_what_python_writes(moment, written, style):
    aware = moment.replace(tzinfo=written)

    first, last = read_period(aware.strftime(style), UTC)

    assert first == last == aware.astimezone(UTC).replace(tzinfo=None)


@given(MOMENTS, st.sampled_from([4, 6, 8, 10, 12, 14]))
def test_read_period_of_a_part_holds_the_moment(moment, length):
    text = moment.strftime("%Y%m%d%H%M%S")[:length]

    first, last = read_period(text)

    assert first <= moment <= last
    before, after = first - timedelta(microseconds=1), last + timedelta(microseconds=1)
    assert before.strftime("%Y%m%d%H%M%S")[:length] != text
    assert after.strftime("%Y%m%d%H%M%S")[:length] != text


@given(st.text(alphabet="0123456789-:.+TZ ", max_size=30) | st.text())
def test_read_period_reads_or_refuses_anything(text):
    try:
        first, last = read_period(text, ZURICH)
    except ValueError:
        return
    assert first <= last


@pytest.mark.parametrize("text", ["1970-01-31", "19700131"])
def test_read_birth_date_gives_a_da(text):
    assert read_birth_date(text) == "19700131"


@pytest.mark.parametrize(
    "text", ["", "1970", "1970-02-30", "31.01.1970", "1970-01-31T"]
)
def test_read_birth_date_refuses_what_is_no_day(text):
    with pytest.raises(ValueError, match="not a date"):
        read_birth_date(text)
