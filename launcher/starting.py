"""From a template and a launch to the URI that starts Weasis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from archives.entities import Selection
from archives.models import Archive
from archives.presets import LaunchMode
from launcher import dicom_rs, template_extras, weasis
from launcher import template_lines as lines
from launcher.criteria import CriteriaError, LaunchExtras, Problem

if TYPE_CHECKING:
    from launcher.models import LaunchTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What starts Weasis, in which mode and why, and the lines it can't have."""

    uri: str
    mode: str
    why: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _FilledLines:
    """What a template says for one launch."""

    commands: lines.Filled
    properties: lines.Filled

    @property
    def left_out(self) -> tuple[str, ...]:
        return (*self.commands.left_out, *self.properties.left_out)

    def shorter(self) -> _FilledLines | None:
        """Without the longest line that holds a value, if there is one."""
        command, setting = self.commands.longest, self.properties.longest
        if not (command[0] or setting[0]):
            return None
        if command >= setting:
            return replace(self, commands=self.commands.without(command[1]))
        return replace(self, properties=self.properties.without(setting[1]))


def start(
    template: LaunchTemplate,
    manifest_url: str,
    selection: Selection,
    archives: Iterable[Archive],
    extras: LaunchExtras,
) -> Start:
    """In the mode of the template where everything allows it, or else by a manifest.

    Lines with values that make the URI too long are left out. Raises ``CriteriaError``
    for extras that the template does not allow, and for too many of them.
    """
    checked = allowed_extras(template, extras)
    filled = _fill(template, selection, checked)
    asked = list(archives)
    why = _why_manifest(template, asked, selection)
    if not why:
        try:
            options = _options(template, filled, checked)
            uri, why = dicom_rs.uri_and_why(
                template, manifest_url, selection, asked, options
            )
        except weasis.NotCarriableError as error:
            why = str(error)  # a manifest carries everything
        else:
            mode = template.Mode.DICOM_RS
            return Start(uri=uri, mode=mode, why=why, left_out=filled.left_out)
    urls: Sequence[str] = [manifest_url]
    if template.opens_primary_study_first and _may_find_several_studies(selection):
        urls = weasis.primary_first(manifest_url)
    uri, filled = _open_manifests(template, urls, filled, checked)
    mode = template.Mode.MANIFEST
    return Start(uri=uri, mode=mode, why=why, left_out=filled.left_out)


def check_length(template: LaunchTemplate, hub_url: str, extras: LaunchExtras) -> None:
    """Raises ``CriteriaError`` where no launch could have all of the ``extras``.

    Lines with values of the launch don't count: they are left out if need be.
    """
    commands, properties = (
        tuple(line for line in lines.lines_of(text) if not lines.has_placeholder(line))
        for text in (template.commands, template.properties)
    )
    fixed = _FilledLines(
        commands=lines.fill_commands(commands, {}),
        properties=lines.fill_properties(properties, {}),
    )
    _open_manifests(template, example_urls(template, hub_url), fixed, extras)


def example_urls(template: LaunchTemplate, hub_url: str) -> Sequence[str]:
    """Addresses as long as those of a launch can be."""
    url = weasis.example_manifest_url(hub_url)
    return weasis.primary_first(url) if template.opens_primary_study_first else [url]


def _open_manifests(
    template: LaunchTemplate,
    urls: Sequence[str],
    filled: _FilledLines,
    extras: LaunchExtras,
) -> tuple[str, _FilledLines]:
    """The URI, and the lines it has room for."""
    while True:
        try:
            options = _options(template, filled, extras)
            return weasis.open_manifests(urls, options), filled
        except weasis.TooLongError as error:
            shorter = filled.shorter()
            if shorter is None:
                raise CriteriaError(_too_long(extras, error.over)) from error
            filled = shorter


def _too_long(extras: LaunchExtras, over: int) -> list[Problem]:
    sent = {
        "pro": extras.properties,
        "arg": extras.commands,
        "cdb": extras.cdb,
        "wcfg": extras.wcfg,
    }
    named = [field for field, value in sent.items() if value]
    excess = f"{over} characters too long for Windows"
    if not named:
        message = (
            f"What its launch template says makes the link {excess}. Ask the hub's "
            "administrator to shorten its commands or properties."
        )
        return [Problem(field="template", message=message)]
    message = f"{_listed(named)} make the link {excess}. Ask for less in one link."
    return [Problem(field=field, message=message) for field in named]


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else f"The values of {last}"


def allowed_extras(template: LaunchTemplate, extras: LaunchExtras) -> LaunchExtras:
    """What links may add, in the form a link takes; raises ``CriteriaError``."""
    allowed = template_extras.Allowed(
        properties=lines.lines_of(template.allowed_properties),
        commands=lines.lines_of(template.allowed_commands),
        addresses=lines.lines_of(template.allowed_addresses),
    )
    return template_extras.check(extras, allowed)


def _fill(
    template: LaunchTemplate, selection: Selection, extras: LaunchExtras
) -> _FilledLines:
    values = lines.values_of(selection, user=extras.user, host=extras.host)
    return _FilledLines(
        commands=lines.fill_commands(lines.lines_of(template.commands), values),
        properties=lines.fill_properties(lines.lines_of(template.properties), values),
    )


def _options(
    template: LaunchTemplate, filled: _FilledLines, extras: LaunchExtras
) -> weasis.LaunchOptions:
    own = weasis.LaunchOptions(
        commands=filled.commands.lines,
        properties=filled.properties.lines,
        cdb=template.cdb,
        wcfg=template.wcfg,
    )
    return template_extras.add(extras, own)


def _why_manifest(
    template: LaunchTemplate, archives: Sequence[Archive], selection: Selection
) -> str:
    """Why Weasis gets a manifest, as far as template, archives and selection say."""
    if template.mode == template.Mode.MANIFEST:
        return _("The template asks for a manifest.")
    preferred = {archive.product.launch_modes[0] for archive in archives}
    if template.mode == template.Mode.AUTO and preferred != {LaunchMode.DICOM_RS}:
        return _(
            "A manifest suits every archive, and tells the user what each of them "
            "answered."
        )
    reasons = (dicom_rs.why_not(template, archive, selection) for archive in archives)
    return next(filter(None, reasons), "")


def _may_find_several_studies(selection: Selection) -> bool:
    names = (
        *selection.patients,
        *selection.study_instance_uids,
        *selection.accession_numbers,
        *selection.series,
        *selection.instances,
    )
    return len(names) > 1 or not selection.study_instance_uids
