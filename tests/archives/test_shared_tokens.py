"""Tokens in Redis: asked for once, whoever wants them, and readable by the hub alone."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest
import redis as redis_client

from archives.clients.credentials import ClientCredentials, Grant, ServiceAccountKey
from archives.errors import ArchiveUnavailableError
from archives.shared_tokens import SHARED_TOKENS
from tests.environment import free_port
from tests.loops import run

CLIENT = ClientCredentials(
    token_url="https://login.example.org/token",
    client_id="hub",
    client_secret="the-client-secret",
)


class TokenServer:
    """Numbers its tokens."""

    def __init__(self, seconds: float = 3600) -> None:
        self.seconds = seconds
        self.asked = 0

    async def fetch(self) -> Grant:
        self.asked += 1
        number = self.asked
        await asyncio.sleep(0)
        return Grant(f"secret-token-{number}", self.seconds)


@pytest.fixture(autouse=True)
def store(valkey, settings):
    client = redis_client.Redis.from_url(settings.VIEWERHUB_REDIS_URL)
    client.flushdb()
    yield client
    client.close()


def newer_than(old, server, credentials=CLIENT):
    return run(SHARED_TOKENS.newer_than(old, credentials, server.fetch))


def test_token_is_fetched_once_and_then_found():
    server = TokenServer()

    first = newer_than("", server)
    second = newer_than("", server)

    assert first.token == second.token == "secret-token-1"
    assert server.asked == 1
    assert 3500 < second.seconds <= 3600


def test_token_that_is_no_longer_wanted_is_replaced_once():
    server = TokenServer()
    newer_than("", server)

    found = [newer_than("secret-token-1", server).token for _ in range(3)]

    assert found == ["secret-token-2"] * 3
    assert server.asked == 2


def test_event_loops_that_want_one_together_ask_once():
    """Each loop is what another process would be: they share nothing but Redis."""
    server = TokenServer()
    found: list[str] = []
    together = threading.Barrier(8)

    def want() -> None:
        together.wait()
        found.append(newer_than("", server).token)

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == ["secret-token-1"] * 8
    assert server.asked == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(CLIENT, client_secret="another"),
        replace(CLIENT, scope="dicom"),
        replace(CLIENT, audience="dicom"),
        ServiceAccountKey(key="key"),
    ],
    ids=repr,
)
def test_other_credentials_have_other_tokens(other):
    server = TokenServer()
    newer_than("", server)

    assert newer_than("", server, other).token == "secret-token-2"


def test_redis_holds_neither_token_nor_credentials(store):
    newer_than("", TokenServer())

    (key,) = store.keys("*")
    assert key.startswith(b"viewerhub:token:")
    for secret in (b"secret-token", CLIENT.client_secret.encode(), b"login.example"):
        assert secret not in key + store.get(key)
    assert 0 < store.pttl(key) <= 3600_000


def test_token_that_can_not_be_read_is_fetched(settings):
    server = TokenServer()
    newer_than("", server)
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key of thirty-two characters"]

    assert newer_than("", server).token == "secret-token-2"


def test_failure_is_told_and_hinders_nobody(store):
    async def fail() -> Grant:
        raise ArchiveUnavailableError("no token")

    with pytest.raises(ArchiveUnavailableError):
        run(SHARED_TOKENS.newer_than("", CLIENT, fail))

    assert store.keys("*") == []
    assert newer_than("", TokenServer()).token == "secret-token-1"


def test_without_redis_each_process_asks_for_itself(settings):
    settings.VIEWERHUB_REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    server = TokenServer()

    found = [newer_than("", server).token for _ in range(2)]

    assert found == ["secret-token-1", "secret-token-2"]
