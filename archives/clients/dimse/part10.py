"""The head of a DICOM file (PS3.10 7.1) for a data set that follows unparsed."""

from __future__ import annotations

import struct
from typing import Final

from archives.clients.dimse import uids

_PREAMBLE: Final = bytes(128) + b"DICM"
_SHORT: Final = struct.Struct("<HH2sH")
_LONG: Final = struct.Struct("<HH2sxxI")
_META: Final = 0x0002


def file_head(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
) -> bytes:
    """Preamble and File Meta Information."""
    elements = b"".join(
        (
            _LONG.pack(_META, 0x0001, b"OB", 2) + b"\x00\x01",
            _element(0x0002, b"UI", sop_class_uid),
            _element(0x0003, b"UI", sop_instance_uid),
            _element(0x0010, b"UI", transfer_syntax_uid),
            _element(0x0012, b"UI", uids.IMPLEMENTATION_CLASS),
            _element(0x0013, b"SH", uids.IMPLEMENTATION_VERSION_NAME),
        )
    )
    length = struct.pack("<I", len(elements))
    return _PREAMBLE + _SHORT.pack(_META, 0x0000, b"UL", 4) + length + elements


def _element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return _SHORT.pack(_META, element, vr, len(value)) + value
