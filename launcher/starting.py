"""From a template and a launch to the URI that starts Weasis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archives.entities import Selection
from archives.models import Archive
from archives.presets import LaunchMode
from launcher import template_extras, weasis
from launcher import template_lines as lines
from launcher.criteria import LaunchExtras

if TYPE_CHECKING:
    from launcher.models import LaunchTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What starts Weasis, in which mode and why, and the lines it can't have."""

    uri: str
    mode: str
    why: str
    left_out: tuple[str, ...] = ()


def start(
    template: LaunchTemplate,
    manifest_url: str,
    selection: Selection,
    archives: Iterable[Archive],
    extras: LaunchExtras,
) -> Start:
    """In the mode of the template where everything allows it, or else by a manifest.

    Raises ``CriteriaError`` for extras that the template does not allow.
    """
    checked = allowed_extras(template, extras)
    options, left_out = _filled_options(template, selection, checked)
    asked = list(archives)
    why = _why_manifest(template, asked)
    if not why:
        try:
            uri = _dicom_rs(template, selection, asked, options)
        except weasis.NotCarriableError as error:
            why = str(error)  # a manifest carries everything
        else:
            why = "Weasis can ask all of its archives itself."
            mode = template.Mode.DICOM_RS
            return Start(uri=uri, mode=mode, why=why, left_out=left_out)
    urls: Sequence[str] = [manifest_url]
    if template.opens_primary_study_first and _may_find_several_studies(selection):
        urls = weasis.primary_first(manifest_url)
    uri = weasis.open_manifests(urls, options)
    return Start(uri=uri, mode=template.Mode.MANIFEST, why=why, left_out=left_out)


def allowed_extras(template: LaunchTemplate, extras: LaunchExtras) -> LaunchExtras:
    """What links may add, in the form a link takes; raises ``CriteriaError``."""
    allowed = template_extras.Allowed(
        properties=lines.lines_of(template.allowed_properties),
        commands=lines.lines_of(template.allowed_commands),
        addresses=lines.lines_of(template.allowed_addresses),
    )
    return template_extras.check(extras, allowed)


def _filled_options(
    template: LaunchTemplate, selection: Selection, extras: LaunchExtras
) -> tuple[weasis.LaunchOptions, tuple[str, ...]]:
    """Options for one launch, and why lines are not among them."""
    values = lines.values_of(selection, user=extras.user, host=extras.host)
    commands = lines.fill_commands(lines.lines_of(template.commands), values)
    properties = lines.fill_properties(lines.lines_of(template.properties), values)
    filled = weasis.LaunchOptions(
        commands=commands.lines,
        properties=properties.lines,
        cdb=template.cdb,
        wcfg=template.wcfg,
    )
    left_out = (*commands.left_out, *properties.left_out)
    return template_extras.add(extras, filled), left_out


def _dicom_rs(
    template: LaunchTemplate,
    selection: Selection,
    archives: Sequence[Archive],
    options: weasis.LaunchOptions,
) -> str:
    products = [(archive.url, archive.product) for archive in archives]
    asked = [
        weasis.RsArchive(url, product.query_extension, product.repeats_parameters)
        for url, product in products
    ]
    headers = lines.http_tags_of(template.http_tags)
    return weasis.open_dicom_rs(asked, selection, options, headers)


def _why_manifest(template: LaunchTemplate, archives: Sequence[Archive]) -> str:
    """Why Weasis gets a manifest, as far as template and archives say."""
    if template.mode == template.Mode.MANIFEST:
        return "The template asks for a manifest."
    preferred = {archive.product.launch_modes[0] for archive in archives}
    if template.mode == template.Mode.AUTO and preferred != {LaunchMode.DICOM_RS}:
        return (
            "A manifest suits every archive, and tells the user what each of them "
            "answered."
        )
    reasons = (_why_not_dicom_rs(template, archive) for archive in archives)
    return next(filter(None, reasons), "")


def _why_not_dicom_rs(template: LaunchTemplate, archive: Archive) -> str:
    """Why Weasis can't ask an archive itself; empty if it can."""
    if archive.protocol != Archive.Protocol.DICOMWEB:
        return f"{archive.name} is not a DICOMweb archive."
    if archive.authentication != Archive.Authentication.NONE:
        return f"{archive.name} asks for a password, which stays in the hub."
    if archive.client_certificate:
        return f"{archive.name} asks for a certificate, which stays in the hub."
    if (template.images or archive.images) != Archive.Images.DIRECT:
        return f"Images of {archive.name} come through the hub."
    return ""


def _may_find_several_studies(selection: Selection) -> bool:
    names = (
        *selection.patients,
        *selection.study_instance_uids,
        *selection.accession_numbers,
        *selection.series,
        *selection.instances,
    )
    return len(names) > 1 or not selection.study_instance_uids
