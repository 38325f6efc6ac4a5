from datetime import date, timedelta
from html import unescape
from html.parser import HTMLParser

import pytest
from django.template import Context, Template
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from archives.entities import Patient, Study
from launcher.templatetags.dicom import (
    age,
    dicom_date,
    dicom_time,
    name_keys,
    person_name,
    plain_date,
    sex,
)


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.names = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.names.append(tag)

    def handle_data(self, data):
        self.text += data


def rendered(template, **context):
    return Template("{% load dicom %}" + template).render(Context(context))


def test_person_name_is_family_then_given():
    html = person_name("Martin^Alice Marie")

    assert 'class="name"' in html
    assert 'dir="auto"' in html
    assert Elements(html).text == "Martin, Alice Marie"
    assert '<span class="family">Martin</span>' in html


def test_person_name_puts_other_groups_on_a_second_line_in_their_language():
    html = person_name("Yamada^Tarou=山田^太郎=やまだ^たろう")

    first, second = html.split('<span class="name-more">')
    assert "Yamada" in first
    assert second.count('lang="ja"') == 2
    assert "山田</span> 太郎" in second


@pytest.mark.parametrize("value", ["", " ", "^^^^", "==", "^="])
def test_person_name_says_when_there_is_none(value):
    assert "No name" in person_name(value)


@given(st.text(max_size=64))
def test_person_name_only_ever_makes_its_own_elements(value):
    assert set(Elements(person_name(value)).names) <= {"bdi", "span"}


@given(st.text("<>&\"'/ =^abc", max_size=64))
def test_values_never_become_markup(value):
    for html in (person_name(value), dicom_date(value), dicom_time(value)):
        assert set(Elements(html).names) <= {"bdi", "span", "time"}


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "March 2, 2026"), ("fr", "02/03/2026"), ("de", "02.03.2026")],
)
def test_date_is_in_the_users_locale_with_iso_in_the_tooltip(language, text):
    with translation.override(language):
        html = dicom_date("20260302")
        label = plain_date("20260302")

    assert label == text
    assert f">{text}<" in html
    assert 'title="2026-03-02"' in html
    assert 'datetime="2026-03-02"' in html


def test_date_that_is_none_is_shown_as_it_is():
    assert plain_date("20261345") == "20261345"
    assert "20261345" in dicom_date("20261345")
    assert "No date" in dicom_date("")


@given(st.dates())
def test_every_date_is_read(day):
    html = dicom_date(day.isoformat().replace("-", ""))

    assert f'datetime="{day.isoformat()}"' in html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("101259.123", "10:12"),
        ("1012", "10:12"),
        ("10", "10:00"),
        ("10:12:59", "10:12"),
        ("", ""),
        ("2561", ""),
        ("٠٩٠٠", ""),
        ("x", ""),
    ],
)
def test_time_is_hours_and_minutes(value, text):
    assert Elements(dicom_time(value)).text == text


def aged(birth_date, study_date):
    patient = Patient(patient_birth_date=birth_date)
    return age(Study(study_instance_uid="1", patient=patient, study_date=study_date))


@pytest.mark.parametrize(
    ("born", "then", "text"),
    [
        ("19610214", "20220624", "61 y"),
        ("20000229", "20250228", "24 y"),
        ("20000229", "20250301", "25 y"),
        ("20240101", "20250401", "15 m"),
        ("20250510", "20250601", "3 w"),
        ("20250510", "20250512", "2 d"),
        ("20250512", "20250512", "0 d"),
        ("20260101", "20250512", ""),
        ("", "20250512", ""),
        ("20250512", "", ""),
    ],
)
def test_age_is_that_at_the_study(born, then, text):
    assert aged(born, then) == text


@given(st.dates(date(1900, 1, 1), date(2020, 1, 1)), st.integers(0, 40_000))
def test_age_never_counts_a_birthday_too_early(born, days):
    then = born + timedelta(days=days)

    text = aged(f"{born:%Y%m%d}", f"{then:%Y%m%d}")

    number, unit = text.split()
    assert int(number) * {"y": 365, "m": 28, "w": 7, "d": 1}[unit] <= days


def test_sex_is_a_word():
    assert sex("F") == "Female"
    assert sex("x") == ""


def test_modalities_are_few_and_the_rest_is_counted():
    many = tuple(f"M{number}" for number in range(40))

    html = rendered("{% modalities many %}", many=many)

    assert "+35" in html
    assert "M39" in html
    assert "+" not in rendered("{% modalities many %}", many=many[:6])
    assert "–" in rendered("{% modalities many %}", many=())


def test_modalities_are_escaped():
    html = rendered("{% modalities many %}", many=("<b>",) * 9)

    assert "<b>" not in html
    assert "<b>" in unescape(html)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("martin ali", "family name martin*, given name ali*"),
        ("van der berg, an", "family name van*der*berg*, given name an*"),
        ("*tin", "family name *tin*"),
        (", ali", "given name ali*"),
        ("山田", "name *山田*"),
        ("", ""),
        ("^*", ""),
    ],
)
def test_name_keys_tell_which_parts_are_compared(text, keys):
    assert name_keys(text) == keys
