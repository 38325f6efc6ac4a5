"""Launches by which Weasis asks by itself, with ``$dicom:rs``: archives, or the hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from archives.entities import Selection
from archives.models import Archive
from launcher import template_lines, weasis
from launcher.direct_images import why_not_direct
from launcher.hub_addresses import dicomweb_url
from launcher.tokens import image_token

if TYPE_CHECKING:
    from launcher.models import LaunchTemplate


def why_not(template: LaunchTemplate, archive: Archive, selection: Selection) -> str:
    """Why Weasis can't ask an archive, or the hub for it; empty if it can."""
    if archive.protocol != Archive.Protocol.DICOMWEB:
        return _("%(archive)s is not a DICOMweb archive.") % {"archive": archive.name}
    if why_not_direct(archive, template):
        return ""  # the hub answers to all that Weasis asks
    return _why_not_asked(archive, selection)


def _why_not_asked(archive: Archive, selection: Selection) -> str:
    """Why an archive would refuse what Weasis asks for a selection; empty if it won't.

    Weasis only logs that, so that the user would see nothing.
    """
    product = archive.product
    if selection.series or selection.instances:
        if not product.quirks.is_relational:
            return _(
                "%(archive)s finds series and images only in a study that is named, and "
                "Weasis does not name it."
            ) % {"archive": archive.name}
        if product.repeats_parameters:
            return _(
                "%(archive)s wants each attribute in a parameter of its own, and Weasis "
                "asks for series and images with a list of them."
            ) % {"archive": archive.name}
    known = product.quirks.study_keys
    if known is not None and not _keys_of(selection) <= known:
        text = _("%(archive)s can't be searched by all that this launch names.")
        return text % {"archive": archive.name}
    return ""


def _keys_of(selection: Selection) -> set[str]:
    """Attributes that Weasis searches studies by."""
    keys = {
        "PatientID": selection.patients,
        "IssuerOfPatientID": any(p.issuer_of_patient_id for p in selection.patients),
        "StudyInstanceUID": selection.study_instance_uids,
        "AccessionNumber": selection.accession_numbers,
    }
    return {name for name, is_named in keys.items() if is_named}


def uri_and_why(
    template: LaunchTemplate,
    manifest_url: str,
    selection: Selection,
    archives: Sequence[Archive],
    options: weasis.LaunchOptions,
) -> tuple[str, str]:
    """The URI, and a sentence on how Weasis asks; raises ``NotCarriableError``."""
    asked = [_asked(template, manifest_url, archive) for archive in archives]
    if not any(one.holds_launch_only for one in asked):
        uri = weasis.open_dicom_rs(asked, selection, options)
        return uri, _("Weasis can ask all of its archives itself.")
    messages_url = weasis.messages_of(manifest_url)
    uri = weasis.open_dicom_rs(asked, selection, options, messages_url=messages_url)
    return uri, _("Weasis asks the hub, with a token that opens this launch alone.")


def _asked(
    template: LaunchTemplate, manifest_url: str, archive: Archive
) -> weasis.RsArchive:
    """The archive, or the hub in its place."""
    if not why_not_direct(archive, template):
        product = archive.product
        return weasis.RsArchive(
            archive.url,
            product.query_extension,
            product.repeats_parameters,
            headers=tuple(template_lines.http_tags_of(template.http_tags)),
        )
    token = image_token(manifest_url.rpartition("/")[2])
    return weasis.RsArchive(
        dicomweb_url(archive.slug),
        headers=(("Authorization", f"Bearer {token}"),),
        holds_launch_only=True,
    )
