"""DICOMcloud, as its wiki describes what it supports."""

from __future__ import annotations

from tests.vendors.server import NAMES, TAGS, VendorServer


class DicomCloud(VendorServer):
    """Sends everything it finds, whatever ``limit`` and ``offset`` say.

    Names are matched by any part, whether that was asked for or not.
    """

    product = "dicomcloud"
    path = "/api"
    wado_path = "/api/wadouri"
    behaviour_values = {"ignores_limit": True, "ignores_offset": True}

    def _matches_key(
        self, match: dict, keyword: str, wanted: str, is_fuzzy: bool
    ) -> bool:
        if keyword in NAMES:
            name = str(match[TAGS[keyword]]).casefold()
            parts = wanted.casefold().replace("^", "*").split("*")
            return all(part in name for part in parts)
        return super()._matches_key(match, keyword, wanted, is_fuzzy)
