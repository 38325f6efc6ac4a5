"""Objects of the DICOM JSON Model (PS3.18 F.2), with the gateway's addresses in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from archives.clients import JsonObject
from launcher.gateway.contents import Contents
from launcher.gateway.resources import Kind, parse

STUDY_INSTANCE_UID: Final = "0020000D"
SERIES_INSTANCE_UID: Final = "0020000E"
SOP_INSTANCE_UID: Final = "00080018"
RETRIEVE_URL: Final = "00081190"
_BULK_DATA_URI: Final = "BulkDataURI"

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


def rewritten(each: JsonObject, base_url: str, uids: Uids) -> dict[str, Any]:
    """The object, retrievable from the gateway at ``base_url`` and from nowhere else."""
    address = retrieve_url(base_url, uids)
    attributes = {
        key: _element(value, base_url, uids)
        for key, value in each.items()
        if key != RETRIEVE_URL
    }
    attributes[RETRIEVE_URL] = {"vr": "UR", "Value": [address]}
    return dict(sorted(attributes.items()))


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


def _element(element: object, base_url: str, uids: Uids) -> object:
    if not isinstance(element, Mapping):
        return element
    kept: dict[str, Any] = {
        str(k): v for k, v in element.items() if k != _BULK_DATA_URI
    }
    values = element.get("Value")
    if isinstance(values, list):  # items of a sequence have elements of their own
        kept["Value"] = [
            {key: _element(value, base_url, uids) for key, value in item.items()}
            if isinstance(item, Mapping)
            else item
            for item in values
        ]
    if address := _bulk_data(element.get(_BULK_DATA_URI), base_url, uids):
        kept[_BULK_DATA_URI] = address
    return kept


def _bulk_data(uri: object, base_url: str, uids: Uids) -> str:
    """Where the gateway has it; empty if it is nowhere below the instance.

    Whatever host the archive believes to have: only the path is looked at.
    """
    if not isinstance(uri, str):
        return ""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return ""
    _, is_below, path = unquote(parts.path).rpartition("studies/")
    resource = parse(f"studies/{path}") if is_below and not parts.query else None
    if resource is None or resource.kind is not Kind.PART:
        return ""
    if (resource.study, resource.series, resource.instance) != uids:
        return ""
    rest = "/".join(quote(part, safe="") for part in resource.rest)
    return f"{retrieve_url(base_url, uids)}/{rest}"
