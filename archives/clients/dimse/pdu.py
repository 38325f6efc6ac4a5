"""Framing of the DICOM Upper Layer protocol (PS3.8 9.3): bytes <-> PDUs and PDVs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

A_ASSOCIATE_RQ: Final = 0x01
A_ASSOCIATE_AC: Final = 0x02
A_ASSOCIATE_RJ: Final = 0x03
P_DATA_TF: Final = 0x04
A_RELEASE_RQ: Final = 0x05
A_RELEASE_RP: Final = 0x06
A_ABORT: Final = 0x07

# What we announce. Some archives send longer ones all the same; up to a MiB is taken.
MAXIMUM_PDU_LENGTH: Final = 131_072
LONGEST_PDU: Final = 1 << 20
# Sent to archives that announce no limit (0).
DEFAULT_PDU_LENGTH: Final = 16_384

# PDUs of a fixed length (PS3.8 Tables 9-21 to 9-26)
_FIXED_LENGTHS: Final = dict.fromkeys(
    (A_ASSOCIATE_RJ, A_RELEASE_RQ, A_RELEASE_RP, A_ABORT), 4
)
_HEADER: Final = struct.Struct(">BxI")
_PDV_HEADER: Final = struct.Struct(">IBB")
_HEADER_LENGTH: Final = _HEADER.size

_IS_COMMAND: Final = 0x01
_IS_LAST: Final = 0x02


class PduError(ValueError):
    """Bytes that are no PDU, or a PDU that breaks PS3.8. The text is for developers."""


class Fragment(NamedTuple):
    """A presentation data value (PS3.8 9.3.5.1): a piece of a command or a data set."""

    context_id: int
    is_command: bool
    is_last: bool
    content: bytes


class PduReader:
    """Cuts a byte stream, as it arrives, into PDUs.

    ``negotiation`` is the type an association begins with, from the peer's side.
    Holds back at most one incomplete PDU. A byte is copied a constant number of times,
    however the stream is split.
    """

    def __init__(self, negotiation: int = A_ASSOCIATE_AC) -> None:
        self._negotiation = negotiation
        self._pending = bytearray()
        self._needed = _HEADER_LENGTH

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """PDU type and variable field of each PDU that is complete now.

        Raises ``PduError`` as soon as a header is wrong, before its body arrives.
        """
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return
            data = bytes(self._pending)
            self._pending.clear()
        position, available = 0, len(data)
        while available - position >= _HEADER_LENGTH:
            pdu_type, length = _HEADER.unpack_from(data, position)
            if not self._is_plausible(pdu_type, length):
                raise PduError(f"PDU type {pdu_type:#04x} with length {length}")
            end = position + _HEADER_LENGTH + length
            if end > available:
                self._needed = end - position
                break
            yield pdu_type, data[position + _HEADER_LENGTH : end]
            position = end
        else:
            self._needed = _HEADER_LENGTH
        self._pending += data[position:]

    def _is_plausible(self, pdu_type: int, length: int) -> bool:
        if pdu_type in (P_DATA_TF, self._negotiation):
            return length <= LONGEST_PDU
        return length == _FIXED_LENGTHS.get(pdu_type)


def fragments(body: bytes) -> Iterator[Fragment]:
    """The presentation data values of a P-DATA-TF."""
    position, end = 0, len(body)
    if not end:
        raise PduError("P-DATA-TF without a presentation data value")
    while position < end:
        if end - position < _PDV_HEADER.size:
            raise PduError("truncated presentation data value")
        length, context_id, control = _PDV_HEADER.unpack_from(body, position)
        stop = position + 4 + length
        if length < 2 or stop > end:
            raise PduError(f"presentation data value of length {length}")
        yield Fragment(
            context_id,
            bool(control & _IS_COMMAND),
            bool(control & _IS_LAST),
            body[position + _PDV_HEADER.size : stop],
        )
        position = stop


def encode_pdu(pdu_type: int, body: bytes) -> bytes:
    return _HEADER.pack(pdu_type, len(body)) + body


def encode_message(
    context_id: int, command: bytes, dataset: bytes | None, maximum_length: int
) -> bytes:
    """The P-DATA-TF PDUs of one DIMSE message; ``maximum_length`` is the receiver's."""
    parts = _encode_parts(context_id, _IS_COMMAND, command, maximum_length)
    if dataset is not None:
        parts += _encode_parts(context_id, 0, dataset, maximum_length)
    return parts


def _encode_parts(
    context_id: int, control: int, content: bytes, maximum_length: int
) -> bytes:
    step = max((maximum_length or DEFAULT_PDU_LENGTH) - _PDV_HEADER.size, 2)
    pdus = []
    for start in range(0, max(len(content), 1), step):
        part = content[start : start + step]
        is_last = start + step >= len(content)
        header = _PDV_HEADER.pack(
            len(part) + 2, context_id, control | (_IS_LAST if is_last else 0)
        )
        pdus.append(encode_pdu(P_DATA_TF, header + part))
    return b"".join(pdus)


def encode_rejection(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
    return encode_pdu(A_ASSOCIATE_RJ, bytes((0, result, source, reason)))


def encode_release_request() -> bytes:
    return encode_pdu(A_RELEASE_RQ, bytes(4))


def encode_release_response() -> bytes:
    return encode_pdu(A_RELEASE_RP, bytes(4))


def encode_abort() -> bytes:
    """By the service user, which is what we are (PS3.8 Table 9-26)."""
    return encode_pdu(A_ABORT, bytes(4))
