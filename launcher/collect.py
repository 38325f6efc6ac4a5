"""Asking the archives what a launch selects, all at once, and keeping what they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from archives.clients import Endpoint, newest_of_each_patient, open_client
from archives.clients.base import Progress
from archives.entities import Selection, WholeStudies
from archives.errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveUnavailableError,
)
from launcher import store
from launcher.store import Answer

logger = structlog.get_logger(__name__)


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


async def collect(plan: BuildPlan) -> tuple[Answer, ...] | None:
    """Ask every archive, keep each answer as it comes, and mark the build as done.

    One slow or dead archive never hides the others. ``None`` if another worker has the
    build. Archives that already answered an attempt that was cut short are not asked
    again.
    """
    async with store.lease(plan.build_id) as earlier:
        if earlier is None:
            return None
        pulse = _Pulse()
        heartbeat = asyncio.create_task(_beat(plan.build_id, pulse))
        try:
            asked = await asyncio.gather(
                *(
                    _known_or_asked(
                        plan, archive, pulse, earlier.answers.get(archive.archive_id)
                    )
                    for archive in plan.archives
                )
            )
            answers = _newest(plan, asked)
            for before, answer in zip(asked, answers, strict=True):
                if answer is not before:
                    await store.save_answer(plan.build_id, answer)
        finally:
            heartbeat.cancel()
        await store.finish(plan.build_id)
        return answers


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


async def _known_or_asked(
    plan: BuildPlan, archive: ArchivePlan, pulse: _Pulse, known: Answer | None
) -> Answer:
    if known:
        return known
    answer = await _ask(plan, archive, pulse)
    await store.save_answer(plan.build_id, answer)
    return answer


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
        message = f"{archive.name} did not finish its answer in time. Try again later."
        return answer("unavailable", message)
    except ArchiveError as error:
        return answer(_state_of(error), str(error))
    except Exception:  # one archive must not take the others' images with it
        logger.exception("archive_client_failed", archive=archive.archive_id)
        message = (
            f"{archive.name} could not be asked because of an error in the hub. "
            "Tell your administrator the time of this launch."
        )
        return answer("failed", message)
    return answer(*_judge(archive.name, whole), whole)


def _state_of(error: ArchiveError) -> str:
    if isinstance(error, ArchiveUnavailableError):
        return "unavailable"
    return "refused" if isinstance(error, ArchiveRefusedError) else "failed"


def _judge(name: str, whole: WholeStudies) -> tuple[str, str]:
    """State and message of an answer without an error."""
    foreign = (
        f" {name} also sent {whole.dropped_studies} studies that were not asked for; "
        "they were left out. Tell the administrator of the archive."
        if whole.dropped_studies
        else ""
    )
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


async def _beat(build_id: str, pulse: _Pulse) -> None:
    """Keep the lease and publish progress until cancelled."""
    while True:
        await asyncio.sleep(1)
        await store.renew_lease(build_id)
        if pulse.changed:
            changed, pulse.changed = pulse.changed, {}
            await store.save_progress(build_id, changed)
