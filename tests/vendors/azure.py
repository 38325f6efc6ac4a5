"""The DICOM service of Azure, and Microsoft's open-source server: conformance statement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from archives.entities import Study
from tests.dicomweb_server import Answer, Request
from tests.token_server import TokenRequest
from tests.vendors.server import NAMES, TAGS, VendorServer

CLIENT = ("0e5f-client", "the~client.secret")
SCOPE = "https://dicom.healthcareapis.azure.com/.default"

DEFAULTS = {
    "studies": {
        *("00080020", "00080030", "00080050", "00080090"),
        *("00100010", "00100020", "00100030", "00100040", "00200010", "0020000D"),
    },
    "series": {"00080060", "0008103E", "0020000E"},
    "instances": {"00080016", "00080018", "00200013"},
}


class Azure(VendorServer):
    """Sends 200 at most and refuses to be asked for more; answers none with 204.

    Pages begin with the newest: where ``arriving`` studies come in between two pages,
    the second repeats rows of the first. Its tokens are those of Entra ID.
    """

    product = "azure"
    path = "/v2"
    study_keys = frozenset(TAGS) - {
        *("IssuerOfPatientID", "PatientSex", "SeriesInstanceUID", "SOPInstanceUID"),
    }
    refuses_other_keys = True
    takes_wildcards = False
    fuzzy_keys = NAMES
    largest_limits = {"studies": 200, "series": 200, "instances": 200}
    behaviour_values = {"none_status": 204, "none_body": b""}

    def __init__(self, studies: Iterable[Study], **behaviour: Any) -> None:
        super().__init__(studies, **behaviour)
        self.arriving: list[Study] = []

    def archive_values(self) -> dict[str, Any]:
        client_id, client_secret = CLIENT
        return super().archive_values() | {
            "token_url": self.tokens.url,
            "client_id": client_id,
            "client_secret": client_secret,
        }

    def refuses_token(self, request: TokenRequest) -> tuple[int, object] | None:
        if request.form.get("scope") != SCOPE:
            return 400, {"error": "invalid_scope"}
        in_form = (request.form.get("client_id"), request.form.get("client_secret"))
        login = request.login if request.authorization else in_form
        return None if login == CLIENT else (401, {"error": "invalid_client"})

    def knows(self, request: Request) -> bool:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self.tokens.is_valid(token)

    def _search(self, request: Request, parents: dict[str, str], level: str) -> Answer:
        if "offset" in request.keys and self.arriving:
            self.studies.insert(0, self.arriving.pop())
        return super()._search(request, parents, level)

    def refusal(self, request: Request, level: str) -> int | None:
        if request.keys.get("StudyDate") == "-" or "" in request.keys.values():
            return 400
        return super().refusal(request, level)

    def _shown(self, match: dict, request: Request, level: str) -> dict:
        shown = DEFAULTS[level] | self.asked_for(request) | {"0020000D", "0020000E"}
        return {tag: element for tag, element in match.items() if tag in shown}
