from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from archives.clients.dicomweb.json_model import (
    JsonObjectReader,
    MalformedJsonError,
    attributes_of,
)
from archives.clients.matches import (
    INSTANCE_NUMBER,
    MODALITIES_IN_STUDY,
    PATIENT_NAME,
    SERIES_DESCRIPTION,
    STUDY_DESCRIPTION,
    STUDY_INSTANCE_UID,
    UNIVERSAL_ENTITY_ID,
    instance_of,
    series_of,
    study_of,
)

EVERY_TAG = (
    INSTANCE_NUMBER,
    MODALITIES_IN_STUDY,
    PATIENT_NAME,
    SERIES_DESCRIPTION,
    STUDY_DESCRIPTION,
    STUDY_INSTANCE_UID,
    UNIVERSAL_ENTITY_ID,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text(max_size=9), children, max_size=3)
    ),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(max_size=9), json_values, max_size=4)


def as_text(value: object) -> object:
    """What the reader makes of numbers: the text they are written as."""
    if isinstance(value, dict):
        return {key: as_text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_text(each) for each in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return json.dumps(value)


def read(body: bytes, *cuts: int) -> list:
    reader = JsonObjectReader()
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces = [body[start:end] for start, end in pairwise(places)]
    return [each for piece in pieces for each in reader.feed(piece)] + reader.close()


@given(st.lists(json_objects, max_size=6), st.lists(st.integers(0, 2**16)), st.data())
def test_reader_gives_every_object_wherever_the_body_is_cut(objects, cuts, data):
    ascii_only = data.draw(st.booleans())
    indent = data.draw(st.sampled_from([None, 0, 2]))
    text = json.dumps(objects, ensure_ascii=ascii_only, indent=indent)

    found = read(text.encode("utf-8", "replace"), *cuts)

    expected = json.loads(text.encode("utf-8", "replace"))
    assert json.dumps(found) == json.dumps(as_text(expected))


def test_reader_gives_an_object_before_the_next_one_is_complete():
    reader = JsonObjectReader()

    assert list(reader.feed(b'[{"a": 1}, {"b":')) == [{"a": "1"}]
    assert list(reader.feed(b' "x"}]')) == [{"b": "x"}]
    assert reader.close() == []


def test_reader_reads_an_object_when_it_is_asked_for_it():
    objects = JsonObjectReader().feed(b'[{"a": "x"}, [{"b": "y"}]]')

    assert next(objects) == {"a": "x"}
    with pytest.raises(MalformedJsonError):
        next(objects)


@pytest.mark.parametrize("body", [b"", b" \n", b"[]", b"\xef\xbb\xbf[]", b" [ ] \r\n"])
def test_reader_finds_nothing_in_empty_answers(body):
    assert read(body, *range(9)) == []


def test_reader_accepts_a_single_object():
    assert read(b'{"a": "x"}', 3) == [{"a": "x"}]


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[1]",
        b"<html>",
        b"[{]",
        b'[{"a" 1}]',
        b'[{"a": 1}',
        b'[{"a": 1},',
        b'[{"a": "',
        b'{"a": ',
        b"[" * 100_000,
        b'[{"a":' + b"[" * 100_000,
    ],
)
def test_reader_refuses_what_is_no_array_of_objects(body):
    with pytest.raises(MalformedJsonError):
        read(body, *range(0, 100, 7))


def test_reader_takes_an_object_larger_than_every_piece():
    body = json.dumps([{"a": "x" * 300_000}, {"b": "y"}]).encode()
    cuts = range(0, len(body), 1000)

    assert [list(each) for each in read(body, *cuts)] == [["a"], ["b"]]


def test_reader_survives_a_number_of_a_million_digits():
    assert len(read(b'[{"a": %s}]' % (b"9" * 1_000_000))[0]["a"]) == 1_000_000


names = st.text(
    st.characters(
        codec="utf-8", exclude_characters="\\=^\0", exclude_categories=["C", "Z"]
    ),
    max_size=12,
)


@given(st.lists(names, min_size=1, max_size=3), st.lists(st.integers(0, 999)))
def test_attributes_are_those_that_pydicom_wrote(groups, cuts):
    dataset = Dataset()
    dataset.PatientName = "=".join(groups)
    dataset.StudyInstanceUID = "1.2.3"
    dataset.ModalitiesInStudy = ["CT", "SR"]
    dataset.InstanceNumber = 7
    body = json.dumps([dataset.to_json_dict()]).encode()

    (found,) = read(body, *cuts)

    assert attributes_of(found, EVERY_TAG) == {
        PATIENT_NAME: "=".join(groups).rstrip("="),
        STUDY_INSTANCE_UID: "1.2.3",
        MODALITIES_IN_STUDY: "CT\\SR",
        INSTANCE_NUMBER: "7",
    }


@pytest.mark.parametrize(
    ("element", "text"),
    [
        ({"vr": "LO", "Value": ["a", "b"]}, "a\\b"),
        ({"vr": "LO", "Value": [None, "b"]}, "\\b"),
        ({"vr": "LO", "Value": [" padded \0"]}, "padded"),
        ({"vr": "LO", "Value": "no list"}, "no list"),
        ({"vr": "LO", "Value": []}, ""),
        ({"vr": "LO"}, ""),
        ({"vr": "LO", "Value": ["12.50"]}, "12.50"),
        ({"vr": "LO", "Value": ["half \ud83e pair"]}, "half ? pair"),
        ({"vr": "PN", "Value": ["Doe^Jane"]}, "Doe^Jane"),
        ({"vr": "PN", "Value": [{"Ideographic": "山田"}]}, "=山田"),
        ({"vr": "PN", "Value": [{"Alphabetic": "A"}, {"Alphabetic": "B"}]}, "A\\B"),
        ("bare", "bare"),
        ([{"deep": [1]}], ""),
    ],
)
def test_attributes_keep_odd_values_as_text(element, text):
    key = f"{STUDY_DESCRIPTION:08X}"

    found = attributes_of({key: element}, [STUDY_DESCRIPTION])

    assert found == {STUDY_DESCRIPTION: text}


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("7", 7),
        ("7.0", 7),
        ('"7"', 7),
        ('" 7 "', 7),
        ("-1", -1),
        ('"x"', None),
        ("7.5", None),
        ("1e400", None),
        ("NaN", None),
        ("null", None),
        ("9" * 5000, None),
    ],
)
def test_numbers_are_read_however_they_are_written(value, number):
    body = b'[{"00200013": {"vr": "IS", "Value": [%s]}}]' % value.encode()

    (found,) = read(body)

    assert (
        instance_of(attributes_of(found, [INSTANCE_NUMBER])).instance_number == number
    )


@pytest.mark.parametrize(
    ("element", "universal_entity_id"),
    [
        (
            {"vr": "SQ", "Value": [{"00400032": {"vr": "UT", "Value": ["1.2.3"]}}]},
            "1.2.3",
        ),
        ({"vr": "SQ", "Value": [{"00400031": {"vr": "UT", "Value": ["X"]}}]}, ""),
        *(
            ({"Value": value}, "")
            for value in ([], ["1.2.3"], "1.2.3", None, [None], {})
        ),
        *((element, "") for element in ({}, [], "1.2.3", None, 1)),
    ],
)
def test_the_universal_id_of_an_issuer_is_read_from_its_sequence(
    element, universal_entity_id
):
    attributes = attributes_of(
        {"00100024": element, "00400032": {"vr": "UT", "Value": ["9.9"]}},
        [UNIVERSAL_ENTITY_ID],
    )

    assert study_of(attributes).patient.universal_entity_id == universal_entity_id


def test_attributes_are_found_by_lower_case_tags():
    found = attributes_of({"0008103e": {"Value": ["Scout"]}}, [SERIES_DESCRIPTION])

    assert series_of(found).series_description == "Scout"


@given(
    st.dictionaries(st.sampled_from([f"{tag:08X}" for tag in EVERY_TAG]), json_values)
)
def test_any_value_becomes_an_entity(json_object):
    attributes = attributes_of(json_object, EVERY_TAG)

    for entity in (study_of, series_of, instance_of):
        repr(entity(attributes)).encode()
