"""A small identity provider (OpenID Connect Core 1.0), and an archive for its users.

Its refresh tokens are good for one use, as those of careful providers: who uses one twice
has lost the login.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from django.http import HttpResponse
from django.test import Client, override_settings

from archives.entities import Study
from tests.dicomweb_server import Answer, Behaviour, DicomWebServer, Request
from tests.token_server import TokenRequest
from tests.vendors.files import files_of

CLIENT_ID = "viewerhub"
SECRET = "the secret of the hub"


@dataclass
class IdentityProvider:
    """Logs in whoever ``authorize`` says; counts what the hub asks.

    Refresh tokens come with the scope ``offline_access`` only.
    """

    seconds: int = 3600
    configuration: dict[str, object] = field(default_factory=dict)
    requests: list[TokenRequest] = field(default_factory=list)
    reused: int = 0
    url: str = ""
    is_down: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._codes: dict[str, tuple[str, str, bool]] = {}
        self._expires: dict[str, float] = {}
        self._users: dict[str, str] = {}  # of access and refresh tokens
        self._current: dict[str, str] = {}  # the refresh token of each user
        self.given: list[str] = []  # every token there ever was

    # What tests do

    def authorize(self, query: dict[str, list[str]], user: str) -> str:
        """Log a user in at the provider; the code that the browser takes back."""
        with self._lock:
            code = f"code-{len(self._codes)}"
            is_offline = "offline_access" in query["scope"][0].split()
            self._codes[code] = user, query["code_challenge"][0], is_offline
            return code

    def user_of(self, token: str) -> str:
        """Who an access token is of; empty if it is none, or has expired."""
        with self._lock:
            is_valid = time.monotonic() < self._expires.get(token, 0.0)
            return self._users[token] if is_valid else ""

    def owner_of(self, token: str) -> str:
        """Whose token it is or was."""
        return self._users.get(token, "")

    def expire(self) -> None:
        """No access token that was given is good any more."""
        with self._lock:
            self._expires.clear()

    def end(self, user: str) -> None:
        """End a login, so that it can't be renewed."""
        with self._lock:
            self._current.pop(user, None)

    def refreshes(self) -> int:
        return sum(
            one.form["grant_type"] == "refresh_token" for one in list(self.requests)
        )

    # What the hub asks

    def token(self, request: TokenRequest) -> tuple[int, dict[str, object]]:
        with self._lock:
            self.requests.append(request)
            if self.is_down:
                return 503, {}
            form = request.form
            if request.authorization:
                is_client = request.login == (CLIENT_ID, SECRET)
            else:
                is_client = (form["client_id"], form["client_secret"]) == (
                    CLIENT_ID,
                    SECRET,
                )
            if not is_client:
                return 401, {"error": "invalid_client"}
            if form["grant_type"] == "refresh_token":
                return self._refresh(form["refresh_token"])
            user, challenge, is_offline = self._codes.pop(form["code"])
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenge
            return 200, self._grant(user, is_offline)

    def _refresh(self, token: str) -> tuple[int, dict[str, object]]:
        user = self._users.get(token, "")
        if not user or self._current.get(user) != token:
            self.reused += bool(user and user in self._current)
            self._current.pop(user, None)
            return 400, {"error": "invalid_grant", "error_description": token}
        return 200, self._grant(user, True)

    def _grant(self, user: str, is_offline: bool) -> dict[str, object]:
        number = len(self.given)
        access = f"access-token-{number}-of-{user}"
        self._users[access] = user
        self._expires[access] = time.monotonic() + self.seconds
        self.given.append(access)
        grant: dict[str, object] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self.seconds,
        }
        if is_offline:
            refresh = f"refresh-token-{number}-of-{user}"
            self._users[refresh] = self._current[user] = user
            self._current[user] = refresh
            self.given.append(refresh)
            grant["refresh_token"] = refresh
        return grant

    @contextmanager
    def running(self) -> Iterator[IdentityProvider]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _handler(provider: IdentityProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.endswith("/.well-known/openid-configuration"):
                endpoints = ("authorization", "token", "userinfo")
                document = {
                    f"{name}_endpoint": f"{provider.url}/{name}" for name in endpoints
                }
                document |= {"issuer": provider.url, **provider.configuration}
                return self._answer(200, document)
            token = self.headers["Authorization"].removeprefix("Bearer ")
            user = provider.user_of(token)
            self._answer(200, {"sub": f"id-{user}", "preferred_username": user})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            authorization = self.headers.get("Authorization", "")
            request = TokenRequest(dict(parse_qsl(body)), authorization)
            self._answer(*provider.token(request))

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def app_of(provider: IdentityProvider, **settings: Any) -> dict[str, Any]:
    """What the operator of a hub enters for it."""
    return {
        "provider_id": "hospital",
        "name": "Hospital login",
        "client_id": CLIENT_ID,
        "secret": SECRET,
        "settings": {"server_url": provider.url, **settings},
    }


@contextmanager
def configured(*apps: dict[str, Any]) -> Iterator[None]:
    """The hub knows these providers."""
    providers = {"openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [*apps]}}
    with override_settings(SOCIALACCOUNT_PROVIDERS=providers):
        yield


def log_in(
    client: Client, provider: IdentityProvider, user: str = "alice", process: str = ""
) -> HttpResponse:
    """Go to the provider and come back with a code; the answer to that."""
    start = client.post(
        "/accounts/oidc/hospital/login/", {"process": process} if process else {}
    )
    query = parse_qs(urlsplit(start["Location"]).query)
    answer = {"code": provider.authorize(query, user), "state": query["state"][0]}
    return client.get("/accounts/oidc/hospital/login/callback/", answer)


class UsersArchive(DicomWebServer):
    """Answers whoever brings a token of the provider that is good at that moment."""

    def __init__(self, studies: list[Study], provider: IdentityProvider) -> None:
        super().__init__(studies, Behaviour())
        self.provider = provider
        self.tokens: list[str] = []
        self.refused = 0
        self.on_image: Callable[[], None] = lambda: None
        self._files = files_of(studies)

    def _is_welcome(self, request: Request) -> bool:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.tokens.append(token)
        is_welcome = bool(self.provider.user_of(token))
        self.refused += not is_welcome
        return is_welcome

    def _file(self, uid: str) -> bytes:
        return self._files[uid]

    def _retrieve(self, uid: str, *, is_multipart: bool) -> Answer:
        self.on_image()
        return super()._retrieve(uid, is_multipart=is_multipart)

    def users(self) -> set[str]:
        """Whose tokens came since the last question."""
        tokens, self.tokens = self.tokens, []
        return {self.provider.owner_of(token) for token in tokens}
