from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client, modify_settings

from tests.valkey import RedisServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client: Client) -> User:
    user = User.objects.create_superuser("admin", password="a fixed word")
    client.force_login(user)
    return user


def test_sign_up_is_closed(client: Client, valkey: RedisServer) -> None:
    data = {"username": "eve", "password1": "a fixed word", "password2": "a fixed word"}

    client.post("/accounts/signup/", data)

    assert not User.objects.exists()


def test_admin_login_is_the_portal_login(client: Client) -> None:
    """Where second factors and rate limits are."""
    response = client.get("/admin/login/", {"next": "/admin/"})

    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/")


def test_staff_without_second_factor_is_sent_to_set_one_up(
    client: Client, admin: User
) -> None:
    with modify_settings(MIDDLEWARE={"append": "viewerhub.middleware.require_mfa"}):
        response = client.get("/admin/")
        account = client.get("/accounts/2fa/")

    assert (response.status_code, response["Location"]) == (302, "/accounts/2fa/")
    assert account.status_code == 200


def test_users_without_staff_rights_need_no_second_factor(client: Client) -> None:
    client.force_login(User.objects.create_user("alice"))

    with modify_settings(MIDDLEWARE={"append": "viewerhub.middleware.require_mfa"}):
        response = client.get("/livez")

    assert response.status_code == 200


def test_staff_needs_no_second_factor_unless_it_is_required(
    client: Client, admin: User
) -> None:
    assert client.get("/admin/").status_code == 200


@pytest.mark.parametrize("page", ["/accounts/login/", "/search/"])
def test_pages_say_so_when_redis_is_down(
    client: Client, admin: User, valkey: RedisServer, page: str
) -> None:
    """Rate limits of the login and the criteria of a search are there."""
    if page == "/accounts/login/":
        client.logout()
    data = {"login": "admin", "password": "a fixed word", "quick": "doe^john"}
    valkey.stop()
    try:
        response = client.post(page, data)
    finally:
        valkey.start()

    assert response.status_code == 503
    assert b"not reachable at the moment" in response.content
