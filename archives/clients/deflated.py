"""Deflated data sets (PS3.5 A.5), a little of which may become as much as they like."""

from __future__ import annotations

import zlib
from typing import Final

from archives.clients.file_head import FileHead, NotDicomError, read_head

_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_PIECE: Final = 1 << 20


def deflated_head(content: bytes) -> FileHead | None:
    """The head of a file whose data set is deflated; ``None`` if it is not."""
    try:
        head = read_head(content)
    except NotDicomError:
        return None
    return head if head and head.transfer_syntax_uid == _DEFLATED else None


def inflates_beyond(content: bytes, maximum: int) -> bool:
    """Whether a DICOM file would become larger than that, or can't be inflated."""
    head = deflated_head(content)
    if head is None:
        return False
    inflater, rest, size = _inflater(), content[head.size :], 0
    try:
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, _PIECE))
            rest = inflater.unconsumed_tail
            if size > maximum:
                return True
    except zlib.error:
        return True
    return False


def inflated_start(deflated: bytes, maximum: int) -> bytes:
    """The first bytes of a data set. Raises ``zlib.error``."""
    return _inflater().decompress(deflated, maximum)


def _inflater() -> zlib._Decompress:
    return zlib.decompressobj(-zlib.MAX_WBITS)
