"""What a launch would do, for its administrator: asked from the archives, and not kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl

from django.conf import settings
from django.contrib.auth.models import User
from django.utils.translation import gettext_lazy as _

from archives.entities import Study
from archives.errors import ArchiveError
from archives.models import Archive
from launcher import background, delivery, weasis
from launcher.answers import Answer
from launcher.collect import ArchivePlan, BuildPlan, ask
from launcher.criteria import (
    PATIENT_ID,
    STUDY_UID,
    CriteriaError,
    LaunchCriteria,
    Problem,
)
from launcher.identifiers import unique_identifier
from launcher.launching.callers import Caller
from launcher.launching.judging import Judged, LaunchRequest, Question, judge, routed
from launcher.launching.lookup import Lookup
from launcher.launching.refusals import RefusedError
from launcher.models import ArchiveOutcome, LaunchTemplate, Viewer
from launcher.retrieval import Version
from launcher.starting import Start
from launcher.store import Collected
from launcher.threads import release_connection

# Somebody watches: give up earlier than a launch would.
MAXIMUM_SECONDS: Final = 20.0
# What a page can show; manifests of whole patients are larger.
MAXIMUM_MANIFEST: Final = 200_000
PLACEHOLDER: Final = "the-token-of-the-launch"

_IID: Final = "IHEInvokeImageDisplay"
_WHEN: Final = {
    Question.NOTHING: _("The viewer starts at once, while the archives are asked."),
    Question.WHETHER: _(
        "The archives are asked before the viewer starts, and it does not start if none "
        "of them has a study."
    ),
    Question.WHICH: _(
        "The archives are asked before the viewer starts: which viewer, or its address, "
        "depends on their answers."
    ),
}
_ANSWERED: Final = {
    ArchiveOutcome.State.OK,
    ArchiveOutcome.State.EMPTY,
    ArchiveOutcome.State.TRUNCATED,
}
_TAG = re.compile(rb"<(?P<end>/)?[^<>]*?(?P<empty>/)?>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pasted:
    """What an administrator wants to try. Empty parts are for the launch itself to say.

    ``kind`` is the parameter a bare identifier is for.
    """

    text: str
    kind: str = ""
    archive: str = ""
    template: str = ""
    version: Version | None = None
    user: User | None = None
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    """How one archive answered, and how its images would reach Weasis."""

    archive: str
    state: str
    label: str
    message: str
    studies: int
    series: int
    instances: int
    milliseconds: int
    retrieval: str

    @property
    def has_answered(self) -> bool:
        """Whether it is known what the archive holds, and so what would reach Weasis."""
        return self.state in _ANSWERED


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPreview:
    """Everything a launch would do, or the ``problems`` that would refuse it."""

    problems: tuple[Problem, ...] = ()
    template: LaunchTemplate | None = None
    why_template: str = ""
    when: str = ""
    start: Start | None = None
    viewer_url: str = ""
    viewer_problem: str = ""
    rows: tuple[AnswerRow, ...] = ()
    manifest: str = ""
    is_cut: bool = False

    @property
    def uri(self) -> str:
        return self.start.uri if self.start else self.viewer_url

    @property
    def commands(self) -> tuple[str, ...]:
        return weasis.decode(self.start.uri) if self.start else ()

    @property
    def length(self) -> int:
        return len(self.uri)

    @property
    def maximum(self) -> int:
        return weasis.MAXIMUM_URI_LENGTH


def read_parameters(text: str, kind: str = "") -> list[tuple[str, str]]:
    """The parameters of a launch URL, of its query string, or of a bare identifier.

    Without a kind, what looks like a UID is a study, and everything else a patient.
    """
    text = text.strip()
    if kind:
        return [(kind, text)]
    if "=" in text:
        query = text.partition("?")[2] or text
        return parse_qsl(query.partition("#")[0], keep_blank_values=True)
    try:
        return [(STUDY_UID, unique_identifier(text))]
    except ValueError:
        return [(PATIENT_ID, text)]


def preview_launch(pasted: Pasted) -> LaunchPreview:
    """Judge and ask as a launch would, with a deadline, and store nothing."""
    try:
        return _preview(pasted)
    except (CriteriaError, RefusedError) as error:
        return LaunchPreview(problems=error.problems)


def _preview(pasted: Pasted) -> LaunchPreview:
    judged = judge(_request(pasted))
    question, asked = judged.question, judged.archives
    answers = _ask(judged.criteria, asked, judged.request.caller.user)
    if judged.template is None:
        judged = routed(judged, _lookup(asked, answers))
    template = judged.template or LaunchTemplate.objects.default()
    found = LaunchPreview(
        template=template,
        why_template=judged.why,
        when=str(_WHEN[question]),
        rows=tuple(_rows(judged.archives, answers, template, pasted.version)),
    )
    if template.viewer:
        return _with_viewer(found, template.viewer, judged, answers)
    url = weasis.example_manifest_url(settings.VIEWERHUB_PUBLIC_URL)
    criteria = judged.criteria
    start = template.start(url, criteria.selection, judged.archives, criteria.extras)
    found = replace(found, start=start)
    if start.mode == LaunchTemplate.Mode.DICOM_RS:
        return found
    sent = _delivery(template, criteria, judged.archives)
    return _with_manifest(found, sent, answers, pasted.version)


def _request(pasted: Pasted) -> LaunchRequest:
    """What the launch would send, with what was chosen instead of what it says."""
    chosen = {"archive": pasted.archive, "template": pasted.template}
    chosen = {name: value for name, value in chosen.items() if value}
    parameters = read_parameters(pasted.text, pasted.kind)
    kept = [(name, value) for name, value in parameters if name not in chosen]
    return LaunchRequest(
        parameters=[*kept, *chosen.items()],
        caller=Caller(user=pasted.user),
        address=pasted.address,
        is_iid=_IID in pasted.text.partition("?")[0],
    )


def _ask(
    criteria: LaunchCriteria, archives: Sequence[Archive], user: User | None
) -> Mapping[int, Answer]:
    plan = BuildPlan(
        build_id="",
        selection=criteria.selection,
        archives=tuple(_plan(archive, user) for archive in archives),
        timeout=min(MAXIMUM_SECONDS, settings.VIEWERHUB_BUILD_TIMEOUT),
    )
    release_connection()
    return {answer.archive_id: answer for answer in background.run(ask(plan))}


def _plan(archive: Archive, user: User | None) -> ArchivePlan:
    try:
        endpoint = archive.endpoint(user)
    except ArchiveError as error:
        return ArchivePlan(archive_id=archive.pk, name=archive.name, endpoint=error)
    return ArchivePlan(archive_id=archive.pk, name=archive.name, endpoint=endpoint)


def _lookup(archives: Sequence[Archive], answers: Mapping[int, Answer]) -> Lookup:
    """What a launch would have found in time, if it had to ask."""
    return Lookup(
        answers={
            archive: tuple(map(_with_modalities, answers[archive.pk].studies))
            for archive in archives
        }
    )


def _with_modalities(study: Study) -> Study:
    """A build does not ask for Modalities in Study: it has every series."""
    modalities = dict.fromkeys(series.modality for series in study.series)
    return replace(study, modalities_in_study=tuple(modalities))


def _rows(
    archives: Sequence[Archive],
    answers: Mapping[int, Answer],
    template: LaunchTemplate,
    version: Version | None,
) -> list[AnswerRow]:
    rows = []
    for archive in archives:
        answer = answers[archive.pk]
        studies, series, instances = answer.counts()
        rows.append(
            AnswerRow(
                archive=archive.name,
                state=answer.state,
                label=str(ArchiveOutcome.State(answer.state).label),
                message=answer.message,
                studies=studies,
                series=series,
                instances=instances,
                milliseconds=answer.milliseconds,
                retrieval=""
                if template.viewer
                else delivery.retrieval_of(archive, template, version)[1],
            )
        )
    return rows


def _with_viewer(
    found: LaunchPreview,
    viewer: Viewer,
    judged: Judged,
    answers: Mapping[int, Answer],
) -> LaunchPreview:
    selection, user = judged.criteria.selection, judged.criteria.extras.user
    lookup = _lookup(judged.archives, answers)
    try:
        if viewer.must_ask(selection, judged.archives):
            url = viewer.address(selection, lookup.holders(), lookup.studies, user=user)
        else:
            url = viewer.address(selection, judged.archives, user=user)
    except weasis.NotCarriableError as error:
        return replace(found, viewer_problem=str(error))
    return replace(found, viewer_url=url)


def _delivery(
    template: LaunchTemplate, criteria: LaunchCriteria, archives: Sequence[Archive]
) -> delivery.Delivery:
    """That of a launch that nobody stored."""
    return delivery.Delivery(
        launch_id="",
        build_id="",
        image_token=PLACEHOLDER,
        is_open=True,
        is_ready=True,
        is_build_finished=True,
        archives=tuple(archives),
        template=template,
        selection=criteria.selection,
    )


def _with_manifest(
    found: LaunchPreview,
    sent: delivery.Delivery,
    answers: Mapping[int, Answer],
    version: Version | None,
) -> LaunchPreview:
    collected = Collected(answers=dict(answers), progress={}, is_done=True)
    reader = delivery.Reader(version=version)
    text = indented(delivery.render(sent, collected, reader))
    is_cut = len(text) > MAXIMUM_MANIFEST
    return replace(found, manifest=text[:MAXIMUM_MANIFEST], is_cut=is_cut)


def indented(xml: bytes) -> str:
    """XML without white space between its elements, one element a line."""
    lines, depth = [], 0
    for match in _TAG.finditer(xml):
        depth -= bool(match["end"])
        lines.append("  " * max(depth, 0) + match[0].decode())
        depth += not (match["end"] or match["empty"])
    return "\n".join(lines)
