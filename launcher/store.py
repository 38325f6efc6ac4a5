"""What builds collected, their progress and their leases, in Redis.

A hash per build, with a lifetime: ``answer:<archive pk>`` is what an archive answered
(compressed JSON, no secret in it), ``progress:<archive pk>`` how far it is, and ``done``
says that every archive has answered; ``started`` says that a worker began; ``primary``
is the study that is loaded first. JSON and bytes only: nothing here is executed.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from django.conf import settings
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from archives.clients.base import Progress
from archives.entities import Instance, Patient, Series, Study

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
class Answer:
    """How one archive answered. ``state`` is one of ``ArchiveOutcome.State``."""

    archive_id: int
    state: str
    message: str = ""
    studies: tuple[Study, ...] = ()
    milliseconds: int = 0

    def counts(self) -> tuple[int, int, int]:
        """Studies, series and instances."""
        series = [series for study in self.studies for series in study.series]
        instances = sum(len(item.instances) for item in series)
        return len(self.studies), len(series), instances


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Everything a build has so far, by the archives' primary keys."""

    answers: dict[int, Answer]
    progress: dict[int, Progress]
    is_done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Primary:
    """The study a viewer loads first, and the archives that had answered by then."""

    study_instance_uid: str
    archive_ids: tuple[int, ...]


def _key(build_id: str) -> str:
    return f"viewerhub:build:{build_id}"


async def save_answer(build_id: str, answer: Answer) -> None:
    """Keep an archive's answer, and tell who waits for the build."""
    async with redis().pipeline(transaction=False) as pipe:
        pipe.hset(_key(build_id), f"answer:{answer.archive_id}", encode_answer(answer))
        pipe.expire(_key(build_id), settings.VIEWERHUB_LAUNCH_LIFETIME)
        await pipe.execute()


async def save_progress(build_id: str, progress: dict[int, Progress]) -> None:
    fields: dict[Any, Any] = {
        f"progress:{key}": json.dumps(asdict(value)) for key, value in progress.items()
    }
    await redis().hset(_key(build_id), mapping=fields)


async def finish(build_id: str) -> None:
    """Mark a build as done and wake everyone who waits for it."""
    async with redis().pipeline(transaction=False) as pipe:
        pipe.hset(_key(build_id), "done", 1)
        pipe.expire(_key(build_id), settings.VIEWERHUB_LAUNCH_LIFETIME)
        pipe.publish(CHANNEL, build_id)
        await pipe.execute()


async def load(build_id: str) -> Collected:
    """Everything a build has so far."""
    return _collected(cast(Fields, await redis().hgetall(_key(build_id))))


async def load_progress(build_id: str, archive_ids: Iterable[int]) -> Collected:
    """The same without the answers, which may be large."""
    names = [b"done", *(f"progress:{key}".encode() for key in archive_ids)]
    values = cast(list[bytes | None], await redis().hmget(_key(build_id), names))
    found = zip(names, values, strict=True)
    return _collected({name: value for name, value in found if value})


async def load_answer(build_id: str, archive_id: int) -> Answer | None:
    """What one archive answered, or ``None`` if it has not (or Redis lost it)."""
    value = await redis().hget(_key(build_id), f"answer:{archive_id}")
    return decode_answer(cast(bytes, value)) if value else None


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


def _collected(fields: Fields) -> Collected:
    answers: dict[int, Answer] = {}
    progress: dict[int, Progress] = {}
    for name, value in fields.items():
        kind, _, archive_id = name.decode().partition(":")
        if kind == "answer":
            answers[int(archive_id)] = decode_answer(value)
        elif kind == "progress":
            progress[int(archive_id)] = Progress(**json.loads(value))
    return Collected(answers=answers, progress=progress, is_done=b"done" in fields)


@asynccontextmanager
async def lease(build_id: str) -> AsyncIterator[Collected | None]:
    """Hold the right to run a build; yields what an earlier holder collected.

    ``None`` when another worker has it. The holder calls ``renew_lease`` more often than ``LEASE`` seconds; a worker that
    dies stops doing so, and another may take the build.
    """
    key = f"{_key(build_id)}:lease"
    async with redis().pipeline(transaction=False) as pipe:
        pipe.set(key, 1, nx=True, px=int(LEASE * 1000))
        pipe.hset(_key(build_id), "started", 1)
        pipe.expire(_key(build_id), settings.VIEWERHUB_LAUNCH_LIFETIME)
        pipe.hgetall(_key(build_id))
        has_it, _, _, fields = await pipe.execute()
    try:
        yield _collected(cast(Fields, fields)) if has_it else None
    finally:
        if has_it:
            await redis().delete(key)


async def renew_lease(build_id: str) -> None:
    await redis().pexpire(f"{_key(build_id)}:lease", int(LEASE * 1000))


async def lost_worker(build_id: str) -> bool:
    """Whether a worker began this build and died over it."""
    async with redis().pipeline(transaction=False) as pipe:
        pipe.hexists(_key(build_id), "started")
        pipe.exists(f"{_key(build_id)}:lease")
        pipe.hexists(
            _key(build_id), "done"
        )  # last: done is written before the lease ends
        was_started, has_lease, is_done = await pipe.execute()
    return bool(was_started and not has_lease and not is_done)


async def claim_restart(build_id: str) -> bool:
    """The right to queue a build again; given once in ``LEASE`` seconds."""
    key = f"{_key(build_id)}:restart"
    return bool(await redis().set(key, 1, nx=True, px=int(LEASE * 1000)))


def encode_answer(answer: Answer) -> bytes:
    """Compact JSON (values by position), compressed lightly: speed counts here."""
    data = [
        answer.archive_id,
        answer.state,
        answer.message,
        answer.milliseconds,
        [_study_values(study) for study in answer.studies],
    ]
    text = json.dumps(data, separators=(",", ":"))  # \u escapes keep lone surrogates
    return zlib.compress(text.encode(), 1)


def decode_answer(value: bytes) -> Answer:
    archive_id, state, message, milliseconds, studies = json.loads(
        zlib.decompress(value)
    )
    return Answer(
        archive_id=archive_id,
        state=state,
        message=message,
        milliseconds=milliseconds,
        studies=tuple(map(_study, studies)),
    )


def _study_values(study: Study) -> list[Any]:
    patient = study.patient
    return [
        study.study_instance_uid,
        study.study_date,
        study.study_time,
        study.accession_number,
        study.study_id,
        study.study_description,
        study.referring_physician_name,
        [
            patient.patient_id,
            patient.issuer_of_patient_id,
            patient.patient_name,
            patient.patient_birth_date,
            patient.patient_sex,
        ],
        [_series_values(series) for series in study.series],
    ]


def _series_values(series: Series) -> list[Any]:
    return [
        series.series_instance_uid,
        series.modality,
        series.series_number,
        series.series_description,
        series.series_date,
        series.series_time,
        [
            (
                instance.sop_instance_uid,
                instance.sop_class_uid,
                instance.instance_number,
            )
            for instance in series.instances
        ],
    ]


def _study(values: list[Any]) -> Study:
    uid, date, time, accession, study_id, description, physician, patient, series = (
        values
    )
    patient_id, issuer, name, birth_date, sex = patient
    return Study(
        study_instance_uid=uid,
        study_date=date,
        study_time=time,
        accession_number=accession,
        study_id=study_id,
        study_description=description,
        referring_physician_name=physician,
        patient=Patient(
            patient_id=patient_id,
            issuer_of_patient_id=issuer,
            patient_name=name,
            patient_birth_date=birth_date,
            patient_sex=sex,
        ),
        series=tuple(map(_series, series)),
    )


def _series(values: list[Any]) -> Series:
    uid, modality, number, description, date, time, instances = values
    return Series(
        series_instance_uid=uid,
        modality=modality,
        series_number=number,
        series_description=description,
        series_date=date,
        series_time=time,
        instances=tuple(
            Instance(sop_instance_uid=sop, sop_class_uid=sop_class, instance_number=n)
            for sop, sop_class, n in instances
        ),
    )
