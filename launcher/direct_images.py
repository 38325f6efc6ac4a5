"""Whether viewers get the images of an archive from itself, or through the hub."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from archives.models import Archive
from archives.presets import LaunchMode

if TYPE_CHECKING:
    from launcher.models import LaunchTemplate

# Weasis stops at a base address with one of these.
_NOT_IN_URI = re.compile(r'[\s{}<>"|\\^`]')


def why_not_direct(archive: Archive, template: LaunchTemplate) -> str:
    """Why viewers can't be sent to the archive itself; empty if they can."""
    is_direct = archive.images == Archive.Images.DIRECT
    if template.images:
        is_direct = template.images == template.Images.DIRECT
        if not is_direct:
            return _("the template says so")
    if not is_direct:
        return _("the archive's settings say so")
    if archive.product.launch_modes == (LaunchMode.GATEWAY,):
        return _("viewers can't fetch images from such an archive")
    if archive.authentication != Archive.Authentication.NONE:
        return _("viewers would need its password")
    if archive.client_certificate:
        return _("viewers would need its client certificate")
    is_dicomweb = archive.protocol == Archive.Protocol.DICOMWEB
    addresses = [archive.wado_uri_url, archive.url if is_dicomweb else ""]
    if not any(addresses):
        return _("viewers can't fetch images by DIMSE, and it has no WADO-URI address")
    if any(map(_NOT_IN_URI.search, addresses)):
        return _("its address has characters that Weasis can't read")
    return ""


def sends_as_stored(archive: Archive, template: LaunchTemplate) -> bool:
    """Whether its images come as they are stored, in whatever transfer syntax that is.

    The one of the template is asked for by WADO-URI, and passed on to archives that may
    have it: neither files of the hub nor those that come by DIMSE are ever transcoded.
    """
    has_dimse_alone = archive.protocol == Archive.Protocol.DIMSE
    return template.retrieval == template.Retrieval.FILES or (
        has_dimse_alone and not archive.wado_uri_url
    )
