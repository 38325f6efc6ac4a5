"""From what a build collected to the manifest of one launch.

Rendered when it is asked for: for the Weasis version that asks, and with this launch's
own image token, so that what is stored holds no secret and builds can be shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from django.conf import settings

from archives.models import Archive
from launcher import manifest
from launcher.manifest import ArcQuery, Message, Severity
from launcher.models import ArchiveOutcome, Build, Launch
from launcher.store import Answer, Collected
from launcher.tokens import digest, image_token

# The first Weasis that fetches by WADO-RS where an arcQuery says so.
DICOMWEB_SINCE: Final = (4, 7, 0)

_OUTCOME = ArchiveOutcome.State


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A launch whose manifest is asked for, with all that rendering needs."""

    launch_id: str
    build_id: str
    image_token: str
    is_open: bool
    is_build_finished: bool
    archives: tuple[Archive, ...]


def load(token: str) -> Delivery | None:
    """The delivery of a manifest token; ``None`` if there is no such launch."""
    launch = (
        Launch.objects.select_related("build")
        .prefetch_related("build__archives")
        .filter(manifest_token_sha256=digest(token))
        .first()
    )
    if launch is None:
        return None
    build: Build = launch.build
    return Delivery(
        launch_id=str(launch.pk),
        build_id=str(build.pk),
        image_token=image_token(token),
        is_open=launch.is_open(),
        is_build_finished=build.is_finished,
        archives=tuple(build.archives.all()),
    )


def gateway_url(archive: Archive) -> str:
    """Where viewers fetch the archive's images by WADO-URI; the same in every launch."""
    return f"{settings.VIEWERHUB_PUBLIC_URL}/gateway/{archive.slug}/wado"


def render(
    delivery: Delivery, collected: Collected, version: tuple[int, int, int] | None
) -> bytes:
    """The manifest's root element; an archive still asked for gets a message."""
    answers = [collected.answers.get(archive.pk) for archive in delivery.archives]
    studies = manifest.fold_duplicates(
        [answer.studies if answer else () for answer in answers]
    )
    arc_queries = [
        replace(
            _arc_query(archive, delivery.image_token, version),
            studies=found,
            message=_message(archive, answer),
        )
        for archive, answer, found in zip(
            delivery.archives, answers, studies, strict=True
        )
    ]
    if not any(query.studies or query.message for query in arc_queries):
        return render_message(_nothing_found(delivery.archives))
    return manifest.render(
        query for query in arc_queries if query.studies or query.message
    )


def render_message(message: Message) -> bytes:
    """A manifest that only says something: Weasis shows it in a dialog."""
    url = f"{settings.VIEWERHUB_PUBLIC_URL}/gateway"
    return manifest.render([ArcQuery(arc_id="hub", base_url=url, message=message)])


def _arc_query(
    archive: Archive, token: str, version: tuple[int, int, int] | None
) -> ArcQuery:
    """Where the images come from: the hub, or the archive if its administrator chose so."""
    if archive.images == Archive.Images.DIRECT:
        if archive.wado_uri_url:
            url = archive.wado_uri_url.rstrip("/")
            return ArcQuery(arc_id=archive.slug, base_url=url)
        if version is None or version >= DICOMWEB_SINCE:
            url = archive.url.rstrip("/")
            return ArcQuery(arc_id=archive.slug, base_url=url, is_dicomweb=True)
    return ArcQuery(
        arc_id=archive.slug,
        base_url=gateway_url(archive),
        http_tags=(("Authorization", f"Bearer {token}"),),
    )


def _message(archive: Archive, answer: Answer | None) -> Message | None:
    if answer is None:
        return Message(
            title=f"{archive.name}: no answer yet",
            description=f"{archive.name} is still being asked. Open the images again in "
            "a moment to see what it holds.",
        )
    if not answer.message:
        return None
    is_error = answer.state in {_OUTCOME.UNAVAILABLE, _OUTCOME.REFUSED, _OUTCOME.FAILED}
    return Message(
        title=f"{archive.name}: {_OUTCOME(answer.state).label.lower()}",
        description=answer.message,
        severity=Severity.ERROR if is_error else Severity.WARNING,
    )


def _nothing_found(archives: Sequence[Archive]) -> Message:
    names = ", ".join(archive.name for archive in archives)
    return Message(
        title="No images found",
        description="No archive holds what was asked for. Asked: "
        f"{names}. Check the identifiers, or search for the study in ViewerHub.",
    )


CLOSED: Final = Message(
    title="This launch is over",
    description="The link to these images has expired or was revoked. Open the study "
    "again in ViewerHub, or in the system you came from.",
    severity=Severity.ERROR,
)
STORE_UNAVAILABLE: Final = Message(
    title="ViewerHub has a problem",
    description="The hub can't reach its own store. Open the images again in a minute, "
    "or tell your administrator.",
    severity=Severity.ERROR,
)
