"""Google Cloud Healthcare API: its DICOM conformance statement, quotas and limits."""

from __future__ import annotations

from tests.dicomweb_server import Request
from tests.vendors.server import TOKEN, VendorServer

MAXIMUM_OFFSET = 1_000_000


class Google(VendorServer):
    """Wants one ``includefield`` for each attribute; knows no wildcards and few keys.

    There is no WADO-URI.
    """

    product = "google"
    path = "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb"
    token = TOKEN
    study_keys = frozenset(
        {
            "StudyInstanceUID",
            "PatientName",
            "PatientID",
            "AccessionNumber",
            "ReferringPhysicianName",
            "StudyDate",
        }
    )
    refuses_other_keys = True
    takes_wildcards = False
    fuzzy_keys = frozenset({"PatientName"})
    largest_limits = {"studies": 5000, "series": 5000, "instances": 50_000}

    def refusal(self, request: Request, level: str) -> int | None:
        if any("," in value for value in self.included(request)):
            return 400
        if int(request.keys.get("offset", 0)) > MAXIMUM_OFFSET:
            return 400
        return super().refusal(request, level)
