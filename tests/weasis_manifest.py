"""How Weasis reads a manifest, element by element, with the rules of each version.

Names are matched without their namespace and with their case; what Weasis does not
know, it ignores. What it shows in an error dialog raises ``ManifestError``; what was
read before stays.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from xml.parsers import expat

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
JSON_CHILDREN = ("httpTag", "Message", "Patient", "Study", "Series", "Instance")
Version = tuple[int, ...]


class ManifestError(Exception):
    """Weasis shows an error dialog and reads no further."""


@dataclass(frozen=True, slots=True)
class Message:
    title: str
    description: str
    severity: str


@dataclass(slots=True, eq=False)
class Instance:
    sop_instance_uid: str
    instance_number: int | None = None
    direct_download_file: str = ""


@dataclass(slots=True, eq=False)
class WadoParameters:
    """An arcQuery: where images come from, and the headers to ask with."""

    base_url: str
    is_dicom_web: bool = False
    is_series_retrieve: bool = False
    require_only_sop_instance_uid: bool = False
    additional_parameters: str = ""
    overrides_tags: bool = False
    web_login: str = ""
    http_tags: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Series:
    series_instance_uid: str
    study_instance_uid: str
    attributes: dict[str, str]
    wado: WadoParameters
    headers: dict[str, str]  # as they were when the series was read
    instances: dict[str, Instance] = field(default_factory=dict)

    def in_order(self) -> list[Instance]:
        """By Instance Number, then those without one by UID."""

        def key(one: Instance) -> tuple[bool, int, str]:
            number = one.instance_number
            return number is None, number or 0, one.sop_instance_uid

        return sorted(self.instances.values(), key=key)


@dataclass(slots=True, eq=False)
class Study:
    study_instance_uid: str
    attributes: dict[str, str]
    wado: WadoParameters
    series: dict[str, Series] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Patient:
    key: str
    attributes: dict[str, str]
    wado: WadoParameters
    studies: dict[str, Study] = field(default_factory=dict)


@dataclass(slots=True)
class Explorer:
    """What the DICOM explorer of the viewer shows, over all manifests."""

    version: Version = (4, 7, 2)
    patients: dict[str, Patient] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def all_series(self) -> list[Series]:
        return [
            series
            for patient in self.patients.values()
            for study in patient.studies.values()
            for series in study.series.values()
        ]


class ManifestReader:
    """Reads one manifest into the explorer. ``on_arc_query`` is called at its end."""

    def __init__(self, explorer: Explorer, on_arc_query: Any = None) -> None:
        self._explorer = explorer
        self._on_arc_query = on_arc_query or (lambda wado: None)
        self._path: list[str] = []
        self._wado: WadoParameters | None = None
        self._patient: Patient | None = None
        self._study: Study | None = None
        self._series: Series | None = None
        self._is_skipped = False

    def read(self, content: bytes) -> None:
        is_json = content.lstrip()[:1] == b"{" and self._explorer.version >= (4, 7, 2)
        try:
            if is_json:
                self._read_json(json.loads(content))
            else:
                self._read_xml(content)
        except (expat.ExpatError, ValueError) as error:
            raise ManifestError(f"the manifest can't be read: {error}") from error

    def _read_xml(self, content: bytes) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.EntityDeclHandler = self._refuse_entity
        parser.Parse(content, True)

    def _refuse_entity(self, name: str, *rest: Any) -> None:
        raise ManifestError(f"entities are disabled: {name}")

    def _read_json(self, document: dict[str, Any]) -> None:
        for query in _list(document.get("manifest", {}).get("arcQuery")):
            self._start("manifest", {})
            self._walk_json("arcQuery", query)
            self._end("manifest")

    def _walk_json(self, name: str, value: dict[str, Any]) -> None:
        scalars = {
            key: str(one).lower() if isinstance(one, bool) else str(one)
            for key, one in value.items()
            if not isinstance(one, dict | list) and one is not None
        }
        self._start(name, scalars)
        for child in JSON_CHILDREN:
            for one in _list(value.get(child)):
                self._walk_json(child, one)
        self._end(name)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        parent = self._path[-1] if self._path else ""
        handlers = {
            ("manifest", "arcQuery"): self._arc_query,
            ("arcQuery", "httpTag"): self._http_tag,
            ("arcQuery", "Message"): self._message,
            ("arcQuery", "Patient"): self._patient_element,
            ("Patient", "Study"): self._study_element,
            ("Study", "Series"): self._series_element,
            ("Series", "Instance"): self._instance_element,
        }
        handler = handlers.get((parent, local))
        is_known = handler is not None or (not self._path and local == "manifest")
        self._path.append(local if is_known else "")  # below unknown, all is unknown
        if handler is not None:
            handler(attributes)

    def _end(self, name: str) -> None:
        if self._path.pop() == "arcQuery" and self._wado is not None:
            self._on_arc_query(self._wado)
            self._wado = None

    def _arc_query(self, attributes: dict[str, str]) -> None:
        version = self._explorer.version
        base_url = attributes.get("baseUrl")
        if base_url is None or not _is_uri(base_url.strip()):
            raise ManifestError(f"baseUrl {base_url!r} is not a URI")
        spelling = (
            "additionalParameters" if version >= (4, 7) else "additionnalParameters"
        )
        mode = attributes.get("queryMode") if version >= (4, 7) else None
        self._wado = WadoParameters(
            base_url.strip(),
            is_dicom_web=mode == "DICOM_WEB",
            is_series_retrieve=version >= (4, 7, 2)
            and attributes.get("seriesRetrieve", "").lower() == "true",
            require_only_sop_instance_uid=attributes.get(
                "requireOnlySOPInstanceUID", ""
            ).lower()
            == "true",
            additional_parameters=attributes.get(spelling, ""),
            overrides_tags=bool(attributes.get("overrideDicomTagsList")),
        )
        if "webLogin" in attributes:
            self._wado.web_login = f"Basic {attributes['webLogin']}"

    def _http_tag(self, attributes: dict[str, str]) -> None:
        key, value = attributes.get("key", ""), attributes.get("value", "")
        if (
            not TOKEN.fullmatch(key)
            or len(value) > 8192
            or re.search(r"[\0-\x1f\x7f]", value)
        ):
            raise ManifestError(f"httpTag {key!r} is not a header")
        self._arc().http_tags[key] = value

    def _arc(self) -> WadoParameters:
        assert self._wado is not None
        return self._wado

    def _message(self, attributes: dict[str, str]) -> None:
        title, description = (
            attributes.get("title", ""),
            attributes.get("description", ""),
        )
        if title.strip() and description.strip():
            severity = attributes.get("severity", "")
            known = severity if severity in {"ERROR", "INFO"} else "WARN"
            self._explorer.messages.append(Message(title, description, known))

    def _patient_element(self, attributes: dict[str, str]) -> None:
        key = patient_key(attributes)
        patients = self._explorer.patients
        self._patient = patients.setdefault(key, Patient(key, attributes, self._arc()))

    def _study_element(self, attributes: dict[str, str]) -> None:
        assert self._patient is not None
        uid = attributes.get("StudyInstanceUID", "")
        new = Study(uid, attributes, self._arc())
        self._study = self._patient.studies.setdefault(uid, new)

    def _series_element(self, attributes: dict[str, str]) -> None:
        assert self._study is not None
        uid = attributes.get("SeriesInstanceUID", "")
        wado = self._arc()
        known = self._study.series.get(uid)
        self._is_skipped = known is not None and known.wado.base_url != wado.base_url
        if self._is_skipped:
            self._explorer.warnings.append(
                f"Wado parameters must be unique within a DICOM Series: {uid}"
            )
        study_uid = self._study.study_instance_uid
        new = Series(uid, study_uid, attributes, wado, request_headers(wado))
        self._series = self._study.series.setdefault(uid, new)

    def _instance_element(self, attributes: dict[str, str]) -> None:
        uid = attributes.get("SOPInstanceUID", "")
        if not uid or self._is_skipped:
            return
        assert self._series is not None
        number = attributes.get("InstanceNumber", "")
        instance = Instance(
            uid,
            int(number) if re.fullmatch(r"[+-]?\d+", number) else None,
            attributes.get("DirectDownloadFile", ""),
        )
        self._series.instances.setdefault(uid, instance)


def patient_key(attributes: dict[str, str]) -> str:
    """What makes two patients one: ID, issuer and name without regard to case."""
    parts = [attributes.get("PatientID", ""), attributes.get("IssuerOfPatientID", "")]
    return "".join(map(str.strip, [*parts, attributes.get("PatientName", "").upper()]))


def request_headers(wado: WadoParameters) -> dict[str, str]:
    """The headers of image requests; webLogin replaces an Authorization tag."""
    headers = dict(wado.http_tags)
    if wado.web_login:
        headers["Authorization"] = wado.web_login
    return headers


def inline_manifest(data: str) -> bytes:
    """``-i``: base64 of gzip of the XML."""
    return base64.b64decode(data, validate=True)


def _is_uri(text: str) -> bool:
    if re.search(r'[\s{}<>"|\\^`]', text):
        return False
    try:
        return urlsplit(text) is not None
    except ValueError:
        return False


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
