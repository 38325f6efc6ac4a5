"""Users' tokens: renewed by one process at a time, and never lost to another login."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from archives.clients.credentials import (
    Grant,
    IdentityProvider,
    LoginOverError,
    UserToken,
)
from archives.errors import ArchiveUnavailableError
from archives.user_logins import STORED_LOGINS, UserLogin, keep
from tests.environment import free_port
from tests.loops import run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]
PROVIDER = IdentityProvider(
    provider_id="hospital",
    name="Hospital login",
    configuration_url="https://login.example.org/.well-known/openid-configuration",
    client_id="hub",
    client_secret="secret",
)


@pytest.fixture
def alice():
    return User.objects.create_user("alice")


class Provider:
    """Its refresh tokens are good for one use."""

    def __init__(self) -> None:
        self.used: list[str] = []

    async def renew(self, refresh_token: str) -> Grant:
        self.used.append(refresh_token)
        number = len(self.used)
        if refresh_token != f"refresh-{number - 1}":
            raise LoginOverError
        await asyncio.sleep(0)
        return Grant(f"access-{number}", 3600, f"refresh-{number}")


def log_in(user, *, seconds=3600, name="0", refresh_token=None):
    keep(
        user,
        "hospital",
        access_token=f"access-{name}",
        refresh_token=f"refresh-{name}" if refresh_token is None else refresh_token,
        expires=timezone.now() + timedelta(seconds=seconds),
    )


def current(user, renew, refused=""):
    credentials = UserToken(user=str(user.pk), provider=PROVIDER, logins=STORED_LOGINS)
    return run(STORED_LOGINS.current(credentials, refused, renew))


def test_token_is_read_again_after_a_minute_at_the_latest(alice):
    log_in(alice)
    provider = Provider()

    grant = current(alice, provider.renew)

    assert grant == Grant("access-0", 60.0)
    assert provider.used == []


def test_token_that_expires_soon_is_renewed_and_kept(alice):
    log_in(alice, seconds=300)
    UserLogin.objects.update(expires=timezone.now() + timedelta(seconds=20))
    UserLogin.objects.update(issued=timezone.now() - timedelta(seconds=280))
    provider = Provider()

    found = [current(alice, provider.renew).token for _ in range(3)]

    login = UserLogin.objects.get()
    assert found == ["access-1"] * 3
    assert (login.access_token, login.refresh_token) == ("access-1", "refresh-1")


def test_processes_that_were_refused_together_renew_once(alice):
    """Each event loop is what another process would be: they share nothing in memory."""
    log_in(alice)
    provider = Provider()
    found: list[str] = []
    together = threading.Barrier(6)

    def want() -> None:
        together.wait()
        found.append(current(alice, provider.renew, refused="access-0").token)

    threads = [threading.Thread(target=want) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == ["access-1"] * 6
    assert provider.used == ["refresh-0"]


def test_login_meanwhile_is_kept_and_not_what_was_renewed(alice):
    log_in(alice)

    async def renew(refresh_token: str) -> Grant:
        await asyncio.to_thread(log_in, alice, name="new")
        return Grant("access-1", 3600, "refresh-1")

    current(alice, renew, refused="access-0")

    login = UserLogin.objects.get()
    assert (login.access_token, login.refresh_token) == ("access-new", "refresh-new")


def test_login_meanwhile_is_kept_where_the_old_one_is_over(alice):
    log_in(alice)

    async def renew(refresh_token: str) -> Grant:
        await asyncio.to_thread(log_in, alice, name="new")
        raise LoginOverError

    with pytest.raises(LoginOverError):
        current(alice, renew, refused="access-0")

    assert UserLogin.objects.get().access_token == "access-new"


def test_refresh_token_that_is_not_given_again_is_kept(alice):
    log_in(alice)
    log_in(alice, name="1", refresh_token="")
    assert UserLogin.objects.get().refresh_token == "refresh-0"

    async def renew(refresh_token: str) -> Grant:
        return Grant("access-2", 3600)

    current(alice, renew, refused="access-1")

    assert UserLogin.objects.get().refresh_token == "refresh-0"


def test_token_of_unknown_life_serves_until_it_is_refused(alice):
    log_in(alice)
    UserLogin.objects.update(expires=None)
    provider = Provider()

    assert current(alice, provider.renew).token == "access-0"
    assert current(alice, provider.renew, refused="access-0").token == "access-1"


def test_without_redis_no_refresh_token_is_used_twice(alice, settings):
    settings.VIEWERHUB_REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    log_in(alice)
    provider = Provider()

    assert current(alice, provider.renew).token == "access-0"
    with pytest.raises(ArchiveUnavailableError, match="try again"):
        current(alice, provider.renew, refused="access-0")
    assert provider.used == []


def test_user_without_a_login_has_no_token(alice):
    with pytest.raises(LoginOverError):
        current(alice, Provider().renew)


def test_row_without_its_tokens_is_none(alice):
    """As an import of exported rows leaves it."""
    log_in(alice)
    UserLogin.objects.update(access_token="")

    with pytest.raises(LoginOverError):
        current(alice, Provider().renew)
