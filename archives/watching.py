"""Keeping an eye on archives: what questions to them teach, and a question if none are.

Who asked an archive notes how it went, once it has answered: one write to the cache, so
that nobody waits for the database. ``settle`` moves the notes to the archives' rows. In
them are times, durations and the messages of ``ArchiveError``; no patient data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from time import perf_counter
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.cache import cache
from django.db.models import Q
from django.utils import timezone
from redis.exceptions import RedisError

from archives.authentication import Authentication
from archives.clients import DicomWebEndpoint, Endpoint, open_client
from archives.clients.credentials import Credentials, UserToken
from archives.clients.pool import close_connections
from archives.errors import ArchiveError
from archives.health import ArchiveState
from archives.models import Archive

logger = structlog.get_logger(__name__)

# Notes that nobody settles, as no scheduler runs and nobody looks (seconds).
_KEPT: Final = 86_400
# What a check may take: it waits for no search, and nobody waits for it.
CHECK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How asking an archive went. ``milliseconds`` are those of one short question."""

    archive_id: int
    state: ArchiveState
    message: str = ""
    milliseconds: int | None = None

    @property
    def has_worked(self) -> bool:
        return self.state == ArchiveState.WORKING


class _Note(StrEnum):
    """What is kept of an archive: the last of each."""

    WORKED = "worked"
    FAILED = "failed"
    LATENCY = "latency"


_WORKED: Final = frozenset({"answered", "ok", "empty", "truncated"})


def finding_of(
    archive_id: int,
    endpoint: Endpoint | ArchiveError,
    state: str,
    message: str = "",
    milliseconds: int | None = None,
) -> Finding | None:
    """What the answer to a search or a build says about the archive.

    Nothing where it was not asked, or where it refused its user's own login.
    """
    if isinstance(endpoint, ArchiveError):
        return None
    if state in _WORKED:
        return Finding(
            archive_id=archive_id,
            state=ArchiveState.WORKING,
            milliseconds=milliseconds,
        )
    is_refusal = state == ArchiveState.REFUSED
    if is_refusal and isinstance(_credentials(endpoint), UserToken):
        return None
    return Finding(archive_id=archive_id, state=ArchiveState(state), message=message)


def _credentials(endpoint: Endpoint) -> Credentials | None:
    return endpoint.credentials if isinstance(endpoint, DicomWebEndpoint) else None


def note(*findings: Finding | None) -> None:
    """Keep what was learnt. Harmless without Redis: it is learnt again."""
    at = timezone.now().isoformat()
    values: dict[str, dict[str, Any]] = {}
    for one in filter(None, findings):
        kind = _Note.WORKED if one.has_worked else _Note.FAILED
        values[_key(one.archive_id, kind)] = _value(one, at)
        if one.milliseconds is not None:  # builds tell none, and must not hide it
            latency = {"at": at, "milliseconds": one.milliseconds}
            values[_key(one.archive_id, _Note.LATENCY)] = latency
    if not values:
        return
    with suppress(RedisError):
        cache.set_many(values, timeout=_KEPT)


def _value(finding: Finding, at: str) -> dict[str, Any]:
    if finding.has_worked:
        return {"at": at}
    return {"at": at, "state": finding.state.value, "message": finding.message[:500]}


def _key(archive_id: int, kind: _Note) -> str:
    return f"archive:{archive_id}:{kind}"


def settle() -> None:
    """Write what was noted into the archives' rows, as far as it is news there."""
    archives = list(Archive.objects.all())
    keys = [_key(archive.pk, kind) for archive in archives for kind in _Note]
    try:
        notes: dict[str, dict[str, Any]] = cache.get_many(keys)
    except RedisError:
        return
    for archive in archives:
        of_archive = {kind: notes.get(_key(archive.pk, kind)) for kind in _Note}
        if news := _news(archive, of_archive):
            Archive.objects.filter(pk=archive.pk).update(**news)


def _news(
    archive: Archive, notes: dict[_Note, dict[str, Any] | None]
) -> dict[str, Any]:
    news: dict[str, Any] = {}
    worked, failed = notes[_Note.WORKED], notes[_Note.FAILED]
    latency = notes[_Note.LATENCY]
    if worked and _is_later(worked, archive.last_success):
        news["last_success"] = datetime.fromisoformat(worked["at"])
    if latency and _is_later(latency, archive.last_success):
        news["last_milliseconds"] = latency["milliseconds"]
    if failed and _is_later(failed, archive.last_error):
        news |= {
            "last_error": datetime.fromisoformat(failed["at"]),
            "last_error_state": failed["state"],
            "last_message": failed["message"],
        }
    return news


def _is_later(found: dict[str, Any], known: datetime | None) -> bool:
    return known is None or datetime.fromisoformat(found["at"]) > known


# Asking where nobody else does


def check_quiet_archives(now: datetime | None = None) -> int:
    """Ask each archive that nobody has asked for a while; gives how many.

    Not those that want their user's own login: there is no user here. For threads
    without a running event loop.
    """
    settle()
    seconds = settings.VIEWERHUB_ARCHIVE_CHECK_SECONDS
    if not seconds:
        return 0
    since = (now or timezone.now()) - timedelta(seconds=seconds)
    heard = Q(last_success__gt=since) | Q(last_error__gt=since)
    quiet = Archive.objects.enabled().exclude(heard)
    chosen = list(quiet.exclude(authentication=Authentication.USER))
    if chosen:
        note(*asyncio.run(_check_all(chosen, list(map(_endpoint, chosen)))))
        settle()
    return len(chosen)


def _endpoint(archive: Archive) -> Endpoint | ArchiveError:
    try:
        endpoint = archive.endpoint()
    except ArchiveError as error:
        return error
    total = min(endpoint.deadlines.total, CHECK_SECONDS)
    return replace(endpoint, deadlines=replace(endpoint.deadlines, total=total))


async def _check_all(
    archives: Iterable[Archive], endpoints: Sequence[Endpoint | ArchiveError]
) -> list[Finding]:
    checks = [
        _check(archive.pk, endpoint)
        for archive, endpoint in zip(archives, endpoints, strict=True)
    ]
    try:
        return await asyncio.gather(*checks)
    finally:
        await close_connections()


async def _check(archive_id: int, endpoint: Endpoint | ArchiveError) -> Finding:
    started = perf_counter()
    try:
        if isinstance(endpoint, ArchiveError):
            raise endpoint
        async with open_client(endpoint) as client:
            await client.echo()
    except ArchiveError as error:
        state = ArchiveState(error.state)
        return Finding(archive_id=archive_id, state=state, message=str(error))
    except Exception:  # one archive must not keep the others from being checked
        logger.exception("archive_check_failed", archive=archive_id)
        message = "The hub could not check it because of an error of its own."
        return Finding(
            archive_id=archive_id, state=ArchiveState.FAILED, message=message
        )
    return Finding(
        archive_id=archive_id,
        state=ArchiveState.WORKING,
        milliseconds=round((perf_counter() - started) * 1000),
    )
