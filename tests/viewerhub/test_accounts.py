from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import AsyncRequestFactory, Client

from tests.valkey import RedisServer
from tests.viewerhub.test_settings import read
from viewerhub.asgi import WaitingHandler

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


def test_login_begins_in_its_first_field(client: Client, valkey: RedisServer) -> None:
    page = client.get("/accounts/login/").content.decode()

    assert re.findall(r"<input[^>]* autofocus[^>]*>", page) == re.findall(
        r'<input[^>]* name="login"[^>]*>', page
    )


PROMISES = re.compile(r"href=./accounts/password/reset/|sends you a link|on its way")


@pytest.mark.parametrize("page", ["login/", "password/reset/", "password/reset/done/"])
def test_no_link_by_mail_is_promised_without_mail(
    client: Client, settings: Any, valkey: RedisServer, page: str
) -> None:
    assert PROMISES.search(client.get(f"/accounts/{page}").content.decode())

    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    text = client.get(f"/accounts/{page}").content.decode()

    assert "Ask your administrator for a new" in text
    assert not PROMISES.search(text)


@pytest.fixture
def confirmed(client: Client, admin: User, valkey: RedisServer) -> Client:
    """Who entered the password a moment ago is not asked for it again."""
    client.post("/accounts/reauthenticate/", {"password": "a fixed word"})
    return client


def test_security_keys_are_listed(confirmed: Client) -> None:
    assert confirmed.get("/accounts/2fa/webauthn/").status_code == 200


@pytest.mark.parametrize(
    "page",
    [
        *("2fa/", "2fa/totp/activate/", "2fa/webauthn/add/", "2fa/webauthn/"),
        *("email/", "3rdparty/", "password/change/", "inactive/", "reauthenticate/"),
        *("3rdparty/login/cancelled/", "3rdparty/login/error/"),
        "password/reset/key/done/",
    ],
)
def test_account_pages_are_in_sentence_case(confirmed: Client, page: str) -> None:
    """allauth's own words are not."""
    answer = confirmed.get(f"/accounts/{page}")

    assert answer.status_code in {200, 401}
    parts = re.findall(
        r"<(title|h1|h2|button|label)\b[^>]*>(.*?)</\1>",
        answer.content.decode(),
        re.DOTALL,
    )
    said = [" ".join(re.sub(r"<[^>]*>", "", text).split()) for _, text in parts]
    assert len(said) > 2
    assert not [
        text for text in said if re.search(r"\w[ -](?!ViewerHub)[A-Z][a-z]", text)
    ]


def test_recovery_codes_say_when_there_will_be_some(
    client: Client, admin: User
) -> None:
    page = client.get("/accounts/2fa/").content.decode()

    assert "No recovery codes yet. You get them with your first" in page


@pytest.fixture
def with_second_factor(settings: Any) -> None:
    """The middleware of a hub that was started with ``VIEWERHUB_REQUIRE_MFA``."""
    values = read("MIDDLEWARE", VIEWERHUB_REQUIRE_MFA="true")
    settings.MIDDLEWARE = values["MIDDLEWARE"]


@pytest.mark.parametrize("path", ["/", "/admin/", "/launches/", "/search/r/x/"])
def test_staff_without_second_factor_is_sent_to_set_one_up(
    client: Client, admin: User, with_second_factor: None, path: str
) -> None:
    response = client.get(path)

    assert (response.status_code, response["Location"]) == (302, "/accounts/2fa/")
    assert client.get("/accounts/2fa/").status_code == 200


def test_staff_with_second_factor_goes_on(
    client: Client, admin: User, with_second_factor: None
) -> None:
    TOTP.activate(admin, "a secret of the test")

    assert client.get("/admin/").status_code == 200


def test_users_without_staff_rights_need_no_second_factor(
    client: Client, with_second_factor: None
) -> None:
    client.force_login(User.objects.create_user("alice"))

    assert client.get("/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_pages_that_wait_want_the_second_factor_too(
    admin: User, client: Client, with_second_factor: None
) -> None:
    """Their middleware is another."""
    handler = WaitingHandler()
    handler.load_middleware(is_async=True)
    request = AsyncRequestFactory().get("/search/r/x/")
    request.COOKIES.update({key: one.value for key, one in client.cookies.items()})

    response = async_to_sync(handler.get_response_async)(request)

    assert (response.status_code, response["Location"]) == (302, "/accounts/2fa/")


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
