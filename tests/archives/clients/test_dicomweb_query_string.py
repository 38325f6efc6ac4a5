from __future__ import annotations

from fnmatch import fnmatchcase
from urllib.parse import parse_qsl

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.clients.dicomweb.query_string import (
    escape,
    include_fields,
    query_string,
    widened,
)

texts = st.text(st.characters(codec="utf-8"), max_size=30)


@given(st.lists(st.tuples(st.sampled_from(["PatientID", "PatientName"]), texts)))
def test_query_string_is_what_a_server_decodes(parameters):
    query = query_string(parameters)

    assert parse_qsl(query, keep_blank_values=True) == parameters


@given(st.lists(st.tuples(st.just("PatientID"), texts), min_size=1))
def test_query_string_is_sent_unchanged(parameters):
    query = query_string(parameters)

    request = httpx2.Request("GET", f"http://127.0.0.1/studies?{query}")

    assert request.url.raw_path == f"/studies?{query}".encode()


@pytest.mark.parametrize(
    "text", ["A/B", "Doe^Jane", "Do*", "1,2", "12:30", "2026-01-31"]
)
def test_query_string_leaves_what_servers_may_not_decode(text):
    assert escape(text) == text


def test_query_string_escapes_utf_8():
    assert (
        query_string([("PatientName", "Zoë & Co")]) == "PatientName=Zo%C3%AB%20%26%20Co"
    )


def test_query_string_survives_half_a_surrogate_pair():
    assert escape("a\ud83e") == "a?"


def test_include_fields_are_repeated_with_eight_digits():
    assert query_string(include_fields([0x0008103E, 0x00100021])) == (
        "includefield=0008103E&includefield=00100021"
    )


@given(texts)
def test_widened_matches_the_value_and_needs_no_escape(value):
    pattern = widened(value)

    if pattern:
        assert escape(pattern) == pattern
        assert fnmatchcase(value.replace("[", "("), pattern.replace("[", "("))


@pytest.mark.parametrize("value", ["PLAIN-1", "é", "a é", "山田太郎", ""])
def test_widened_is_empty_where_it_gains_nothing_or_matches_all(value):
    assert widened(value) == ""
