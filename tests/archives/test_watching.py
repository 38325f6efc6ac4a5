"""What is known of archives without asking them again, and asking those nobody asks."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from archives import watching
from archives.clients.credentials import IdentityProvider, UserToken
from archives.errors import ArchiveRefusedError
from archives.health import ArchiveState
from archives.models import Archive
from archives.user_logins import STORED_LOGINS
from archives.watching import Finding, check_quiet_archives, finding_of, note, settle
from tests.dicomweb_server import Behaviour, DicomWebServer, status
from tests.dicomweb_studies import make_study
from tests.factories import make_dicomweb_archive, make_dimse_archive
from tests.vendors.server import serving

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]

PROVIDER = IdentityProvider(
    provider_id="hospital",
    name="Hospital login",
    configuration_url="https://login.example.org",
    client_id="hub",
    client_secret="secret",
)


@pytest.fixture(autouse=True)
def _nothing_noted(valkey):
    cache.clear()


def noted(archive, state, message="", milliseconds=None):
    note(
        Finding(
            archive_id=archive.pk,
            state=state,
            message=message,
            milliseconds=milliseconds,
        )
    )
    settle()
    archive.refresh_from_db()
    return archive


def test_archive_is_unknown_until_it_was_asked():
    archive = make_dimse_archive()

    settle()

    archive.refresh_from_db()
    assert archive.state == ArchiveState.UNKNOWN


def test_success_and_error_are_both_remembered_and_the_later_one_counts():
    archive = noted(make_dimse_archive(), ArchiveState.WORKING, milliseconds=42)
    assert (archive.state, archive.last_milliseconds) == (ArchiveState.WORKING, 42)

    archive = noted(archive, ArchiveState.UNAVAILABLE, "Main PACS does not answer.")
    assert archive.state == ArchiveState.UNAVAILABLE
    assert archive.last_success
    assert archive.last_milliseconds == 42

    archive = noted(archive, ArchiveState.WORKING)
    assert archive.state == ArchiveState.WORKING
    assert archive.last_message == "Main PACS does not answer."


def test_what_the_row_knows_better_is_not_overwritten():
    archive = noted(make_dimse_archive(), ArchiveState.WORKING)
    later = timezone.now() + timedelta(minutes=1)
    Archive.objects.filter(pk=archive.pk).update(last_success=later)

    settle()

    archive.refresh_from_db()
    assert archive.last_success == later


@pytest.mark.parametrize("state", ArchiveState)
def test_archives_are_found_by_their_state(state):
    archives = {
        one: make_dimse_archive(name=one.value, slug=one.value) for one in ArchiveState
    }
    for one, archive in archives.items():
        if one != ArchiveState.UNKNOWN:
            noted(archive, one)

    assert list(Archive.objects.in_state(state)) == [archives[state]]


def test_without_redis_nothing_is_learnt_and_nothing_fails(settings):
    settings.CACHES = {
        "default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:9/0"}
    }

    archive = noted(make_dimse_archive(), ArchiveState.FAILED)

    assert archive.state == ArchiveState.UNKNOWN


# What answers say


def test_archive_that_was_not_asked_is_not_judged():
    assert finding_of(1, ArchiveRefusedError("No password."), "refused") is None


def test_refusal_of_a_users_own_login_says_nothing_about_the_archive():
    endpoint = make_dicomweb_archive("https://pacs.example.org/rs").endpoint()
    token = UserToken(user="1", provider=PROVIDER, logins=STORED_LOGINS)

    assert finding_of(1, endpoint, "refused", "No.").state == ArchiveState.REFUSED
    assert finding_of(1, replace(endpoint, credentials=token), "refused") is None


@pytest.mark.parametrize("state", ["answered", "ok", "empty", "truncated"])
def test_every_kind_of_answer_is_one(state):
    endpoint = make_dimse_archive().endpoint()

    assert finding_of(1, endpoint, state).state == ArchiveState.WORKING


# Asking


def test_quiet_archives_are_asked_by_echo_and_by_one_study(embedded_archive):
    with serving(DicomWebServer([make_study()], Behaviour())) as server:
        dimse = make_dimse_archive(embedded_archive)
        web = make_dicomweb_archive(server.url)

        assert check_quiet_archives() == 2

    for archive in (dimse, web):
        archive.refresh_from_db()
        assert archive.state == ArchiveState.WORKING
        assert archive.last_milliseconds is not None
    [request] = server.requests
    assert (request.path, request.query) == ("/dicom-web/studies", "limit=1")


def test_archive_that_is_down_is_found_so_without_a_search():
    archive = make_dimse_archive()

    check_quiet_archives()

    archive.refresh_from_db()
    assert archive.state == ArchiveState.UNAVAILABLE
    assert "Main PACS" in archive.last_message


def test_archive_that_fails_every_question_is_failing():
    server = DicomWebServer([make_study()], Behaviour())
    server.answer_with("*", status(500))
    with serving(server):
        archive = make_dicomweb_archive(server.url)
        check_quiet_archives()

    archive.refresh_from_db()
    assert archive.state == ArchiveState.FAILED
    assert "HTTP 500" in archive.last_message


def test_archive_that_was_just_asked_is_left_alone():
    archive = noted(make_dimse_archive(), ArchiveState.WORKING)

    assert check_quiet_archives() == 0
    assert check_quiet_archives(timezone.now() + timedelta(minutes=6)) == 1

    archive.refresh_from_db()
    assert archive.state == ArchiveState.UNAVAILABLE


@pytest.mark.parametrize(
    "values", [{"is_enabled": False}, {"authentication": "user"}], ids=str
)
def test_archive_that_can_not_be_asked_is_not(values):
    make_dicomweb_archive("http://127.0.0.1:9/dicom-web", **values)

    assert check_quiet_archives() == 0


def test_checks_can_be_turned_off(settings):
    settings.VIEWERHUB_ARCHIVE_CHECK_SECONDS = 0
    make_dimse_archive()

    assert check_quiet_archives() == 0
    assert watching.CHECK_SECONDS <= 10
