"""DIMSE messages: command sets (PS3.7 9.3 and E.1) and statuses (PS3.7 C, PS3.4 C.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

C_STORE_RQ: Final = 0x0001
C_GET_RQ: Final = 0x0010
C_FIND_RQ: Final = 0x0020
C_MOVE_RQ: Final = 0x0021
C_ECHO_RQ: Final = 0x0030
C_CANCEL_RQ: Final = 0x0FFF
RESPONSE: Final = 0x8000

SUCCESS: Final = 0x0000
CANCELLED: Final = 0xFE00
PENDING: Final = frozenset({0xFF00, 0xFF01})
NOT_AUTHORIZED: Final = 0x0124
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NO_SUCH_INSTANCE: Final = 0x0112
OUT_OF_RESOURCES: Final = 0xA700
NOT_PERFORMED: Final = 0xA702
MOVE_DESTINATION_UNKNOWN: Final = 0xA801
UNABLE_TO_STORE: Final = 0xC000
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})

LONGEST_COMMAND: Final = 16_384
_PRIORITY_MEDIUM: Final = 0x0000
_NO_DATASET: Final = 0x0101
_WITH_DATASET: Final = 0x0001

_GROUP_LENGTH: Final = 0x0000
_AFFECTED_SOP_CLASS_UID: Final = 0x0002
_COMMAND_FIELD: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x0120
_MOVE_DESTINATION: Final = 0x0600
_PRIORITY: Final = 0x0700
_COMMAND_DATA_SET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
_COMPLETED_SUBOPERATIONS: Final = 0x1021

_ELEMENT: Final = struct.Struct("<HHI")
_US: Final = struct.Struct("<H")


def is_warning(status: int) -> bool:
    """PS3.7 C.3: the operation was done all the same."""
    return status >> 12 == 0xB or status in _WARNINGS


class CommandError(ValueError):
    """A command set that breaks PS3.7. The text is for developers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What we use of a received command set."""

    command_field: int
    message_id: int
    message_id_being_responded_to: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    status: int
    completed_suboperations: int
    has_dataset: bool


# The commands of all pending answers to a query are the same bytes.
@lru_cache(maxsize=128)
def parse_command(data: bytes) -> Command:
    """Raises ``CommandError``."""
    elements = dict(_elements(data))

    def number(element: int, default: int = 0) -> int:
        value = elements.get(element, b"")
        return int(_US.unpack(value)[0]) if len(value) == 2 else default

    def uid(element: int) -> str:
        return elements.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")

    if _COMMAND_FIELD not in elements:
        raise CommandError("no Command Field")
    return Command(
        command_field=number(_COMMAND_FIELD),
        message_id=number(_MESSAGE_ID),
        message_id_being_responded_to=number(_MESSAGE_ID_BEING_RESPONDED_TO, -1),
        affected_sop_class_uid=uid(_AFFECTED_SOP_CLASS_UID),
        affected_sop_instance_uid=uid(_AFFECTED_SOP_INSTANCE_UID),
        status=number(_STATUS, -1),
        completed_suboperations=number(_COMPLETED_SUBOPERATIONS),
        has_dataset=number(_COMMAND_DATA_SET_TYPE, _NO_DATASET) != _NO_DATASET,
    )


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    elements = []
    position, end = 0, len(data)
    while position < end:
        if end - position < _ELEMENT.size:
            raise CommandError("truncated element")
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group or position + length > end:
            raise CommandError(f"({group:04x},{element:04x}) of length {length}")
        elements.append((element, data[position : position + length]))
        position += length
    return elements


def echo_request(message_id: int, sop_class_uid: str) -> bytes:
    return _encode(C_ECHO_RQ, message_id, sop_class_uid, has_dataset=False)


def find_request(message_id: int, sop_class_uid: str) -> bytes:
    return _encode(C_FIND_RQ, message_id, sop_class_uid, has_dataset=True)


def get_request(message_id: int, sop_class_uid: str) -> bytes:
    return _encode(C_GET_RQ, message_id, sop_class_uid, has_dataset=True)


def move_request(message_id: int, sop_class_uid: str, destination: str) -> bytes:
    title = destination.encode("ascii", "replace")
    return _command_set(
        (_AFFECTED_SOP_CLASS_UID, _uid(sop_class_uid)),
        (_COMMAND_FIELD, _US.pack(C_MOVE_RQ)),
        (_MESSAGE_ID, _US.pack(message_id)),
        (_MOVE_DESTINATION, title + b" " * (len(title) % 2)),
        (_PRIORITY, _US.pack(_PRIORITY_MEDIUM)),
        (_COMMAND_DATA_SET_TYPE, _US.pack(_WITH_DATASET)),
    )


def cancel_request(message_id: int) -> bytes:
    """Of the operation that was requested with this message ID."""
    return _command_set(
        (_COMMAND_FIELD, _US.pack(C_CANCEL_RQ)),
        (_MESSAGE_ID_BEING_RESPONDED_TO, _US.pack(message_id)),
        (_COMMAND_DATA_SET_TYPE, _US.pack(_NO_DATASET)),
    )


def echo_response(request: Command) -> bytes:
    return _command_set(
        (_AFFECTED_SOP_CLASS_UID, _uid(request.affected_sop_class_uid)),
        (_COMMAND_FIELD, _US.pack(C_ECHO_RQ | RESPONSE)),
        (_MESSAGE_ID_BEING_RESPONDED_TO, _US.pack(request.message_id)),
        (_COMMAND_DATA_SET_TYPE, _US.pack(_NO_DATASET)),
        (_STATUS, _US.pack(SUCCESS)),
    )


def store_response(request: Command, status: int) -> bytes:
    return _command_set(
        (_AFFECTED_SOP_CLASS_UID, _uid(request.affected_sop_class_uid)),
        (_COMMAND_FIELD, _US.pack(C_STORE_RQ | RESPONSE)),
        (_MESSAGE_ID_BEING_RESPONDED_TO, _US.pack(request.message_id)),
        (_COMMAND_DATA_SET_TYPE, _US.pack(_NO_DATASET)),
        (_STATUS, _US.pack(status)),
        (_AFFECTED_SOP_INSTANCE_UID, _uid(request.affected_sop_instance_uid)),
    )


def _encode(
    command_field: int, message_id: int, sop_class_uid: str, *, has_dataset: bool
) -> bytes:
    elements = [
        (_AFFECTED_SOP_CLASS_UID, _uid(sop_class_uid)),
        (_COMMAND_FIELD, _US.pack(command_field)),
        (_MESSAGE_ID, _US.pack(message_id)),
    ]
    if has_dataset:  # a C-ECHO has no priority
        elements.append((_PRIORITY, _US.pack(_PRIORITY_MEDIUM)))
    kind = _WITH_DATASET if has_dataset else _NO_DATASET
    return _command_set(*elements, (_COMMAND_DATA_SET_TYPE, _US.pack(kind)))


def _command_set(*elements: tuple[int, bytes]) -> bytes:
    """Implicit VR Little Endian, whatever was negotiated (PS3.7 6.3.1)."""
    body = b"".join(
        _ELEMENT.pack(0, element, len(value)) + value for element, value in elements
    )
    length = struct.pack("<I", len(body))
    return _ELEMENT.pack(0, _GROUP_LENGTH, len(length)) + length + body


def _uid(uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    return value + b"\0" * (len(value) % 2)
