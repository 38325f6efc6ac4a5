"""What builds collected, their progress and their leases, in Redis.

A hash per build, with a lifetime: ``answer:<archive pk>`` is what an archive answered
(``launcher.answers``, no secret in it), ``version:<archive pk>`` changes with it,
``progress:<archive pk>`` is how far it is, and ``done`` says that every archive has
answered; ``started`` says that a worker began; ``primary`` is the study that is loaded
first. The lease, beside it, names the worker that has the build.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import structlog
from django.conf import settings
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from archives.clients.base import Progress
from launcher.answers import Answer as Answer
from launcher.answers import UnreadableAnswerError, decode_answer, encode_answer

logger = structlog.get_logger(__name__)

CHANNEL: Final = "viewerhub:builds"
# How long a build is believed to be under way without a sign from its worker (seconds).
LEASE: Final = 8.0

Fields = dict[bytes, bytes]

_connections: WeakKeyDictionary[asyncio.AbstractEventLoop, Redis] = WeakKeyDictionary()


def redis() -> Redis:
    """The connection pool of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _connections:
        _connections[loop] = Redis.from_url(
            settings.VIEWERHUB_REDIS_URL,
            socket_connect_timeout=2,
            socket_timeout=10,
            # A connection of the pool may be from before a restart of the server.
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), retries=3),
            retry_on_error=[RedisConnectionError],
        )
    return _connections[loop]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Everything a build has so far, by the archives' primary keys."""

    answers: dict[int, Answer]
    progress: dict[int, Progress]
    is_done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a build stands, without its answers, which may be large.

    Once ``was_started``, one that is neither done nor held by a worker is lost.
    """

    progress: dict[int, Progress]
    is_done: bool
    was_started: bool
    has_worker: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Primary:
    """The study a viewer loads first, and the archives that had answered by then."""

    study_instance_uid: str
    archive_ids: tuple[int, ...]


def _key(build_id: str) -> str:
    return f"viewerhub:build:{build_id}"


def _lease_key(build_id: str) -> str:
    return f"{_key(build_id)}:lease"


async def save_answer(build_id: str, answer: Answer) -> None:
    """Keep an archive's answer for those who don't wait for all of them."""
    await _save(build_id, _fields_of(answer))


async def save_progress(build_id: str, progress: dict[int, Progress]) -> None:
    await _save(
        build_id,
        {f"progress:{key}": json.dumps(asdict(one)) for key, one in progress.items()},
    )


async def finish(build_id: str, answers: Iterable[Answer] = ()) -> None:
    """Mark a build as done and wake everyone who waits for it.

    With all its answers, at once: those that were kept before may be gone by now.
    """
    fields: dict[str, Any] = {"done": 1}
    for answer in answers:
        fields |= _fields_of(answer)
    await _save(build_id, fields, is_done=True)


async def _save(
    build_id: str, fields: dict[str, Any], *, is_done: bool = False
) -> None:
    async with redis().pipeline(transaction=True) as pipe:
        pipe.hset(_key(build_id), mapping=cast(dict[Any, Any], fields))
        pipe.expire(_key(build_id), settings.VIEWERHUB_LAUNCH_LIFETIME)
        if is_done:
            pipe.publish(CHANNEL, build_id)
        await pipe.execute()


def _fields_of(answer: Answer) -> dict[str, Any]:
    return {
        f"answer:{answer.archive_id}": encode_answer(answer),
        f"version:{answer.archive_id}": secrets.token_hex(8),
    }


async def forget(build_ids: Iterable[str]) -> None:
    """Remove what builds collected that nobody will ask for."""
    await redis().delete(*map(_key, build_ids))


async def load(build_id: str) -> Collected:
    """Everything a build has so far; not done if an answer can't be read any more."""
    fields = cast(Fields, await redis().hgetall(_key(build_id)))
    return await _readable(build_id, fields)


async def look(build_id: str, archive_ids: Iterable[int] = ()) -> Standing:
    """How a build stands, with the progress of these archives."""
    names = [b"done", b"started", *(f"progress:{key}".encode() for key in archive_ids)]
    async with redis().pipeline(transaction=False) as pipe:
        pipe.exists(_lease_key(build_id))  # first: it ends when the build is done
        pipe.hmget(_key(build_id), names)
        has_worker, values = await pipe.execute()
    found = zip(names, cast(list[bytes | None], values), strict=True)
    fields = {name: value for name, value in found if value}
    return Standing(
        progress=_progress(fields),
        is_done=b"done" in fields,
        was_started=b"started" in fields,
        has_worker=bool(has_worker),
    )


async def load_answer(build_id: str, archive_id: int) -> Answer | None:
    """What one archive answered, or ``None`` if it has not (or Redis lost it)."""
    name = f"answer:{archive_id}"
    value = cast(bytes | None, await redis().hget(_key(build_id), name))
    collected = await _readable(build_id, {name.encode(): value} if value else {})
    return collected.answers.get(archive_id)


async def answer_version(build_id: str, archive_id: int) -> str | None:
    """Another one for each answer that was saved; ``None`` if there is none."""
    value = await redis().hget(_key(build_id), f"version:{archive_id}")
    return cast(bytes, value).decode() if value else None


async def settle_primary(build_id: str, proposed: Primary) -> Primary:
    """The primary study of a build: what was proposed first.

    Its two manifests are asked for one after the other, and must agree although archives
    may have answered in between.
    """
    value = json.dumps([proposed.study_instance_uid, proposed.archive_ids])
    async with redis().pipeline(transaction=False) as pipe:
        pipe.hsetnx(_key(build_id), "primary", value)
        pipe.hget(_key(build_id), "primary")
        pipe.expire(_key(build_id), settings.VIEWERHUB_LAUNCH_LIFETIME)
        _, settled, _ = await pipe.execute()
    study_instance_uid, archive_ids = json.loads(settled)
    return Primary(
        study_instance_uid=study_instance_uid, archive_ids=tuple(archive_ids)
    )


def _progress(fields: Fields) -> dict[int, Progress]:
    return {
        int(name.removeprefix(b"progress:")): Progress(**json.loads(value))
        for name, value in fields.items()
        if name.startswith(b"progress:")
    }


async def _readable(build_id: str, fields: Fields) -> Collected:
    """What these fields hold. Answers that can't be read are lost: they are removed."""
    answers: dict[int, Answer] = {}
    lost = []
    for name, value in fields.items():
        kind, _, archive_id = name.partition(b":")
        if kind != b"answer":
            continue
        try:
            answers[int(archive_id)] = decode_answer(value)
        except UnreadableAnswerError:
            lost += [name, b"version:" + archive_id]
    if lost:
        logger.warning("answers_unreadable", build_id=build_id)
        await redis().hdel(_key(build_id), b"done", *lost)
    return Collected(
        answers=answers,
        progress=_progress(fields),
        is_done=b"done" in fields and not lost,
    )


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a build, and what an earlier holder of it collected.

    The holder renews it more often than every ``LEASE`` seconds; a worker that dies
    stops doing so, and another may take the build.
    """

    build_id: str
    owner: str
    earlier: Collected

    async def renew(self) -> None:
        """Also after Redis lost it, but not once another worker has it."""
        arguments = (self.owner, int(LEASE * 1000))
        await _execute(_RENEW, _lease_key(self.build_id), *arguments)
        await _save(self.build_id, {"started": 1})


# A worker that stood still for too long must not touch the lease of its successor.
_RENEW: Final = """
local owner = redis.call('get', KEYS[1])
if not owner or owner == ARGV[1] then
  redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
"""
_RELEASE: Final = """
if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end
"""


@asynccontextmanager
async def lease(build_id: str) -> AsyncIterator[Lease | None]:
    """Hold the right to run a build; ``None`` when another worker has it."""
    key, owner = _lease_key(build_id), secrets.token_hex(16)
    async with redis().pipeline(transaction=False) as pipe:
        pipe.set(key, owner, nx=True, px=int(LEASE * 1000))
        pipe.hset(_key(build_id), "started", 1)
        pipe.expire(_key(build_id), settings.VIEWERHUB_LAUNCH_LIFETIME)
        pipe.hgetall(_key(build_id))
        has_it, _, _, fields = await pipe.execute()
    if not has_it:
        yield None
        return
    try:
        yield Lease(build_id, owner, await _readable(build_id, fields))
    finally:
        with suppress(RedisError):  # it ends by itself
            await _execute(_RELEASE, key, owner)


async def _execute(script: str, key: str, *arguments: str | int) -> None:
    await cast(Any, redis().eval(script, 1, key, *arguments))


async def claim_restart(build_id: str) -> bool:
    """The right to queue a build again; given once in ``LEASE`` seconds."""
    key = f"{_key(build_id)}:restart"
    return bool(await redis().set(key, 1, nx=True, px=int(LEASE * 1000)))
