"""Objects of the DICOM JSON Model (PS3.18 F.2), with the gateway's addresses in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urljoin, urlsplit

from archives.clients import JsonObject
from launcher.gateway.contents import Contents
from launcher.gateway.resources import Kind, parse, part_query

STUDY_INSTANCE_UID: Final = "0020000D"
SERIES_INSTANCE_UID: Final = "0020000E"
SOP_INSTANCE_UID: Final = "00080018"
MODALITIES_IN_STUDY: Final = "00080061"
NUMBER_OF_STUDY_RELATED_SERIES: Final = "00201206"
NUMBER_OF_STUDY_RELATED_INSTANCES: Final = "00201208"
NUMBER_OF_SERIES_RELATED_INSTANCES: Final = "00201209"
# What archives compute from all that they have of a patient, study or series.
_OF_THE_PATIENT: Final = {
    "00201200": "NumberOfPatientRelatedStudies",
    "00201202": "NumberOfPatientRelatedSeries",
    "00201204": "NumberOfPatientRelatedInstances",
}
_OF_PART: Final = {
    MODALITIES_IN_STUDY: "ModalitiesInStudy",
    "00080062": "SOPClassesInStudy",
    NUMBER_OF_STUDY_RELATED_SERIES: "NumberOfStudyRelatedSeries",
    NUMBER_OF_STUDY_RELATED_INSTANCES: "NumberOfStudyRelatedInstances",
    NUMBER_OF_SERIES_RELATED_INSTANCES: "NumberOfSeriesRelatedInstances",
}
RETRIEVE_URL: Final = "00081190"
# Retrieve URL and Retrieve URI, which was a text once.
_ADDRESSES: Final = frozenset({RETRIEVE_URL, "0040E010"})
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_VR: Final = re.compile(r"[A-Z]{2}")
_NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")

Uids = tuple[str, ...]


def uid(each: JsonObject, tag: str) -> str:
    """The one value of an attribute; empty if it has none, or several."""
    element = each.get(tag, each.get(tag.lower()))
    values = element.get("Value") if isinstance(element, Mapping) else None
    value = values[0] if isinstance(values, list) and len(values) == 1 else None
    return value.strip(" \0") if isinstance(value, str) else ""


def identify(each: JsonObject, contents: Contents, parents: Uids, depth: int) -> Uids:
    """UIDs of the study, series and instance, as many as ``depth``.

    Those of its parents may be left out by the archive. Empty if the object is not
    below them, or the launch does not have it.
    """
    tags = (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)[:depth]
    uids = [uid(each, tag) for tag in tags]
    for position, parent in enumerate(parents):
        if uids[position] not in ("", parent):
            return ()
        uids[position] = parent
    study, series, instance = (*uids, "", "")[:3]
    is_listed = (
        study in contents.studies
        if depth == 1
        else series in contents.series_of(study)
        if depth == 2
        else bool(series and study and contents.find(instance, series, study))
    )
    return tuple(uids) if is_listed else ()


def computed(*, is_whole: bool) -> dict[str, str]:
    """Attributes that may tell of more than a launch has: tags, and keywords.

    ``is_whole`` says that it has all of the studies that are asked for.
    """
    return _OF_THE_PATIENT if is_whole else _OF_THE_PATIENT | _OF_PART


def of_launch(each: JsonObject, contents: Contents, uids: Uids) -> JsonObject:
    """The object, as if the archive had no more than the launch has.

    Nothing is left of what an archive computed from more.
    """
    hidden = computed(is_whole=uids[0] in contents.whole_studies)
    kept = {tag: element for tag, element in each.items() if tag not in hidden}
    return {**kept, **_counts(contents, uids)}


def _counts(contents: Contents, uids: Uids) -> dict[str, object]:
    """Attributes that say how much of a study or series the launch has.

    Weasis asks for what it lacks of a series only if it knows how much there is.
    """
    numbers: dict[str, int] = {}
    if len(uids) == 1:
        series = contents.series_of(uids[0])
        numbers[NUMBER_OF_STUDY_RELATED_SERIES] = len(series)
        numbers[NUMBER_OF_STUDY_RELATED_INSTANCES] = sum(map(len, series.values()))
    elif len(uids) == 2:
        listed = contents.instances_of(*uids)
        numbers[NUMBER_OF_SERIES_RELATED_INSTANCES] = len(listed)
    found: dict[str, object] = {
        tag: {"vr": "IS", "Value": [number]} for tag, number in numbers.items()
    }
    if len(uids) == 1 and uids[0] not in contents.whole_studies:
        modalities = {listed.modality for listed in contents.below(uids[0])} - {""}
        found[MODALITIES_IN_STUDY] = {"vr": "CS", "Value": sorted(modalities)}
    return found


class Rewriting:
    """Puts the gateway's addresses in place of an archive's.

    ``asked`` is the URL that the objects were asked for at; ``base_url`` the gateway's.
    Only what the model has is kept. An address (VR UR, Retrieve URI, ``BulkDataURI``) is
    the gateway's, or left out if the gateway has no such resource, whatever host it
    names: an archive may know itself by another name. So is any text with the name of
    the archive's host in an address.
    """

    def __init__(self, asked: str, base_url: str) -> None:
        self._asked = asked
        self._base_url = base_url
        host = re.escape(urlsplit(asked).netloc)
        self._archive = re.compile(rf"//(?:[^/?#\s]*@)?{host}", re.IGNORECASE)

    def rewritten(self, each: JsonObject, uids: Uids) -> dict[str, Any]:
        """The object, retrievable from the gateway and from nowhere else."""
        attributes = self._attributes(each, uids)
        address = retrieve_url(self._base_url, uids)
        attributes[RETRIEVE_URL] = {"vr": "UR", "Value": [address]}
        return dict(sorted(attributes.items()))

    def _attributes(self, each: Mapping[Any, object], uids: Uids) -> dict[str, Any]:
        return {
            tag: self._element(tag, element, uids)
            for tag, element in each.items()
            if _TAG.fullmatch(tag) and isinstance(element, Mapping)
        }

    def _element(
        self, tag: str, element: Mapping[Any, object], uids: Uids
    ) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        vr = element.get("vr")
        if isinstance(vr, str) and _VR.fullmatch(vr):
            kept["vr"] = vr
        if "Value" in element:
            values = element["Value"]
            is_address = vr == "UR" or tag.upper() in _ADDRESSES
            new = [
                self._value(value, uids, vr=vr, is_address=is_address)
                for value in (values if isinstance(values, list) else [values])
            ]
            if any(value is not None for value in new):
                kept["Value"] = new
        if isinstance(binary := element.get("InlineBinary"), str):
            kept["InlineBinary"] = binary
        if address := self._bulk_data(element.get("BulkDataURI"), uids):
            kept["BulkDataURI"] = address
        return kept

    def _value(self, value: object, uids: Uids, *, vr: object, is_address: bool) -> Any:
        """``None``, which stands for an empty value, for what is left out."""
        if isinstance(value, str):
            if is_address and not value.lower().startswith("urn:"):
                return self._address(value)
            return None if self._names_the_archive(value) else value
        if isinstance(value, Mapping):
            return self._name(value) if vr == "PN" else self._attributes(value, uids)
        return value if isinstance(value, int | float) else None

    def _name(self, groups: Mapping[Any, object]) -> dict[str, str]:
        return {
            group: text
            for group in _NAME_GROUPS
            if isinstance(text := groups.get(group), str)
            and not self._names_the_archive(text)
        }

    def _names_the_archive(self, text: str) -> bool:
        return "//" in text and self._archive.search(text) is not None

    def _address(self, uri: str) -> str | None:
        """Of a study, series or instance."""
        path, query = self._below_studies(uri)
        resource = parse(path)
        if resource is None or resource.kind is not Kind.OBJECTS or query:
            return None
        uids = (resource.study, resource.series, resource.instance)
        return retrieve_url(self._base_url, tuple(filter(None, uids)))

    def _bulk_data(self, uri: object, uids: Uids) -> str:
        """Where the gateway has it; empty if it is nowhere below the instance."""
        if not isinstance(uri, str):
            return ""
        path, query = self._below_studies(uri)
        resource = parse(path)
        if resource is None or resource.kind is not Kind.PART:
            return ""
        if (resource.study, resource.series, resource.instance) != uids:
            return ""
        try:
            part = part_query(resource, query)
        except ValueError:
            return ""
        if part != query:  # it would be other bytes
            return ""
        rest = "/".join(quote(part, safe="") for part in resource.rest)
        address = f"{retrieve_url(self._base_url, uids)}/{rest}"
        return f"{address}?{query}" if query else address

    def _below_studies(self, uri: str) -> tuple[str, str]:
        """Path from ``studies`` on, and query; empty if the address is of nothing there."""
        try:
            parts = urlsplit(urljoin(self._asked, uri))
        except ValueError:
            return "", ""
        _, is_below, path = unquote(parts.path).rpartition("studies/")
        return (f"studies/{path}" if is_below else "", parts.query)


def retrieve_url(base_url: str, uids: Uids) -> str:
    levels = ("studies", "series", "instances")
    pairs = zip(levels, uids, strict=False)
    return base_url + "".join(f"/{level}/{quote(uid, safe='')}" for level, uid in pairs)


def dumps(each: Mapping[str, Any]) -> bytes:
    """Raises ``ValueError`` for numbers that JSON does not have."""
    text = json.dumps(each, separators=(",", ":"), allow_nan=False)
    return text.encode()


def array(pieces: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(pieces) + b"]"
