"""What the portal, launch URLs and the API share: starting launches, and following them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import get_language
from kombu.exceptions import OperationalError

from archives.entities import Selection, Study
from archives.models import Archive
from launcher import cached_images, store, tasks, weasis
from launcher.addresses import is_address
from launcher.criteria import LaunchExtras
from launcher.models import (
    ApiClient,
    ArchiveOutcome,
    Build,
    Launch,
    LaunchTemplate,
    Viewer,
)
from launcher.other_viewers import address_in, hand_over
from launcher.selections import selection_digest, selection_to_json

_NO_EXTRAS: Final = LaunchExtras()


class QueueUnavailableError(Exception):
    """The broker can't be reached; nothing was stored."""

    def __init__(self) -> None:
        super().__init__(
            "The hub can't start launches at the moment because its queue is not "
            "reachable. Try again in a minute, or tell your administrator."
        )


@dataclass(frozen=True, slots=True)
class StartedLaunch:
    """A launch and the only copy of its addresses: the row keeps hashes.

    ``uri`` starts ``viewer``, or Weasis if that is ``None``; others than Weasis have no
    manifest.
    """

    launch: Launch
    uri: str
    manifest_url: str
    viewer: Viewer | None = None


def start_launch(
    *,
    selection: Selection,
    archives: Sequence[Archive],
    template: LaunchTemplate,
    origin: Launch.Origin,
    user: User | None = None,
    api_client: ApiClient | None = None,
    address: str = "",
    extras: LaunchExtras = _NO_EXTRAS,
    studies: Sequence[Study] | None = None,
    needs_manifest: bool = False,
) -> StartedLaunch:
    """Store a launch and queue its build; no archive is asked here.

    A template with a viewer of its own leads there instead, with the ``studies`` that
    were found if archives had to be asked; ``needs_manifest`` makes a manifest anyway.
    Raises ``QueueUnavailableError``, or ``CriteriaError`` for what the viewer can't
    open or the template does not allow, with nothing stored.
    """
    launch = _new_launch(template, origin, user, api_client, address)
    if template.viewer and not needs_manifest:
        name = extras.user or (user.get_username() if user else "")
        uri = hand_over(
            launch, template.viewer, selection, archives, studies, username=name
        )
        return StartedLaunch(
            launch=launch, uri=uri, manifest_url="", viewer=template.viewer
        )
    token = launch.issue_token()
    manifest_url = manifest_address(token)
    uri = template.uri(manifest_url, selection, archives, extras)
    _queue(launch, selection, archives)
    return StartedLaunch(launch=launch, uri=uri, manifest_url=manifest_url)


def rehearse_launch(
    *,
    selection: Selection,
    archives: Sequence[Archive],
    template: LaunchTemplate,
    extras: LaunchExtras = _NO_EXTRAS,
    studies: Sequence[Study] | None = None,
    username: str = "",
    needs_manifest: bool = False,
) -> str:
    """Where ``start_launch`` would lead, by a manifest that is none; nothing is stored.

    Raises ``CriteriaError`` as it does.
    """
    if template.viewer and not needs_manifest:
        name = extras.user or username
        return address_in(template.viewer, selection, archives, studies, username=name)
    example = weasis.example_manifest_url(settings.VIEWERHUB_PUBLIC_URL)
    return template.uri(example, selection, archives, extras)


def _queue(launch: Launch, selection: Selection, archives: Sequence[Archive]) -> None:
    """Store a launch with its build; raises ``QueueUnavailableError``, storing nothing."""
    owner = _owner(launch.user, launch.api_client)
    try:
        _store(launch, selection, archives, owner)
    except IntegrityError:  # the same selection was stored a moment earlier
        _store(launch, selection, archives, owner)
    if launch.state != Launch.State.PENDING:
        return  # it joined a build that a worker has
    try:
        # Also for a build it joined: whose message may have been lost meanwhile.
        tasks.build_manifest.apply_async([str(launch.build_id)])
    except OperationalError as error:
        _forget(launch)
        raise QueueUnavailableError from error


@transaction.atomic
def _forget(launch: Launch) -> None:
    """Delete a launch, and its build unless others have joined it."""
    # Locked, so that nobody joins meanwhile.
    build = Build.objects.select_for_update().filter(pk=launch.build_id).first()
    launch.delete()
    if build and not build.launches.exists():
        build.delete()


def start_uploaded(
    manifest: str,
    *,
    template: LaunchTemplate,
    user: User | None = None,
    api_client: ApiClient | None = None,
    address: str = "",
    extras: LaunchExtras = _NO_EXTRAS,
) -> StartedLaunch:
    """Store a launch of a manifest that another system made and that was checked.

    Raises ``CriteriaError`` for what the template does not allow, with nothing stored.
    """
    launch = _new_launch(template, Launch.Origin.UPLOAD, user, api_client, address)
    manifest_url = manifest_address(launch.issue_token())
    uri = template.uri(manifest_url, Selection(), [], extras)
    with transaction.atomic():
        launch.build = Build.objects.create(
            selection={},
            uploaded_manifest=manifest,
            state=Build.State.READY,
            finished=timezone.now(),
        )
        launch.state = Launch.State.READY
        launch.save(force_insert=True)
    return StartedLaunch(launch=launch, uri=uri, manifest_url=manifest_url)


def manifest_address(token: str) -> str:
    return f"{settings.VIEWERHUB_PUBLIC_URL}/m/{token}"


def _new_launch(
    template: LaunchTemplate,
    origin: Launch.Origin,
    user: User | None,
    api_client: ApiClient | None,
    address: str,
) -> Launch:
    return Launch(
        template=template if template.pk else None,
        user=user,
        api_client=api_client,
        origin=origin,
        address=address if is_address(address) else None,
        language=get_language() or settings.LANGUAGE_CODE,
    )


def _owner(user: User | None, api_client: ApiClient | None) -> str:
    """Whose builds may be shared: an archive may answer each user differently."""
    owners = [f"client:{api_client.pk}"] if api_client else []
    owners += [f"user:{user.pk}"] if user else []
    return " ".join(owners) or "network"


def _flight(selection: Selection, archive_ids: Sequence[int], owner: str) -> str:
    return selection_digest(selection, owner, *map(str, archive_ids))


def _leave_stale(flight: str) -> Build | None:
    """The build that a launch may join, locked; one that is too old is left alone."""
    builds = Build.objects.filter(flight=flight)
    if not builds.exists():  # as most often: spared, what reading one costs
        return None
    build = builds.select_for_update().first()
    if build is None or build.may_be_joined():
        return build
    build.flight = None
    build.save(update_fields=["flight"])
    return None


@transaction.atomic
def _store(
    launch: Launch, selection: Selection, archives: Sequence[Archive], owner: str
) -> None:
    """Store a launch, with a build of its own or one that is under way.

    Raises ``IntegrityError`` if another process stores the same selection right now.
    """
    keys = sorted(archive.pk for archive in archives)
    flight = _flight(selection, keys, owner)
    # Locked, so that the build can't finish before the launch is stored.
    build = _leave_stale(flight)
    if build and build.ahead_for_id:  # it is this launch's from now on
        build.ahead_for = None
        build.flight = None if build.is_finished else flight
        build.save(update_fields=["ahead_for", "flight"])
    if build is None:
        build = Build.objects.create(
            flight=flight, selection=selection_to_json(selection)
        )
        build.archives.add(*keys)
    launch.build, launch.state = build, Launch.State(build.state)
    launch.save(force_insert=True)


def revoke_launch(launch: Launch) -> None:
    """End its addresses at once, and forget its images here; viewers keep theirs."""
    launch.revoke()
    cached_images.forget([launch.build_id])


def build_ahead(
    *, selection: Selection, archives: Sequence[Archive], user: User
) -> None:
    """Begin what a launch of the same would begin, which then finds it; no launch yet.

    Does nothing where one is under way already, or the queue can't be reached.
    """
    keys = sorted(archive.pk for archive in archives)
    flight = _flight(selection, keys, _owner(user, None))
    with suppress(IntegrityError), transaction.atomic():
        _leave_stale(flight)
        build = Build.objects.create(
            flight=flight, selection=selection_to_json(selection), ahead_for=user
        )
        build.archives.add(*keys)
        transaction.on_commit(partial(_queue_ahead, build))


def _queue_ahead(build: Build) -> None:
    try:
        tasks.build_manifest.apply_async([str(build.pk)])
    except OperationalError:
        build.delete()


def restart_build(build_id: str) -> None:
    """Queue a build again: its message or worker was lost, or what it had collected.

    Harmless when another process does the same: the second delivery finds the lease.
    """
    Build.objects.filter(pk=build_id).exclude(state__in=Build.UNFINISHED).update(
        state=Build.State.PENDING, queued=timezone.now(), finished=None
    )
    tasks.build_manifest.apply_async([build_id])


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveProgress:
    """What a user is told about one archive of a launch.

    ``state`` is ``asking`` or one of ``ArchiveOutcome.State``.
    """

    archive: str
    slug: str
    state: str
    message: str = ""
    studies: int = 0
    series: int = 0
    instances: int = 0
    total_series: int | None = None
    total_instances: int | None = None


async def progress_of(launch: Launch) -> list[ArchiveProgress]:
    """How far each archive of a launch is: from the rows, or from Redis until then."""
    outcomes = [
        outcome
        async for outcome in ArchiveOutcome.objects.filter(
            build_id=launch.build_id
        ).select_related("archive")
    ]
    if outcomes:
        return [
            ArchiveProgress(
                archive=outcome.archive.name,
                slug=outcome.archive.slug,
                state=outcome.state,
                message=outcome.message,
                studies=outcome.studies,
                series=outcome.series,
                instances=outcome.instances,
            )
            for outcome in outcomes
        ]
    collected = await store.load(str(launch.build_id))
    return [
        _progress(archive, collected)
        async for archive in Archive.objects.filter(build=launch.build_id)
    ]


def _progress(archive: Archive, collected: store.Collected) -> ArchiveProgress:
    if answer := collected.answers.get(archive.pk):
        studies, series, instances = answer.counts()
        return ArchiveProgress(
            archive=archive.name,
            slug=archive.slug,
            state=answer.state,
            message=answer.message,
            studies=studies,
            series=series,
            instances=instances,
        )
    progress = collected.progress.get(archive.pk)
    if progress is None:
        return ArchiveProgress(archive=archive.name, slug=archive.slug, state="asking")
    return ArchiveProgress(
        archive=archive.name,
        slug=archive.slug,
        state="asking",
        studies=progress.studies,
        series=progress.series,
        instances=progress.instances,
        total_series=progress.total_series,
        total_instances=progress.total_instances,
    )
