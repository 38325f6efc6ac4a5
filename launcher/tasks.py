"""Celery tasks. Arguments are ids, delivery may be double, results are rows and bytes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import structlog
from celery import shared_task
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from archives.clients import Endpoint
from archives.entities import Study
from archives.errors import ArchiveError
from archives.models import Archive
from launcher import background, cached_images, store
from launcher.collect import ArchivePlan, BuildPlan, collect
from launcher.models import ArchiveOutcome, Build, Launch
from launcher.store import Answer

logger = structlog.get_logger(__name__)

# A task that waited this long in the queue is taken for lost.
FORGOTTEN: Final = timedelta(seconds=45)


@shared_task
def build_manifest(build_id: str) -> None:
    """Ask the archives for a build's selection and record how each answered.

    Safe to deliver twice: a finished build is left alone, and one under way belongs to
    the worker that holds its lease.
    """
    build = Build.objects.filter(pk=build_id).first()
    if build is None or build.is_finished:
        return
    collecting = background.start(collect(_plan(build)))
    _mark_building(build)  # while the archives are being asked
    answers = collecting.result()
    if answers is not None:
        _record(build, answers)


def _plan(build: Build) -> BuildPlan:
    return BuildPlan(
        build_id=str(build.pk),
        selection=build.get_selection(),
        archives=tuple(
            ArchivePlan(
                archive_id=archive.pk, name=archive.name, endpoint=_endpoint(archive)
            )
            for archive in build.archives.all()
        ),
        timeout=settings.VIEWERHUB_BUILD_TIMEOUT,
    )


def _endpoint(archive: Archive) -> Endpoint | ArchiveError:
    try:
        return archive.endpoint()
    except ArchiveError as error:
        return error


def _mark_building(build: Build) -> None:
    with transaction.atomic():
        Build.objects.filter(pk=build.pk, state=Build.State.PENDING).update(
            state=Build.State.BUILDING, started=timezone.now()
        )
        Launch.objects.filter(build=build, state=Launch.State.PENDING).update(
            state=Launch.State.BUILDING
        )


def _record(build: Build, answers: tuple[Answer, ...]) -> None:
    """Store what became of a build, for the launches that share it, in one go."""
    has_images = any(answer.state in ArchiveOutcome.WITH_IMAGES for answer in answers)
    state = Build.State.READY if has_images else Build.State.FAILED
    with transaction.atomic():
        ArchiveOutcome.objects.bulk_create(
            [_outcome(build, answer) for answer in answers],
            update_conflicts=True,
            unique_fields=["build", "archive"],
            update_fields=[
                "state",
                "message",
                "studies",
                "series",
                "instances",
                "milliseconds",
            ],
        )
        build.state, build.flight, build.finished = state, None, timezone.now()
        build.label = _label(answers)
        build.save(update_fields=["state", "flight", "finished", "label"])
        Launch.objects.filter(build=build, state__in=Launch.UNFINISHED).update(
            state=state
        )
    cached_images.remember(build, answers)
    logger.info(
        "build_finished",
        build_id=str(build.pk),
        state=state,
        outcomes={answer.archive_id: answer.state for answer in answers},
    )


def _outcome(build: Build, answer: Answer) -> ArchiveOutcome:
    studies, series, instances = answer.counts()
    return ArchiveOutcome(
        build=build,
        archive_id=answer.archive_id,
        state=answer.state,
        message=answer.message[:500],
        studies=studies,
        series=series,
        instances=instances,
        milliseconds=answer.milliseconds,
    )


def _label(answers: tuple[Answer, ...]) -> str:
    """Whose images these are, for the owner's list of launches."""
    studies: list[Study] = [study for answer in answers for study in answer.studies]
    if not studies:
        return ""
    newest = max(studies, key=lambda study: (study.study_date, study.study_time))
    name = newest.patient.patient_name.split("=", 1)[0]
    family, _, given = name.partition("^")
    words = [f"{family}, {given.replace('^', ' ').strip()}".strip(", ")]
    words.append(newest.study_description)
    return " · ".join(filter(None, words))


@shared_task
def sweep_launches() -> None:
    """End what hangs, expire what is over, and forget old history.

    A build that lost its worker or its message is queued again; one that is older than
    any build may last ends as failed.
    """
    now = timezone.now()
    overdue = timedelta(seconds=settings.VIEWERHUB_BUILD_TIMEOUT + 60)
    for build in Build.objects.unfinished().filter(
        created__lt=now - timedelta(seconds=store.LEASE)
    ):
        if build.created < now - overdue:
            _give_up(build)
        elif background.run(_needs_worker(build, now)):
            build_manifest.delay(str(build.pk))
    over = Launch.objects.filter(expires__lte=now).exclude(
        state__in=[Launch.State.EXPIRED, Launch.State.REVOKED]
    )
    builds = set(over.values_list("build_id", flat=True))
    over.update(state=Launch.State.EXPIRED)
    cached_images.forget(builds)
    history = timedelta(days=settings.VIEWERHUB_LAUNCH_HISTORY_DAYS)
    Build.objects.filter(created__lt=now - history).delete()


async def _needs_worker(build: Build, now: datetime) -> bool:
    """Whether the worker died, or nobody ever took the task from the queue."""
    build_id = str(build.pk)
    is_forgotten = (
        build.state == Build.State.PENDING and build.created < now - FORGOTTEN
    )
    if is_forgotten or await store.lost_worker(build_id):
        return await store.claim_restart(build_id)
    return False


def _give_up(build: Build) -> None:
    message = "The hub did not get to ask {name} in time. Try again, or tell your administrator."
    answers = tuple(
        Answer(
            archive_id=archive.pk,
            state="failed",
            message=message.format(name=archive.name),
        )
        for archive in build.archives.all()
    )
    _record(build, background.run(_complete(str(build.pk), answers)))


async def _complete(build_id: str, missing: tuple[Answer, ...]) -> tuple[Answer, ...]:
    """Fill in the answers that never came, and mark the build as done."""
    known = (await store.load(build_id)).answers
    for answer in missing:
        if answer.archive_id not in known:
            known[answer.archive_id] = answer
            await store.save_answer(build_id, answer)
    await store.finish(build_id)
    return tuple(known.values())
