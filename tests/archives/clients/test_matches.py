"""Values of answers that every archive writes in its own way."""

from __future__ import annotations

import pytest

from archives.clients import matches


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12),
        (" +12 ", 12),
        ("0", 0),
        ("12\\13", 12),
        ("", None),
        ("-1", None),
        ("twelve", None),
        ("12.0", None),
        ("2147483648", None),
    ],
)
def test_count_is_none_unless_it_can_be_one(text, number):
    study = matches.study_of(
        {
            matches.NUMBER_OF_STUDY_RELATED_SERIES: text,
            matches.NUMBER_OF_STUDY_RELATED_INSTANCES: text,
        }
    )
    series = matches.series_of({matches.NUMBER_OF_SERIES_RELATED_INSTANCES: text})

    assert study.number_of_study_related_series == number
    assert study.number_of_study_related_instances == number
    assert series.number_of_series_related_instances == number


@pytest.mark.parametrize(("text", "number"), [("-1", -1), ("-0", 0), ("7", 7)])
def test_numbers_of_series_and_instances_may_be_negative(text, number):
    series = matches.series_of({matches.SERIES_NUMBER: text})
    instance = matches.instance_of({matches.INSTANCE_NUMBER: text})

    assert (series.series_number, instance.instance_number) == (number, number)
