"""Launches that another viewer than Weasis opens: it asks the archive itself."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from archives.entities import Selection, Study
from archives.models import Archive
from launcher.criteria import CriteriaError, Problem
from launcher.models import ArchiveOutcome, Build, Launch, Viewer
from launcher.selections import selection_to_json
from launcher.weasis import NotCarriableError


def hand_over(
    launch: Launch,
    viewer: Viewer,
    selection: Selection,
    archives: Sequence[Archive],
    studies: Sequence[Study] | None,
    *,
    username: str = "",
) -> str:
    """Store a launch that is over for the hub, and return the viewer's address.

    ``studies`` are those that were found, ``None`` if no archive was asked. Raises
    ``CriteriaError`` for what the viewer can't open, with nothing stored.
    """
    address = address_in(viewer, selection, archives, studies, username=username)
    _store(launch, viewer, selection, archives, studies)
    return address


def address_in(
    viewer: Viewer,
    selection: Selection,
    archives: Sequence[Archive],
    studies: Sequence[Study] | None,
    *,
    username: str = "",
) -> str:
    """The viewer's address alone; raises as ``hand_over`` does."""
    try:
        return viewer.address(selection, archives, studies, user=username)
    except NotCarriableError as error:
        raise CriteriaError([Problem(field="viewer", message=str(error))]) from error


@transaction.atomic
def _store(
    launch: Launch,
    viewer: Viewer,
    selection: Selection,
    archives: Sequence[Archive],
    studies: Sequence[Study] | None,
) -> None:
    """A record of who opened what: the hub builds nothing for it."""
    now = timezone.now()
    build = Build.objects.create(
        selection=selection_to_json(selection), state=Build.State.READY, finished=now
    )
    build.archives.add(*archives)
    message = f"Opened in {viewer.name}, which fetches the images itself."
    count = len(selection.study_instance_uids if studies is None else studies)
    ArchiveOutcome.objects.bulk_create(
        ArchiveOutcome(
            build=build,
            archive=archive,
            state=ArchiveOutcome.State.OK,
            message=message,
            studies=count,
        )
        for archive in archives
    )
    launch.issue_token()  # told to nobody
    launch.build, launch.state = build, Launch.State.FETCHED
    launch.fetched, launch.viewer = now, viewer.name[:32]
    launch.save(force_insert=True)
