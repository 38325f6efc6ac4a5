"""A DICOMweb server in the test's own event loop, with the faults of real ones.

It serves studies given as entities. ``Behaviour`` says in what it differs from a server
that does everything as PS3.18 has it; ``answer_with`` replaces the answer to one path.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl, unquote

from archives.entities import Instance, Series, Study

DICOM_JSON = "application/dicom+json"
BOUNDARY = "the-boundary"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(kw_only=True)
class Behaviour:
    page_cap: int = 10_000
    total_cap: int = 10_000  # no page reaches beyond it, as with Orthanc's limits
    matches_dates: bool = True
    ignores_limit: bool = False
    ignores_offset: bool = False
    ignores_keys: bool = False
    none_status: int = 200
    none_body: bytes = b"[]"
    sends_counts: bool = True
    sends_modalities: bool = True  # of a study; else it finds nothing by them
    refused_keys: frozenset[str] = frozenset()  # that are answered with 400
    counted_too_many: int = 0  # instances a study claims to have beyond those it has
    has_metadata: bool = True
    not_in_metadata: frozenset[str] = frozenset()
    not_in_search: frozenset[str] = frozenset()
    takes_uid_lists: bool = True
    takes_include_fields: bool = True
    is_relational: bool = True
    has_multipart: bool = True
    sends_series: bool = True  # whole, as one answer of several parts
    tells_part_length: bool = True
    warns: bool = False
    compresses: bool = False
    login: str = ""  # "user:password"
    token: str = ""


@dataclass(frozen=True)
class Request:
    path: str
    query: str
    headers: dict[str, str]
    raw_path: str = ""  # as it was sent

    @property
    def keys(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))


class DicomWebServer:
    """Answers searches, metadata and retrievals below ``/dicom-web``, and ``/wado``."""

    def __init__(self, studies: Iterable[Study], behaviour: Behaviour) -> None:
        self.studies = list(studies)
        self.behaviour = behaviour
        self.requests: list[Request] = []
        self.connections = 0
        self.open_requests = 0
        self.most_open_requests = 0
        self.disconnected = asyncio.Event()
        self.url = ""
        self.greeting = b""  # sent on every connection before anything is read
        self._answers: dict[str, Answer] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def answer_with(self, pattern: str, answer: Answer) -> None:
        """Answer every path that matches (as a file name would) with this instead."""
        self._answers[pattern] = answer

    def paths(self) -> list[str]:
        return [request.path.removeprefix("/dicom-web/") for request in self.requests]

    @asynccontextmanager
    async def running(
        self, context: ssl.SSLContext | None = None
    ) -> AsyncIterator[DicomWebServer]:
        server = await asyncio.start_server(
            self._connected, "127.0.0.1", 0, ssl=context
        )
        port = server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if context else ''}://127.0.0.1:{port}/dicom-web"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # sockets are closed in the loop's next turn

    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                writer.write(self.greeting)
                read = b""
                while True:
                    head = read + await reader.readuntil(b"\r\n\r\n")
                    read = await self._serve(_request(head), reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # TLS would take its time to say goodbye
            raise
        finally:
            writer.close()

    async def _serve(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bytes:
        """Answer, unless the client leaves first; returns what it has sent meanwhile."""
        self.requests.append(request)
        self.open_requests += 1
        self.most_open_requests = max(self.most_open_requests, self.open_requests)
        answer = asyncio.create_task(self._answer(request)(writer))
        more = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({answer, more}, return_when=asyncio.FIRST_COMPLETED)
            if more.done() and not more.result():
                self.disconnected.set()
                raise ConnectionResetError
            await answer
            return more.result() if more.done() else b""
        finally:
            self.open_requests -= 1
            for task in (answer, more):
                task.cancel()
            await asyncio.gather(answer, more, return_exceptions=True)

    def _answer(self, request: Request) -> Answer:
        for pattern, answer in self._answers.items():
            if fnmatchcase(request.path, pattern):
                return answer
        if not self._is_welcome(request):
            return status(401)
        if request.path == "/wado":
            return self._retrieve(request.keys["objectUID"], is_multipart=False)
        match request.path.removeprefix("/dicom-web/").split("/"):
            case [*parents, ("studies" | "series" | "instances") as level]:
                return self._search(request, _named(parents), level)
            case [*parents, "metadata"]:
                return self._metadata(_named(parents))
            case ["studies", _, "series", _, "instances", uid]:
                return self._retrieve(uid, is_multipart=self.behaviour.has_multipart)
            case ["studies", _, "series", _] as names if self.behaviour.sends_series:
                return self._retrieve_all(_named(names))
        return status(404)

    def _is_welcome(self, request: Request) -> bool:
        login, token = self.behaviour.login, self.behaviour.token
        authorization = request.headers.get("authorization", "")
        if login:
            return authorization == f"Basic {base64.b64encode(login.encode()).decode()}"
        return not token or authorization == f"Bearer {token}"

    def _search(self, request: Request, parents: dict[str, str], level: str) -> Answer:
        behaviour = self.behaviour
        if code := self._refusal(request, parents, level):
            return status(code)
        found = [
            match
            for match in _matches(self._rows(parents), level, behaviour)
            if behaviour.ignores_keys or self._is_match(match, request.keys)
            if match["00080018" if level == "instances" else "0020000D"]["Value"][0]
            not in behaviour.not_in_search
        ]
        start = 0 if behaviour.ignores_offset else int(request.keys.get("offset", 0))
        size = int(request.keys.get("limit", 10_000))
        if behaviour.ignores_limit:
            size = 10_000
        found = found[: behaviour.total_cap]
        page = found[start : start + min(size, behaviour.page_cap)]
        if not page:
            return content(behaviour.none_body, status=behaviour.none_status)
        has_more = behaviour.warns and start + len(page) < len(found)
        page = [self._shown(match, request, level) for match in page]
        return self._json(page, {"Warning": '299 - "more"'} if has_more else {})

    def _refusal(
        self, request: Request, parents: dict[str, str], level: str
    ) -> int | None:
        """The status of a search that is not answered."""
        behaviour = self.behaviour
        is_refused = (
            ("includefield" in request.query and not behaviour.takes_include_fields)
            or (level != "studies" and not parents and not behaviour.is_relational)
            or behaviour.refused_keys & request.keys.keys()
        )
        return 400 if is_refused else None

    def _shown(self, match: dict, request: Request, level: str) -> dict:
        """What of a match is sent."""
        return match

    def _json(self, page: list[dict], headers: dict[str, str]) -> Answer:
        body = json.dumps(page).encode()
        if self.behaviour.compresses:
            headers = {**headers, "Content-Encoding": "gzip"}
            body = gzip.compress(body)
        return content(body, **headers)

    def _is_match(self, match: dict, keys: dict[str, str]) -> bool:
        first, _, last = keys.get("StudyDate", "-").partition("-")
        day = _first(match.get("00080020", {}))
        if self.behaviour.matches_dates and not first <= day <= (last or "99999999"):
            return False
        for keyword, value in keys.items():
            if tag := SEARCHABLE.get(keyword):
                values = value.split(",") if self.behaviour.takes_uid_lists else [value]
                texts = [_first(match.get(tag, {}))]
                if tag == "00080061":
                    texts = match.get(tag, {}).get("Value", [])
                if not any(fnmatchcase(one, each) for one in texts for each in values):
                    return False
        return True

    def _metadata(self, parents: dict[str, str]) -> Answer:
        if not self.behaviour.has_metadata:
            return status(501)
        hidden = self.behaviour.not_in_metadata
        page = [
            {**_study(study, Behaviour()), **_series(series), **_instance(instance)}
            for study, series, instance in self._rows(parents)
            if instance.sop_instance_uid not in hidden
        ]
        return self._json(page, {}) if page else status(404)

    def _retrieve(self, uid: str, *, is_multipart: bool) -> Answer:
        if not any(row[2].sop_instance_uid == uid for row in self._rows({})):
            return status(404)
        if not is_multipart:
            return content(self._file(uid), media_type="application/dicom")
        return self._multipart([uid])

    def _retrieve_all(self, parents: dict[str, str]) -> Answer:
        uids = [row[2].sop_instance_uid for row in self._rows(parents)]
        return self._multipart(uids) if uids else status(404)

    def _multipart(self, uids: list[str]) -> Answer:
        media_type = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        body = b"".join(map(self._part, uids)) + f"--{BOUNDARY}--\r\n".encode()
        return content(body, media_type=media_type)

    def _part(self, uid: str) -> bytes:
        file, length = self._file(uid), ""
        if self.behaviour.tells_part_length:
            length = f"Content-Length: {len(file)}\r\n"
        head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n{length}\r\n"
        return head.encode() + file + b"\r\n"

    def _file(self, uid: str) -> bytes:
        return dicom_file(uid)

    def _rows(self, parents: dict[str, str]) -> list[tuple[Study, Series, Instance]]:
        return [
            (study, series, instance)
            for study in self.studies
            if parents.get("studies", study.study_instance_uid)
            == study.study_instance_uid
            for series in study.series
            if parents.get("series", series.series_instance_uid)
            == series.series_instance_uid
            for instance in series.instances
        ]


SEARCHABLE = {
    "PatientName": "00100010",
    "PatientID": "00100020",
    "AccessionNumber": "00080050",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
    "ModalitiesInStudy": "00080061",
}


def status(code: int, **headers: str) -> Answer:
    return content(b"", status=code, **headers)


def content(
    body: bytes, *, status: int = 200, media_type: str = DICOM_JSON, **headers: str
) -> Answer:
    """A whole answer, with its length."""
    now = formatdate(usegmt=True)
    fields = {"Date": now, "Content-Length": str(len(body)), **headers}
    if status != 204:
        fields["Content-Type"] = media_type
    return raw(_head(status, fields) + body)


def raw(*pieces: bytes, then: str = "keep") -> Answer:
    """These bytes, and then: keep the connection, ``close`` it, or stay ``silent``."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then == "silent":
            await asyncio.Event().wait()
        if then == "close":
            writer.close()

    return answer


def endless(piece: bytes, head: bytes) -> Answer:
    """A body that never ends, by chunks."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()

    return answer


def head(code: int = 200, **fields: str) -> bytes:
    return _head(
        code, {name.replace("_", "-"): value for name, value in fields.items()}
    )


def dicom_file(uid: str) -> bytes:
    """As much of a DICOM file as a client looks at, different for each UID."""
    meta = _element(0x00020003, b"UI", uid.encode())
    meta += _element(0x00020010, b"UI", b"1.2.840.10008.1.2.1")
    pixels = uid.encode() * 500 + b"\r\n--the-bound" + bytes(9)
    rows = _element(0x00280010, b"US", b"\1\0")
    return bytes(128) + b"DICM" + meta + rows + _element(0x7FE00010, b"OB", pixels)


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element as explicit VR little endian."""
    value += bytes(len(value) % 2)
    length = struct.pack("<2xI" if vr == b"OB" else "<H", len(value))
    return struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr) + length + value


def _head(code: int, fields: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {code} Status", *(f"{name}: {fields[name]}" for name in fields)]
    return "\r\n".join([*lines, "", ""]).encode()


def _request(head: bytes) -> Request:
    line, *fields = head.decode("latin-1").split("\r\n")
    path, _, query = line.split(" ")[1].partition("?")
    headers = (field.partition(":") for field in fields if field)
    return Request(
        path=unquote(path),
        raw_path=path,
        query=query,
        headers={name.lower(): value.strip() for name, _, value in headers},
    )


def _named(parents: list[str]) -> dict[str, str]:
    return dict(zip(parents[::2], parents[1::2], strict=True))


def _matches(
    rows: list[tuple[Study, Series, Instance]], level: str, behaviour: Behaviour
) -> list[dict]:
    """One match for each entity at that level, in the order of the rows."""
    matches = {}
    for study, series, instance in rows:
        match = {"0020000D": _value("UI", study.study_instance_uid)}
        key = study.study_instance_uid
        if level == "studies":
            match = _study(study, behaviour)
        else:
            key = series.series_instance_uid
            match |= _series(series)
            if level == "instances":
                key = instance.sop_instance_uid
                match |= _instance(instance)
            elif behaviour.sends_counts:
                match["00201209"] = _value("IS", len(series.instances))
        matches.setdefault(key, match)
    return list(matches.values())


def _study(study: Study, behaviour: Behaviour) -> dict:
    instances = sum(len(series.instances) for series in study.series)
    counts = {
        "00201206": _value("IS", len(study.series)),
        "00201208": _value("IS", instances + behaviour.counted_too_many),
    }
    modalities = sorted({series.modality for series in study.series})
    return {
        "00080020": _value("DA", study.study_date),
        "00080030": _value("TM", study.study_time),
        "00080050": _value("SH", study.accession_number),
        "00080090": _name(study.referring_physician_name),
        "00081030": _value("LO", study.study_description),
        "00100010": _name(study.patient.patient_name),
        "00100020": _value("LO", study.patient.patient_id),
        "00100021": _value("LO", study.patient.issuer_of_patient_id),
        "00100040": _value("CS", study.patient.patient_sex),
        **_qualifiers(study.patient.universal_entity_id),
        "00100030": _value("DA", study.patient.patient_birth_date),
        "0020000D": _value("UI", study.study_instance_uid),
        **(counts if behaviour.sends_counts else {}),
        **(
            {"00080061": _value("CS", *modalities)}
            if behaviour.sends_modalities
            else {}
        ),
    }


def _qualifiers(universal_entity_id: str) -> dict:
    item = {"00400032": _value("UT", universal_entity_id)}
    return {"00100024": _value("SQ", item)} if universal_entity_id else {}


def _series(series: Series) -> dict:
    return {
        "00080060": _value("CS", series.modality),
        "0008103E": _value("LO", series.series_description),
        "0020000E": _value("UI", series.series_instance_uid),
        "00200011": _value("IS", series.series_number),
    }


def _instance(instance: Instance) -> dict:
    return {
        "00080016": _value("UI", instance.sop_class_uid),
        "00080018": _value("UI", instance.sop_instance_uid),
        "00200013": _value("IS", instance.instance_number),
    }


def _value(vr: str, *values: object) -> dict:
    given = [value for value in values if value not in ("", None)]
    return {"vr": vr, "Value": given} if given else {"vr": vr}


def _name(name: str) -> dict:
    groups = zip(
        ("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False
    )
    return _value("PN", {group: text for group, text in groups if text})


def _first(element: dict) -> str:
    value = element.get("Value", [""])[0]
    return "=".join(value.values()) if isinstance(value, dict) else str(value)


@contextmanager
def serving(server: DicomWebServer) -> Iterator[None]:
    """Run the server in a thread, for clients that have no event loop."""
    loop = asyncio.new_event_loop()
    ready, end = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with server.running():
            ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()
