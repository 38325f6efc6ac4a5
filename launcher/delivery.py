"""From what a build collected to the manifest of one launch.

Rendered when it is asked for: for the Weasis version that asks, and with this launch's
own image token, so that what is stored holds no secret and builds can be shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from django.conf import settings
from django.utils import translation

from archives.entities import Selection, Study
from archives.models import Archive
from launcher import manifest, template_lines
from launcher.answers import Answer
from launcher.direct_images import sends_as_stored
from launcher.hub_addresses import dicomweb_url as dicomweb_url
from launcher.manifest import ArcQuery, Folded, Form, Message, Severity
from launcher.messages import translated
from launcher.models import ArchiveOutcome, Build, Launch, LaunchTemplate
from launcher.retrieval import Version, choose
from launcher.retrieval import retrieval_of as retrieval_of
from launcher.selections import names_all_of
from launcher.store import Collected, Primary
from launcher.tokens import digest, image_token

_OUTCOME = ArchiveOutcome.State
# A manifest has one at least.
_NOTHING: Final = ArcQuery(arc_id="hub", base_url="")
# Characters that may stand in a query as they are.
_QUERY: Final = "!$&'()*+,;=:@/?%-._~"


class Part(StrEnum):
    """What a manifest's address names.

    Everything, the primary study, all the rest, or no study but the messages.
    """

    WHOLE = ""
    PRIMARY = "primary"
    REST = "rest"
    MESSAGES = "messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What is known of a viewer that asks and of its user, and what it asks for."""

    version: Version | None = None
    part: Part = Part.WHOLE
    reads_json: bool = False
    language: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A launch whose manifest is asked for, with all that rendering needs.

    ``is_ready``: it is on record that there is something to open.
    """

    launch_id: str
    build_id: str
    image_token: str
    is_open: bool
    is_ready: bool
    is_build_finished: bool
    archives: tuple[Archive, ...]
    template: LaunchTemplate
    selection: Selection
    uploaded_manifest: str = ""
    language: str = "en"


def load(token: str) -> Delivery | None:
    """The delivery of a manifest token; ``None`` if there is no such launch."""
    # Its user and client are read for those that have one: many have none.
    related = Launch.objects.select_related("build", "template")
    launch = related.filter(manifest_token_sha256=digest(token)).first()
    if launch is None:
        return None
    build: Build = launch.build
    return Delivery(
        launch_id=str(launch.pk),
        build_id=str(build.pk),
        image_token=image_token(token),
        is_open=launch.opens(),
        is_ready=launch.state in {Launch.State.READY, Launch.State.FETCHED},
        is_build_finished=build.is_finished,
        archives=tuple(build.get_archives()),
        template=launch.template or LaunchTemplate(),
        selection=build.get_selection(),
        uploaded_manifest=build.uploaded_manifest,
        language=launch.language,
    )


def gateway_url(archive: Archive, form: Form = Form.WADO_URI) -> str:
    """Where viewers fetch the archive's images from the hub.

    The same in every launch of a form: Weasis skips a series it knows from elsewhere.
    """
    if form.is_dicomweb:
        return dicomweb_url(archive.slug)
    return f"{settings.VIEWERHUB_PUBLIC_URL}/gateway/{archive.slug}/wado"


def render(
    delivery: Delivery,
    collected: Collected,
    reader: Reader,
    primary: Primary | None = None,
) -> bytes:
    """The manifest's root element; an archive still asked for gets a message.

    The primary part and the rest need the ``primary`` study. Messages go with it, so
    that they are shown once.
    """
    answers = [collected.answers.get(archive.pk) for archive in delivery.archives]
    folded = manifest.fold_duplicates(
        [answer.studies if answer else () for answer in answers]
    )
    arc_queries = [
        replace(
            arc_query(archive, delivery, reader.version),
            studies=tuple(_of_part(found.studies, reader.part, archive, primary)),
            listed_series=_partly_selected(found.studies, delivery.selection),
            listed_studies=_partial(answer, found.studies, delivery.selection),
            message=_said(_message(delivery, archive, answer, found), reader)
            if reader.part != Part.REST
            else None,
        )
        for archive, answer, found in zip(
            delivery.archives, answers, folded, strict=True
        )
    ]
    filled = [query for query in arc_queries if query.studies or query.message]
    has_studies = any(answer.studies for answer in collected.answers.values())
    if reader.part == Part.MESSAGES and has_studies and not filled:
        return _written([_NOTHING], reader)
    if not filled:
        return render_message(_nothing_found(delivery.archives), reader)
    return _written(filled, reader)


def primary_of(delivery: Delivery, collected: Collected) -> Primary:
    """The first study that was asked for, of those that are there, or else the newest."""
    studies = [
        study for answer in collected.answers.values() for study in answer.studies
    ]
    found = {study.study_instance_uid: study for study in studies}
    asked = delivery.selection
    named = [
        *asked.study_instance_uids,
        *(
            study.study_instance_uid
            for number in asked.accession_numbers
            for study in studies
            if study.accession_number == number
        ),
        *(series.study_instance_uid for series in asked.series),
        *(instance.study_instance_uid for instance in asked.instances),
        *(study.study_instance_uid for study in manifest.newest_first(studies)),
    ]
    return Primary(
        study_instance_uid=next((uid for uid in named if uid in found), ""),
        archive_ids=tuple(sorted(collected.answers)),
    )


def _of_part(
    studies: Iterable[Study], part: Part, archive: Archive, primary: Primary | None
) -> Iterable[Study]:
    """Those of the part; the rest has what an archive answered after the primary part."""
    if part == Part.MESSAGES:
        return ()
    if part == Part.WHOLE or primary is None:
        return studies
    uid, was_there = primary.study_instance_uid, archive.pk in primary.archive_ids
    if part == Part.PRIMARY:
        return [study for study in studies if study.study_instance_uid == uid]
    return [s for s in studies if s.study_instance_uid != uid or not was_there]


def _partly_selected(studies: Iterable[Study], selection: Selection) -> frozenset[str]:
    """Series of which instances were named: there may be more that were not."""
    named = {item.sop_instance_uid for item in selection.instances}
    return frozenset(
        series.series_instance_uid
        for study in studies
        for series in study.series
        if any(one.sop_instance_uid in named for one in series.instances)
    )


def _partial(
    answer: Answer | None, studies: Iterable[Study], selection: Selection
) -> frozenset[str]:
    """Studies that are not selected whole, or of which another archive has a part."""
    series = {
        study.study_instance_uid: len(study.series)
        for study in (answer.studies if answer else ())
    }
    return frozenset(
        study.study_instance_uid
        for study in studies
        if not names_all_of(selection, study)
        or len(study.series) != series.get(study.study_instance_uid)
    )


def render_message(message: Message, reader: Reader) -> bytes:
    """A manifest that only says something: Weasis shows it in a dialog."""
    is_said = reader.part != Part.REST or message.severity == Severity.ERROR
    url = f"{settings.VIEWERHUB_PUBLIC_URL}/gateway"
    said = _said(message, reader) if is_said else None
    query = ArcQuery(arc_id="hub", base_url=url, message=said)
    return _written([query], reader)


def render_upload(delivery: Delivery, reader: Reader) -> bytes:
    """A manifest as it was sent to the hub; all of it is the primary part."""
    if reader.part in (Part.REST, Part.MESSAGES):
        return _written([_NOTHING], reader)
    return delivery.uploaded_manifest.encode()


def _written(arc_queries: Sequence[ArcQuery], reader: Reader) -> bytes:
    if reader.reads_json:
        return manifest.render_json(arc_queries)
    return manifest.render(arc_queries)


def arc_query(
    archive: Archive, delivery: Delivery, version: Version | None
) -> ArcQuery:
    """Where the images come from and how, without any study yet."""
    template = delivery.template
    chosen = choose(archive, template, version)
    is_as_stored = sends_as_stored(archive, template)
    query = ArcQuery(
        arc_id=archive.slug,
        base_url=gateway_url(archive, chosen.form),
        form=chosen.form,
        http_tags=(("Authorization", f"Bearer {delivery.image_token}"),),
        transfer_syntax="" if is_as_stored else template.transfer_syntax,
        compression_rate=None if is_as_stored else template.compression_rate,
        override_tags=",".join(template_lines.tags_of(template.override_tags)),
    )
    if not chosen.is_direct:
        return query
    is_wado_uri = chosen.form == Form.WADO_URI
    url = archive.wado_uri_url if is_wado_uri else archive.url
    return replace(
        query,
        base_url=url.rstrip("/"),
        http_tags=template_lines.http_tags_of(template.http_tags),
        additional_parameters=_parameters(archive.wado_parameters),
        needs_only_object=archive.wado_needs_only_object,
    )


def _parameters(text: str) -> str:
    """Weasis adds them as they are, after others."""
    parameters = text.strip().lstrip("?&")
    return f"&{quote(parameters, safe=_QUERY)}" if parameters else ""


def _said(message: Message | None, reader: Reader) -> Message | None:
    """A message in the language of who launched."""
    if message is None:
        return None
    with translation.override(reader.language):
        return replace(
            message,
            title=translated(message.title),
            description=translated(message.description),
        )


def _message(
    delivery: Delivery, archive: Archive, answer: Answer | None, found: Folded
) -> Message | None:
    """All that there is to say of an archive, in one dialog."""
    if answer is None:
        return Message(
            title=f"{archive.name}: no answer yet",
            description=f"{archive.name} is still being asked. Open the images again in "
            "a moment to see what it holds.",
        )
    left_out = _left_out(delivery, archive, found)
    if not answer.message:
        title = f"{archive.name}: some images are left out"
        return Message(title=title, description=left_out) if left_out else None
    is_error = answer.state in {_OUTCOME.UNAVAILABLE, _OUTCOME.REFUSED, _OUTCOME.FAILED}
    return Message(
        title=f"{archive.name}: {_OUTCOME(answer.state).label.lower()}",
        description=f"{answer.message} {left_out}".strip(),
        severity=Severity.ERROR if is_error else Severity.WARNING,
    )


def _left_out(delivery: Delivery, archive: Archive, found: Folded) -> str:
    """Of instances that Weasis would skip: another archive has more of their series."""
    if not found.left_out:
        return ""
    others = " and ".join(delivery.archives[place].name for place in found.elsewhere)
    return (
        f"{archive.name} has {found.left_out:,} more images of series that are opened "
        f"from {others}, and the viewer takes a series from one archive only. To see "
        f"them, open the study from {archive.name} alone."
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
FAILED: Final = Message(
    title="ViewerHub has a problem",
    description="The hub can't list the images at the moment. Open them again in a "
    "minute, or tell your administrator the time.",
    severity=Severity.ERROR,
)
