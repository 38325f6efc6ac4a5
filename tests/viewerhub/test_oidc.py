"""Login by an identity provider, here a small one that knows one user."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client, override_settings

from tests.valkey import RedisServer


class Provider(BaseHTTPRequestHandler):
    """The endpoints of OpenID Connect Core that a relying party's server asks."""

    challenge = ""  # of the authorization that is under way (RFC 7636)

    def do_GET(self) -> None:
        base = f"http://127.0.0.1:{self.server.server_address[1]}"
        if self.path.endswith("/.well-known/openid-configuration"):
            endpoints = ("authorization", "token", "userinfo")
            document = {f"{name}_endpoint": f"{base}/{name}" for name in endpoints}
            return self._answer({"issuer": base, **document})
        assert self.headers["Authorization"] == "Bearer access"
        return self._answer({"sub": "4711", "preferred_username": "alice"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        (verifier,) = parse_qs(body.decode())["code_verifier"]
        digest = hashlib.sha256(verifier.encode()).digest()
        assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == self.challenge
        self._answer({"access_token": "access", "token_type": "Bearer"})

    def _answer(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[str]:
    """The address of a provider that the settings name."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    app = {
        "provider_id": "hospital",
        "name": "Hospital login",
        "client_id": "viewerhub",
        "secret": "a fixed word",
        "settings": {"server_url": url},
    }
    providers = {"openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}}
    with override_settings(SOCIALACCOUNT_PROVIDERS=providers):
        yield url
    server.shutdown()
    thread.join()
    server.server_close()


def log_in(client: Client) -> HttpResponse:
    """Go to the provider and come back with a code; the answer to that."""
    start = client.post("/accounts/oidc/hospital/login/")
    query = parse_qs(urlsplit(start["Location"]).query)
    Provider.challenge = query["code_challenge"][0]
    answer = {"code": "a code", "state": query["state"][0]}
    return client.get("/accounts/oidc/hospital/login/callback/", answer)


pytestmark = pytest.mark.django_db(transaction=True)


def test_login_page_offers_the_provider(
    client: Client, provider: str, valkey: RedisServer
) -> None:
    assert "Hospital login" in client.get("/accounts/login/").content.decode()


def test_first_login_makes_an_account_without_rights(
    client: Client, provider: str, valkey: RedisServer
) -> None:
    assert log_in(client)["Location"] == "/"

    user = User.objects.get()
    assert client.session["_auth_user_id"] == str(user.pk)
    assert user.username == "alice"
    assert not user.is_staff
    assert not user.is_superuser
    assert not user.groups.exists()


def test_second_login_finds_the_same_account(
    client: Client, provider: str, valkey: RedisServer
) -> None:
    log_in(client)
    log_in(Client())

    assert User.objects.count() == 1


def test_first_login_makes_no_account_where_that_is_turned_off(
    client: Client, provider: str, valkey: RedisServer
) -> None:
    with override_settings(VIEWERHUB_OIDC_CREATE_USERS=False):
        response = log_in(client)

    assert not User.objects.exists()
    assert response.templates[0].name == "account/signup_closed.html"


def test_account_of_the_same_name_is_not_taken_over(
    client: Client, provider: str, valkey: RedisServer
) -> None:
    local = User.objects.create_user("alice", password="a fixed word")

    log_in(client)

    assert client.session["_auth_user_id"] != str(local.pk)
    assert User.objects.count() == 2
