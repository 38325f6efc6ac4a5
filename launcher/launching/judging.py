"""Whether a request to launch is in order, and what it comes to. No archive is asked.

First whose link it is, which says how to read it; then what it selects, from which
archives, and by which template.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from django.utils import timezone

from archives.models import Archive
from launcher import iid
from launcher.criteria import (
    IDENTIFIERS,
    LEGACY,
    LOWER,
    UPPER,
    CriteriaError,
    LaunchCriteria,
    Problem,
    read,
)
from launcher.direct_images import sends_as_stored
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
    findings = Findings()
    author, parameters = _in_plain(request, findings)
    profile: IidRequest | None = None
    if request.is_iid or iid.is_iid(parameters):
        profile = _of_profile(parameters, findings)
        parameters = profile.parameters
    criteria, problems = _first_reading(
        parameters, author, needs_selection=not findings.has_any
    )
    if problems:
        findings.add(CriteriaError(problems))
    archives: list[Archive] | None = None
    with findings.checking():
        archives = _archives(criteria, request.caller)
    judged = Judged(
        request=request,
        parameters=parameters,
        criteria=criteria,
        archives=tuple(archives or ()),
        author=author,
        iid=profile,
    )
    route: Route | None = None
    if not {problem.field for problem in problems} & {"template", "viewer"}:
        with findings.checking():
            route = _route_now(judged, are_archives_known=archives is not None)
    if route:
        return _with_template(judged, route, findings)
    findings.raise_all()
    return judged


def _in_plain(
    request: LaunchRequest, findings: Findings
) -> tuple[ApiClient | None, Parameters]:
    """Who made a request, and what it says in plain text: no identifiers if they can't
    be read."""
    author: ApiClient | None = None
    parameters = request.parameters
    if request.needs_manifest:  # what is for a viewer is not for this caller
        parameters = [pair for pair in parameters if pair[0] not in _FOR_VIEWERS]
    try:
        author = author_of(request.caller, parameters)
        return author, decrypted(parameters, author)
    except CriteriaError as error:
        findings.add(error)
        return author, [pair for pair in parameters if pair[0] not in IDENTIFIERS]


def _of_profile(parameters: Parameters, findings: Findings) -> IidRequest:
    try:
        return iid.read(parameters)
    except CriteriaError as error:
        findings.add(error)
        return iid.readable(parameters)


def _archives(criteria: LaunchCriteria, caller: Caller) -> list[Archive]:
    """Those that are asked; raises ``CriteriaError``."""
    archives = archives_named(criteria.archives, caller, field="archive")
    return archives_allowing(
        archives, kinds_of(criteria.selection), are_named=bool(criteria.archives)
    )


def _read(
    parameters: Parameters, date_meaning: str, *, needs_selection: bool = True
) -> tuple[LaunchCriteria, tuple[Problem, ...]]:
    return read(
        parameters,
        zone=timezone.get_default_timezone(),
        date_meaning=date_meaning or DateMeaning.IHE,
        needs_selection=needs_selection,
    )


def _has_dates(parameters: Parameters) -> bool:
    return any(name in {LOWER, UPPER} for name, _ in parameters)


def _first_reading(
    parameters: Parameters, author: ApiClient | None, *, needs_selection: bool
) -> tuple[LaunchCriteria, tuple[Problem, ...]]:
    """With the author's meaning of dates, or else any that makes sense."""
    meaning = author.date_meaning if author else ""
    found = _read(parameters, meaning, needs_selection=needs_selection)
    if meaning or not found[1] or not _has_dates(parameters):
        return found
    other = _read(parameters, LEGACY, needs_selection=needs_selection)
    return found if other[1] else other  # what is wrong may not be the dates


def _final_reading(judged: Judged, template: LaunchTemplate) -> LaunchCriteria:
    """The criteria with the template's meaning of dates, unless the author has one."""
    has_own = judged.author and judged.author.date_meaning
    if has_own or not _has_dates(judged.parameters):
        return judged.criteria
    criteria, problems = _read(judged.parameters, template.date_meaning)
    if problems:
        raise CriteriaError(problems)
    return criteria


def _route_now(judged: Judged, *, are_archives_known: bool) -> Route | None:
    """The route, unless it depends on the modalities of the studies."""
    request, criteria = judged.request, judged.criteria
    if request.needs_manifest:
        return Route(template=template_named(criteria.template), why="")
    with _viewer_type(judged):
        return routing.choose_without_modalities(
            template=criteria.template,
            viewer=criteria.viewer,
            archives=judged.archives if are_archives_known else None,
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
    return _with_template(judged, route, Findings())


@contextmanager
def _viewer_type(judged: Judged) -> Iterator[None]:
    """An unknown viewer is a wish that can't be met, where the profile asks for it."""
    try:
        yield
    except CriteriaError as error:
        if not (judged.iid and judged.iid.viewer_type):
            raise
        problems = iid.viewer_problems(error.problems)
        is_wish = all(problem.field == iid.VIEWER_TYPE for problem in problems)
        raise (UnsatisfiableError if is_wish else CriteriaError)(problems) from error


def _with_template(judged: Judged, route: Route, findings: Findings) -> Judged:
    """With its template, and all that it says.

    Raises ``CriteriaError`` with what is wrong then, and with what was found before.
    """
    is_readable, template = not findings.has_any, route.template
    archives, criteria = judged.archives, judged.criteria
    with findings.checking():
        template.check_extras(criteria.extras)
    if is_readable:
        with findings.checking():
            archives = _of_template(judged, template)
            if not judged.request.needs_manifest:
                _check_viewer(template.viewer, archives)
        with findings.checking():
            criteria = _final_reading(judged, template)
    if judged.iid and judged.iid.needs_diagnostic_quality:
        with findings.checking():
            _check_quality(template, archives)
    findings.raise_all()
    return replace(
        judged,
        criteria=criteria,
        archives=archives,
        template=template,
        why=route.why,
    )


def _check_viewer(viewer: Viewer | None, archives: Sequence[Archive]) -> None:
    """Raise ``CriteriaError`` where no archive has to be asked to know it is in vain."""
    if viewer and (problem := viewer.archives_problem(archives)):
        message = f"{viewer.name} can't open this. {problem}"
        raise CriteriaError([Problem(field="viewer", message=message)])


def _of_template(judged: Judged, template: LaunchTemplate) -> tuple[Archive, ...]:
    """The archives of a launch that are also the template's; raises ``CriteriaError``."""
    if not template.pk or judged.criteria.archives:
        return judged.archives
    own = set(template.archives.values_list("pk", flat=True))
    archives = tuple(one for one in judged.archives if not own or one.pk in own)
    if archives:
        return archives
    usable = [one for one in judged.request.caller.usable_archives() if one.pk in own]
    archives_allowing(usable, kinds_of(judged.criteria.selection))
    message = "None of the template's archives may be used for this launch."
    raise CriteriaError([Problem(field="archive", message=message)])


def _check_quality(template: LaunchTemplate, archives: Sequence[Archive]) -> None:
    """Raises ``UnsatisfiableError`` if an archive may send images with a loss."""
    if not all(sends_as_stored(archive, template) for archive in archives):
        iid.check_quality(
            transfer_syntax=template.transfer_syntax,
            compression_rate=template.compression_rate,
        )
