"""The addresses Weasis asks: images, thumbnails, and the queries of ``$dicom:rs``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

from tests.weasis_manifest import Instance, Series, WadoParameters
from tests.weasis_uri import WeasisError

COUNT = "00201209"
STUDY_FIELDS = "00080020,00080030,00080050,00080061,00080090,00081030,00100010"
STUDY_FIELDS += ",00100020,00100021,00100030,00100040,0020000D,00200010"
SERIES_FIELDS = "0008103E,00080060,0020000E,00200011,00081190"
INSTANCE_FIELDS = "00080018,00200013,00081190"
# What a request of $dicom:rs names: resource, tag, and what is put behind STUDY_FIELDS.
REQUEST_KEYS = {
    "objectUID": (
        "instances",
        "00080018",
        ",0008103E,00080060,0020000E,00200011,00200013,00081190",
    ),
    "seriesUID": ("series", "0020000E", ",0008103E,00080060,00081190,00200011"),
    "accessionNumber": ("studies", "00080050", ""),
    "studyUID": ("studies", "0020000D", ""),
    "patientID": ("studies", "00100020", ""),
}


def image_url(series: Series, instance: Instance) -> str:
    """Plain concatenation: nothing is encoded and no slash put in."""
    wado, attributes = series.wado, series.attributes
    if instance.direct_download_file:
        query = instance.direct_download_file
    else:
        query = "?requestType=WADO"
        if not wado.require_only_sop_instance_uid:
            query += f"&studyUID={series.study_instance_uid}"
            query += f"&seriesUID={series.series_instance_uid}"
        query += f"&objectUID={instance.sop_instance_uid}"
        query += "&contentType=application%2Fdicom"
        syntax = attributes.get("WadoTransferSyntaxUID")
        rate = attributes.get("WadoCompressionRate", "")
        if syntax:
            query += f"&transferSyntax={syntax}"
            query += f"&imageQuality={rate}" if rate.isdecimal() and int(rate) else ""
    return f"{wado.base_url}{query}{wado.additional_parameters}"


def thumbnail_urls(series: Series, wado: WadoParameters) -> list[str]:
    """Addresses tried one after the other for the picture of a series."""
    ordered = series.in_order()
    middle = ordered[len(ordered) // 2].sop_instance_uid if ordered else ""
    study_uid, series_uid = series.study_instance_uid, series.series_instance_uid
    if wado.is_dicom_web:
        root = f"{wado.base_url}/studies/{study_uid}/series/{series_uid}"
        root += f"/instances/{middle}" if middle else ""
        kinds = ("thumbnail", "rendered") if middle else ("thumbnail",)
        return [f"{root}/{kind}?viewport=256%2C256" for kind in kinds]
    if ordered and ordered[0].direct_download_file:
        direct = series.attributes.get("DirectDownloadThumbnail")
        return [f"{wado.base_url}{direct}"] if direct else []
    if wado.require_only_sop_instance_uid:
        study_uid = series_uid = ""
    url = f"{wado.base_url}?requestType=WADO&studyUID={study_uid}"
    url += f"&seriesUID={series_uid}&objectUID={middle}"
    url += "&contentType=image/jpeg&imageQuality=75&rows=256&columns=256"
    kept = [
        one
        for one in wado.additional_parameters.split("&")
        if not one.startswith(("transferSyntax", "anonymize"))
    ]
    return [f"{url}&{'&'.join(kept)}" if any(kept) else url]


def request_paths(request: str) -> Iterator[str]:
    """The QIDO-RS requests of one ``-r`` of ``$dicom:rs``; values are not decoded."""
    pairs = [one.partition("=")[::2] for one in request.split("&")]
    given = dict(pairs)
    names = [name for name in REQUEST_KEYS if name in given]
    match given.get("requestType"):
        case None:
            pass
        case "STUDY":
            names = [one for one in names if one in {"accessionNumber", "studyUID"}][:1]
        case "PATIENT":
            names = ["patientID"]
        case other:
            raise WeasisError(f"dicom:rs does not know the request type {other!r}")
    for name in names:
        resource, tag, more = REQUEST_KEYS[name]
        fields = f"{STUDY_FIELDS}{more}"
        for value in (value for key, value in pairs if key == name):
            key = patient_query(value) if name == "patientID" else f"{tag}={value}"
            yield f"/{resource}?{key}&includefield={fields}"


def patient_query(value: str) -> str:
    """The keys of ``ID^^^ISSUER``; Weasis does not encode the issuer."""
    patient_id, _, issuer = value.partition("^^^")
    query = f"00100020={quote_plus(patient_id)}"
    return f"{query}&00100021={issuer}" if issuer else query


def repeated_fields(url: str) -> str:
    """With ``dicom.qido.query.multi.params``: each field in a parameter of its own.

    But for what Weasis puts behind them for series and objects: that stays a list.
    """
    for fields in (STUDY_FIELDS, SERIES_FIELDS, INSTANCE_FIELDS):
        url = url.replace(fields, fields.replace(",", "&includefield="))
    return url


def qido_value(found: dict[str, Any], tag: str) -> str:
    values = found.get(tag, {}).get("Value") or [""]
    value = values[0]
    return str(value.get("Alphabetic", "") if isinstance(value, dict) else value)
