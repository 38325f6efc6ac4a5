"""Asking the archives what a launch selects, all at once, and keeping what they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
from redis.exceptions import RedisError

from archives.clients import Endpoint, newest_of_each_patient, open_client
from archives.clients.base import Progress
from archives.entities import Selection, WholeStudies
from archives.errors import (
    ArchiveError,
)
from launcher import store
from launcher.answers import Answer
from launcher.store import Collected, Lease

logger = structlog.get_logger(__name__)

# Beyond its time, an archive's client is not waited for longer than this (seconds).
GRACE: Final = 10.0
# How long Redis may be away when a build is done.
OUTAGE: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePlan:
    """An archive to ask. ``archive_id`` is its primary key.

    ``endpoint`` may be the error that keeps the archive from being asked at all.
    """

    archive_id: int
    name: str
    endpoint: Endpoint | ArchiveError


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """Everything a build needs, so that no coroutine touches the database."""

    build_id: str
    selection: Selection
    archives: tuple[ArchivePlan, ...]
    timeout: float


@dataclass(slots=True)
class _Pulse:
    """Progress since the last beat, by archive; written by the clients' callbacks."""

    changed: dict[int, Progress] = field(default_factory=dict)


async def collect(
    build_id: str, planning: Future[BuildPlan]
) -> tuple[Answer, ...] | None:
    """Ask every archive, keep each answer as it comes, and mark the build as done.

    The plan may be on its way while it is found out who has the build.
    One slow or dead archive never hides the others. ``None`` if another worker has the
    build. Archives that already answered an attempt that was cut short are not asked
    again. Redis may be away meanwhile; raises ``RedisError`` if it stays away.
    """
    async with store.lease(build_id) as lease:
        if lease is None:
            return None
        plan = await asyncio.wrap_future(planning)
        pulse = _Pulse()
        heartbeat = asyncio.create_task(_beat(lease, pulse))
        try:
            answers = await _gather(plan, lease.earlier, pulse)
            await _finish(build_id, answers)
        finally:
            heartbeat.cancel()
            await asyncio.wait([heartbeat])  # it must not renew what is given back
        return answers


async def _gather(
    plan: BuildPlan, earlier: Collected, pulse: _Pulse
) -> tuple[Answer, ...]:
    """An answer for each archive, in time whatever its client does."""
    known = {
        archive.archive_id: earlier.answers[archive.archive_id]
        for archive in plan.archives
        if archive.archive_id in earlier.answers
    }

    async def ask(archive: ArchivePlan) -> None:
        # In a task of its own: one that waited for a group of tasks, of which one failed,
        # counts as cancelled ever after (Python 3.11).
        answer = await asyncio.create_task(_ask(plan, archive, pulse))
        if _is_cancelled():  # a client may turn that into an answer, too late
            return
        learnt = _learnt(plan, known, answer)
        if len(known) < len(plan.archives):  # the last one is kept with all, at the end
            await _keep(plan.build_id, learnt)

    missing = [one for one in plan.archives if one.archive_id not in known]
    asking = [asyncio.create_task(ask(archive)) for archive in missing]
    try:
        if asking:
            await asyncio.wait(asking, timeout=plan.timeout + GRACE)
    finally:
        for task in asking:
            task.cancel()
    for archive in missing:
        if archive.archive_id not in known:
            known[archive.archive_id] = _too_late(archive)
    return tuple(known[archive.archive_id] for archive in plan.archives)


def _is_cancelled() -> bool:
    """Whether the running task was cancelled: redis-py may swallow that as it connects."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _learnt(plan: BuildPlan, known: dict[int, Answer], answer: Answer) -> list[Answer]:
    """Add an answer to those that are known; gives all that are new or changed by it."""
    before = {**known, answer.archive_id: answer}
    after = {one.archive_id: one for one in _newest(plan, tuple(before.values()))}
    changed = [
        one
        for key, one in after.items()
        if key == answer.archive_id or one is not known[key]
    ]
    known.update(after)
    return changed


async def _keep(build_id: str, answers: Iterable[Answer]) -> None:
    """For those who don't wait for all of them; they are kept again at the end."""
    try:
        for answer in answers:
            await store.save_answer(build_id, answer)
    except RedisError as error:
        _log_outage(build_id, error)


async def _finish(build_id: str, answers: Sequence[Answer]) -> None:
    """Keep what the archives were asked for, even if Redis is restarted just now."""
    patience = time.monotonic() + OUTAGE
    while True:
        try:
            return await store.finish(build_id, answers)
        except RedisError as error:
            _log_outage(build_id, error)
            if time.monotonic() > patience:
                raise
        await asyncio.sleep(0.5)


def _log_outage(build_id: str, error: RedisError) -> None:
    logger.warning("store_away", build_id=build_id, error=type(error).__name__)


async def ask(plan: BuildPlan) -> tuple[Answer, ...]:
    """The same answers without a lease, and without keeping any of them."""
    pulse = _Pulse()
    asking = (_ask(plan, archive, pulse) for archive in plan.archives)
    return _newest(plan, await asyncio.gather(*asking))


def _newest(plan: BuildPlan, answers: Sequence[Answer]) -> tuple[Answer, ...]:
    """Where the newest studies are wanted, those over all archives: each knew its own."""
    number = plan.selection.study_filter.most_recent
    if number is None:
        return tuple(answers)
    everything = [study for answer in answers for study in answer.studies]
    newest = set(map(id, newest_of_each_patient(everything, number)))
    kept = []
    for answer in answers:
        studies = tuple(study for study in answer.studies if id(study) in newest)
        if len(studies) < len(answer.studies):
            state = answer.state if studies or answer.state != "ok" else "empty"
            answer = replace(answer, studies=studies, state=state)
        kept.append(answer)
    return tuple(kept)


async def _ask(plan: BuildPlan, archive: ArchivePlan, pulse: _Pulse) -> Answer:
    """The answer of one archive; whatever goes wrong is an answer too."""
    started = time.monotonic()

    def answer(
        state: str, message: str = "", whole: WholeStudies | None = None
    ) -> Answer:
        return Answer(
            archive_id=archive.archive_id,
            state=state,
            message=message,
            studies=whole.studies if whole else (),
            milliseconds=round((time.monotonic() - started) * 1000),
        )

    def on_progress(progress: Progress) -> None:
        pulse.changed[archive.archive_id] = progress

    try:
        if isinstance(archive.endpoint, ArchiveError):
            raise archive.endpoint
        async with (
            asyncio.timeout(plan.timeout),
            open_client(archive.endpoint) as client,
        ):
            whole = await client.find_whole_studies(
                plan.selection, on_progress=on_progress
            )
    except TimeoutError:
        return answer("unavailable", _too_late(archive).message)
    except ArchiveError as error:
        return answer(error.state, str(error))
    except Exception:  # one archive must not take the others' images with it
        logger.exception("archive_client_failed", archive=archive.archive_id)
        message = (
            f"{archive.name} could not be asked because of an error in the hub. "
            "Tell your administrator the time of this launch."
        )
        return answer("failed", message)
    return answer(*_judge(archive.name, whole), whole)


def _too_late(archive: ArchivePlan) -> Answer:
    return Answer(
        archive_id=archive.archive_id,
        state="unavailable",
        message=f"{archive.name} did not finish its answer in time. Try again later.",
    )


def _judge(name: str, whole: WholeStudies) -> tuple[str, str]:
    """State and message of an answer without an error."""
    foreign = (
        f" {name} also sent {whole.dropped_studies} studies that were not asked for; "
        "they were left out. Tell the administrator of the archive."
        if whole.dropped_studies
        else ""
    )
    if not whole.studies and whole.is_truncated:
        return "failed", _nothing_listed(name, whole.missing_instances) + foreign
    if not whole.studies:
        return "empty", foreign.strip()
    if not whole.is_truncated:
        return "ok", foreign.strip()
    missing = (
        f"{whole.missing_instances:,} images"
        if whole.missing_instances
        else "Some images"
    )
    message = (
        f"{missing} of {name} are missing: it did not list all it holds. Open the study "
        "again, or ask the archive's administrator about its limit for answers."
    )
    return "truncated", message + foreign


def _nothing_listed(name: str, count: int) -> str:
    """Of images that are there by the archive's own count."""
    images = f"{count:,} images" if count else "images"
    return (
        f"{name} holds {images} of what was asked for, but listed none of them. Open the "
        "study again, or ask the archive's administrator about its limit for answers."
    )


async def _beat(lease: Lease, pulse: _Pulse) -> None:
    """Keep the lease and publish progress until cancelled."""
    while not _is_cancelled():
        await asyncio.sleep(1)
        try:
            await lease.renew()
            if pulse.changed:
                changed, pulse.changed = pulse.changed, {}
                await store.save_progress(lease.build_id, changed)
        except RedisError as error:
            _log_outage(lease.build_id, error)
