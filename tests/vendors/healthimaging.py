"""Amazon HealthImaging: its DICOMweb search and retrieval, with signed requests."""

from __future__ import annotations

from typing import Any

from archives.clients.credentials import AwsKeys
from tests.aws import is_signed
from tests.dicomweb_server import Answer, Request
from tests.vendors.server import VendorServer

MAXIMUM_RECORDS = 10_000
KEYS = AwsKeys(
    region="us-east-1",
    access_key_id="AKIDEXAMPLE",
    secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
)


class HealthImaging(VendorServer):
    """Hierarchical: series need their study, instances their study and series.

    No search reaches beyond the maximum of records. An instance is sent as one file,
    and not as a part of several.
    """

    product = "healthimaging"
    path = "/datastore/d9a2a515ab294163a2d2f4069eed584c"
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
    behaviour_values = {"has_multipart": False, "sends_series": False}

    def archive_values(self) -> dict[str, Any]:
        return super().archive_values() | {
            "aws_region": KEYS.region,
            "aws_access_key_id": KEYS.access_key_id,
            "aws_secret_access_key": KEYS.secret_access_key,
        }

    def knows(self, request: Request) -> bool:
        return is_signed(request, KEYS)

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
