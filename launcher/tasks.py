"""Celery tasks. Arguments are ids, delivery may be double, results are rows and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, wait
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from celery import shared_task
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Case, Exists, OuterRef, Value, When
from django.utils import timezone

from archives import watching
from archives.authentication import Authentication
from archives.clients import Endpoint
from archives.entities import Study
from archives.errors import ArchiveError, ArchiveRefusedError
from archives.models import Archive, UserLogin
from launcher import background, cached_images, store
from launcher.answers import Answer
from launcher.collect import ArchivePlan, BuildPlan, collect
from launcher.manifest import fold_duplicates
from launcher.models import ArchiveOutcome, Build, Launch, OpenedStudy
from launcher.models.launches import AHEAD
from launcher.queue import seen_working
from launcher.search.person_names import name_groups

logger = structlog.get_logger(__name__)

# A task that waited this long in the queue is taken for lost. Who waits for it does not
# wait for the sweeper.
FORGOTTEN: Final = timedelta(seconds=45)
# Archives that answer sooner leave nobody the time to see that they are asked (seconds).
PROMPT: Final = 0.1
# A build ends so much later than its archives at the latest (seconds).
MARGIN: Final = 30.0


@shared_task
def build_manifest(build_id: str) -> None:
    """Ask the archives for a build's selection and record how each answered.

    Safe to deliver twice: a finished build is left alone, and one under way belongs to
    the worker that holds its lease.
    """
    build = Build.objects.filter(pk=build_id).first()
    if build is None or build.is_finished:
        return
    build.started = timezone.now()
    planning: Future[BuildPlan] = Future()
    collecting = background.start(collect(str(build.pk), planning))
    try:
        archives = build.get_archives()
        plan = _plan(build, archives)
        planning.set_result(plan)
        if wait([collecting], PROMPT).not_done:
            _mark_building(build)
        answers = collecting.result(settings.VIEWERHUB_BUILD_TIMEOUT + MARGIN)
    finally:
        planning.cancel()  # if it failed, nobody may wait for it
        collecting.cancel()  # gives its lease back, if it has not ended
    if answers is not None:
        _record(build, archives, answers)
        endpoints = {one.archive_id: one.endpoint for one in plan.archives}
        watching.note(
            *(
                watching.finding_of(
                    one.archive_id, endpoints[one.archive_id], one.state, one.message
                )
                for one in answers
            )
        )


def _plan(build: Build, archives: Sequence[Archive]) -> BuildPlan:
    wants_user = any(one.authentication == Authentication.USER for one in archives)
    user = _user_of(build) if wants_user else None
    return BuildPlan(
        build_id=str(build.pk),
        selection=build.get_selection(),
        archives=tuple(
            ArchivePlan(
                archive_id=archive.pk,
                name=archive.name,
                endpoint=_endpoint(archive, user),
            )
            for archive in archives
        ),
        timeout=settings.VIEWERHUB_BUILD_TIMEOUT,
    )


def _user_of(build: Build) -> User | None:
    """Whose build it is: launches that share one are of the same user, or of nobody."""
    launches = build.launches.exclude(user=None).select_related("user")
    launch = launches.first()
    return launch.user if launch else build.ahead_for


def _endpoint(archive: Archive, user: User | None) -> Endpoint | ArchiveError:
    if not archive.is_enabled:
        return ArchiveRefusedError(
            f"{archive.name} was disabled. Ask your administrator to enable it again."
        )
    try:
        return archive.endpoint(user)
    except ArchiveError as error:
        return error


def _mark_building(build: Build) -> None:
    with transaction.atomic():
        Build.objects.filter(pk=build.pk, state=Build.State.PENDING).update(
            state=Build.State.BUILDING, started=build.started
        )
        Launch.objects.filter(build=build, state=Launch.State.PENDING).update(
            state=Launch.State.BUILDING
        )


def _record(
    build: Build, archives: Sequence[Archive], answers: tuple[Answer, ...]
) -> None:
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
        OpenedStudy.objects.bulk_create(_opened(build, answers), ignore_conflicts=True)
        build.state, build.finished = state, timezone.now()
        if not (has_images and _is_ahead(build)):
            build.flight = None
        build.label = _label(answers)
        build.studies, build.series, build.instances = _opens(answers)
        build.save(
            update_fields=[
                "state",
                "flight",
                "started",
                "finished",
                "label",
                "studies",
                "series",
                "instances",
            ]
        )
        became: Any = state
        if has_images:  # a viewer may have come before the last archive answered
            fetched = When(fetched__isnull=False, then=Value(Launch.State.FETCHED))
            became = Case(fetched, default=Value(Launch.State.READY))
        unfinished = Launch.objects.filter(build=build, state__in=Launch.UNFINISHED)
        unfinished.update(state=became)
    cached_images.remember(str(build.pk), archives, answers)
    logger.info(
        "build_finished",
        build_id=str(build.pk),
        state=state,
        outcomes={answer.archive_id: answer.state for answer in answers},
    )


def _is_ahead(build: Build) -> bool:
    """Whether there is no launch of it yet. Locks it, so that none comes meanwhile."""
    if build.ahead_for_id is None:
        return False
    ahead = Build.objects.select_for_update().exclude(ahead_for=None)
    return ahead.filter(pk=build.pk).exists()


def _opened(build: Build, answers: tuple[Answer, ...]) -> list[OpenedStudy]:
    """What those are told who ask who opened which study; without any name."""
    return [
        OpenedStudy(
            build=build,
            archive_id=answer.archive_id,
            study_instance_uid=_kept(study.study_instance_uid),
            accession_number=_kept(study.accession_number),
            patient_id=_kept(study.patient.patient_id),
            issuer_of_patient_id=_kept(study.patient.issuer_of_patient_id),
        )
        for answer in answers
        for study in answer.studies
    ]


def _kept(identifier: str) -> str:
    """As databases take it whatever an archive sent: PostgreSQL knows no NUL."""
    return identifier.replace("\0", "")[:64]


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


def _opens(answers: tuple[Answer, ...]) -> tuple[int, int, int]:
    """Studies, series and instances, each counted where viewers get it from."""
    folded = fold_duplicates([answer.studies for answer in answers])
    studies = [study for found in folded for study in found.studies]
    series = [one for study in studies for one in study.series]
    return (
        len({study.study_instance_uid for study in studies}),
        len(series),
        sum(len(one.instances) for one in series),
    )


def _label(answers: tuple[Answer, ...]) -> str:
    """Whose images these are, for the owner's list of launches."""
    studies: list[Study] = [study for answer in answers for study in answer.studies]
    if not studies:
        return ""
    newest = max(studies, key=lambda study: (study.study_date, study.study_time))
    names = name_groups(newest.patient.patient_name)[:1]
    words = [", ".join(filter(None, (one.family, one.rest))) for one in names]
    words.append(newest.study_description)
    return " · ".join(filter(None, words))


@shared_task
def sweep_launches() -> None:
    """End what hangs, expire what is over, and forget old history.

    A build that lost its worker or its message is queued again; one that no worker has
    and that was queued longer ago than any build may last ends as failed. Logins at
    identity providers are kept as long as there are launches that may need them.
    """
    seen_working()
    now = timezone.now()
    over = Launch.objects.filter(expires__lte=now).exclude(
        state__in=[Launch.State.EXPIRED, Launch.State.REVOKED]
    )
    builds = set(over.values_list("build_id", flat=True))
    over.update(state=Launch.State.EXPIRED)
    cached_images.forget(builds)
    launches = Launch.objects.open(now).filter(user=OuterRef("user"))
    UserLogin.objects.without_session(now).exclude(Exists(launches)).delete()
    UserLogin.objects.useless(now).delete()
    _forget_ahead(now)
    history = timedelta(days=settings.VIEWERHUB_LAUNCH_HISTORY_DAYS)
    Build.objects.filter(created__lt=now - history).delete()
    overdue = timedelta(seconds=settings.VIEWERHUB_BUILD_TIMEOUT + 60)
    for build in Build.objects.unfinished().filter(
        queued__lt=now - timedelta(seconds=store.LEASE)
    ):
        if build.queued < now - overdue:
            _give_up(build)
        elif background.run(_needs_worker(build, now)):
            build_manifest.delay(str(build.pk))


def _forget_ahead(now: datetime) -> None:
    """Builds made ahead of a launch that never came, and what they collected."""
    useless = Build.objects.filter(ahead_for__isnull=False, finished__lt=now - AHEAD)
    builds = [str(pk) for pk in useless.values_list("pk", flat=True)]
    if builds:
        Build.objects.filter(pk__in=builds, ahead_for__isnull=False).delete()
        background.run(store.forget(builds))


async def _needs_worker(build: Build, now: datetime) -> bool:
    """Whether the worker died, or nobody ever took the task from the queue."""
    standing = await store.look(str(build.pk))
    was_begun = standing.was_started or build.state == Build.State.BUILDING
    is_lost = was_begun or build.queued < now - FORGOTTEN
    if standing.has_worker or not is_lost:
        return False
    return await store.claim_restart(str(build.pk))


def _give_up(build: Build) -> None:
    message = "The hub did not get to ask {name} in time. Try again, or tell your administrator."
    archives = build.get_archives()
    missing = tuple(
        Answer(
            archive_id=archive.pk,
            state="failed",
            message=message.format(name=archive.name),
        )
        for archive in archives
    )
    answers = background.run(_complete(str(build.pk), missing))
    if answers is not None:
        _record(build, archives, answers)


async def _complete(
    build_id: str, missing: tuple[Answer, ...]
) -> tuple[Answer, ...] | None:
    """Fill in the answers that never came, and mark the build as done.

    ``None`` if a worker has it: it will.
    """
    async with store.lease(build_id) as lease:
        if lease is None:
            return None
        known = lease.earlier.answers
        answers = tuple(known.get(one.archive_id, one) for one in missing)
        await store.finish(build_id, answers)
    return answers
