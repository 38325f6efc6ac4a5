"""Archives that want the user's own login: each user's token, for search, launch, images."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client

from archives.clients.authentication import tokens, user_login
from archives.models import Archive, UserLogin
from archives.verification import verify
from launcher.models import ArchiveOutcome, Launch
from launcher.tasks import build_manifest, sweep_launches
from tests.asgi import serve_hub
from tests.dicomweb_studies import make_study
from tests.factories import make_api_client, make_dicomweb_archive
from tests.identity_provider import (
    IdentityProvider,
    UsersArchive,
    app_of,
    configured,
    log_in,
)
from tests.launcher.test_thumbnails import Listing
from tests.vendors.server import serving
from tests.weasis_client import open_uri
from tests.weasis_result import Result

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]
SCOPE = ["openid", "profile", "offline_access"]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityProvider]:
    """One whose tokens may end at any moment, however new they are."""
    monkeypatch.setattr(tokens, "REFUSED_SECONDS", 0.0)
    tokens._source.cache_clear()  # ports come back
    user_login._discovery_of.cache_clear()
    with (
        IdentityProvider().running() as running,
        configured(app_of(running, scope=SCOPE)),
    ):
        yield running


@pytest.fixture
def server(provider: IdentityProvider) -> Iterator[UsersArchive]:
    study = make_study(series=2, instances=6, accession_number="ACC-1")
    with serving(UsersArchive([study], provider)) as server:
        yield server


@pytest.fixture
def archive(server: UsersArchive) -> Archive:
    return make_dicomweb_archive(server.url, name="North", authentication="user")


@pytest.fixture
def hub(valkey: Any, settings: Any) -> Iterator[str]:
    with serve_hub() as address:
        settings.VIEWERHUB_PUBLIC_URL = address
        yield address


@pytest.fixture
def alice(archive: Archive, provider: IdentityProvider) -> Client:
    return logged_in("alice", provider)


def logged_in(name: str, provider: IdentityProvider) -> Client:
    client = Client()
    assert log_in(client, provider, name)["Location"] == "/"
    return client


def search(client: Client) -> str:
    """What the page says of the archive."""
    results = client.post("/search/", {"patient_name": "Doe^Jane"})["Location"]
    page = client.get(f"{results}archives/web/", headers={"HX-Request": "true"})
    return page.content.decode()


def launch(client: Client, **parameters: str) -> str:
    """Start one and build its manifest; its address."""
    answer = client.get("/weasis", {"studyUID": "1.1", **parameters})
    assert answer.status_code == 302, answer.content
    build_manifest(str(Launch.objects.latest("created").build_id))
    return str(answer["Location"])


def open_launch(client: Client) -> Result:
    return open_uri(launch(client), "4.7.2")


def message() -> str:
    """What the last launch says of the archive."""
    return ArchiveOutcome.objects.latest("pk").message


def forget_processes() -> None:
    """As a process that starts does."""
    tokens._source.cache_clear()


# Search, launch, images


def test_user_searches_launches_and_gets_images_while_tokens_rotate(
    hub, alice, archive, server, provider
):
    """With one connection, requests come one after the other, and so do the tokens."""
    Archive.objects.update(maximum_associations=1)
    images = iter(range(1, 1000))
    server.on_image = lambda: provider.expire() if next(images) % 3 == 0 else None

    provider.expire()
    assert "Doe" in search(alice)
    provider.expire()
    result = open_launch(alice)

    assert result.failures == []
    assert len(result.downloaded) == 12
    assert provider.refreshes() >= 6
    assert provider.reused == 0
    assert server.users() == {"alice"}
    assert server.refused == provider.refreshes()


def test_many_requests_with_a_token_that_expired_renew_it_once(
    hub, alice, archive, server, provider
):
    uri = launch(alice)
    provider.expire()

    result = open_uri(uri, "4.7.2")

    assert result.failures == []
    assert provider.refreshes() == 1
    assert provider.reused == 0


def test_series_and_their_pictures_are_of_the_user(alice, archive, server, provider):
    [study] = server.studies
    address = Listing(alice, study).address(study.series[0].series_instance_uid)
    assert server.users() == {"alice"}

    assert alice.get(address).status_code == 200
    assert server.users() == {"alice"}


def test_nobody_gets_anothers_token(hub, alice, archive, server, provider):
    bob = logged_in("bob", provider)
    for client, name in ((alice, "alice"), (bob, "bob"), (alice, "alice")):
        assert "Doe" in search(client)
        assert open_launch(client).failures == []
        assert server.users() == {name}


def test_user_without_a_login_at_the_provider_is_told(hub, alice, archive, server):
    carol = Client()
    carol.force_login(User.objects.create_user("carol"))

    page = search(carol)
    result = open_launch(carol)

    advice = "sign in again by Hospital login"
    assert "North needs your own login" in page
    assert advice in page
    assert advice in message()
    assert not result.downloaded
    assert not server.requests


def test_launch_without_a_user_opens_the_other_archives(
    hub, alice, archive, server, provider, settings
):
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["127.0.0.0/8"]
    with serving(UsersArchive([make_study()], provider)) as open_to_all:
        open_to_all._is_welcome = lambda request: True
        make_dicomweb_archive(open_to_all.url, slug="open", name="Open")

        result = open_uri(launch(Client()), "4.7.2")

    assert len(result.downloaded) == 6
    [outcome] = ArchiveOutcome.objects.filter(archive=archive)
    assert outcome.message == (
        "North needs its user's own login: open the study from the search page."
    )
    assert not server.requests


def test_api_client_is_told_that_it_has_no_login(alice, archive, server):
    _, key = make_api_client()
    headers = {"Authorization": f"Bearer {key}"}

    answer = Client().post(
        "/api/v1/studies/search",
        {"patient_name": "Doe^Jane"},
        content_type="application/json",
        headers=headers,
    )

    [told] = answer.json()["archives"]
    assert "needs its user's own login" in told["message"]
    assert not server.requests


def test_administrator_verifies_with_the_own_login(alice, archive, server, provider):
    [(_, by_nobody)] = verify([archive])
    [(_, by_alice)] = verify([archive], User.objects.get(username="alice"))

    assert "needs its user's own login" in by_nobody.failure.message
    assert by_alice.failure is None
    assert server.users() == {"alice"}


def test_button_of_the_admin_uses_the_login_of_who_presses_it(
    archive, server, provider
):
    admin = logged_in("admin", provider)
    User.objects.update(is_staff=True, is_superuser=True)

    admin.post(f"/admin/archives/archive/{archive.pk}/verify/")

    archive.refresh_from_db()
    assert archive.last_success
    assert server.users() == {"admin"}


# What is kept, and for how long


def test_nothing_is_kept_as_long_as_no_archive_wants_it(provider):
    logged_in("alice", provider)

    assert not UserLogin.objects.exists()


def test_tokens_are_encrypted_and_in_nothing_but_their_row(alice, provider):
    login = UserLogin.objects.get()
    with connection.cursor() as cursor:
        cursor.execute("SELECT access_token, refresh_token FROM archives_userlogin")
        stored = repr(cursor.fetchall())
    output = io.StringIO()
    call_command("dumpdata", stdout=output)

    assert login.access_token == provider.given[0]
    assert login.refresh_token == provider.given[1]
    for token in provider.given:
        assert token not in stored
        assert token not in output.getvalue()
        assert token not in repr(login) + str(login)
    assert '"access_token"' not in output.getvalue()


def test_login_waiting_for_a_second_factor_carries_no_token(
    archive, provider, settings
):
    """The session of one that is not complete is stored, and has it encrypted."""
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    logged_in("alice", provider)
    TOTP.activate(User.objects.get(), generate_totp_secret())
    UserLogin.objects.all().delete()
    client = Client()

    answer = log_in(client, provider)

    assert "/2fa/" in answer["Location"]
    assert not UserLogin.objects.exists()
    session = repr(dict(client.session))
    assert "viewerhub_tokens" in session
    assert not any(token in session for token in provider.given)


def test_connecting_an_account_keeps_its_tokens(archive, provider, server):
    client = Client()
    local = User.objects.create_user("local", password="a fixed word")
    client.post("/accounts/login/", {"login": "local", "password": "a fixed word"})

    log_in(client, provider, "alice", process="connect")
    assert UserLogin.objects.get().user == local
    UserLogin.objects.all().delete()
    log_in(client, provider, "alice", process="connect")

    assert UserLogin.objects.get().user == local
    assert "Doe" in search(client)


def test_disconnecting_an_account_forgets_its_tokens(alice, provider):
    user = User.objects.get()
    user.set_password("a fixed word")
    user.save()
    alice.force_login(user)
    alice.post(
        "/accounts/reauthenticate/",
        {"password": "a fixed word"},
    )

    account = user.socialaccount_set.get()
    alice.post("/accounts/3rdparty/", {"account": account.pk})

    assert not user.socialaccount_set.exists()
    assert not UserLogin.objects.exists()


def test_logout_leaves_tokens_to_launches_that_are_open(
    hub, alice, archive, server, provider
):
    uri = launch(alice)
    alice.post("/accounts/logout/")
    sweep_launches()
    provider.expire()
    assert open_uri(uri, "4.7.2").failures == []

    Launch.objects.get().revoke()
    sweep_launches()

    assert not UserLogin.objects.exists()


def test_logout_of_the_admin_ends_a_session_too(alice):
    User.objects.update(is_staff=True)

    alice.post("/admin/logout/")
    sweep_launches()

    assert not UserLogin.objects.exists()


def test_session_keeps_tokens(alice):
    sweep_launches()

    assert UserLogin.objects.exists()


def test_launch_of_another_keeps_nothing(hub, alice, archive, provider):
    launch(logged_in("bob", provider))
    alice.post("/accounts/logout/")
    sweep_launches()

    assert UserLogin.objects.get().user.username == "bob"


def test_inactive_user_has_no_token_any_more(alice, archive, server):
    alice.get("/weasis", {"studyUID": "1.1"})
    User.objects.update(is_active=False)

    build_manifest(str(Launch.objects.get().build_id))
    sweep_launches()

    assert "needs its user's own login" in message()
    assert not server.requests
    assert not UserLogin.objects.exists()


def test_deleted_user_takes_the_tokens_along(alice):
    User.objects.get().delete()

    assert not UserLogin.objects.exists()


def test_login_that_the_provider_ended_is_asked_for_again(
    hub, alice, archive, server, provider
):
    provider.end("alice")
    provider.expire()

    assert "sign in again by Hospital login" in search(alice)
    assert not UserLogin.objects.exists()

    again = logged_in("alice", provider)
    assert "Doe" in search(again)


def test_tokens_that_can_not_be_read_are_as_good_as_none(alice, archive, settings):
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key of thirty-two characters"]

    assert "sign in again by Hospital login" in search(alice)


def test_token_that_was_not_refused_serves_while_the_provider_is_down(
    alice, archive, server, provider
):
    provider.is_down = True
    UserLogin.objects.update(issued="2020-01-01T00:00:00Z")  # time to renew it

    assert "Doe" in search(alice)

    provider.expire()
    forget_processes()
    assert "is not available" in search(alice)
    assert UserLogin.objects.exists()

    provider.is_down = False
    assert "Doe" in search(alice)


def test_login_without_refresh_token_serves_until_it_expires(archive, server, provider):
    with configured(app_of(provider, scope=["openid"])):
        alice = logged_in("alice", provider)
        assert "Doe" in search(alice)

        provider.expire()
        assert "refused your login" in search(alice)

        UserLogin.objects.update(expires="2020-01-01T00:00:00Z")
        forget_processes()
        assert "sign in again by Hospital login" in search(alice)
    assert provider.refreshes() == 0


def test_renewed_token_survives_the_process(alice, archive, server, provider):
    provider.expire()
    assert "Doe" in search(alice)
    forget_processes()

    assert "Doe" in search(alice)
    assert provider.refreshes() == 1


def test_client_logs_in_to_the_provider_as_it_wants(archive, server, provider):
    provider.configuration = {
        "token_endpoint_auth_methods_supported": ["client_secret_basic"]
    }
    alice = logged_in("alice", provider)
    provider.expire()

    assert "Doe" in search(alice)
    assert all(request.authorization for request in provider.requests)
    assert "client_secret" not in provider.requests[-1].form


@pytest.mark.parametrize("endpoint", [None, "", 5, "http://[", "ftp://x/", "/token"])
def test_provider_without_a_token_endpoint_is_named(
    endpoint, alice, archive, server, provider
):
    provider.configuration = {"token_endpoint": endpoint}
    provider.expire()

    assert "has no token endpoint" in search(alice)


def test_provider_obeys_the_outgoing_rules(alice, archive, provider, settings):
    provider.expire()
    settings.VIEWERHUB_OUTGOING_LOOPBACK = False

    assert "VIEWERHUB_OUTGOING_NETWORKS" in search(alice)
    assert provider.refreshes() == 0
