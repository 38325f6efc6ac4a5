"""Whether a DICOM file is whole, for bodies that only end because the connection does.

The data set is walked through while it passes by (PS3.5 7), without a copy of it. It is
whole if it ends where an element does, and that element is one that such objects end
with: a file that was cut between two elements looks well-formed, too.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from archives.clients.file_head import NotDicomError, read_head

_IMPLICIT: Final = "1.2.840.10008.1.2"
_DEFLATED: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1"})
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_LONG_VRS: Final = frozenset(
    vr.encode("ascii")
    for vr in (
        *("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT"),
        "UV",
    )
)
_UNDEFINED: Final = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_ROWS: Final = 0x00280010  # of what has pixels
# Without pixels, one of these is last: in reports, encapsulated documents, presentation
# states, radiotherapy plans and structures, and waveforms.
_LAST: Final = frozenset(
    (0x0040A730, 0x00420012, 0x20500010, 0x20500020, 0x300E0002, 0x54000100)
)
_DEEPEST: Final = 64
_PIECE: Final = 64 * 1024


class IncompleteError(ValueError):
    """It can't be told whether the file is whole."""


class CompletenessCheck:
    """To be fed with all of a DICOM file."""

    def __init__(self) -> None:
        self._head = b""
        self._inflater: zlib._Decompress | None = None
        self._walk: _Walk | None = None

    def feed(self, piece: bytes) -> None:
        """Raises ``IncompleteError`` where the file can't be followed any further."""
        if self._walk is None and self._inflater is None:
            piece = self._begin(piece)
        if self._walk is not None:
            self._walk.feed(piece)
        elif self._inflater is not None:
            self._inflate(self._inflater, piece)

    @property
    def is_whole(self) -> bool:
        """Whether the file may end here."""
        if self._walk is not None:
            return self._walk.is_whole
        return self._inflater is not None and self._inflater.eof

    def _begin(self, piece: bytes) -> bytes:
        self._head += piece
        try:
            head = read_head(self._head)
        except NotDicomError as error:
            raise IncompleteError(str(error)) from error
        if head is None:
            return b""
        rest, self._head = self._head[head.size :], b""
        if head.transfer_syntax_uid in _DEFLATED:
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        else:
            self._walk = _Walk(
                is_implicit=head.transfer_syntax_uid == _IMPLICIT,
                order=">" if head.transfer_syntax_uid == _BIG_ENDIAN else "<",
            )
        return rest

    def _inflate(self, inflater: zlib._Decompress, piece: bytes) -> None:
        """The compressed stream says itself where it ends."""
        try:
            while piece and not inflater.eof:
                inflater.decompress(piece, _PIECE)
                piece = inflater.unconsumed_tail
        except zlib.error as error:
            raise IncompleteError(str(error)) from error


class _Walk:
    """Follows the lengths of a data set; what has them is not looked into.

    Each level that ends with a delimiter is entered: an item, a sequence, or the
    fragments of compressed pixels, which are items without elements.
    """

    def __init__(self, *, is_implicit: bool, order: str) -> None:
        self._tag_and_length = struct.Struct(order + "HHI")
        self._short_length = struct.Struct(order + "H")
        self._long_length = struct.Struct(order + "I")
        self._is_implicit = is_implicit
        self._levels: list[tuple[str, bool]] = []  # kind, and whether VRs are implicit
        self._header = b""
        self._to_skip = 0
        self._tag = 0  # of the last element that is in no sequence
        self._wants: frozenset[int] = _PIXELS | _LAST
        self._has_content = False

    @property
    def is_whole(self) -> bool:
        is_at_end = not (self._levels or self._header or self._to_skip)
        return is_at_end and self._has_content

    def feed(self, piece: bytes) -> None:
        start = 0
        while start < len(piece):
            if self._to_skip:
                step = min(self._to_skip, len(piece) - start)
                self._to_skip -= step
                start += step
                continue
            # No header is longer than this.
            taken = piece[start : start + 12 - len(self._header)]
            size = self._read(self._header + taken)
            if not size:
                self._header += taken
                return
            start += size - len(self._header)
            self._header = b""

    def _read(self, header: bytes) -> int:
        """Enter or skip what this header is of; the size of it, 0 if more is needed."""
        if len(header) < 8:
            return 0
        group, element, length = self._tag_and_length.unpack_from(header)
        tag = group << 16 | element
        kind, is_implicit = (
            self._levels[-1] if self._levels else ("", self._is_implicit)
        )
        if kind in ("sequence", "fragments"):
            self._item(tag, length, kind, is_implicit=is_implicit)
            return 8
        if tag == _ITEM_END and kind == "item":
            self._levels.pop()
            return 8
        if group == 0xFFFE:
            raise IncompleteError("A delimiter of nothing.")
        vr, size = b"", 8
        if not is_implicit:
            vr = header[4:6]
            if not vr.isalpha() or not vr.isupper():
                raise IncompleteError("An element without VR.")
            if vr in _LONG_VRS:
                if len(header) < 12:
                    return 0
                (length,), size = self._long_length.unpack_from(header, 8), 12
            else:
                (length,) = self._short_length.unpack_from(header, 6)
        self._element(tag, vr, length, is_implicit=is_implicit)
        return size

    def _element(self, tag: int, vr: bytes, length: int, *, is_implicit: bool) -> None:
        if not self._levels:
            if tag <= self._tag:
                raise IncompleteError("The elements are not in order.")
            self._tag = tag
            if tag == _ROWS:
                self._wants = _PIXELS
            self._has_content = self._has_content or tag in self._wants
        if length != _UNDEFINED:
            self._to_skip = length
        elif tag in _PIXELS:
            self._enter("fragments", is_implicit=is_implicit)
        else:  # UN of undefined length is implicit (PS3.5 6.2.2)
            self._enter("sequence", is_implicit=is_implicit or vr == b"UN")

    def _item(self, tag: int, length: int, kind: str, *, is_implicit: bool) -> None:
        if tag == _SEQUENCE_END:
            self._levels.pop()
        elif tag != _ITEM:
            raise IncompleteError("A sequence with something else than items.")
        elif length != _UNDEFINED:
            self._to_skip = length
        elif kind == "fragments":
            raise IncompleteError("A fragment without length.")
        else:
            self._enter("item", is_implicit=is_implicit)

    def _enter(self, kind: str, *, is_implicit: bool) -> None:
        if len(self._levels) >= _DEEPEST:
            raise IncompleteError("The sequences are too deep.")
        self._levels.append((kind, is_implicit))
