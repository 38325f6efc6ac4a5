"""The DICOM service of Azure, and Microsoft's open-source server: conformance statement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from archives.entities import Study
from tests.dicomweb_server import Answer, Request
from tests.vendors.server import NAMES, TAGS, TOKEN, VendorServer

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
    the second repeats rows of the first.
    """

    product = "azure"
    path = "/v2"
    token = TOKEN
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

    def _search(self, request: Request, parents: dict[str, str], level: str) -> Answer:
        if "offset" in request.keys and self.arriving:
            self.studies.insert(0, self.arriving.pop())
        return super()._search(request, parents, level)

    def refusal(self, request: Request, level: str) -> int | None:
        if request.keys.get("StudyDate") == "-" or "" in request.keys.values():
            return 400
        return super().refusal(request, level)

    def _shown(self, match: dict, request: Request, level: str) -> dict:
        shown = DEFAULTS[level] | set(self.included(request)) | {"0020000D", "0020000E"}
        return {tag: element for tag, element in match.items() if tag in shown}
