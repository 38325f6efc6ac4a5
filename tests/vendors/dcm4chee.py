"""dcm4chee-arc-light 5.34: QIDO-RS of its Swagger description and configuration."""

from __future__ import annotations

from typing import Any

from tests.dicomweb_server import Request
from tests.token_server import TokenRequest
from tests.vendors.server import NAMES, VendorServer

CLIENT = ("viewerhub", "a-client-secret")
MAXIMUM_RESULTS = 1000  # dcmQidoMaxNumberOfResults of the sample configuration


class Dcm4chee(VendorServer):
    """Answers none with 204, and cuts at its maximum with a Warning.

    With ``query_maximum`` (Query Max Number of Results) broader searches are refused
    with 413. With ``includedefaults=false`` nothing is sent but what was asked for.
    """

    product = "dcm4chee"
    path = "/dcm4chee-arc/aets/DCM4CHEE/rs"
    wado_path = "/dcm4chee-arc/aets/DCM4CHEE/wado"
    takes_lists = True
    fuzzy_keys = NAMES
    behaviour_values = {
        "none_status": 204,
        "none_body": b"",
        "warns": True,
        "page_cap": MAXIMUM_RESULTS,
    }
    query_maximum: int | None = None

    def refusal(self, request: Request, level: str) -> int | None:
        if level == "studies" and self.query_maximum is not None:
            keys = request.keys
            found = [
                study
                for study in self.studies
                if keys.get("PatientID", study.patient.patient_id)
                == study.patient.patient_id
            ]
            if len(found) > self.query_maximum:
                return 413
        return super().refusal(request, level)

    def _shown(self, match: dict, request: Request, level: str) -> dict:
        if request.keys.get("includedefaults") != "false":
            return match
        asked = {*self.asked_for(request), "0020000D", "0020000E", "00080018"}
        return {tag: element for tag, element in match.items() if tag in asked}


class SecuredDcm4chee(Dcm4chee):
    """The same, with Keycloak before it: client credentials of a confidential client."""

    def archive_values(self) -> dict[str, Any]:
        client_id, client_secret = CLIENT
        return super().archive_values() | {
            "authentication": "oauth2",
            "token_url": self.tokens.url,
            "client_id": client_id,
            "client_secret": client_secret,
        }

    def refuses_token(self, request: TokenRequest) -> tuple[int, object] | None:
        in_form = (request.form.get("client_id"), request.form.get("client_secret"))
        login = request.login if request.authorization else in_form
        return None if login == CLIENT else (401, {"error": "unauthorized_client"})

    def knows(self, request: Request) -> bool:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self.tokens.is_valid(token)
