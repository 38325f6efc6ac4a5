import re
from datetime import date, timedelta
from html import unescape
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from launcher.models import SavedSearch
from launcher.search import store as search_store
from launcher.search.criteria import (
    SearchCriteria,
    criteria_from_json,
    criteria_to_json,
)
from launcher.search.saved import MAXIMUM_SEARCHES
from tests.factories import make_dimse_archive

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

SAVED = "/searches/"


@pytest.fixture(autouse=True)
def archive():
    return make_dimse_archive()


@pytest.fixture
def neuro():
    return Group.objects.create(name="Neuroradiology")


@pytest.fixture
def alice(neuro):
    user = User.objects.create_user("alice", first_name="Alice", last_name="Moreau")
    user.groups.add(neuro)
    return user


@pytest.fixture
def colleague(neuro):
    user = User.objects.create_user("bea")
    user.groups.add(neuro)
    return user


def logged_in(user):
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def client(alice):
    return logged_in(alice)


@pytest.fixture
def other(colleague):
    return logged_in(colleague)


@pytest.fixture
def outsider():
    return logged_in(User.objects.create_user("carl"))


def results_of(client, **fields):
    response = client.post("/search/", {"quick": "lindqvist", **fields})
    return response["Location"]


def keep(client, name="Follow-up", group="", **fields):
    """The saved search, kept from the page of its results."""
    search_id = results_of(client, **fields).split("/")[3]
    values = {"search": search_id, "name": name, "group": group}
    response = client.post(SAVED, values)
    assert response.status_code == 302, text_of(response)
    return SavedSearch.objects.latest("created")


def run(client, saved):
    return client.post(f"{SAVED}{saved.pk}/run/", follow=True)


def criteria_of(response, user):
    """What the search that was started asks for."""
    search_id = response.redirect_chain[-1][0].split("/")[3]
    return search_store.load(search_id, user.pk).criteria


def text(response):
    return response.content.decode()


def text_of(response):
    """The words of a page."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text(response))).split())


# Keeping and using


def test_search_is_saved_from_its_results_and_searched_again(client, alice):
    results = results_of(client, modalities=["CT", "MR"], patient_sex="F")
    search_id = results.split("/")[3]

    page = client.get(results).content.decode()
    kept = client.post(SAVED, {"search": search_id, "name": "Follow-up"}, follow=True)

    assert f'name="search" value="{search_id}"' in page
    assert kept.redirect_chain[-1][0] == results
    assert "The search is saved." in text_of(kept)
    again = run(client, SavedSearch.objects.get())
    assert again.redirect_chain[-1][0] != results
    assert criteria_of(again, alice) == SearchCriteria(
        quick="lindqvist", modalities=("CT", "MR"), patient_sex="F"
    )


@pytest.mark.parametrize("page", ["/", "results", SAVED])
def test_saved_searches_are_where_users_search(client, page):
    saved = keep(client)

    html = client.get(results_of(client) if page == "results" else page).content

    assert "Follow-up" in html.decode()
    assert f'action="{SAVED}{saved.pk}/run/"' in html.decode()


def test_address_of_a_saved_search_has_none_of_its_criteria(client):
    saved = keep(client, name="Lindqvist again")

    page = client.get(saved.get_absolute_url())

    assert re.fullmatch(r"/searches/[0-9a-f-]{36}/", saved.get_absolute_url())
    assert "Search text lindqvist" in text_of(page)
    assert "indqvist" not in re.search("<title>(.*)</title>", text(page))[1]
    assert page["Cache-Control"] == "private, no-store"


def test_last_days_are_counted_from_the_day_of_the_search(client, alice):
    saved = keep(client, preset="7")

    assert saved.get_criteria().study_date_from is None
    criteria = criteria_of(run(client, saved), alice)
    assert criteria.study_date_from == timezone.localdate() - timedelta(days=6)
    assert "7 days" in text_of(client.get(saved.get_absolute_url()))


def test_days_that_were_chosen_stay(client, alice):
    saved = keep(client, study_date_from="2026-01-02", study_date_to="2026-01-03")

    criteria = criteria_of(run(client, saved), alice)

    assert criteria.study_date_from == date(2026, 1, 2)
    assert criteria.study_date_to == date(2026, 1, 3)


def test_what_the_text_was_taken_for_is_kept(client, alice):
    saved = keep(client, quick_as="identifier")

    assert criteria_of(run(client, saved), alice).quick_as == "identifier"


def test_last_use_comes_first(client):
    older, newer = keep(client, name="Older"), keep(client, name="Newer")
    before = text_of(client.get(SAVED))

    run(client, older)

    after = text_of(client.get(SAVED))
    assert before.index("Newer") < before.index("Older")
    assert after.index("Older") < after.index("Newer")
    newer.refresh_from_db()
    assert newer.used is None


def test_search_that_has_become_too_broad_is_refused_with_advice(client):
    saved = keep(client, quick="", preset="today")
    saved.preset = "365"
    saved.save()

    page = run(client, saved)

    assert page.status_code == 400
    assert "too broad for the archives" in text_of(page)


def test_name_is_changed_and_the_search_deleted(client):
    saved = keep(client)

    changed = client.post(f"{SAVED}{saved.pk}/change/", {"name": "Thorax"}, follow=True)
    deleted = client.post(f"{SAVED}{saved.pk}/delete/", follow=True)

    assert "Thorax" in text_of(changed)
    assert "The saved search is deleted. Saved searches" in text_of(deleted)
    assert not SavedSearch.objects.exists()


def test_expired_results_can_not_be_saved(client):
    search_id = results_of(client).split("/")[3]
    cache.clear()

    page = client.post(SAVED, {"search": search_id, "name": "Late"})

    assert page.status_code == 404
    assert "This search has ended" in text_of(page)


def test_results_of_others_can_not_be_saved(client, other):
    search_id = results_of(other).split("/")[3]

    assert client.post(SAVED, {"search": search_id, "name": "x"}).status_code == 404
    assert not SavedSearch.objects.exists()


# Names and limits


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "This field is required."),
        ("\u200b \u00a0", "This field is required."),
        ("x" * 65, "at most 64 characters"),
        ("a\x07b", "Leave out control characters."),
        ("FOLLOW-UP", "You have a search of this name."),
    ],
)
def test_name_that_can_not_be_used_is_refused_with_the_reason(client, name, problem):
    keep(client, name="Follow-up")
    search_id = results_of(client).split("/")[3]

    page = client.post(SAVED, {"search": search_id, "name": name})

    assert page.status_code == 400
    assert problem in text_of(page)
    assert SavedSearch.objects.count() == 1


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "{{ 7|add:7 }}",
        "%(count)d %s",
    ],
)
def test_hostile_name_is_text_everywhere(client, name):
    saved = keep(client, name=name)

    for path in ("/", SAVED, saved.get_absolute_url(), results_of(client)):
        page = client.get(path)
        assert escape(name) in text(page)
        assert "<script>alert" not in text(page)
        assert "<img src=x" not in text(page)


def test_characters_that_do_not_show_are_left_out_of_names(client):
    assert keep(client, name="\u202eThorax\u2066\u200b").name == "Thorax"


def test_number_of_a_users_searches_is_limited(client, alice):
    for number in range(MAXIMUM_SEARCHES):
        saved = SavedSearch(owner=alice, name=f"Search {number}")
        saved.set_criteria(SearchCriteria(quick="lindqvist"))
        saved.save()
    search_id = results_of(client).split("/")[3]

    page = client.post(SAVED, {"search": search_id, "name": "One more"})

    assert page.status_code == 400
    assert "You have 50 saved searches" in text_of(page)
    changed = client.post(f"{SAVED}{saved.pk}/change/", {"name": "Still changes"})
    assert changed.status_code == 302


# Sharing


def test_members_of_the_group_see_and_use_what_is_shared(
    client, other, colleague, neuro
):
    saved = keep(client, group=neuro.pk)

    assert "Shared with Neuroradiology by Alice Moreau" in text_of(other.get("/"))
    assert "Search text lindqvist" in text_of(other.get(saved.get_absolute_url()))
    assert criteria_of(run(other, saved), colleague).quick == "lindqvist"
    mine = search_store.load(run(client, saved).redirect_chain[-1][0].split("/")[3], 0)
    assert mine is None


def test_what_is_not_shared_is_as_if_it_were_not_there(client, other, outsider, neuro):
    own, shared = keep(client), keep(client, name="Shared", group=neuro.pk)
    nowhere = SavedSearch(pk=uuid4())

    pages = [
        response
        for browser, saved in ((other, own), (outsider, shared), (other, nowhere))
        for response in (
            browser.get(saved.get_absolute_url()),
            browser.post(f"{SAVED}{saved.pk}/run/"),
        )
    ]

    assert {page.status_code for page in pages} == {404}
    assert len({text_of(page) for page in pages}) <= 3  # the header names the user
    assert all("not there for you" in text_of(page) for page in pages)
    assert "Follow-up" not in text_of(other.get(SAVED))
    assert "Nothing saved yet" in text_of(outsider.get(SAVED))


@pytest.mark.parametrize("action", ["change", "delete"])
def test_only_the_owner_changes_a_shared_search(client, other, neuro, action):
    saved = keep(client, group=neuro.pk)

    page = text(other.get(saved.get_absolute_url()))
    response = other.post(f"{SAVED}{saved.pk}/{action}/", {"name": "Mine now"})

    assert response.status_code == 404
    assert SavedSearch.objects.get().name == "Follow-up"
    assert f"{saved.pk}/{action}/" not in page


def test_search_is_shared_and_kept_to_oneself_again(client, other, neuro):
    saved = keep(client)
    change = f"{SAVED}{saved.pk}/change/"

    client.post(change, {"name": "Follow-up", "group": neuro.pk})
    assert other.get(saved.get_absolute_url()).status_code == 200
    client.post(change, {"name": "Follow-up", "group": ""})
    assert other.get(saved.get_absolute_url()).status_code == 404


def test_search_is_shared_only_with_a_group_of_the_user(client):
    foreign = Group.objects.create(name="Surgery")
    saved = keep(client)

    page = client.post(
        f"{SAVED}{saved.pk}/change/", {"name": "Follow-up", "group": foreign.pk}
    )

    assert page.status_code == 400
    assert SavedSearch.objects.get().group is None
    assert "Surgery" not in text_of(client.get(saved.get_absolute_url()))


def test_who_leaves_the_group_can_still_rename_what_is_shared_with_it(
    client, alice, neuro
):
    saved = keep(client, group=neuro.pk)
    alice.groups.clear()

    client.post(f"{SAVED}{saved.pk}/change/", {"name": "Brain", "group": neuro.pk})

    saved = SavedSearch.objects.get()
    assert (saved.name, saved.group) == ("Brain", neuro)


def test_user_without_groups_is_not_asked_for_one(outsider):
    keep(outsider)

    assert 'name="group"' not in text(outsider.get(results_of(outsider)))


def test_search_of_a_deleted_group_is_the_owners_alone(client, other, neuro):
    saved = keep(client, group=neuro.pk)
    neuro.delete()

    assert client.get(saved.get_absolute_url()).status_code == 200
    assert other.get(saved.get_absolute_url()).status_code == 404


def test_member_searches_only_archives_of_theirs_and_is_told(
    client, other, alice, colleague, neuro
):
    secret = make_dimse_archive(slug="secret", name="Secret archive")
    only_alice = Group.objects.create(name="Only Alice")
    alice.groups.add(only_alice)
    secret.groups.add(only_alice)
    both = keep(client, group=neuro.pk, archives=["main", "secret"])
    one = keep(client, name="One", group=neuro.pk, archives=["secret"])

    page = run(other, both)
    refused = run(other, one)

    assert criteria_of(page, colleague).archives == ("main",)
    assert "1 archive of this saved search is not available to you" in text_of(page)
    assert "None of the archives of this search is available" in text_of(refused)
    for shown in (page, refused, other.get(both.get_absolute_url()), other.get(SAVED)):
        assert "Secret" not in text_of(shown)
    assert criteria_of(run(client, both), alice).archives == ("main", "secret")


def test_archive_that_is_gone_is_left_out_with_a_notice(client, alice):
    copy = make_dimse_archive(slug="copy", name="Copy")
    saved = keep(client, archives=["main", "copy"])
    copy.delete()

    page = run(client, saved)

    assert criteria_of(page, alice).archives == ("main",)
    assert "was left out" in text_of(page)


# Who may not


@pytest.mark.parametrize("action", ["", "run/", "change/", "delete/"])
def test_visitors_log_in_first(client, action):
    saved = keep(client)
    path = f"{SAVED}{saved.pk}/{action}"

    response = Client().post(path) if action else Client().get(path)

    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/?next=/")
    assert SavedSearch.objects.filter(pk=saved.pk).exists()


@pytest.mark.parametrize("action", ["run/", "change/", "delete/"])
def test_nothing_happens_by_following_a_link(client, action):
    saved = keep(client)

    assert client.get(f"{SAVED}{saved.pk}/{action}").status_code == 405
    assert SavedSearch.objects.get().used is None


def test_link_is_followed_after_the_login(client, alice):
    saved = keep(client)
    alice.set_password("secret")
    alice.save()
    visitor = Client()
    login = visitor.get(saved.get_absolute_url())["Location"]

    page = visitor.post(login, {"login": "alice", "password": "secret"}, follow=True)

    assert page.redirect_chain[-1][0] == saved.get_absolute_url()
    assert "Search text lindqvist" in text_of(page)


# In the database and in the admin


def test_name_and_criteria_are_encrypted(client):
    keep(client, name="Hemingway")

    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM launcher_savedsearch")
        row = str(cursor.fetchall())

    assert "Hemingway" not in row
    assert "lindqvist" not in row


def test_search_whose_key_is_gone_says_so(client, settings):
    saved = keep(client)
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key that never wrote anything"]

    assert "Search that can't be read any more" in text_of(client.get("/"))
    assert "key that this search was encrypted with is gone" in text_of(
        run(client, saved)
    )
    assert client.post(f"{SAVED}{saved.pk}/delete/").status_code == 302


def test_administrators_see_which_criteria_but_no_values(client, admin_client, neuro):
    saved = keep(
        client, name="Hemingway", group=neuro.pk, preset="7", archives=["main"]
    )
    address = reverse("admin:launcher_savedsearch_changelist")

    listed = admin_client.get(address, {"q": "alice"})
    detail = admin_client.get(
        reverse("admin:launcher_savedsearch_change", args=[saved.pk])
    )

    for page in (listed, detail):
        assert "Search text, Study date, Archives" in text_of(page)
        assert "Neuroradiology" in text_of(page)
        assert "lindqvist" not in text(page)
        assert "Hemingway" not in text(page)
    assert str(saved.pk) not in text(admin_client.get(address, {"q": "nobody"}))
    assert str(saved.pk) in text(admin_client.get(address, {"q": "Neuro"}))


def test_administrators_delete_searches_and_add_none(client, admin_client):
    saved = keep(client)
    delete = reverse("admin:launcher_savedsearch_delete", args=[saved.pk])

    assert admin_client.get("/admin/launcher/savedsearch/add/").status_code == 403
    assert admin_client.post(delete, {"post": "yes"}).status_code == 302
    assert not SavedSearch.objects.exists()


def test_criteria_of_other_versions_are_read():
    criteria = SearchCriteria(
        quick="x", modalities=("CT",), patient_birth_date=date(1961, 2, 3)
    )
    stored = criteria_to_json(criteria)

    assert criteria_from_json(stored) == criteria
    assert criteria_from_json({**stored, "colour": "blue"}) == criteria
    del stored["archives"], stored["study_date_to"]
    assert criteria_from_json(stored) == criteria
