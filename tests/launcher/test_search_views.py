import gzip
import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from archives.embedded import EmbeddedArchive
from archives.models import Archive
from launcher.search import ordering
from launcher.search import store as search_store
from launcher.search.asking import merge
from tests.factories import make_dimse_archive
from tests.servers import IgnoresKeys, Limited

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]
HTMX = {"HX-Request": "true"}


@pytest.fixture(scope="module")
def files(dicom_files):
    return dicom_files.paths(dicom_files.group("demo", "issuers", "edges"))


@pytest.fixture(scope="module")
def served(files):
    with EmbeddedArchive(files) as running:
        yield running


@pytest.fixture
def alice():
    return User.objects.create_user("alice", password="secret")


@pytest.fixture
def client(alice):
    client = Client()
    client.force_login(alice)
    return client


def search(client, **fields):
    """The address of the results."""
    response = client.post(reverse("launcher:search_create"), fields)
    assert response.status_code == 302, text_of(response)
    return response["Location"]


def text_of(response):
    """The words of a page."""
    return " ".join(
        unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split()
    )


def fragment(client, results, slug="main", query=""):
    return client.get(f"{results}archives/{slug}/{query}", headers=HTMX)


def rows(response):
    return re.findall(r'<tbody class="study"', response.content.decode())


def test_search_leads_to_an_opaque_address(client, served):
    make_dimse_archive(served)

    address = search(client, quick="lindqvist", patient_id="DEMO-1^^^HOSPITAL-A")

    assert re.fullmatch(r"/search/r/[\w-]{22}/", address)
    assert "DEMO" not in address


def test_results_ask_each_archive_in_a_fragment_of_its_own(client):
    make_dimse_archive()
    make_dimse_archive(slug="old", name="Old archive")

    page = client.get(search(client, quick="lindqvist"))

    html = page.content.decode()
    assert html.count('hx-trigger="load"') == 2
    assert "Main PACS asking…" in text_of(page)
    assert "lindqvist" not in re.search("<title>(.*)</title>", html)[1]
    assert page["Cache-Control"] == "private, no-store"


def test_fragment_has_the_answer_and_its_studies(client, served):
    make_dimse_archive(served)

    answer = fragment(client, search(client, quick="lindqvist"))

    assert len(rows(answer)) == 3
    assert 'data-state="answered"' in answer.content.decode()
    assert "Lindqvist" in text_of(answer)
    assert "DEMO-1" in text_of(answer)


def test_dead_archive_says_so_and_offers_to_ask_again(client):
    make_dimse_archive()

    answer = fragment(client, search(client, quick="lindqvist"))

    assert 'data-state="unavailable"' in answer.content.decode()
    assert "Main PACS not answering" in text_of(answer)
    assert "Ask again" in text_of(answer)


def test_answers_that_were_left_out_are_told(client, files):
    with IgnoresKeys(files) as archive:
        make_dimse_archive(archive)
        answer = fragment(client, search(client, quick="lindqvist"))

    assert len(rows(answer)) == 3
    assert "did not fit the search and were left out" in text_of(answer)


def test_studies_beyond_the_limit_are_told(client, served, settings):
    settings.VIEWERHUB_SEARCH_LIMIT = 2
    make_dimse_archive(served)

    answer = fragment(client, search(client, quick="lindqvist"))

    assert "2+ more exist" in text_of(answer)


def test_later_fragment_merges_what_is_there_already(client, served, files):
    make_dimse_archive(served)
    results = search(client, quick="lindqvist")
    make_dimse_archive(served, slug="copy", name="Copy", position=1)

    first = fragment(client, results)
    second = fragment(client, results, "copy")

    assert "also in" not in text_of(first)
    assert text_of(second).count("Main PACS also in Copy") == 3


def test_answers_are_merged_with_the_best_archive_first(client, served, monkeypatch):
    make_dimse_archive(served, position=1)
    make_dimse_archive(served, slug="copy", name="Copy", position=2)
    results = search(client, quick="lindqvist")
    fragment(client, results, "copy")
    merged = []

    def merging(answers):
        merged.append(list(answers))
        return merge(answers)

    monkeypatch.setattr("launcher.search.asking.merge", merging)
    client.get(f"{results}?wait")

    assert merged == [["main", "copy"]]


def test_recent_answer_is_shown_again_without_asking(client, served):
    archive = make_dimse_archive(served)
    results = search(client, quick="lindqvist")
    fragment(client, results)
    Archive.objects.filter(pk=archive.pk).update(port=9)

    assert len(rows(client.get(results))) == 3
    assert len(rows(fragment(client, results))) == 3
    again = fragment(client, results, query="?again")
    assert 'data-state="unavailable"' in again.content.decode()


def test_old_answer_is_asked_again(client, served, monkeypatch):
    make_dimse_archive(served)
    results = search(client, quick="lindqvist")
    fragment(client, results)
    monkeypatch.setattr(search_store, "FRESH", timedelta(0))

    page = client.get(results)

    assert len(rows(page)) == 3
    assert "asking…" in text_of(page)


def test_page_without_javascript_has_all_answers(client, served):
    make_dimse_archive(served)
    make_dimse_archive(slug="old", name="Old archive", position=2)
    results = search(client, quick="lindqvist")

    first = client.get(results).content.decode()
    page = client.get(f"{results}?wait")

    assert (
        f'<noscript><meta http-equiv="refresh" content="0; url={results}?wait">'
        in first
    )
    assert len(rows(page)) == 3
    assert "3 studies" in text_of(page)
    assert "Old archive not answering" in text_of(page)
    assert 'data-state="asking"' not in page.content.decode()


def test_empty_result_says_which_archives_answered(client, served):
    make_dimse_archive(served)
    make_dimse_archive(slug="old", name="Old archive", position=2)

    page = client.get(f"{search(client, quick='nobodyatall')}?wait")

    assert "Answered: Main PACS." in text_of(page)
    assert "Not answered: Old archive." in text_of(page)
    empty = page.content.decode().partition("No study matches")[2]
    assert "Ask Old archive again" in empty
    assert "Ask Main PACS again" not in empty


def test_saved_searches_are_reached_from_every_page(client):
    """In the header, or in the menu of the user where that is narrow."""
    address = f'href="{reverse("launcher:saved_search_list")}"'

    page = client.get(reverse("launcher:launch_list")).content.decode()

    assert page.count(f'class="if-wide" {address}') == 1
    assert page.count(f'class="if-narrow" {address}') == 1


@pytest.mark.parametrize(
    ("fields", "advice", "unfit"),
    [
        ({"quick": "nobodyatall"}, "Enter fewer letters", "Check the number"),
        ({"quick": "nobodyatall"}, "Try the patient ID", "a longer period"),
        ({"quick": "A99999999"}, "Check the number", "Enter fewer letters"),
        ({"accession_number": "A99999999"}, "Try the patient’s name", "Clear filters"),
        ({"quick": "nobodyatall", "preset": "7"}, "a longer period", "Clear filters"),
        ({"quick": "nobodyatall", "modalities": "CT"}, "Clear filters", "the number:"),
    ],
)
def test_advice_where_nothing_matches_fits_what_was_asked(
    client, served, fields, advice, unfit
):
    make_dimse_archive(served)

    page = text_of(client.get(f"{search(client, **fields)}?wait"))

    assert advice in page
    assert unfit not in page


def test_silence_of_all_archives_is_no_empty_result(client):
    make_dimse_archive()

    page = client.get(f"{search(client, quick='lindqvist')}?wait")

    assert "No archive answers" in text_of(page)
    assert "No study matches" not in text_of(page)


@pytest.mark.parametrize("text", ["*", "**", "?*", "%", "   ", "ab", "_"])
def test_broad_search_is_refused_with_advice(client, served, text):
    make_dimse_archive(served)

    page = client.post(reverse("launcher:search_create"), {"quick": text})

    assert page.status_code == 400
    assert "too broad for the archives. Enter at least 3 letters" in text_of(page)


@pytest.mark.parametrize(
    ("preset", "is_allowed"),
    [
        ("today", True),
        ("yesterday", True),
        ("3", True),
        ("7", True),
        ("30", True),
        ("365", False),
    ],
)
def test_short_period_alone_is_enough(client, served, preset, is_allowed):
    make_dimse_archive(served)

    page = client.post(reverse("launcher:search_create"), {"preset": preset})

    assert page.status_code == (302 if is_allowed else 400)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"quick": "a\\b\\c\\d"}, "Leave out backslashes"),
        ({"quick": "abc\x00d"}, "backslashes and control characters"),
        ({"quick": "x" * 65}, "at most 64 characters"),
        ({"quick": "martin", "patient_name": "ali"}, "Clear one of them"),
        ({"quick": "A100", "accession_number": "A100"}, "Clear one of them"),
        ({"study_date_from": "nonsense"}, "Enter a valid date"),
        (
            {"study_date_from": "2026-01-02", "study_date_to": "2026-01-01"},
            "This day is before the first one.",
        ),
        ({"quick": "martin", "archives": "unknown"}, "Correct the fields"),
        ({"quick": "martin", "modalities": "ZZ"}, "Correct the fields"),
    ],
)
def test_bad_input_is_named(client, served, fields, problem):
    make_dimse_archive(served)

    page = client.post(reverse("launcher:search_create"), fields)

    assert page.status_code == 400
    assert problem in text_of(page)


def test_results_keep_the_filters_in_the_form(client, served):
    make_dimse_archive(served)
    make_dimse_archive(served, slug="other", name="Other")
    fields = {
        "quick": "lindqvist",
        "modalities": ["CT", "MR"],
        "study_date_from": "2026-01-01",
        "patient_sex": "F",
        "archives": "main",
    }

    page = client.get(search(client, **fields)).content.decode()

    assert 'value="lindqvist"' in page
    assert 'value="2026-01-01"' in page
    assert re.search(r'value="CT" checked', page)
    assert re.search(r'value="main" checked', page)
    assert page.count('hx-trigger="load"') == 1


def test_results_say_what_the_text_was_taken_for_and_let_users_correct_it(
    client, served
):
    make_dimse_archive(served)
    fields = {"quick": "\u00a0“lindqvist R2” ", "modalities": "CT"}

    page = client.get(search(client, **fields))
    as_name = search(client, **fields, quick_as="name")

    assert "Looked for as a patient ID and as an accession number." in text_of(page)
    assert 'name="quick_as" value="name"' in page.content.decode()
    named = client.get(as_name)
    assert "a patient name: family name lindqvist*, given name R2* ." in text_of(named)
    assert 'name="quick_as" value="identifier"' in named.content.decode()
    assert re.search(r'value="CT" checked', named.content.decode())


def test_uid_that_is_looked_for_is_said_to_be_of_a_study(client, served, dicom_files):
    make_dimse_archive(served)
    uid = dicom_files.study("ct").study_instance_uid

    results = search(client, quick=f"{uid}\r\n")

    assert len(rows(fragment(client, results))) == 1
    assert "Looked for as a Study Instance UID." in text_of(client.get(results))
    assert "series and images are not searched for" in text_of(client.get(results))


# Who may see what


def test_archives_without_right_are_neither_shown_nor_asked(client, served):
    make_dimse_archive(served)
    secret = make_dimse_archive(served, slug="secret", name="Secret archive")
    secret.groups.add(Group.objects.create(name="Others"))
    results = search(client, quick="lindqvist")

    assert "Secret" not in text_of(client.get(results))
    assert "This search has ended" in text_of(fragment(client, results, "secret"))
    forced = client.post(
        reverse("launcher:search_create"), {"quick": "abc", "archives": "secret"}
    )
    assert forced.status_code == 400


def test_search_belongs_to_its_user(client, served):
    make_dimse_archive(served)
    results = search(client, quick="lindqvist")
    fragment(client, results)
    bob = Client()
    bob.force_login(User.objects.create_user("bob"))

    page = bob.get(results)
    missing = bob.get("/search/r/AAAAAAAAAAAAAAAAAAAAAA/")

    assert page.status_code == missing.status_code == 404
    assert "This search has ended" in text_of(page)
    assert "lindqvist" not in page.content.decode().lower()
    assert "ended" in text_of(fragment(bob, results))


def test_expired_search_says_so_and_offers_a_new_one(client, served):
    make_dimse_archive(served)
    results = search(client, quick="lindqvist")
    cache.clear()

    page = client.get(results)

    assert page.status_code == 404
    assert "This search has ended" in text_of(page)
    assert 'name="quick"' in page.content.decode()


@pytest.mark.parametrize(
    "path", ["/", "/search/r/x/", "/launches/", "/search/r/x/archives/main/"]
)
def test_visitors_log_in_first(path):
    response = Client().get(path)

    assert response.status_code == 302
    assert response["Location"] == f"/accounts/login/?next={path}"


def test_fragment_of_an_expired_session_sends_the_page_to_the_login():
    response = Client().get(
        "/search/r/x/archives/main/",
        headers={**HTMX, "HX-Current-URL": "http://testserver/search/r/x/"},
    )

    assert response.status_code == 200
    assert response["HX-Redirect"] == "/accounts/login/?next=/search/r/x/"


def test_login_never_leads_to_another_site():
    response = Client().get(
        "/launches/", headers={**HTMX, "HX-Current-URL": "https://evil.example/x"}
    )

    assert response["HX-Redirect"] == "/accounts/login/?next=/"


def test_search_with_an_expired_session_is_there_after_the_login(served, alice):
    make_dimse_archive(served)
    visitor = Client()

    results = search(visitor, quick="lindqvist")
    assert visitor.get(results)["Location"] == f"/accounts/login/?next={results}"
    logged_in = visitor.post(
        f"/accounts/login/?next={results}", {"login": "alice", "password": "secret"}
    )
    page = visitor.get(logged_in["Location"])

    assert page.status_code == 200
    assert 'value="lindqvist"' in page.content.decode()


def test_visitor_does_not_learn_which_archives_exist(served):
    make_dimse_archive(served)

    for slug in ("main", "nowhere", "no slug"):
        fields = {"quick": "lindqvist", "archives": slug}
        assert search(Client(), **fields).startswith("/search/r/")


def test_archives_chosen_before_the_login_are_asked_after_it(served, alice):
    make_dimse_archive(served)
    make_dimse_archive(served, name="Second", slug="second")
    visitor = Client()
    results = search(visitor, quick="lindqvist", archives=["second", "nowhere"])
    visitor.force_login(alice)

    page = visitor.get(results).content.decode()

    assert re.search(r'value="second" checked', page)
    assert not re.search(r'value="main" checked', page)


def test_search_before_the_login_is_of_no_use_to_others(served, alice):
    make_dimse_archive(served)
    results = search(Client(), quick="lindqvist")
    other = Client()
    other.force_login(alice)

    assert other.get(results).status_code == 404


def test_first_run_tells_administrators_what_to_do_and_users_whom_to_ask(client):
    User.objects.create_superuser("root", first_name="Ines", last_name="Kovac")
    administrator = Client()
    administrator.force_login(User.objects.get(username="root"))

    assert "Register an archive" in text_of(administrator.get("/"))
    assert (
        reverse("admin:archives_archive_add") in administrator.get("/").content.decode()
    )
    assert "Ask Ines Kovac to register an archive" in text_of(client.get("/"))


def test_user_without_any_right_is_told_whom_to_ask(client, served):
    User.objects.create_superuser("root")
    archive = make_dimse_archive(served)
    archive.groups.add(Group.objects.create(name="Others"))

    page = client.get("/")

    assert "You have no access to an archive yet" in text_of(page)
    assert "Ask root to add you" in text_of(page)
    assert 'name="quick"' not in page.content.decode()


# Series


def expand(client, results, number=0, headers=HTMX):
    html = fragment(client, results).content.decode()
    address = re.findall(r'hx-get="(/search/r/[^"]+/studies/[^"]+)"', html)[number]
    return address, client.get(address, headers=headers)


def test_series_are_listed_on_expand_by_an_address_without_uids(
    client, served, dicom_files
):
    make_dimse_archive(served)

    address, answer = expand(client, search(client, quick="A1001"))

    assert dicom_files.study("ct").study_instance_uid not in address
    assert "Lung 1.0" in text_of(answer)
    assert "20 images" in text_of(answer)
    assert "2 other studies of this patient" in text_of(answer)


def test_series_are_a_page_without_javascript(client, served):
    make_dimse_archive(served)

    _, page = expand(client, search(client, quick="A1001"), headers=None)

    assert "Back to the results" in text_of(page)
    assert "Mediastinum 3.0" in text_of(page)


def test_series_of_an_archive_that_died_say_why(client, served):
    archive = make_dimse_archive(served)
    results = search(client, quick="A1001")
    address, _ = expand(client, results)
    Archive.objects.filter(pk=archive.pk).update(port=9)

    answer = client.get(address, headers=HTMX)

    assert answer.status_code == 200
    assert "Main PACS" in text_of(answer)
    assert "Lung 1.0" not in text_of(answer)


def test_series_come_from_the_other_archive_if_the_first_is_down(client, served):
    archive = make_dimse_archive(served)
    results = search(client, quick="A1001")
    make_dimse_archive(served, slug="copy", name="Copy", position=1)
    address, _ = expand(client, results)
    fragment(client, results, "copy")
    Archive.objects.filter(pk=archive.pk).update(port=9)

    assert "Lung 1.0" in text_of(client.get(address, headers=HTMX))


def test_other_studies_of_the_patient_are_one_click_away(client, served):
    make_dimse_archive(served)
    _, answer = expand(client, search(client, quick="A1001"))
    field = re.search(r'name="patient_id" value="([^"]+)"', answer.content.decode())

    results = search(client, patient_id=unescape(field[1]), preset="any")

    assert len(rows(fragment(client, results))) == 3


def test_other_studies_are_counted_only_where_one_archive_knows_all(client, served):
    make_dimse_archive(served)
    _, alone = expand(client, search(client, quick="A1001"))
    make_dimse_archive(served, slug="copy", name="Copy", position=1)
    _, beside = expand(client, search(client, quick="A1001"))

    assert "2 other studies of this patient" in text_of(alone)
    assert "Other studies of this patient" in text_of(beside)
    assert "2 other" not in text_of(beside)


# Hostile and odd values


def test_hostile_values_are_text_everywhere(client, served):
    make_dimse_archive(served)
    results = search(client, patient_id="XML-<&>\"'", preset="any")

    answer = fragment(client, results)
    _, series = expand(client, results)

    for response in (answer, series, client.get(results)):
        html = response.content.decode()
        assert "<script>alert" not in html
        assert "<b>" not in re.sub(r"<b>Main PACS</b>|<b>[A-Z]+</b>", "", html)
    assert len(rows(answer)) == 1
    assert 'alert("1")' in text_of(answer)


def test_study_without_any_optional_value_is_shown(client, served):
    make_dimse_archive(served)

    answer = fragment(client, search(client, patient_id="EMPTY"))

    assert "No name" in text_of(answer)
    assert "No description" in text_of(answer)
    assert "No date" in text_of(answer)


def test_page_has_no_patient_data_in_any_address(client, served):
    make_dimse_archive(served)
    results = search(client, quick="lindqvist")
    pages = [client.get(f"{results}?wait"), fragment(client, results)]
    pages.append(expand(client, results)[1])

    for page in pages:
        for address in re.findall(
            r'(?:href|action|src|hx-\w+)="([^"]*)"', page.content.decode()
        ):
            assert not re.search(r"lindqvist|DEMO|A100|2\.25\.", address, re.IGNORECASE)


def test_limited_archive_shows_what_it_gives(client, files):
    with Limited(files) as archive:
        archive.limit = 2
        make_dimse_archive(archive)
        answer = fragment(client, search(client, quick="lindqvist"))

    assert len(rows(answer)) == 2


def test_pages_of_a_search_are_compressed(client, served):
    make_dimse_archive(served)
    results = search(client, quick="lindqvist")
    accepted = {"Accept-Encoding": "gzip, deflate, br"}

    pages = [
        client.get(path, headers=accepted)
        for path in (f"{results}?wait", f"{results}archives/main/")
    ]

    for page in pages:
        assert page["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in page["Vary"]
        assert b"Lindqvist" in gzip.decompress(page.content)


@pytest.mark.parametrize("path", ["/", "/launches/"])
def test_pages_whose_address_others_know_are_not_compressed(client, served, path):
    make_dimse_archive(served)

    page = client.get(path, headers={"Accept-Encoding": "gzip"})

    assert page.status_code == 200
    assert "Content-Encoding" not in page


# Order and pages


def names(response):
    """Family names in the order of the rows."""
    return re.findall(r'class="family">([^<]+)<', response.content.decode())


def everybody(client, query):
    results = search(client, patient_id="DEMO-?", preset="any")
    return client.get(f"{results}?wait&{query}")


@pytest.mark.parametrize("text", ["patient_name", "-patient_name"])
def test_address_orders_the_rows(client, served, text):
    make_dimse_archive(served)

    page = everybody(client, f"sort={text}")

    assert len(names(page)) == 5
    assert names(page) == sorted(names(page), reverse=text.startswith("-"))
    direction = "descending" if text.startswith("-") else "ascending"
    assert page.content.decode().count(f'aria-sort="{direction}"') == 1
    assert page.content.decode().count("aria-sort=") == 1
    assert "Sorted by patient name" in text_of(page)


def test_heads_link_to_their_order_and_its_reverse(client, served):
    make_dimse_archive(served)

    html = everybody(client, "sort=patient_name").content.decode()
    head = html[html.index("<thead") : html.index("</thead>")]

    assert re.findall(r'href="\?([^"]*)"', head) == [
        "sort=-patient_name",
        "sort=study_description",
        "sort=patient_id",
        "sort=accession_number",
        "sort=patient_sex",
        "sort=patient_birth_date",
        "",
        "sort=modalities",
        "sort=-series",
        "sort=-instances",
    ]


def test_order_says_among_which_studies(client, served, settings):
    settings.VIEWERHUB_SEARCH_LIMIT = 2
    make_dimse_archive(served)

    page = everybody(client, "sort=patient_name")

    assert (
        "Sorted by patient name among the 2 studies received; Main PACS has more: narrow "
        "your search to see them"
    ) in text_of(page)


def test_nonsense_in_the_address_is_the_first_page_newest_first(client, served):
    make_dimse_archive(served)

    page = everybody(client, "sort=%3Cscript%3E&after=%22x&before=1")

    assert len(rows(page)) == 5
    assert "Newest first" in text_of(page)
    html = page.content.decode()
    links = re.findall(r'(?:href|hx-get)="([^"]*)"', html[html.index("data-results") :])
    assert [link for link in links if "%3C" in link or "%22" in link] == []


@pytest.fixture
def pages_of_two(monkeypatch):
    monkeypatch.setattr(ordering, "PAGE_SIZE", 2)


def linked(response, rel):
    return unescape(
        re.search(f'rel="{rel}" href="([^"]+)"', response.content.decode())[1]
    )


@pytest.mark.usefixtures("pages_of_two")
def test_pages_go_on_and_back_in_their_order(client, served):
    make_dimse_archive(served)
    results = search(client, patient_id="DEMO-?", preset="any")

    first = client.get(f"{results}?wait&sort=patient_name")
    second = client.get(results + linked(first, "next"))
    third = client.get(results + linked(second, "next"))
    back = client.get(results + linked(third, "prev"))

    assert "1 to 2 of 5 studies" in text_of(first)
    assert "3 to 4 of 5 studies" in text_of(second)
    assert "5 to 5 of 5 studies" in text_of(third)
    assert 'rel="next"' not in third.content.decode()
    assert 'rel="prev"' not in first.content.decode()
    assert names(back) == names(second)
    everyone = names(first) + names(second) + names(third)
    assert everyone == sorted(everyone)


@pytest.mark.usefixtures("pages_of_two")
def test_fragment_has_the_page_that_is_looked_at(client, served, monkeypatch):
    make_dimse_archive(served)
    results = search(client, patient_id="DEMO-?", preset="any")
    query = linked(client.get(f"{results}?wait"), "next")
    monkeypatch.setattr(search_store, "FRESH", timedelta(0))

    page = client.get(results + query).content.decode()
    (address,) = re.findall(r'hx-get="([^"]+)" hx-trigger="load"', page)
    answer = client.get(unescape(address), headers=HTMX)

    assert address == f"{results}archives/main/{query}"
    assert len(rows(answer)) == 2
    assert "3 to 4 of 5 studies" in text_of(answer)


def test_announcement_tells_the_outcome_in_a_sentence(client, served):
    make_dimse_archive(served)
    make_dimse_archive(slug="old", name="Old archive", position=2)
    results = search(client, quick="lindqvist")

    fragment(client, results)
    answer = fragment(client, results, "old").content.decode()

    (sentence,) = re.findall(r'data-announcement="([^"]+)"', answer)
    assert " ".join(sentence.split()) == (
        "All archives have been asked: 3 studies. Not answered: Old archive."
    )


def test_later_fragments_have_greater_versions(client, served):
    make_dimse_archive(served)
    make_dimse_archive(served, slug="copy", name="Copy", position=1)
    results = search(client, quick="lindqvist")

    def version(response):
        return int(re.search(r'data-version="(\d+)"', response.content.decode())[1])

    versions = [
        version(client.get(results)),
        version(fragment(client, results)),
        version(fragment(client, results, "copy")),
        version(fragment(client, results, query="?again")),
    ]

    assert versions == sorted(set(versions))
