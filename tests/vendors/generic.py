"""A server that does everything as PS3.18 has it, and no more than that."""

from __future__ import annotations

from tests.vendors.server import VendorServer


class Generic(VendorServer):
    product = "dicomweb"
    path = "/dicom-web"
    wado_path = "/wado"
    takes_lists = True
