"""Login by an identity provider, here a small one that knows one user."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings

from tests.identity_provider import IdentityProvider, app_of, configured, log_in
from tests.valkey import RedisServer


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    """One that the settings name."""
    with IdentityProvider().running() as running, configured(app_of(running)):
        yield running


pytestmark = pytest.mark.django_db(transaction=True)


def test_login_page_offers_the_provider(
    client: Client, provider: IdentityProvider, valkey: RedisServer
) -> None:
    assert "Hospital login" in client.get("/accounts/login/").content.decode()


def test_first_login_makes_an_account_without_rights(
    client: Client, provider: IdentityProvider, valkey: RedisServer
) -> None:
    assert log_in(client, provider)["Location"] == "/"

    user = User.objects.get()
    assert client.session["_auth_user_id"] == str(user.pk)
    assert user.username == "alice"
    assert not user.is_staff
    assert not user.is_superuser
    assert not user.groups.exists()


def test_second_login_finds_the_same_account(
    client: Client, provider: IdentityProvider, valkey: RedisServer
) -> None:
    log_in(client, provider)
    log_in(Client(), provider)

    assert User.objects.count() == 1


def test_first_login_makes_no_account_where_that_is_turned_off(
    client: Client, provider: IdentityProvider, valkey: RedisServer
) -> None:
    with override_settings(VIEWERHUB_OIDC_CREATE_USERS=False):
        response = log_in(client, provider)

    assert not User.objects.exists()
    assert response.templates[0].name == "account/signup_closed.html"


def test_account_of_the_same_name_is_not_taken_over(
    client: Client, provider: IdentityProvider, valkey: RedisServer
) -> None:
    local = User.objects.create_user("alice", password="a fixed word")

    log_in(client, provider)

    assert client.session["_auth_user_id"] != str(local.pk)
    assert User.objects.count() == 2
