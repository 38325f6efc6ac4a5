"""Requests that are carried out once, however often they are sent.

A client that got no answer repeats its request with the same ``Idempotency-Key``. What
was answered is kept encrypted for a day, because it holds the launch's only token; keys
and requests are kept as keyed hashes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.fernet import InvalidToken
from django.core.cache import cache
from django.utils.crypto import salted_hmac

from archives.fields import key_ring
from launcher.models import ApiClient

LIFETIME: Final = 24 * 3600
# A request that was cut off, with its process, may be sent again after this (seconds).
UNDER_WAY: Final = 60


class IdempotencyError(Exception):
    """The key can't be used for this request; the message says why."""


def run_once(
    client: ApiClient, key: str, request: str, action: Callable[[], str]
) -> str:
    """What ``action()`` returns, or returned to the same request with the same key.

    Without a key it is simply called. Nothing is remembered if it raises. Raises
    ``IdempotencyError``.
    """
    if not key:
        return action()
    name = f"idempotency:{_hash(f'{client.pk}:{key}')}"
    fingerprint = _hash(request)
    if not cache.add(name, {"request": fingerprint}, UNDER_WAY):
        return _remembered(name, fingerprint)
    try:
        answer = action()
    except BaseException:
        cache.delete(name)
        raise
    sealed = key_ring().encrypt(answer.encode()).decode()
    cache.set(name, {"request": fingerprint, "answer": sealed}, LIFETIME)
    return answer


def _remembered(name: str, fingerprint: str) -> str:
    known = cache.get(name) or {}
    if known and known["request"] != fingerprint:
        raise IdempotencyError(
            "This key was used for another request. Take a new key for each launch."
        )
    try:
        return key_ring().decrypt(known["answer"].encode()).decode()
    except KeyError as error:
        raise IdempotencyError(
            "The first request with this key is under way. Send it again in a moment."
        ) from error
    except InvalidToken as error:
        raise IdempotencyError(
            "What was answered to this key can't be read any more. Take a new key."
        ) from error


def _hash(text: str) -> str:
    return salted_hmac(__name__, text, algorithm="sha256").hexdigest()
