"""The service class provider of the built-in archive, on pynetdicom."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pydicom import Dataset, dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.dsutils import decode
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from archives.embedded.index import (
    UNIQUE_KEYS,
    VRS,
    Attributes,
    Entity,
    Index,
    IndexedInstance,
    Level,
    bundled_files,
    text_value,
)

FIND: Final = (
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)
GET: Final = (
    PatientRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelGet,
)
MOVE: Final = (
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelMove,
)
PATIENT_ROOT: Final = frozenset({FIND[0], GET[0], MOVE[0]})
PLAIN_SYNTAXES: Final[list[str | UID]] = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
]

SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
CANCELLED: Final = 0xFE00
IDENTIFIER_DOES_NOT_MATCH: Final = 0xA900

SPECIFIC_CHARACTER_SET: Final = 0x00080005
QUERY_RETRIEVE_LEVEL: Final = 0x00080052
RETRIEVE_AE_TITLE: Final = 0x00080054
INSTANCE_AVAILABILITY: Final = 0x00080056
_ANSWERED: Final = VRS | {
    SPECIFIC_CHARACTER_SET: "CS",
    QUERY_RETRIEVE_LEVEL: "CS",
    RETRIEVE_AE_TITLE: "AE",
    INSTANCE_AVAILABILITY: "CS",
}

Results = Iterator[tuple[int, Dataset | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The identifier of a C-FIND, C-GET or C-MOVE: requested tags and their keys."""

    is_patient_root: bool
    level: Level
    keys: Attributes

    @classmethod
    def from_event(cls, event: evt.Event) -> Query:
        """Raises ``ValueError`` if the level is none of this information model."""
        identifier = event.identifier
        requested = [tag for tag in _ANSWERED if tag in identifier]
        keys = {tag: text_value(identifier, tag) for tag in requested}
        level = Level(keys.get(QUERY_RETRIEVE_LEVEL, ""))
        is_patient_root = event.request.AffectedSOPClassUID in PATIENT_ROOT
        if level is Level.PATIENT and not is_patient_root:
            raise ValueError("The Study Root has no level PATIENT.")
        return cls(is_patient_root=is_patient_root, level=level, keys=keys)


class EmbeddedArchive:
    """Serves the instances of a folder, or of these files, until it is stopped.

    ``port`` 0 takes a free one. ``destinations`` are the application entities that
    C-MOVE may send to: AE title -> host, port. Starting it turns off pynetdicom's
    logging of identifiers for the whole process: they name patients.
    """

    def __init__(
        self,
        folder_or_files: Path | Iterable[Path] | Index | None = None,
        ae_title: str = "VIEWERHUB-DEMO",
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        destinations: Mapping[str, tuple[str, int]] | None = None,
        maximum_associations: int = 50,
    ) -> None:
        if folder_or_files is None:
            folder_or_files = bundled_files()
        self.index = (
            folder_or_files
            if isinstance(folder_or_files, Index)
            else Index(folder_or_files)
        )
        self.ae_title = ae_title
        self.host = host
        self.port = port
        self.destinations = dict(destinations or {})
        self._ae = AE(ae_title=ae_title)
        self._ae.maximum_associations = maximum_associations
        self._server: Any = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, in threads of its own. Raises ``OSError`` if the port is taken."""
        _config.LOG_REQUEST_IDENTIFIERS = False
        _config.LOG_RESPONSE_IDENTIFIERS = False
        self._ae.supported_contexts = []
        for one in self.contexts():
            roles = {"scu_role": one.scu_role, "scp_role": one.scp_role}
            sop_class = one.abstract_syntax or ""
            self._ae.add_supported_context(sop_class, one.transfer_syntax, **roles)
        self._server = self._ae.start_server(
            (self.host, self.port), block=False, evt_handlers=self.handlers()
        )
        self.port = self._server.server_address[1]

    def stop(self) -> None:
        """Stop listening and abort the associations that are left."""
        if self._server is not None:
            self._ae.shutdown()
            self._server = None

    # What a subclass may do differently

    def contexts(self) -> Iterator[PresentationContext]:
        """The services offered, and per storage class the transfer syntaxes in store."""
        for sop_class in (Verification, *FIND, *GET, *MOVE):
            yield build_context(sop_class, PLAIN_SYNTAXES)
        for context in storage_contexts(self.index.instances.values()):
            # With C-GET, the one who asks is the provider of the storage service.
            context.scu_role, context.scp_role = False, True
            yield context

    def handlers(self) -> list[Any]:
        return [
            (evt.EVT_CONN_OPEN, send_without_delay),
            (evt.EVT_SOP_EXTENDED, self.negotiate),
            (evt.EVT_C_ECHO, self.echo),
            (evt.EVT_C_FIND, self.find),
            (evt.EVT_C_GET, self.get),
            (evt.EVT_C_MOVE, self.move),
        ]

    def matches(self, query: Query) -> Iterator[Attributes]:
        """What a C-FIND answers: the requested attributes of each match."""
        for entity in self.index.find(query.level, query.keys):
            yield self.answer(query, entity)

    def answer(self, query: Query, entity: Entity) -> Attributes:
        known = {
            QUERY_RETRIEVE_LEVEL: query.level,
            RETRIEVE_AE_TITLE: self.ae_title,
            INSTANCE_AVAILABILITY: "ONLINE",
            **entity.attributes,
        }
        answer = {tag: known[tag] for tag in query.keys if tag in known}
        if not all(map(str.isascii, answer.values())):
            answer[SPECIFIC_CHARACTER_SET] = "ISO_IR 192"
        return answer

    # Services

    def echo(self, event: evt.Event) -> int:
        return SUCCESS

    def negotiate(self, event: evt.Event) -> dict[str, bytes]:
        """Agree to relational queries and retrievals, and to nothing else of
        SOP Class Extended Negotiation (PS3.4 C.5.1.1)."""
        return {
            uid: information[:1] + bytes(len(information) - 1)
            for uid, information in event.app_info.items()
            if uid in {*FIND, *GET, *MOVE} and information
        }

    def find(self, event: evt.Event) -> Results:
        try:
            query = Query.from_event(event)
        except ValueError:
            yield IDENTIFIER_DOES_NOT_MATCH, None
            return
        is_implicit = event.context.transfer_syntax == ImplicitVRLittleEndian
        for attributes in self.matches(query):
            if event.is_cancelled:
                yield CANCELLED, None
                return
            yield PENDING, identifier(attributes, is_implicit)

    def get(self, event: evt.Event) -> Iterator[int | tuple[int, Dataset | None]]:
        instances = self._selected(event)
        if instances is None:
            yield 1
            yield IDENTIFIER_DOES_NOT_MATCH, None
            return
        yield len(instances)
        yield from _sent(instances, event)

    def move(self, event: evt.Event) -> Iterator[Any]:
        destination = self.destinations.get(event.move_destination or "")
        instances = self._selected(event) or []
        if destination is None:
            yield None, None
            return
        handlers = [(evt.EVT_CONN_OPEN, send_without_delay)]
        contexts = storage_contexts(instances)[:128]
        yield *destination, {"contexts": contexts, "evt_handlers": handlers}
        yield len(instances)
        yield from _sent(instances, event)

    def _selected(self, event: evt.Event) -> list[IndexedInstance] | None:
        """The instances to retrieve; ``None`` if the unique key of the level is missing.

        Only unique keys select (PS3.4 C.4.2.1.4.1 and C.4.3.1.3.1).
        """
        try:
            query = Query.from_event(event)
        except ValueError:
            return None
        keys = {tag: query.keys.get(tag, "") for tag in UNIQUE_KEYS.values()}
        if not keys[UNIQUE_KEYS[query.level]]:
            return None
        found = self.index.find(query.level, keys)
        return [instance for entity in found for instance in entity.instances]


def _sent(instances: list[IndexedInstance], event: evt.Event) -> Results:
    for instance in instances:
        if event.is_cancelled:
            yield CANCELLED, None
            return
        yield PENDING, dcmread(instance.path)


def send_without_delay(event: evt.Event) -> None:
    """Turn Nagle's algorithm off: it would hold back the end of every answer."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        with suppress(OSError):  # the peer is gone already
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def storage_contexts(
    instances: Iterable[IndexedInstance],
) -> list[PresentationContext]:
    """One context per SOP class, with the most frequent transfer syntaxes first."""
    syntaxes: dict[UID, Counter[str | UID]] = {}
    for one in instances:
        counter = syntaxes.setdefault(one.sop_class_uid, Counter())
        counter[one.transfer_syntax_uid] += 1
    contexts = []
    for sop_class_uid, counter in syntaxes.items():
        frequent = [uid for uid, _ in counter.most_common()]
        offered = list(dict.fromkeys(frequent + PLAIN_SYNTAXES))
        contexts.append(build_context(sop_class_uid, offered))
    return contexts


def identifier(attributes: Attributes, is_implicit: bool) -> Dataset:
    """Encode an answer; values go out as they are, right or wrong for their VR."""
    encoding = "utf-8" if SPECIFIC_CHARACTER_SET in attributes else "ascii"
    content = b""
    for tag, text in sorted(attributes.items()):
        vr = _ANSWERED[tag]
        value = _value(vr, text, encoding)
        content += struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        if is_implicit:
            content += struct.pack("<I", len(value)) + value
        else:
            content += vr.encode() + struct.pack("<H", len(value)) + value
    return decode(BytesIO(content), is_implicit, True)


def _value(vr: str, text: str, encoding: str) -> bytes:
    if vr == "US":
        return struct.pack("<H", int(text)) if text else b""
    value = text.encode(encoding)[:0xFFFE]
    return value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
