"""The head of a DICOM file (PS3.10 7.1) that comes in pieces, read as far as needed."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

MAXIMUM_HEAD: Final = 64 * 1024
# More than any file has. The head is read again whenever some bytes more have come.
MAXIMUM_ELEMENTS: Final = 100
_PREAMBLE: Final = 128
_PREFIX: Final = b"DICM"
_GROUP: Final = 0x0002
_MEDIA_STORAGE_SOP_INSTANCE_UID: Final = 0x0003
_TRANSFER_SYNTAX_UID: Final = 0x0010
_LONG_VRS: Final = frozenset({b"OB", b"OW", b"UN", b"UT", b"UC", b"UR", b"SQ"})
_TAG_VR_LENGTH: Final = struct.Struct("<HH2sH")


class NotDicomError(ValueError):
    """No DICOM file begins like this."""


@dataclass(frozen=True, slots=True)
class FileHead:
    """``size`` is where the data set begins; UIDs that are missing are empty."""

    sop_instance_uid: str
    transfer_syntax_uid: str
    size: int


def read_head(data: bytes) -> FileHead | None:
    """``None`` if more is needed; raises ``NotDicomError``."""
    start = _PREAMBLE + len(_PREFIX)
    if len(data) < start:
        return None
    if data[_PREAMBLE:start] != _PREFIX:
        raise NotDicomError("There is no prefix.")
    values: dict[int, str] = {}
    count = 0
    while len(data) >= start + 2:
        if int.from_bytes(data[start : start + 2], "little") != _GROUP:
            return FileHead(
                values.get(_MEDIA_STORAGE_SOP_INSTANCE_UID, ""),
                values.get(_TRANSFER_SYNTAX_UID, ""),
                start,
            )
        if len(data) < start + 12:
            break
        count += 1
        if count > MAXIMUM_ELEMENTS:
            raise NotDicomError("The head has too many elements.")
        _, element, vr, length = _TAG_VR_LENGTH.unpack_from(data, start)
        start += 8
        if vr in _LONG_VRS:
            length = int.from_bytes(data[start : start + 4], "little")
            start += 4
        if start + length > MAXIMUM_HEAD:
            raise NotDicomError("The head is too long.")
        if len(data) < start + length:
            break
        values[element] = data[start : start + length].decode("latin-1").strip("\0 ")
        start += length
    return None
