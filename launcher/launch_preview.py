"""What a launch would do, for its administrator: asked from the archives, and not kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from archives.errors import ArchiveError
from archives.models import Archive
from launcher import background, delivery, routing, weasis
from launcher.callers import Caller, archives_named
from launcher.collect import ArchivePlan, BuildPlan, ask
from launcher.criteria import (
    PATIENT_ID,
    STUDY_UID,
    CriteriaError,
    LaunchCriteria,
    Problem,
    parse,
)
from launcher.identifiers import unique_identifier
from launcher.models import ArchiveOutcome, LaunchTemplate, Viewer
from launcher.models.templates import Start
from launcher.retrieval import Version
from launcher.store import Answer, Collected

# Somebody watches: give up earlier than a launch would.
MAXIMUM_SECONDS: Final = 20.0
# What a page can show; manifests of whole patients are larger.
MAXIMUM_MANIFEST: Final = 200_000
PLACEHOLDER: Final = "the-token-of-the-launch"

_TAG = re.compile(rb"<(?P<end>/)?[^<>]*?(?P<empty>/)?>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the administrator asks. Empty parts are for the launch itself to say."""

    parameters: tuple[tuple[str, str], ...]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPreview:
    """Everything a launch would do, or the ``problems`` that would refuse it."""

    problems: tuple[Problem, ...] = ()
    template: LaunchTemplate | None = None
    why_template: str = ""
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


def read_parameters(text: str, kind: str = "") -> tuple[tuple[str, str], ...]:
    """The parameters of a launch URL, of its query string, or of a bare identifier.

    ``kind`` is the parameter a bare identifier is for; without it, what looks like a UID
    is a study, and everything else a patient.
    """
    text = text.strip()
    if kind:
        return ((kind, text),)
    if "=" in text:
        query = text.partition("?")[2] or text
        return tuple(parse_qsl(query.partition("#")[0], keep_blank_values=True))
    try:
        return ((STUDY_UID, unique_identifier(text)),)
    except ValueError:
        return ((PATIENT_ID, text),)


def preview_launch(question: Question) -> LaunchPreview:
    """Ask the archives as a launch would, with a deadline, and store nothing."""
    try:
        return _preview(question)
    except CriteriaError as error:
        return LaunchPreview(problems=error.problems)


def _preview(question: Question) -> LaunchPreview:
    criteria = _read(question, "ihe")
    archives = _archives(question, criteria, None)
    answers = _ask(criteria, archives)
    route = routing.choose(
        template=question.template or criteria.template,
        viewer=criteria.viewer,
        archives=archives,
        user=question.user,
        address=question.address,
        modalities=_modalities(answers),
    )
    template = route.template
    wanted = _archives(question, criteria, template)
    dated = _read(question, template.date_meaning)
    if wanted != archives or dated != criteria:
        archives, criteria = wanted, dated
        answers = _ask(criteria, archives)
    found = LaunchPreview(
        template=template,
        why_template=route.why,
        rows=tuple(_rows(archives, answers, template, question.version)),
    )
    if template.viewer:
        return _with_viewer(found, template.viewer, criteria, archives, answers)
    template.check_extras(criteria.extras)
    url = weasis.example_manifest_url(settings.VIEWERHUB_PUBLIC_URL)
    start = template.start(url, criteria.selection, archives, criteria.extras)
    found = replace(found, start=start)
    if start.mode == LaunchTemplate.Mode.DICOM_RS:
        return found
    sent = _delivery(template, criteria, archives)
    return _with_manifest(found, sent, answers, question.version)


def _read(question: Question, date_meaning: str) -> LaunchCriteria:
    zone = timezone.get_default_timezone()
    return parse(question.parameters, zone=zone, date_meaning=date_meaning)


def _archives(
    question: Question, criteria: LaunchCriteria, template: LaunchTemplate | None
) -> list[Archive]:
    slugs = (question.archive,) if question.archive else criteria.archives
    is_stored = template is not None and template.pk is not None
    caller = Caller(user=question.user)
    return archives_named(
        slugs, caller, template if is_stored else None, field="archive"
    )


def _ask(criteria: LaunchCriteria, archives: Sequence[Archive]) -> Mapping[int, Answer]:
    plan = BuildPlan(
        build_id="",
        selection=criteria.selection,
        archives=tuple(_plan(archive) for archive in archives),
        timeout=min(MAXIMUM_SECONDS, settings.VIEWERHUB_BUILD_TIMEOUT),
    )
    return {answer.archive_id: answer for answer in background.run(ask(plan))}


def _plan(archive: Archive) -> ArchivePlan:
    try:
        endpoint = archive.endpoint()
    except ArchiveError as error:
        return ArchivePlan(archive_id=archive.pk, name=archive.name, endpoint=error)
    return ArchivePlan(archive_id=archive.pk, name=archive.name, endpoint=endpoint)


def _modalities(answers: Mapping[int, Answer]) -> frozenset[str]:
    return frozenset(
        series.modality
        for answer in answers.values()
        for study in answer.studies
        for series in study.series
    )


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
                label=ArchiveOutcome.State(answer.state).label,
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
    criteria: LaunchCriteria,
    archives: Sequence[Archive],
    answers: Mapping[int, Answer],
) -> LaunchPreview:
    studies = {
        study.study_instance_uid: study
        for answer in answers.values()
        for study in answer.studies
    }
    holders = [archive for archive in archives if answers[archive.pk].studies]
    try:
        url = viewer.address(
            criteria.selection,
            holders,
            tuple(studies.values()),
            user=criteria.extras.user,
        )
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
