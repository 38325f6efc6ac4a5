"""Catalogues: complete, the same as what was compiled, and with all places for values."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polib
import pytest

from tests.requirements import needs
from tests.test_architecture import ROOT, committed

LOCALE = ROOT / "viewerhub" / "locale"
LANGUAGES = ("fr", "de")
PLACE = re.compile(r"%\(\w+\)[sd]|%%n|%%|%s|\{\w*\}")
ELEMENT = re.compile(r"<[^<>]*>")

languages = pytest.mark.parametrize("language", LANGUAGES)


def catalogue(language: str, ending: str = "po") -> Path:
    return LOCALE / language / "LC_MESSAGES" / f"django.{ending}"


def pairs(entry: polib.POEntry) -> Iterator[tuple[str, str]]:
    """Each text with each of its translations."""
    if entry.msgid_plural:
        yield from ((entry.msgid_plural, text) for text in entry.msgstr_plural.values())
    else:
        yield entry.msgid, entry.msgstr


def translations(language: str) -> list[tuple[str, str]]:
    return [
        pair for entry in polib.pofile(catalogue(language)) for pair in pairs(entry)
    ]


@languages
def test_every_text_is_translated(language: str) -> None:
    entries = polib.pofile(catalogue(language))

    assert len(entries) > 500
    assert not [entry.msgid for entry in entries if not entry.translated()]
    assert not entries.obsolete_entries()


@languages
def test_translation_has_the_places_and_elements_of_the_text(language: str) -> None:
    def parts(text: str) -> list[str]:
        return sorted([*set(PLACE.findall(text)), *ELEMENT.findall(text)])

    assert not [
        (text, translation)
        for text, translation in translations(language)
        if parts(text) != parts(translation)
    ]


@languages
def test_translation_begins_and_ends_as_the_text(language: str) -> None:
    """Spaces part it from what stands beside it, and a sentence is one."""

    def ends(text: str) -> tuple[bool, bool]:
        return text[:1].isspace(), text[-1:].isspace()

    wrong = [
        (text, translation)
        for text, translation in translations(language)
        if ends(text) != ends(translation)
        or (len(text.split()) > 2 and text.endswith(".") != translation.endswith("."))
    ]

    assert not [pair for pair in wrong if not pair[0].endswith("...")]


def test_french_has_its_spaces_and_quotes() -> None:
    wrong = re.compile(r" [;:?!»]|«[^\u00a0]|[^\u202f\s\w/&(*,.]\?$|\w'\w|[“”]")

    assert not [text for _, text in translations("fr") if wrong.search(text)]


def test_german_has_its_quotes() -> None:
    wrong = re.compile(r"”|“[^“]*“[^“]*„|(?<!„)“(?=\w)")

    assert not [
        text
        for _, text in translations("de")
        if wrong.search(text) or text.count("„") != text.count("“")
    ]


@pytest.mark.parametrize("language", [*LANGUAGES, "en"])
def test_compiled_catalogue_is_that_of_the_texts(language: str) -> None:
    """It is committed, so that installing needs no gettext."""

    def known(entries: polib.POFile | polib.MOFile) -> dict[object, object]:
        return {
            (one.msgctxt, one.msgid): (one.msgstr, one.msgstr_plural) for one in entries
        }

    compiled = polib.mofile(str(catalogue(language, "mo")))

    assert known(compiled) == known(polib.pofile(catalogue(language)))


def test_catalogues_have_every_text_of_the_code(tmp_path: Path) -> None:
    needs("gettext")
    folders = ("archives", "launcher", "templates", "viewerhub", "manage.py")
    for path in committed(*folders):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)

    subprocess.run(
        [
            *(sys.executable, "manage.py", "makemessages", "--all", "--no-obsolete"),
            *("--no-wrap", "--add-location", "file"),
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "viewerhub.settings",
            "VIEWERHUB_DATA_DIR": str(tmp_path / "var"),
        },
        check=True,
        capture_output=True,
    )

    for language in LANGUAGES:
        path = catalogue(language)
        found = {one.msgid for one in polib.pofile(tmp_path / path.relative_to(ROOT))}
        assert found == {one.msgid for one in polib.pofile(path)}
