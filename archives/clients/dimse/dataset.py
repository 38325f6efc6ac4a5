"""Identifiers of queries (PS3.5 7): the wanted elements of an answer, and requests.

Answers are untrusted and many, so only the top level is looked at, nothing but wanted
tags is copied, and text is decoded by whoever needs it. Whatever is wrong with a value,
it is kept; only a data set that can't be walked through is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from archives.clients import matches as tags
from archives.clients.dimse.charset import TextDecoder, encode_text

Elements = Mapping[int, bytes]
"""Tag -> value as it was sent, with its padding."""

LONGEST_IDENTIFIER: Final = 1 << 20
_DEEPEST: Final = 16
_CHARACTER_SETS: Final = 16
_LONGEST_CHARACTER_SET: Final = 256

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xE000FFFE  # tags below are as they read in little endian
_ITEM_END: Final = 0xE00DFFFE
_SEQUENCE_END: Final = 0xE0DDFFFE

_TAG_AND_LENGTH: Final = struct.Struct("<II")
_TAG_VR_LENGTH: Final = struct.Struct("<I2sH")
_LENGTH: Final = struct.Struct("<I")
_SHORT_VRS: Final = frozenset(
    vr.encode("ascii")
    for vr in (
        *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT"),
        *("PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"),
    )
)
_LONG_VRS: Final = frozenset(
    vr.encode("ascii")
    for vr in (
        *("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT"),
        "UV",
    )
)

_VRS: Final = {
    tags.SPECIFIC_CHARACTER_SET: b"CS",
    tags.SOP_CLASS_UID: b"UI",
    tags.SOP_INSTANCE_UID: b"UI",
    tags.STUDY_DATE: b"DA",
    tags.SERIES_DATE: b"DA",
    tags.STUDY_TIME: b"TM",
    tags.SERIES_TIME: b"TM",
    tags.ACCESSION_NUMBER: b"SH",
    tags.QUERY_RETRIEVE_LEVEL: b"CS",
    tags.MODALITY: b"CS",
    tags.MODALITIES_IN_STUDY: b"CS",
    tags.REFERRING_PHYSICIAN_NAME: b"PN",
    tags.STUDY_DESCRIPTION: b"LO",
    tags.SERIES_DESCRIPTION: b"LO",
    tags.PATIENT_NAME: b"PN",
    tags.PATIENT_ID: b"LO",
    tags.ISSUER_OF_PATIENT_ID: b"LO",
    tags.ISSUER_OF_PATIENT_ID_QUALIFIERS: b"SQ",
    tags.PATIENT_BIRTH_DATE: b"DA",
    tags.PATIENT_SEX: b"CS",
    tags.STUDY_INSTANCE_UID: b"UI",
    tags.SERIES_INSTANCE_UID: b"UI",
    tags.STUDY_ID: b"SH",
    tags.SERIES_NUMBER: b"IS",
    tags.INSTANCE_NUMBER: b"IS",
    tags.NUMBER_OF_STUDY_RELATED_SERIES: b"IS",
    tags.NUMBER_OF_STUDY_RELATED_INSTANCES: b"IS",
    tags.NUMBER_OF_SERIES_RELATED_INSTANCES: b"IS",
    tags.UNIVERSAL_ENTITY_ID: b"UT",
}


class DatasetError(ValueError):
    """A data set that can't be walked through. The text is for developers."""


def _swapped(tag: int) -> int:
    """A tag as it reads when its two halves are taken for one little endian number."""
    return (tag & 0xFFFF) << 16 | tag >> 16


_WANTED: Final = {_swapped(tag): tag for tag in _VRS}
_QUALIFIERS: Final = _swapped(tags.ISSUER_OF_PATIENT_ID_QUALIFIERS)


def read_elements(data: bytes, *, is_explicit: bool) -> dict[int, bytes]:
    """The elements that entities are made of. Raises ``DatasetError``.

    What identifies the issuer of the Patient ID is there as if it were no sequence.
    """
    read = _read_explicit if is_explicit else _read_implicit
    found = read(data)
    qualifiers = found.pop(tags.ISSUER_OF_PATIENT_ID_QUALIFIERS, b"")
    if qualifiers:
        with suppress(DatasetError):  # it is of no use then, but the answer is
            item = read(_first_item(qualifiers, is_explicit=is_explicit))
            found[tags.UNIVERSAL_ENTITY_ID] = item.get(tags.UNIVERSAL_ENTITY_ID, b"")
    return found


def _first_item(data: bytes, *, is_explicit: bool) -> bytes:
    """The content of the first item of a sequence (PS3.5 7.5); empty if it has none."""
    tag, length, start = _item_header(data, 0)
    if tag != _ITEM:
        return b""
    if length == _UNDEFINED:
        end = _skip_item(data, start, is_explicit=is_explicit, depth=0)
        return data[start : end - _TAG_AND_LENGTH.size]
    return data[start : start + length]


class AnswerDecoder:
    """Decodes the answers to one query.

    ``character_set`` is that of answers which do not say theirs.
    """

    def __init__(self, character_set: str) -> None:
        self._default = character_set
        self._decoders: dict[bytes, TextDecoder] = {}

    def text(self, elements: Elements) -> TextDecoder:
        """What decodes the values of this answer."""
        declared = elements.get(tags.SPECIFIC_CHARACTER_SET, b"")[
            :_LONGEST_CHARACTER_SET
        ]
        decoder = self._decoders.get(declared)
        if decoder is None:
            if len(self._decoders) >= _CHARACTER_SETS:
                self._decoders.clear()
            name = declared.decode("ascii", "replace").strip(" \0") or self._default
            decoder = self._decoders[declared] = TextDecoder(name)
        return decoder

    def attributes(self, elements: Elements) -> dict[int, str]:
        """Decoded values, for ``archives.clients.matches``."""
        text = self.text(elements)
        return {tag: text(value) for tag, value in elements.items()}


def encode_identifier(
    keys: Mapping[int, str],
    *,
    is_explicit: bool,
    archive_name: str,
    character_set: str = "",
) -> bytes:
    """A request: tag -> matching value, empty for an attribute that is only asked for.

    Raises ``ArchiveRefusedError`` if the character set can't express a value.
    """
    encoded = {}
    if character_set:
        encoded[tags.SPECIFIC_CHARACTER_SET] = character_set.encode("ascii", "replace")
    for tag, text in keys.items():
        encoded[tag] = encode_text(text, character_set, archive_name)
    return b"".join(_encode_elements(sorted(encoded.items()), is_explicit))


def _encode_elements(
    elements: Iterable[tuple[int, bytes]], is_explicit: bool
) -> Iterable[bytes]:
    for tag, value in elements:
        vr = _VRS[tag]
        if len(value) % 2:
            value += b"\0" if vr == b"UI" else b" "
        if is_explicit and vr in _LONG_VRS:
            yield _TAG_VR_LENGTH.pack(_swapped(tag), vr, 0)
            yield _LENGTH.pack(len(value)) + value
        elif is_explicit:
            yield _TAG_VR_LENGTH.pack(_swapped(tag), vr, len(value)) + value
        else:
            yield _TAG_AND_LENGTH.pack(_swapped(tag), len(value)) + value


def _read_implicit(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position, end = 0, len(data)
    unpack, wanted = _TAG_AND_LENGTH.unpack_from, _WANTED.get
    while end - position >= 8:
        swapped, length = unpack(data, position)
        position += 8
        if length == _UNDEFINED:
            start = position
            position = _skip_items(data, position, is_explicit=False, depth=0)
            if swapped == _QUALIFIERS:
                found[_WANTED[swapped]] = data[start:position]
            continue
        stop = position + length
        if stop > end:
            raise DatasetError(f"element {swapped:08x} of length {length}")
        tag = wanted(swapped)
        if tag is not None:
            found[tag] = data[position:stop]
        position = stop
    if position != end:
        raise DatasetError("truncated element")
    return found


def _read_explicit(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position, end = 0, len(data)
    unpack, wanted = _TAG_VR_LENGTH.unpack_from, _WANTED.get
    while position < end:
        if end - position >= 8:  # nearly every element, without a call
            swapped, vr, length = unpack(data, position)
            stop = position + 8 + length
            if vr in _SHORT_VRS and stop <= end:
                tag = wanted(swapped)
                if tag is not None:
                    found[tag] = data[position + 8 : stop]
                position = stop
                continue
        swapped, vr, position, length = _explicit_header(data, position)
        if length == _UNDEFINED:
            start = position
            is_explicit = vr != b"UN"  # PS3.5 6.2.2: the items of UN are implicit
            position = _skip_items(data, position, is_explicit=is_explicit, depth=0)
            if swapped == _QUALIFIERS and is_explicit:
                found[_WANTED[swapped]] = data[start:position]
            continue
        stop = position + length
        if stop > end:
            raise DatasetError(f"element {swapped:08x} of length {length}")
        tag = wanted(swapped)
        if tag is not None:
            found[tag] = data[position:stop]
        position = stop
    return found


def _explicit_header(data: bytes, position: int) -> tuple[int, bytes, int, int]:
    """Swapped tag, VR, position of the value, its length."""
    if len(data) - position < 8:
        raise DatasetError("truncated element")
    swapped, vr, length = _TAG_VR_LENGTH.unpack_from(data, position)
    if vr in _SHORT_VRS:
        return swapped, vr, position + 8, length
    if vr not in _LONG_VRS:
        raise DatasetError(f"value representation {vr!r}")
    if len(data) - position < 12:
        raise DatasetError("truncated element")
    return swapped, vr, position + 12, _LENGTH.unpack_from(data, position + 8)[0]


def _skip_items(data: bytes, position: int, *, is_explicit: bool, depth: int) -> int:
    """The position after a sequence of undefined length (PS3.5 7.5)."""
    if depth > _DEEPEST:
        raise DatasetError("sequences nested too deep")
    while True:
        tag, length, position = _item_header(data, position)
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise DatasetError(f"{tag:08x} in a sequence")
        if length == _UNDEFINED:
            position = _skip_item(data, position, is_explicit=is_explicit, depth=depth)
        else:
            position += length


def _skip_item(data: bytes, position: int, *, is_explicit: bool, depth: int) -> int:
    """The position after an item of undefined length."""
    while True:
        tag, length, start = _item_header(data, position)
        if tag == _ITEM_END:
            return start
        nested_is_explicit = is_explicit
        if is_explicit:
            tag, vr, start, length = _explicit_header(data, position)
            nested_is_explicit = vr != b"UN"
        if length == _UNDEFINED:
            position = _skip_items(
                data, start, is_explicit=nested_is_explicit, depth=depth + 1
            )
        else:
            position = start + length


def _item_header(data: bytes, position: int) -> tuple[int, int, int]:
    if len(data) - position < 8:
        raise DatasetError("truncated sequence")
    tag, length = _TAG_AND_LENGTH.unpack_from(data, position)
    return tag, length, position + 8
