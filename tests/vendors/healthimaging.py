"""Amazon HealthImaging: its DICOMweb search and retrieval, with a token of OIDC."""

from __future__ import annotations

from tests.dicomweb_server import Answer, Request
from tests.vendors.server import TOKEN, VendorServer

MAXIMUM_RECORDS = 10_000


class HealthImaging(VendorServer):
    """Hierarchical: series need their study, instances their study and series.

    No search reaches beyond the maximum of records. An instance is sent as one file,
    and not as a part of several.
    """

    product = "healthimaging"
    path = "/datastore/d9a2a515ab294163a2d2f4069eed584c"
    token = TOKEN
    study_keys = frozenset(
        {
            "StudyInstanceUID",
            "PatientName",
            "PatientID",
            "AccessionNumber",
            "ReferringPhysicianName",
            "StudyDate",
            "ModalitiesInStudy",
            "StudyID",
        }
    )
    refuses_other_keys = True
    missing = r"series|instances|studies/[^/]+/(metadata|instances)"
    behaviour_values = {"has_multipart": False}

    def refusal(self, request: Request, level: str) -> int | None:
        keys = request.keys
        if int(keys.get("offset", 0)) + int(keys.get("limit", 0)) > MAXIMUM_RECORDS:
            return 400
        return super().refusal(request, level)

    def _answer(self, request: Request) -> Answer:
        parts = request.path.removeprefix(f"{self.path}/").split("/")
        accepted = request.headers.get("accept", "")
        if len(parts) == 6 and accepted.startswith("multipart/"):
            return self._refuse(request, 406)
        return super()._answer(request)
