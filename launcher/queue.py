"""Whether the work that is queued is done: how much waits, and when it was seen done."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import Final

from django.conf import settings
from django.core.cache import cache as store
from django.utils import timezone
from redis import Redis
from redis.exceptions import RedisError

_SEEN: Final = "sweeper:seen"


@cache
def _broker(url: str) -> Redis:
    return Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)


def waiting_tasks() -> int | None:
    """How many tasks no worker has taken yet; ``None`` if Redis does not say."""
    try:
        broker = _broker(settings.CELERY_BROKER_URL)
        return int(broker.llen(settings.CELERY_TASK_DEFAULT_QUEUE))
    except RedisError:
        return None


def seen_working() -> None:
    """Called by a task of the scheduler: both it and a worker are alive."""
    with suppress(RedisError):
        store.set(_SEEN, timezone.now().isoformat(), timeout=7 * 86_400)


def last_seen_working() -> datetime | None:
    """When that was last; ``None`` if nobody knows."""
    try:
        value = store.get(_SEEN)
    except RedisError:
        return None
    return datetime.fromisoformat(value) if value else None
