"""Launches of manifests that another system made."""

from __future__ import annotations

from launcher.criteria import CriteriaError, LaunchExtras, Problem, parse
from launcher.launching import links
from launcher.launching.authors import Parameters
from launcher.launching.callers import Caller, template_named
from launcher.launching.refusals import Findings
from launcher.manifest import ManifestError, check_upload
from launcher.models import LaunchTemplate
from launcher.services import StartedLaunch, start_uploaded


def launch_upload(
    body: bytes,
    parameters: Parameters,
    caller: Caller,
    *,
    charset: str = "",
    address: str = "",
) -> StartedLaunch:
    """Check a manifest and what was sent with it, and launch it.

    ``charset`` is that of the Content-Type, if it has one. Raises ``CriteriaError`` with every problem, or ``RefusedError``; nothing was stored
    then.
    """
    findings = Findings()
    with findings.checking():
        text = _checked(body, charset)
    with findings.checking():
        template, extras = _wanted(parameters)
    findings.raise_all()
    if caller.link:
        links.claim(caller.link)
    return start_uploaded(
        text,
        template=template,
        user=caller.user,
        api_client=caller.api_client,
        address=address,
        extras=extras,
    )


def _wanted(parameters: Parameters) -> tuple[LaunchTemplate, LaunchExtras]:
    criteria = parse(parameters, needs_selection=False)
    template = _template(criteria.template)
    template.check_extras(criteria.extras)
    return template, criteria.extras


def _checked(body: bytes, charset: str) -> str:
    try:
        return check_upload(body, charset)
    except ManifestError as error:
        raise CriteriaError([Problem(field="manifest", message=str(error))]) from error


def _template(slug: str) -> LaunchTemplate:
    """The template that is named, or else one of Weasis: others read no manifest."""
    template = template_named(slug)
    if template.viewer is None:
        return template
    if slug:
        message = f"{template.viewer} reads no manifests. Name a template of Weasis."
        raise CriteriaError([Problem(field="template", message=message)])
    return LaunchTemplate.objects.of_weasis()
