"""Kheops: its authorization server and its DICOMweb proxy, with a token of an album."""

from __future__ import annotations

from tests.dicomweb_server import Request
from tests.vendors.server import NAMES, TOKEN, VendorServer


class Kheops(VendorServer):
    """Has no search across studies, and none for the instances of a whole study.

    It answers none with 204, tells by a Warning that there is more, and takes one
    modality.
    """

    product = "kheops"
    path = "/api"
    wado_path = "/api/wado"
    token = TOKEN
    study_keys = frozenset(
        {
            "StudyInstanceUID",
            "PatientName",
            "PatientID",
            "AccessionNumber",
            "ReferringPhysicianName",
            "StudyDate",
            "StudyDescription",
            "ModalitiesInStudy",
        }
    )
    fuzzy_keys = NAMES
    missing = r"series|instances|studies/[^/]+/instances"
    behaviour_values = {"none_status": 204, "none_body": b"", "warns": True}

    def refusal(self, request: Request, level: str) -> int | None:
        if "," in request.keys.get("ModalitiesInStudy", ""):
            return 400
        return super().refusal(request, level)
