"""What an association is asked for and what it was given (PS3.8 9.3.2 and 9.3.3, PS3.7 D)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from archives.clients.base import DimseEndpoint, QueryRetrieveRoot, UserIdentity
from archives.clients.dimse import uids
from archives.clients.dimse.pdu import (
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RQ,
    MAXIMUM_PDU_LENGTH,
    PduError,
    encode_pdu,
)

_APPLICATION_CONTEXT: Final = 0x10
_PRESENTATION_CONTEXT_RQ: Final = 0x20
_PRESENTATION_CONTEXT_AC: Final = 0x21
_ABSTRACT_SYNTAX: Final = 0x30
_TRANSFER_SYNTAX: Final = 0x40
_USER_INFORMATION: Final = 0x50
_MAXIMUM_LENGTH: Final = 0x51
_IMPLEMENTATION_CLASS_UID: Final = 0x52
_ROLE_SELECTION: Final = 0x54
_IMPLEMENTATION_VERSION_NAME: Final = 0x55
_EXTENDED_NEGOTIATION: Final = 0x56
_USER_IDENTITY: Final = 0x58

_ITEM_HEADER: Final = struct.Struct(">BxH")
_FIXED_FIELDS: Final = 68  # protocol version, AE titles and reserved bytes
_PROTOCOL_VERSION: Final = 0x0001
_ACCEPTED: Final = 0x00
_TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 0x04
# Of storage classes, beside the one of the retrieval: IDs are odd numbers below 256.
_MOST_CONTEXTS: Final = 127
_RELATIONAL_QUERIES: Final = b"\x01"  # PS3.4 C.5.1.1, Table C.5-1

Context = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Presentation contexts, each an abstract syntax with its transfer syntaxes.

    The n-th gets the context ID 2n + 1. For ``storage_classes`` we offer to be the SCP,
    which is how the objects of a C-GET come (PS3.4 C.4.3). ``relational_classes`` are
    asked to answer queries without the keys of the levels above.
    """

    contexts: tuple[Context, ...]
    storage_classes: tuple[str, ...] = ()
    relational_classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedContext:
    context_id: int
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """The outcome: contexts by ID, and the longest PDU the archive takes (0: any)."""

    contexts: dict[int, AcceptedContext] = field(default_factory=dict)
    maximum_pdu_length: int = 0
    is_relational: bool = False

    def context_of(self, abstract_syntax: str) -> AcceptedContext | None:
        """The first accepted one."""
        for context in self.contexts.values():
            if context.abstract_syntax == abstract_syntax:
                return context
        return None


@lru_cache
def query_proposal(root: QueryRetrieveRoot) -> Proposal:
    """C-FIND and C-ECHO."""
    find = uids.FIND[root]
    return Proposal(
        contexts=((find, uids.UNCOMPRESSED), (uids.VERIFICATION, uids.UNCOMPRESSED)),
        relational_classes=(find,),
    )


@lru_cache
def move_proposal(root: QueryRetrieveRoot) -> Proposal:
    return Proposal(contexts=((uids.MOVE[root], uids.UNCOMPRESSED),))


@lru_cache(maxsize=256)
def retrieval_proposals(
    root: QueryRetrieveRoot, sop_class_uid: str
) -> tuple[Proposal, ...]:
    """C-GET of objects of one class in any encoding, or of the usual classes.

    An acceptor takes one transfer syntax per context, so only separate contexts let the
    archive send each object as it is stored. An association has room for one class in
    every encoding; where the class is not known there are more proposals, the likely
    encodings first, each to be tried where an object did not come with those before.
    DCMTK only looks for a context of the object's class: given an uncompressed one, it
    sends nothing that is compressed. So there are proposals without those.
    """
    contexts: list[Context]
    if sop_class_uid:
        contexts = [(sop_class_uid, (uid,)) for uid in uids.STORED]
        encoded = contexts[len(uids.UNCOMPRESSED) :]
        return tuple(_retrieval_proposal(root, each) for each in (contexts, encoded))
    classes = uids.USUAL_STORAGE_CLASSES
    contexts = [(uid, (syntax,)) for syntax in uids.USUAL_COMPRESSED for uid in classes]
    contexts += [(uid, uids.UNUSUAL_COMPRESSED) for uid in classes]
    return (
        _retrieval_proposal(root, [(uid, uids.UNCOMPRESSED) for uid in classes]),
        *(
            _retrieval_proposal(root, contexts[start : start + _MOST_CONTEXTS])
            for start in range(0, len(contexts), _MOST_CONTEXTS)
        ),
    )


def _retrieval_proposal(root: QueryRetrieveRoot, contexts: list[Context]) -> Proposal:
    return Proposal(
        contexts=((uids.GET[root], uids.UNCOMPRESSED), *contexts),
        storage_classes=tuple(dict.fromkeys(uid for uid, _ in contexts)),
    )


def encode_request(endpoint: DimseEndpoint, proposal: Proposal) -> bytes:
    """The A-ASSOCIATE-RQ PDU."""
    body = b"".join(
        (
            struct.pack(">HH", _PROTOCOL_VERSION, 0),
            _ae_title(endpoint.called_ae_title),
            _ae_title(endpoint.calling_ae_title),
            bytes(32),
            _item(_APPLICATION_CONTEXT, uids.APPLICATION_CONTEXT.encode("ascii")),
            *_presentation_contexts(proposal),
            _item(_USER_INFORMATION, b"".join(_user_information(endpoint, proposal))),
        )
    )
    return encode_pdu(A_ASSOCIATE_RQ, body)


def _ae_title(title: str) -> bytes:
    return title.encode("ascii", "replace")[:16].ljust(16)


def _item(item_type: int, content: bytes) -> bytes:
    return _ITEM_HEADER.pack(item_type, len(content)) + content


def _presentation_contexts(proposal: Proposal) -> Iterator[bytes]:
    for index, (abstract_syntax, transfer_syntaxes) in enumerate(proposal.contexts):
        syntaxes = [_item(_ABSTRACT_SYNTAX, abstract_syntax.encode("ascii"))]
        for uid in transfer_syntaxes:
            syntaxes.append(_item(_TRANSFER_SYNTAX, uid.encode("ascii")))
        content = bytes((2 * index + 1, 0, 0, 0)) + b"".join(syntaxes)
        yield _item(_PRESENTATION_CONTEXT_RQ, content)


def _user_information(endpoint: DimseEndpoint, proposal: Proposal) -> Iterator[bytes]:
    yield _item(_MAXIMUM_LENGTH, struct.pack(">I", MAXIMUM_PDU_LENGTH))
    yield _item(_IMPLEMENTATION_CLASS_UID, uids.IMPLEMENTATION_CLASS.encode("ascii"))
    # ascending item types, which some acceptors rely on
    for uid in proposal.storage_classes:
        yield _item(_ROLE_SELECTION, _counted(uid.encode("ascii")) + b"\x00\x01")
    version = uids.IMPLEMENTATION_VERSION_NAME.encode("ascii")
    yield _item(_IMPLEMENTATION_VERSION_NAME, version)
    for uid in proposal.relational_classes:
        content = _counted(uid.encode("ascii")) + _RELATIONAL_QUERIES
        yield _item(_EXTENDED_NEGOTIATION, content)
    if endpoint.user_identity is not None:
        yield _item(_USER_IDENTITY, _user_identity(endpoint.user_identity))


def _user_identity(identity: UserIdentity) -> bytes:
    """PS3.7 Table D.3-14: type 1 is a user name, 2 one with a passcode."""
    kind = 2 if identity.passcode else 1
    username = _counted(identity.username.encode())
    return bytes((kind, 0)) + username + _counted(identity.passcode.encode())


def _counted(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationRequest:
    """What a peer proposes to us: its contexts by their ID."""

    called_ae_title: str
    calling_ae_title: str
    contexts: dict[int, Context]
    maximum_pdu_length: int


def parse_request(body: bytes) -> AssociationRequest:
    """An A-ASSOCIATE-RQ. Raises ``PduError`` where it breaks PS3.8 9.3.2."""
    if len(body) < _FIXED_FIELDS:
        raise PduError("truncated A-ASSOCIATE-RQ")
    contexts: dict[int, Context] = {}
    maximum_pdu_length = 0
    for item_type, content in _items(body[_FIXED_FIELDS:]):
        if item_type == _PRESENTATION_CONTEXT_RQ:
            if len(content) < 4:
                raise PduError("truncated presentation context")
            contexts[content[0]] = _proposed_context(content[4:])
        elif item_type == _USER_INFORMATION:
            for sub_type, value in _items(content):
                if sub_type == _MAXIMUM_LENGTH:
                    maximum_pdu_length = _length(value)
    return AssociationRequest(
        called_ae_title=_title_in(body[4:20]),
        calling_ae_title=_title_in(body[20:36]),
        contexts=contexts,
        maximum_pdu_length=maximum_pdu_length,
    )


def _title_in(field: bytes) -> str:
    return field.decode("ascii", "replace").strip()


def _proposed_context(content: bytes) -> Context:
    abstract_syntax, transfer_syntaxes = "", []
    for item_type, value in _items(content):
        uid = value.rstrip(b"\0 ").decode("ascii", "replace")
        if item_type == _ABSTRACT_SYNTAX:
            abstract_syntax = uid
        elif item_type == _TRANSFER_SYNTAX:
            transfer_syntaxes.append(uid)
    return abstract_syntax, tuple(transfer_syntaxes)


def encode_acceptance(
    request: AssociationRequest, accepted: Mapping[int, AcceptedContext]
) -> bytes:
    """The A-ASSOCIATE-AC PDU: these contexts, and no others."""
    contexts = []
    for context_id, (_, transfer_syntaxes) in request.contexts.items():
        context = accepted.get(context_id)
        result = _ACCEPTED if context is not None else _TRANSFER_SYNTAXES_NOT_SUPPORTED
        # of a context that is not accepted it says nothing, but has to be there
        syntax = context.transfer_syntax if context else "".join(transfer_syntaxes[:1])
        item = _item(_TRANSFER_SYNTAX, syntax.encode("ascii", "replace"))
        content = bytes((context_id, 0, result, 0)) + item
        contexts.append(_item(_PRESENTATION_CONTEXT_AC, content))
    version = uids.IMPLEMENTATION_VERSION_NAME.encode("ascii")
    user_information = (
        _item(_MAXIMUM_LENGTH, struct.pack(">I", MAXIMUM_PDU_LENGTH)),
        _item(_IMPLEMENTATION_CLASS_UID, uids.IMPLEMENTATION_CLASS.encode("ascii")),
        _item(_IMPLEMENTATION_VERSION_NAME, version),
    )
    body = b"".join(
        (
            struct.pack(">HH", _PROTOCOL_VERSION, 0),
            _ae_title(request.called_ae_title),
            _ae_title(request.calling_ae_title),
            bytes(32),
            _item(_APPLICATION_CONTEXT, uids.APPLICATION_CONTEXT.encode("ascii")),
            *contexts,
            _item(_USER_INFORMATION, b"".join(user_information)),
        )
    )
    return encode_pdu(A_ASSOCIATE_AC, body)


def parse_acceptance(body: bytes, proposal: Proposal) -> Acceptance:
    """What an A-ASSOCIATE-AC grants. Raises ``PduError`` where it breaks PS3.8 9.3.3."""
    if len(body) < _FIXED_FIELDS:
        raise PduError("truncated A-ASSOCIATE-AC")
    contexts: dict[int, AcceptedContext] = {}
    maximum_pdu_length, is_relational = 0, False
    for item_type, content in _items(body[_FIXED_FIELDS:]):
        if item_type == _PRESENTATION_CONTEXT_AC:
            context = _accepted_context(content, proposal)
            if context is not None:
                contexts[context.context_id] = context
        elif item_type == _USER_INFORMATION:
            for sub_type, value in _items(content):
                if sub_type == _MAXIMUM_LENGTH:
                    maximum_pdu_length = _length(value)
                elif sub_type == _EXTENDED_NEGOTIATION:
                    is_relational = is_relational or _grants_relational(value, proposal)
    return Acceptance(
        contexts=contexts,
        maximum_pdu_length=maximum_pdu_length,
        is_relational=is_relational,
    )


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position, end = 0, len(data)
    while position < end:
        if end - position < _ITEM_HEADER.size:
            raise PduError("truncated item")
        item_type, length = _ITEM_HEADER.unpack_from(data, position)
        position += _ITEM_HEADER.size
        if position + length > end:
            raise PduError(f"item {item_type:#04x} of length {length}")
        yield item_type, data[position : position + length]
        position += length


def _accepted_context(content: bytes, proposal: Proposal) -> AcceptedContext | None:
    if len(content) < 4:
        raise PduError("truncated presentation context")
    context_id, result = content[0], content[2]
    if result != _ACCEPTED:
        return None
    index, is_even = divmod(context_id - 1, 2)
    if is_even or not 0 <= index < len(proposal.contexts):
        raise PduError(f"presentation context {context_id} was not proposed")
    abstract_syntax, proposed = proposal.contexts[index]
    for item_type, value in _items(content[4:]):
        syntax = value.rstrip(b"\0 ").decode("ascii", "replace")
        if item_type == _TRANSFER_SYNTAX and syntax in proposed:
            return AcceptedContext(
                context_id=context_id,
                abstract_syntax=abstract_syntax,
                transfer_syntax=syntax,
            )
    raise PduError(f"presentation context {context_id} in a syntax not proposed")


def _length(value: bytes) -> int:
    if len(value) != 4:
        raise PduError("maximum length item")
    return int.from_bytes(value, "big")


def _grants_relational(value: bytes, proposal: Proposal) -> bool:
    length = int.from_bytes(value[:2], "big")
    uid = value[2 : 2 + length].rstrip(b"\0 ").decode("ascii", "replace")
    return uid in proposal.relational_classes and value[2 + length :][:1] == b"\x01"
