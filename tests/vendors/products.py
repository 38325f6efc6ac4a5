"""Every product, and the archive that its preset makes of its server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from archives.clients.authentication import tokens
from archives.clients.dicomweb.memory import memory_of
from archives.entities import Study
from archives.models import Archive
from archives.presets import PRESETS
from tests.vendors.azure import Azure
from tests.vendors.dcm4chee import Dcm4chee, SecuredDcm4chee
from tests.vendors.dicomcloud import DicomCloud
from tests.vendors.files import studies
from tests.vendors.generic import Generic
from tests.vendors.google import Google
from tests.vendors.healthimaging import HealthImaging
from tests.vendors.healthimaging_proxy import HealthImagingProxy
from tests.vendors.kheops import Kheops
from tests.vendors.orthanc import Orthanc
from tests.vendors.server import VendorServer, serving

VENDORS: dict[str, type[VendorServer]] = {
    vendor.product: vendor
    for vendor in (
        Dcm4chee,
        Orthanc,
        Google,
        Azure,
        DicomCloud,
        Kheops,
        HealthImaging,
        HealthImagingProxy,
        Generic,
    )
}
# The same products, set up in another way.
VARIANTS = {"dcm4chee with Keycloak": SecuredDcm4chee}
HEAD, KNEE, OTHER = STUDIES = studies()


@contextmanager
def running(
    product: str,
    held: tuple[Study, ...] = STUDIES,
    *,
    is_open: bool = False,
    **values: Any,
) -> Iterator[tuple[VendorServer, Archive]]:
    """The vendor's server, and the archive that its preset makes of it; not stored.

    One that ``is_open`` asks for no login, and gives its images directly.
    """
    memory_of.cache_clear()  # ports come back
    tokens._source.cache_clear()
    with serving((VENDORS | VARIANTS)[product](held)) as server:
        preset = PRESETS[server.product]
        own = server.open_values() if is_open else server.archive_values()
        settings = preset.initial("dicomweb") | own | values
        archive = Archive(
            name="The archive", slug="archive", protocol="dicomweb", **settings
        )
        archive.full_clean(validate_unique=False)
        yield server, archive
