import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from archives.embedded import EmbeddedArchive
from launcher.models import Preferences
from launcher.models.preferences import FACTS, USUAL_FACTS, facts_of
from tests.factories import make_dimse_archive

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]


@pytest.fixture(scope="module")
def served(dicom_files):
    with EmbeddedArchive(dicom_files.paths(dicom_files.group("demo"))) as running:
        yield running


@pytest.fixture
def alice():
    return User.objects.create_user("alice")


@pytest.fixture
def client(alice):
    client = Client()
    client.force_login(alice)
    return client


def results_of(client):
    return client.post("/search/", {"quick": "A1001"})["Location"]


def row_of(client, results):
    page = client.get(f"{results}?wait").content.decode()
    return re.search(r'<tbody class="study".*?</tbody>', page, re.S)[0]


def choose(client, results, **fields):
    return client.post(
        "/facts/", fields, headers={"Referer": f"http://testserver{results}"}
    )


def test_rows_show_what_the_user_chose_wherever_they_log_in(client, alice, served):
    make_dimse_archive(served)
    results = results_of(client)
    before = row_of(client, results)

    answer = choose(client, results, facts=["referring_physician_name"])

    assert answer["Location"] == results
    elsewhere = Client()
    elsewhere.force_login(alice)
    after = row_of(elsewhere, results)
    for shown in ("A1001", "series ·", "Main PACS"):
        assert shown in re.sub("<[^>]*>", " ", before)
        assert shown not in re.sub("<[^>]*>", " ", after)
    assert 'class="second referrer"' in after
    assert 'class="second referrer"' not in before


def test_usual_facts_are_shown_again(client, alice, served):
    make_dimse_archive(served)
    results = results_of(client)
    choose(client, results, facts=["study_id"])
    assert facts_of(alice) == {"study_id"}

    choose(client, results, usual="1", facts=["study_id"])

    assert facts_of(alice) == set(USUAL_FACTS)
    assert not Preferences.objects.exists()


def test_nothing_optional_may_be_chosen_too(client, alice):
    client.post("/facts/")

    assert facts_of(alice) == frozenset()


def test_unknown_facts_are_not_kept(client, alice):
    client.post("/facts/", {"facts": ["colour", "archive", "<script>"]})

    assert Preferences.objects.get().facts == ["archive"]
    Preferences.objects.update(facts=["archive", "of another version"])
    assert facts_of(alice) == {"archive"}


def test_choice_is_of_the_user_alone(client, served):
    make_dimse_archive(served)
    client.post("/facts/", {"facts": []})
    bob = User.objects.create_user("bob")

    assert facts_of(bob) == set(USUAL_FACTS)
    assert Client().post("/facts/", {"facts": []}).status_code == 302
    assert Preferences.objects.count() == 1


def test_form_has_what_is_chosen(client, served):
    make_dimse_archive(served)
    client.post("/facts/", {"facts": ["study_id", "counts"]})

    page = client.get(results_of(client)).content.decode()

    boxes = re.findall(r'name="facts" value="(\w+)"( checked)?', page)
    assert {name for name, _ in boxes} == set(FACTS)
    assert {name for name, checked in boxes if checked} == {"study_id", "counts"}
