"""Google Cloud Healthcare API: its DICOM conformance statement, quotas and limits."""

from __future__ import annotations

from typing import Any

import jwt

from tests.dicomweb_server import Answer, Request, status
from tests.token_server import TokenRequest, service_account_key
from tests.vendors.server import VendorServer

MAXIMUM_OFFSET = 1_000_000
SCOPE = "https://www.googleapis.com/auth/cloud-healthcare"


class Google(VendorServer):
    """Wants one ``includefield`` for each attribute; knows no wildcards and few keys.

    Once the ``quota`` of requests is used up, it answers 429. There is no WADO-URI. Its tokens are given for assertions signed with the key of a
    service account.
    """

    product = "google"
    path = "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb"
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

    quota: int | None = None

    def _answer(self, request: Request) -> Answer:
        if self.quota is not None and len(self.requests) > self.quota:
            return status(429, **{"Retry-After": "60"})
        return super()._answer(request)

    def archive_values(self) -> dict[str, Any]:
        key, _ = service_account_key(self.tokens.url)
        return super().archive_values() | {"service_account_key": key}

    def refuses_token(self, request: TokenRequest) -> tuple[int, object] | None:
        _, public = service_account_key(self.tokens.url)
        try:
            claims = jwt.decode(
                request.form["assertion"],
                public,
                algorithms=["RS256"],
                audience=self.tokens.url,
            )
        except jwt.InvalidTokenError:
            return 400, {"error": "invalid_grant"}
        return None if claims["scope"] == SCOPE else (400, {"error": "invalid_scope"})

    def knows(self, request: Request) -> bool:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self.tokens.is_valid(token)

    def refusal(self, request: Request, level: str) -> int | None:
        if any("," in value for value in self.included(request)):
            return 400
        if int(request.keys.get("offset", 0)) > MAXIMUM_OFFSET:
            return 400
        return super().refusal(request, level)
