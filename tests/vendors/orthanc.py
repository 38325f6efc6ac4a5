"""Orthanc with its DICOMweb plug-in, in the settings advised for large archives."""

from __future__ import annotations

from tests.dicomweb_server import Request
from tests.vendors.server import VendorServer

FIND_LIMIT = 100  # LimitFindResults and LimitFindInstances
ONLY_WHEN_ASKED = frozenset({"00081030", "00100021"})


class Orthanc(VendorServer):
    """Cuts what it finds without a word; takes ``fuzzymatching`` and does nothing with it.

    It ignores keys it does not know, and sends some attributes only when they are asked
    for.
    """

    product = "orthanc"
    path = "/dicom-web"
    wado_path = "/wado"
    login = "viewer:viewer-password"
    takes_lists = True
    behaviour_values = {"total_cap": FIND_LIMIT}

    def _shown(self, match: dict, request: Request, level: str) -> dict:
        left_out = ONLY_WHEN_ASKED - self.asked_for(request)
        return {tag: element for tag, element in match.items() if tag not in left_out}
