"""Which language pages are in, and that programs always get English."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.test import Client
from django.utils import translation
from django.utils.formats import date_format

from launcher.search.forms import PRESETS, SEXES
from tests.factories import make_dimse_archive
from tests.valkey import RedisServer

LOGIN = "/accounts/login/"
pages = pytest.mark.django_db(transaction=True)


def page(client: Client, path: str, accepted: str = "") -> str:
    headers = {"Accept-Language": accepted} if accepted else {}
    return client.get(path, headers=headers).content.decode()


@pages
@pytest.mark.parametrize(
    ("accepted", "language", "words"),
    [
        ("", "en", "Sign in to ViewerHub"),
        ("fr-CH, fr;q=0.9, en;q=0.5", "fr", "Se connecter à ViewerHub"),
        ("de-AT", "de", "Bei ViewerHub anmelden"),
        ("ja, de;q=0.5", "de", "Bei ViewerHub anmelden"),
        ("ja", "en", "Sign in to ViewerHub"),
    ],
)
def test_page_is_in_the_first_language_of_the_browser_that_there_is(
    client: Client, accepted: str, language: str, words: str
) -> None:
    content = page(client, LOGIN, accepted)

    assert f'<html lang="{language}" dir="ltr"' in content
    assert words in content


@pages
def test_choice_counts_more_than_the_browser_and_leads_back_to_the_page(
    client: Client,
) -> None:
    address = f"{LOGIN}?next=/launches/%3Fpage%3D2"
    offered = page(client, address)
    assert f'name="next" value="{address}"' in offered
    assert '<button name="language" value="de" lang="de">Deutsch</button>' in offered

    chosen = client.post("/language/", {"language": "de", "next": address})

    assert chosen.status_code == 302
    assert chosen["Location"] == address
    cookie = chosen.cookies["language"]
    assert cookie["httponly"]
    assert cookie["max-age"] == 365 * 86400
    content = page(client, LOGIN, "fr")
    assert '<html lang="de"' in content
    assert 'value="de" lang="de" aria-current="true"' in content


@pages
@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example/"])
def test_choice_leads_nowhere_else(client: Client, address: str) -> None:
    chosen = client.post("/language/", {"language": "fr", "next": address})

    assert chosen["Location"] == "/"


@pages
def test_choice_of_a_language_that_is_not_offered_changes_nothing(
    client: Client,
) -> None:
    assert "language" not in client.post("/language/", {"language": "xx"}).cookies


@pages
@pytest.mark.usefixtures("valkey")
def test_page_that_answers_a_form_leads_back_to_the_search(client: Client) -> None:
    client.force_login(User.objects.create_user("alice"))

    refused = client.post("/launch/", {"study_instance_uid": "1.2.3"})

    assert refused.status_code == 400
    assert '<input type="hidden" name="next" value="/">' in refused.content.decode()


@pages
@pytest.mark.usefixtures("valkey")
@pytest.mark.parametrize("language", ["fr", "de"])
def test_values_of_forms_are_the_same_in_every_language(
    client: Client, language: str
) -> None:
    make_dimse_archive()
    client.force_login(User.objects.create_user("alice"))
    client.cookies["language"] = language
    period = {"study_date_from": "2026-01-31", "study_date_to": "2026-02-28"}

    found = client.post("/search/", {"quick": "martin", **period}, follow=True)

    content = found.content.decode()
    assert f'<html lang="{language}"' in content
    assert 'value="2026-01-31"' in content
    assert 'value="2026-02-28"' in content


@pages
def test_error_page_is_in_the_language_of_the_request(client: Client) -> None:
    content = page(client, "/nowhere/", "fr")

    assert '<html lang="fr" dir="ltr"' in content
    assert "Rien ici" in content


def test_error_page_without_a_request_is_english() -> None:
    content = render_to_string("500.html")

    assert '<html lang="en" dir="ltr"' in content
    assert "Something went wrong in the hub" in content


@pages
def test_programs_get_english(client: Client, valkey: RedisServer) -> None:
    french = {"Accept-Language": "fr", "Accept": "application/json"}

    api = client.get("/api/v1/studies", headers=french).json()
    launch = client.get("/weasis?patientID=1", headers=french).json()

    assert api["detail"].startswith("Send the key of an API client")
    assert launch["title"] == "Who is calling?"


def test_any_agrees_with_what_it_is_any_of() -> None:
    with translation.override("fr"):
        assert str(PRESETS["any"]) == "Toutes"  # les dates
        assert str(dict(SEXES)[""]) == "Tous"  # les sexes


@pytest.mark.parametrize("language", ["en", "fr", "de"])
def test_moments_are_of_24_hours_and_have_their_minutes(language: str) -> None:
    with translation.override(language):
        text = date_format(datetime(2026, 11, 26, 22, 0), "DATETIME_FORMAT")

    assert "22:00" in text
