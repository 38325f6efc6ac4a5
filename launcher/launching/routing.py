"""Which template a launch gets: named, by its viewer, by a rule, or the default."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from django.contrib.auth.models import AnonymousUser, User
from django.core.validators import slug_re
from django.utils.translation import gettext as _

from archives.models import Archive
from launcher.criteria import CriteriaError, Problem
from launcher.launching.callers import template_named
from launcher.launching.refusals import Findings
from launcher.models import LaunchTemplate, Viewer, ViewerRule
from launcher.models.viewers import WEASIS


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The template of a launch, and a sentence on why it is this one.

    A template that is not stored (``pk`` is ``None``) stands for a viewer without one.
    """

    template: LaunchTemplate
    why: str


def choose(
    *,
    template: str,
    viewer: str,
    archives: Sequence[Archive],
    user: User | AnonymousUser | None,
    address: str,
    modalities: Collection[str] | None,
) -> Route:
    """The route of a launch that asks these archives, from a caller's IP address.

    ``template`` and ``viewer`` are what the launch names, by short name, or empty.
    ``modalities`` are those of the studies, ``None`` where nobody was asked: rules with
    modalities don't apply then. Raises ``CriteriaError`` for names that lead nowhere.
    """
    if route := named(template=template, viewer=viewer):
        return route
    rule = Rules(user, address).first(archives, modalities)
    return _route_of_rule(rule) if rule else _default_route()


def named(*, template: str, viewer: str) -> Route | None:
    """The route of a launch that names template or viewer; ``None`` if it does not.

    Raises ``CriteriaError`` for names that lead nowhere, or to different viewers.
    """
    findings = Findings()
    by_template = by_viewer = None
    if template:
        with findings.checking():
            by_template = _route_of_template(template)
    if viewer:
        with findings.checking():
            by_viewer = _route_of_viewer(viewer)
    findings.raise_all()
    if by_template and by_viewer:
        its_viewer = by_template.template.viewer
        if its_viewer != by_viewer.template.viewer:
            message = (
                f"The template “{template}” opens {its_viewer or 'Weasis'}. Leave out "
                "the viewer or the template."
            )
            raise _error("viewer", message)
    return by_template or by_viewer


def choose_without_modalities(
    *,
    template: str,
    viewer: str,
    archives: Sequence[Archive] | None,
    user: User | AnonymousUser | None,
    address: str,
) -> Route | None:
    """The same before any archive was asked: ``None`` where it depends on their answers.

    Or on which archives these are, if that is not known.
    """
    if route := named(template=template, viewer=viewer):
        return route
    if archives is None:
        has_rules = ViewerRule.objects.filter(is_enabled=True).exists()
        return None if has_rules else _default_route()
    rule = next(Rules(user, address).that_may_apply(archives), None)
    if rule is None:
        return _default_route()
    return None if rule.modalities else _route_of_rule(rule)


class Rules:
    """The enabled rules, read once, for launches of a user at an IP address."""

    def __init__(self, user: User | AnonymousUser | None, address: str) -> None:
        self._user, self._address = user, address
        enabled = ViewerRule.objects.filter(is_enabled=True)
        self._rules: list[ViewerRule] = []
        if enabled.exists():  # else spared: the query that joins four tables
            related = ("template__viewer", "archive", "group")
            self._rules = list(enabled.select_related(*related))

    def that_may_apply(self, archives: Sequence[Archive]) -> Iterator[ViewerRule]:
        """Those of which all but the modalities holds, in order."""
        for rule in self._rules:
            groups = self._groups if rule.group_id else ()
            if rule.may_apply(archives, groups, self._address):
                yield rule

    def first(
        self, archives: Sequence[Archive], modalities: Collection[str] | None
    ) -> ViewerRule | None:
        """The rule that applies; none with modalities if those are not known."""
        for rule in self.that_may_apply(archives):
            if not rule.modalities or rule.modality_codes.intersection(
                modalities or ()
            ):
                return rule
        return None

    @cached_property
    def _groups(self) -> set[int]:
        return _groups_of(self._user)


def _route_of_rule(rule: ViewerRule) -> Route:
    why = _("The rule “%(rule)s” applies: %(conditions)s.") % {
        "rule": rule,
        "conditions": rule.conditions(),
    }
    return Route(template=rule.template, why=why)


def _default_route() -> Route:
    default = LaunchTemplate.objects.default()
    return Route(
        template=default, why=_("No rule applies: this is the default template.")
    )


def _route_of_template(slug: str) -> Route:
    found = _template_named(slug)
    return Route(template=found, why=_("The launch names this template."))


def _groups_of(user: User | AnonymousUser | None) -> set[int]:
    if not isinstance(user, User):
        return set()
    return set(user.groups.values_list("pk", flat=True))


def _template_named(slug: str) -> LaunchTemplate:
    found = template_named(slug)
    if found.viewer and not found.viewer.is_enabled:
        raise _error("template", f"The viewer of “{slug}” is disabled.")
    return found


def _route_of_viewer(slug: str) -> Route:
    if slug.lower() == WEASIS:
        plain = LaunchTemplate.objects.of_weasis()
        return Route(
            template=plain, why=_("The launch names %(viewer)s.") % {"viewer": "Weasis"}
        )
    viewer = None
    if slug_re.fullmatch(slug):
        viewer = Viewer.objects.filter(slug__iexact=slug, is_enabled=True).first()
    if viewer is None:
        enabled = Viewer.objects.filter(is_enabled=True)
        names = ", ".join([WEASIS, *enabled.values_list("slug", flat=True)])
        raise _error("viewer", f"There is no viewer “{slug}”. Known are {names}.")
    template = viewer.templates.order_by("-is_default", "name").first()
    if template is None:
        template = LaunchTemplate(name=viewer.name, slug=viewer.slug)
    template.viewer = viewer
    return Route(
        template=template,
        why=_("The launch names %(viewer)s.") % {"viewer": viewer.name},
    )


def _error(field: str, message: str) -> CriteriaError:
    return CriteriaError([Problem(field=field, message=message)])
