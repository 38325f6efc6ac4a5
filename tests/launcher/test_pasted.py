import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.models import Archive
from launcher.search.criteria import SearchCriteria
from launcher.search.forms import StudySearchForm
from launcher.search.pasted import clean

UNSEEN = "\u200b\u200d\u200e\u200f\u202a\u202e\u2066\u2069\ufeff\u00ad"
BLANKS = " \t\r\n\u00a0\u2007\u202f\u2003\u3000\u2028"
QUOTES = [('"', '"'), ("'", "'"), ("“", "”"), ("„", "“"), ("«", "»"), ("‘", "’")]


@pytest.mark.parametrize(
    ("pasted", "meant"),
    [
        ("A1001\r\n", "A1001"),
        ("\u00a0A1001\u200b", "A1001"),
        ("“A1001”,", "A1001"),
        ("'A1001';", "A1001"),
        ("Ａ１００１", "A1001"),
        ("A‑1001", "A-1001"),
        ("４７１１＾＾＾ＨＯＳＰ", "4711^^^HOSP"),
        ("٤٧١١", "4711"),
        ("\u202a1.2.840.113619.2.1\u202c", "1.2.840.113619.2.1"),
        ("O’Neill,\u00a0Ann", "O'Neill, Ann"),
        ("山田\u3000太郎", "山田 太郎"),
        ("神田\ufa19", "神田\ufa19"),
        ("Martin\r\nAlice", "Martin Alice"),
        ("O'Neill'", "O'Neill'"),
        ('"', '"'),
        ("a\\b", "a\\b"),
        ("a\x07b", "a\x07b"),
        ("", ""),
    ],
)
def test_pasted_text_becomes_what_is_meant(pasted, meant):
    assert clean(pasted) == meant


@pytest.mark.parametrize("text", ['"' * 2_000_000, '",' * 1_000_000])
def test_very_long_text_is_left_to_its_field(text):
    assert clean(text) == text
    form = StudySearchForm({"quick": text}, archives=Archive.objects.none())
    assert form.has_error("quick", "max_length")


@given(st.text(max_size=80))
def test_clean_text_has_nothing_that_does_not_show_and_stays_as_it_is(text):
    cleaned = clean(text)

    categories = {unicodedata.category(one) for one in cleaned}
    assert not categories & {"Cf", "Zl", "Zp"}
    assert cleaned == cleaned.strip()
    assert len(cleaned) <= len(text)
    assert clean(cleaned) == cleaned


@given(
    st.from_regex(r"[A-Z]{0,3}[0-9]{3,12}", fullmatch=True),
    st.lists(st.sampled_from(UNSEEN + BLANKS), max_size=6).map("".join),
    st.lists(st.sampled_from(BLANKS + UNSEEN), max_size=6).map("".join),
    st.lists(st.sampled_from(QUOTES), max_size=2),
    st.integers(0, 12),
    st.sampled_from(UNSEEN),
)
def test_identifier_survives_whatever_it_was_copied_with(
    identifier, before, after, quotes, position, unseen
):
    pasted = identifier[:position] + unseen + identifier[position:]
    for opening, closing in quotes:
        pasted = f"{opening}{pasted}{closing}"

    cleaned = clean(before + pasted + after)

    assert cleaned == identifier
    expected = SearchCriteria(quick=identifier)
    assert SearchCriteria(quick=cleaned).queries(9) == expected.queries(9)
