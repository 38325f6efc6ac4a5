"""Archives' tokens in Redis, so that web servers and workers ask for each one once.

A token is encrypted with ``VIEWERHUB_ENCRYPTION_KEYS``, under a name that only the hub can
make from the credentials, and gone when it expires.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from cryptography.fernet import InvalidToken
from django.conf import settings
from django.utils.crypto import salted_hmac
from redis.asyncio import Redis
from redis.exceptions import RedisError

from archives.clients.credentials import (
    ClientCredentials,
    Grant,
    ServiceAccountKey,
)
from archives.fields import key_ring

logger = structlog.get_logger(__name__)

# Longer than a token server may take to answer.
LOCK_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.02
_SALT: Final = "archives.shared_tokens"


@asynccontextmanager
async def redis() -> AsyncIterator[Redis]:
    """A connection for one question, which comes once in a token's life."""
    async with Redis.from_url(
        settings.VIEWERHUB_REDIS_URL, socket_connect_timeout=2, socket_timeout=2
    ) as connection:
        yield connection


@asynccontextmanager
async def only_one(connection: Redis, name: str) -> AsyncIterator[bool]:
    """Hold a lock over all processes; false if somebody else kept it for too long."""
    lock = connection.lock(
        name,
        timeout=LOCK_SECONDS,
        sleep=_POLL_SECONDS,
        blocking_timeout=LOCK_SECONDS,
        thread_local=False,
    )
    is_ours = await lock.acquire()
    try:
        yield is_ours
    finally:
        if is_ours:
            with suppress(RedisError):  # it has expired, or Redis went away
                await lock.release()


class SharedTokens:
    """A ``TokenStore``; without Redis, each process asks for itself."""

    async def newer_than(
        self,
        old: str,
        credentials: ClientCredentials | ServiceAccountKey,
        fetch: Callable[[], Awaitable[Grant]],
    ) -> Grant:
        name = _name(credentials)
        fetched: Grant | None = None
        try:
            async with redis() as connection:
                if found := await _load(connection, name, old):
                    return found
                async with only_one(connection, f"{name}:lock"):
                    if found := await _load(connection, name, old):
                        return found
                    asked = time.monotonic()
                    fetched = await fetch()
                    await _save(connection, name, fetched, time.monotonic() - asked)
        except RedisError:
            logger.warning("tokens_not_shared")
        return fetched or await fetch()


async def _load(connection: Redis, name: str, old: str) -> Grant | None:
    async with connection.pipeline(transaction=True) as pipe:
        pipe.get(name)
        pipe.pttl(name)
        sealed, milliseconds = await pipe.execute()
    if sealed is None or milliseconds <= 0:
        return None
    try:
        token = key_ring().decrypt(sealed).decode()
    except InvalidToken:  # of a key that has left the ring
        return None
    return Grant(token, milliseconds / 1000) if token != old else None


async def _save(connection: Redis, name: str, grant: Grant, age: float) -> None:
    milliseconds = int((grant.seconds - age) * 1000)
    if milliseconds > 0:
        sealed = key_ring().encrypt(grant.token.encode())
        await connection.set(name, sealed, px=milliseconds)


def _name(credentials: ClientCredentials | ServiceAccountKey) -> str:
    """The same in every process, and telling nothing of what it is made from."""
    match credentials:
        case ClientCredentials():
            parts = [
                credentials.token_url,
                credentials.client_id,
                credentials.client_secret,
                credentials.scope,
                credentials.audience,
            ]
        case ServiceAccountKey():
            parts = [credentials.key, credentials.scope]
    # Lengths keep parts apart that could be read together in two ways.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    digest = salted_hmac(_SALT, text, algorithm="sha256").hexdigest()
    return f"viewerhub:token:{digest}"


SHARED_TOKENS: Final = SharedTokens()
