"""Which launch templates open what a user has found, and why others don't.

The portal offers them by this and starts them by this, so that what is offered opens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from django.contrib.auth.models import AnonymousUser, User
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from archives.entities import Selection, SeriesIdentifier, Study
from archives.models import Archive
from launcher import messages
from launcher.launching.routing import Rules
from launcher.models import LaunchTemplate, Viewer
from launcher.viewers import Limit
from launcher.weasis import NotCarriableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is to be opened, the archives that hold it, and those that hold all of it.

    ``studies`` are ``None`` where nothing is known of them but what the selection says.
    """

    selection: Selection
    archives: tuple[Archive, ...]
    whole: tuple[Archive, ...]
    studies: tuple[Study, ...] | None = None

    def within(self, archives: Sequence[Archive]) -> Found:
        """What of it these archives hold."""
        return replace(
            self,
            archives=tuple(one for one in self.archives if one in archives),
            whole=tuple(one for one in self.whole if one in archives),
        )

    @property
    def modalities(self) -> frozenset[str] | None:
        if self.studies is None:
            return None
        return frozenset(
            modality for study in self.studies for modality in study.modalities_in_study
        )


def found_of(selection: Selection, archives: Sequence[Archive]) -> Found:
    """What these archives may hold, of which no more is known."""
    return Found(selection=selection, archives=tuple(archives), whole=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A template, and the archives it opens something from, or why it does not."""

    template: LaunchTemplate
    archives: tuple[Archive, ...] = ()
    problem: str = ""

    @property
    def name(self) -> str:
        """What it opens things in."""
        return self.template.viewer.name if self.template.viewer else "Weasis"


def offer(template: LaunchTemplate, found: Found, *, username: str = "") -> Offer:
    """What a template makes of this. No archive is asked."""
    viewer = template.viewer
    if viewer and not viewer.is_enabled:
        return Offer(template=template, problem=_("This viewer is disabled."))
    if own := list(template.archives.all()):
        found = found.within(own)
    if not found.archives:
        problem = _("It is for other archives than those that hold this.")
        return Offer(template=template, problem=problem)
    if viewer is None:
        return Offer(template=template, archives=found.archives)
    problems = []
    for archives in _ways(found):
        problem = _problem(viewer, found, archives, username)
        if not problem:
            return Offer(template=template, archives=archives)
        problems.append(problem)
    return Offer(template=template, problem=problems[0])


def _ways(found: Found) -> Iterator[tuple[Archive, ...]]:
    """From which archives a viewer of its own could open this: one is enough."""
    for archive in found.whole:
        yield (archive,)
    if (len(found.archives), len(found.whole)) != (1, 1):
        yield found.archives


def _problem(
    viewer: Viewer, found: Found, archives: Sequence[Archive], username: str
) -> str:
    """Why a viewer can't open this from these archives; empty if it can."""
    studies = found.studies
    count = len(found.selection.study_instance_uids if studies is None else studies)
    limits = (viewer.archive_limit(archive) for archive in archives)
    limit = viewer.limit_exceeded(archives, count) or next(filter(None, limits), None)
    if limit:
        return _in_words(limit, viewer, archives)
    try:
        viewer.address(found.selection, archives, studies, user=username)
    except NotCarriableError as error:
        return messages.translated(str(error))
    return ""


def _in_words(limit: Limit, viewer: Viewer, archives: Sequence[Archive]) -> str:
    names = ", ".join(one.name for one in archives if viewer.archive_limit(one))
    match limit:
        case Limit.STUDIES:
            maximum = viewer.maximum_studies or 0
            return ngettext(
                "It opens at most %(count)d study at once.",
                "It opens at most %(count)d studies at once.",
                maximum,
            ) % {"count": maximum}
        case Limit.ONE_ARCHIVE:
            return _(
                "It opens studies of one archive at a time, and no archive holds all of "
                "these."
            )
        case Limit.DICOMWEB:
            return _("It opens studies by DICOMweb, which %s does not have.") % names
        case Limit.DIMSE:
            return _("It opens studies by DIMSE, which %s does not have.") % names


@dataclass(frozen=True, slots=True)
class Choices:
    """The offers for something, the one that nobody has to choose first."""

    offers: tuple[Offer, ...]

    @property
    def first(self) -> Offer:
        """The first that opens it, if any does."""
        return next((one for one in self.offers if not one.problem), self.offers[0])

    @property
    def other_viewer(self) -> Offer | None:
        """The first that opens it in a browser."""
        return next((one for one in self.offers if _is_for_browsers(one)), None)


def _is_for_browsers(offer: Offer) -> bool:
    viewer = offer.template.viewer
    if offer.problem or viewer is None:
        return False
    return viewer.url_template.lower().startswith(("http:", "https:"))


class Offers:
    """What users are offered on a page: templates and rules are read once, when needed."""

    def __init__(self, user: User | AnonymousUser, address: str) -> None:
        self._user, self._address = user, address

    def of(self, found: Found) -> Choices:
        """The template a rule chooses, or the default, and then the others."""
        rule = self._rules.first(found.archives, found.modalities)
        first = rule.template_id if rule else self._templates[0].pk
        ordered = sorted(self._templates, key=lambda one: one.pk != first)
        name = self._user.get_username()
        return Choices(tuple(offer(one, found, username=name) for one in ordered))

    def of_study(
        self, study: Study, archives: Sequence[Archive], series_instance_uid: str = ""
    ) -> Choices:
        """The same for a study that each of the archives holds, or a series of it."""
        uid, held = study.study_instance_uid, tuple(archives)
        selection = Selection(study_instance_uids=(uid,))
        if series_instance_uid:
            series = SeriesIdentifier(
                series_instance_uid=series_instance_uid, study_instance_uid=uid
            )
            selection = Selection(series=(series,))
        return self.of(
            Found(selection=selection, archives=held, whole=held, studies=(study,))
        )

    @cached_property
    def _rules(self) -> Rules:
        return Rules(self._user, self._address)

    @cached_property
    def _templates(self) -> list[LaunchTemplate]:
        """The default first."""
        related = LaunchTemplate.objects.select_related("viewer")
        templates = related.prefetch_related("archives")
        if not any(one.is_default for one in templates):
            LaunchTemplate.objects.default()  # makes it
            templates = templates.all()
        return sorted(templates, key=lambda one: not one.is_default)
