"""Single values of launch parameters: what they may be, and what they become.

Every function takes text and raises ``ValueError`` with a sentence that continues the
name of the parameter ("is empty.").
"""

from __future__ import annotations

import re
from typing import Final

from archives.entities import PatientIdentifier

MAXIMUM_LENGTH: Final = 64  # LO and UI (PS3.5 6.2); longer accession numbers exist too
MAXIMUM_NAME: Final = 3 * 64 + 2  # PN: three groups
MAXIMUM_TEXT: Final = 1024
MAXIMUM_COUNT: Final = 9_999

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# What separates the ID from its issuer; also escaped once too often, as seen in the wild.
_ISSUER = re.compile(r"\^\^\^|%5[Ee]%5[Ee]%5[Ee]")


def identifier(text: str) -> str:
    """An LO or SH matched as a single value (PS3.4 C.2.2.2.1)."""
    return _single_value(text, MAXIMUM_LENGTH)


def unique_identifier(text: str) -> str:
    """A UI (PS3.5 9.1). Leading zeros are let pass: they exist."""
    if len(text) > MAXIMUM_LENGTH:
        raise ValueError("a UID has at most 64 characters.")
    if not _UID.fullmatch(text):
        raise ValueError(
            "not a UID: it has only digits, with single dots between them."
        )
    return text


def patient_identifier(text: str) -> PatientIdentifier:
    """``ID``, ``ID^^^ISSUER`` or the HL7 CX ``ID^^^NAMESPACE&OID&ISO``.

    The issuer is the namespace, or the OID where that is all there is.
    """
    patient_id, *rest = _ISSUER.split(text, maxsplit=1)
    namespace, universal_id, universal_type = _assigning_authority("".join(rest))
    if universal_id:
        is_oid = universal_type.upper() == "ISO"
        universal_id = (unique_identifier if is_oid else identifier)(universal_id)
    issuer = namespace or universal_id
    return PatientIdentifier(
        patient_id=identifier(patient_id.strip(" ")),
        issuer_of_patient_id=identifier(issuer) if issuer else "",
        universal_entity_id=universal_id,
    )


def _assigning_authority(text: str) -> tuple[str, str, str]:
    """Namespace, universal ID and its type of an HD (HL7 v2); "" for what is not there."""
    text = re.sub("%26", "&", re.sub("%5[Ee]", "^", text))
    parts = [part.strip(" ") for part in text.split("^", 1)[0].split("&")]
    namespace, universal_id, universal_type = (*parts, "", "")[:3]
    return namespace, universal_id, universal_type


def patient_name(text: str) -> str:
    """A PN to compare with; it finds nothing, so that wildcards have no meaning."""
    return _single_value(text, MAXIMUM_NAME)


def modality(text: str) -> str:
    """A CS (PS3.5 6.2). Small letters are made the capitals they stand for."""
    code = text.upper()
    if not _CODE.fullmatch(code):
        raise ValueError(
            "not a modality: write its code, such as CT, with at most 16 characters."
        )
    return code


def free_text(text: str) -> str:
    """Any text without control characters."""
    if len(text) > MAXIMUM_TEXT:
        raise ValueError(f"longer than {MAXIMUM_TEXT} characters.")
    if _CONTROL.search(text):
        raise ValueError("contains a control character.")
    return text


def description_text(text: str) -> str:
    """Text to be found in a description: something that can be seen."""
    if not text.strip():
        raise ValueError("is empty.")
    return free_text(text)


def count(text: str) -> int:
    """A number of things, at least one."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 0 < int(text) <= MAXIMUM_COUNT:
        raise ValueError(f"not a number from 1 to {MAXIMUM_COUNT}.")
    return int(text)


def _single_value(text: str, maximum: int) -> str:
    if len(text) > maximum:
        raise ValueError(f"longer than {maximum} characters.")
    if _CONTROL.search(text):
        raise ValueError("contains a control character.")
    if "\\" in text:
        raise ValueError(
            "contains a backslash. Repeat the parameter for several values."
        )
    if set("*?") & set(text):
        raise ValueError("contains a wildcard (* or ?). Give the whole identifier.")
    if not text.strip():
        raise ValueError("is empty.")
    return text
