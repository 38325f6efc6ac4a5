"""Whether a request to launch is in order, and what it comes to. No archive is asked.

First whose link it is, which says how to read it; then what it selects, from which
archives, and by which template.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from django.utils import timezone

from archives.models import Archive
from launcher import iid
from launcher.criteria import (
    LEGACY,
    LOWER,
    UPPER,
    CriteriaError,
    LaunchCriteria,
    Problem,
    parse,
)
from launcher.iid import IidRequest, UnsatisfiableError
from launcher.launching import routing
from launcher.launching.authors import Parameters, author_of, decrypted
from launcher.launching.callers import (
    Caller,
    archives_allowing,
    archives_named,
    kinds_of,
    template_named,
)
from launcher.launching.lookup import Lookup
from launcher.launching.refusals import Findings
from launcher.launching.routing import Route
from launcher.models import ApiClient, DateMeaning, LaunchTemplate, Viewer

_FOR_VIEWERS: Final = frozenset(("viewer", "user", "host", "pro", "arg", "cdb", "wcfg"))


class Question(Enum):
    """What the archives have to tell before the viewer is started."""

    NOTHING = auto()
    WHETHER = auto()  # whether there is a study
    WHICH = auto()  # all studies


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """What a caller sent. ``needs_manifest`` is for callers that want that, no viewer."""

    parameters: Parameters
    caller: Caller
    address: str = ""
    is_iid: bool = False
    needs_manifest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A request that is in order.

    ``template`` is ``None`` as long as it depends on the modalities of the studies;
    ``why`` is a sentence on why it is this one.
    """

    request: LaunchRequest
    parameters: Parameters
    criteria: LaunchCriteria
    archives: tuple[Archive, ...]
    author: ApiClient | None = None
    iid: IidRequest | None = None
    template: LaunchTemplate | None = None
    why: str = ""

    @property
    def viewer(self) -> Viewer | None:
        """The viewer it leads to, if that is not Weasis."""
        is_for_weasis = self.request.needs_manifest or self.template is None
        return None if is_for_weasis or not self.template else self.template.viewer

    @property
    def needs_studies(self) -> bool:
        """Whether its viewer can't be started before the studies are known."""
        viewer, selection = self.viewer, self.criteria.selection
        return viewer is not None and viewer.must_ask(selection, self.archives)

    @property
    def is_verified(self) -> bool:
        """Whether the template wants a study to be there before the viewer is started."""
        policy = self.template.policy if self.template else LaunchTemplate.Policy.AUTO
        if policy == LaunchTemplate.Policy.AUTO:
            return self.iid is not None
        return policy == LaunchTemplate.Policy.VERIFY

    @property
    def question(self) -> Question:
        if self.template is None or self.needs_studies:
            return Question.WHICH
        return Question.WHETHER if self.is_verified else Question.NOTHING


def judge(request: LaunchRequest) -> Judged:
    """Whether a request is in order; stores nothing and asks no archive.

    Raises ``CriteriaError`` with every problem, or ``RefusedError``.
    """
    author = author_of(request.caller, request.parameters)
    parameters = decrypted(request.parameters, author)
    if request.needs_manifest:  # what is for a viewer is not for this caller
        parameters = [pair for pair in parameters if pair[0] not in _FOR_VIEWERS]
    findings = Findings()
    profile: IidRequest | None = None
    if request.is_iid or iid.is_iid(parameters):
        with findings.checking():
            profile = iid.read(parameters)
            parameters = profile.parameters
    try:
        criteria = _first_reading(parameters, author)
    except CriteriaError as error:
        findings.add(error)
        _check_names(findings, request.caller, parameters)
        raise findings.error() from error
    with findings.checking():
        archives = archives_named(criteria.archives, request.caller, field="archive")
        archives = archives_allowing(archives, kinds_of(criteria.selection))
    findings.raise_all()
    judged = Judged(
        request=request,
        parameters=parameters,
        criteria=criteria,
        archives=tuple(archives),
        author=author,
        iid=profile,
    )
    route = _route_now(judged)
    return _with_template(judged, route) if route else judged


def _read(parameters: Parameters, date_meaning: str) -> LaunchCriteria:
    zone = timezone.get_default_timezone()
    return parse(parameters, zone=zone, date_meaning=date_meaning or DateMeaning.IHE)


def _has_dates(parameters: Parameters) -> bool:
    return any(name in {LOWER, UPPER} for name, _ in parameters)


def _first_reading(parameters: Parameters, author: ApiClient | None) -> LaunchCriteria:
    """The criteria with the author's meaning of dates, or else any that makes sense."""
    meaning = author.date_meaning if author else ""
    try:
        return _read(parameters, meaning)
    except CriteriaError:
        if meaning or not _has_dates(parameters):
            raise
        try:
            return _read(parameters, LEGACY)
        except CriteriaError:
            pass  # what is wrong is not the dates
        raise


def _final_reading(judged: Judged, template: LaunchTemplate) -> LaunchCriteria:
    """The criteria with the template's meaning of dates, unless the author has one."""
    has_own = judged.author and judged.author.date_meaning
    if has_own or not _has_dates(judged.parameters):
        return judged.criteria
    return _read(judged.parameters, template.date_meaning)


def _check_names(findings: Findings, caller: Caller, parameters: Parameters) -> None:
    """Find what is wrong with names in parameters that can't be read as a whole."""

    def named(wanted: str) -> list[str]:
        values = [value for name, value in parameters if name == wanted]
        return [part.strip() for value in values for part in value.split(",")]

    with findings.checking():
        slugs = [slug for slug in named("archive") if slug]
        archives_named(slugs[:100], caller, field="archive")
    with findings.checking():
        if len(templates := set(named("template"))) == 1:
            template_named(templates.pop())


def _route_now(judged: Judged) -> Route | None:
    """The route, unless it depends on the modalities of the studies."""
    request, criteria = judged.request, judged.criteria
    if request.needs_manifest:
        return Route(template=template_named(criteria.template), why="")
    with _viewer_type(judged):
        return routing.choose_without_modalities(
            template=criteria.template,
            viewer=criteria.viewer,
            archives=judged.archives,
            user=request.caller.user,
            address=request.address,
        )


def routed(judged: Judged, found: Lookup | None) -> Judged:
    """With the template that the studies found lead to; raises ``CriteriaError``."""
    route = routing.choose(
        template="",
        viewer="",
        archives=judged.archives,
        user=judged.request.caller.user,
        address=judged.request.address,
        modalities=found.modalities if found else None,
    )
    return _with_template(judged, route)


@contextmanager
def _viewer_type(judged: Judged) -> Iterator[None]:
    """An unknown viewer is a wish that can't be met, where the profile asks for it."""
    try:
        yield
    except CriteriaError as error:
        if judged.iid and judged.iid.viewer_type:
            raise UnsatisfiableError(iid.viewer_problems(error.problems)) from error
        raise


def _with_template(judged: Judged, route: Route) -> Judged:
    """With its template, and all that it says; raises ``CriteriaError``."""
    archives, template = judged.archives, route.template
    if template.pk and not judged.criteria.archives:
        own = set(template.archives.values_list("pk", flat=True))
        archives = tuple(one for one in archives if not own or one.pk in own)
    if not archives:
        message = "None of the template's archives may be used for this launch."
        raise CriteriaError([Problem(field="archive", message=message)])
    findings = Findings()
    criteria = judged.criteria
    with findings.checking():
        template.check_extras(criteria.extras)
    with findings.checking():
        criteria = _final_reading(judged, template)
    if judged.iid and judged.iid.needs_diagnostic_quality:
        with findings.checking():
            iid.check_quality(
                transfer_syntax=template.transfer_syntax,
                compression_rate=template.compression_rate,
            )
    findings.raise_all()
    return replace(
        judged,
        criteria=criteria,
        archives=archives,
        template=template,
        why=route.why,
    )
