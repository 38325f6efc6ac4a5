"""Amazon HealthImaging behind the sample dicomweb-proxy."""

from __future__ import annotations

from tests.vendors.server import VendorServer


class HealthImagingProxy(VendorServer):
    """One service for each AE title, without a login of its own."""

    product = "healthimaging-proxy"
    path = "/AETITLE"
