"""The first page of the admin, and the page of how the hub is set up."""

import html
import re
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from launcher.models import ArchiveOutcome, Build, Launch, LaunchTemplate
from launcher.queue import seen_working
from launcher.results import LaunchResult
from tests.factories import make_api_client, make_dimse_archive, make_launch

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]

INDEX, SYSTEM = "/admin/", "/admin/system/"


@pytest.fixture(autouse=True)
def _nothing_noted(valkey):
    cache.clear()


def words(response):
    assert response.status_code == 200
    text = re.sub(
        r"<(script|style|template).*?</\1>", " ", response.content.decode(), flags=re.S
    )
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def staff(*permissions):
    user = User.objects.create(username="-".join(permissions) or "it", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def launched(archive, *, build, message="", **values):
    launch = make_launch([archive]).launch
    Build.objects.filter(pk=launch.build_id).update(state=build, flight=None)
    if message:
        ArchiveOutcome.objects.create(
            build=launch.build, archive=archive, state="unavailable", message=message
        )
    Launch.objects.filter(pk=launch.pk).update(**values)
    launch.refresh_from_db()
    return launch


# First steps


def steps(response):
    """The titles of the steps, each with whether it is done."""
    page = response.content.decode()
    [steps] = re.findall(r'<ol class="vh-steps">(.*?)</ol>', page, re.S)
    rows = re.findall(r"<li>(.*?)</li>", steps, re.S)
    plain = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows]
    return [row for row in plain if row.startswith(("✓ Done", "○ Open"))]


def test_new_hub_is_told_what_to_do_first(admin_client):
    page = admin_client.get(INDEX)

    assert len(steps(page)) == 7
    assert steps(page)[0].startswith("○ Open Register an archive")
    assert 'href="/admin/archives/archive/add/"' in page.content.decode()


def test_steps_are_ticked_off_and_disappear(admin_client, settings):
    settings.VIEWERHUB_PUBLIC_URL = "http://testserver"
    archive = make_dimse_archive(last_success=timezone.now())
    LaunchTemplate.objects.default()
    make_api_client()
    seen_working()
    page = admin_client.get(INDEX)
    assert [row for row in steps(page) if "Done" not in row] == [
        "○ Open Open a first study Search for one, and open it in Weasis.",
    ]

    launched(archive, build="ready", fetched=timezone.now())

    assert "First steps" not in words(admin_client.get(INDEX))


def test_public_address_that_is_not_this_one_is_told(admin_client, settings):
    settings.VIEWERHUB_PUBLIC_URL = "https://hub.example.org"

    assert (
        "Viewers are sent to https://hub.example.org (VIEWERHUB_PUBLIC_URL); you are at "
        "http://testserver."
    ) in words(admin_client.get(INDEX))


# Archives and launches


def test_archives_are_shown_with_state_and_last_error(admin_client):
    make_dimse_archive(
        last_error=timezone.now() - timedelta(hours=1),
        last_error_state="unavailable",
        last_message="Main PACS <does> not answer.",
        last_milliseconds=17,
    )

    page = words(admin_client.get(INDEX)).replace("\xa0", " ")

    assert (
        "Main PACS ⚠ Not answering 17 ms Never 1 hour ago Main PACS <does> not" in page
    )


def tallies(response):
    found = re.findall(
        r'<li><a href="([^"]+)"><strong class="vh-\w+">(\d+)</strong> ([\w ]+)</a>',
        response.content.decode(),
    )
    return {label: (int(number), html.unescape(url)) for url, number, label in found}


def test_launches_of_today_are_counted_by_what_became_of_them(admin_client):
    archive = make_dimse_archive()
    now = timezone.now()
    launched(archive, build="ready", fetched=now)
    launched(archive, build="failed", message="Main PACS is asleep.", fetched=now)
    launched(archive, build="failed", state="expired")
    launched(archive, build="building")
    launched(archive, build="ready")
    launched(archive, build="ready", state="revoked")
    launched(archive, build="ready", created=now - timedelta(days=2))

    page = admin_client.get(INDEX)

    numbers = {label: number for label, (number, _) in tallies(page).items()}
    assert numbers == {
        "Opened": 1,
        "Failed": 2,
        "Under way": 1,
        "Not opened": 1,
        "Revoked": 1,
    }
    assert "Main PACS is asleep." in words(page)
    for number, url in tallies(page).values():
        listed = admin_client.get(url).context["cl"].result_list
        assert len(listed) == number


@pytest.mark.parametrize("result", LaunchResult)
def test_each_launch_has_one_result(result):
    archive = make_dimse_archive()
    for build in Build.State:
        for state in Launch.State:
            for fetched in (None, timezone.now()):
                launched(archive, build=build, state=state, fetched=fetched)

    found = Launch.objects.filter(result.condition).select_related("build")

    assert found
    assert all(LaunchResult.of(launch) == result for launch in found)
    total = [Launch.objects.filter(one.condition).count() for one in LaunchResult]
    assert sum(total) == Launch.objects.count()


def test_slow_builds_are_named(admin_client):
    launch = launched(make_dimse_archive(), build="ready")
    now = timezone.now()
    Build.objects.filter(pk=launch.build_id).update(
        started=now - timedelta(seconds=42), finished=now
    )

    assert "What took longest ⚠ 42 seconds" in words(admin_client.get(INDEX))


def test_queue_says_whether_anybody_works(admin_client):
    assert "Worker or scheduler is not running" in words(admin_client.get(INDEX))

    seen_working()

    page = words(admin_client.get(INDEX))
    assert "Worker and scheduler are running" in page
    assert "0 tasks are waiting · 0 builds are under way" in page


def test_queue_that_is_away_breaks_nothing(admin_client, settings):
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:9/0"

    assert "The queue is not reachable" in words(admin_client.get(INDEX))


@pytest.mark.parametrize(
    ("permissions", "shown"),
    [
        ((), set()),
        (("view_archive",), {"archives-title"}),
        (("view_launch",), {"today-title", "work-title"}),
    ],
)
def test_staff_see_what_they_may(permissions, shown):
    make_dimse_archive(last_error=timezone.now(), last_message="A secret place.")

    page = staff(*permissions).get(INDEX).content.decode()

    sections = {"steps-title", "archives-title", "today-title", "work-title"}
    assert {one for one in sections if f'id="{one}"' in page} == shown
    assert ("A secret place." in page) == ("archives-title" in shown)


# The system


def test_system_shows_how_the_hub_is_set_up(admin_client, settings):
    settings.VIEWERHUB_STORAGE_AE_TITLE = "HUB-STORE"
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["10.1.0.0/16"]

    page = words(admin_client.get(SYSTEM))

    for text in (
        "HUB-STORE",
        "10.1.0.0/16",
        "VIEWERHUB_PUBLIC_URL",
        "Django",
        "127.0.0.1",
    ):
        assert text in page


def test_system_shows_no_secret(admin_client, settings):
    settings.VIEWERHUB_REDIS_URL = "redis://:redis-word@127.0.0.1:9/0"
    settings.SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {
            "APPS": [
                {
                    "provider_id": "hospital",
                    "name": "Hospital login",
                    "client_id": "hub",
                    "secret": "provider-word",
                    "settings": {"server_url": "https://login.example.org"},
                }
            ]
        }
    }

    page = admin_client.get(SYSTEM).content.decode()

    assert "127.0.0.1:9 is not answering" in page
    assert "Hospital login (hospital, https://login.example.org)" in page
    for secret in ("redis-word", "provider-word", settings.SECRET_KEY):
        assert secret not in page


def test_system_is_for_superusers():
    assert staff("view_archive").get(SYSTEM).status_code == 403
    assert Client().get(SYSTEM).status_code == 302


@pytest.mark.skipif(not apps.is_installed("unfold"), reason="it has no sidebar")
def test_first_page_does_not_repeat_the_sidebar(admin_client):
    page = words(admin_client.get(INDEX))

    assert "Admin log" in page
    assert "Log entries" not in page
    assert "Recent actions" not in page
