"""From arc queries to XML, or to the JSON that Weasis 4.7.2 reads as well."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from lxml import etree

from archives.entities import Patient, Series, Study
from launcher.manifest.arc_query import ArcQuery, Form
from launcher.manifest.ordering import by_patient, instance_order, series_order

NAMESPACE: Final = "http://www.weasis.org/xsd/2.5"
DECLARATION: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n'

# Everything XML 1.0 has no place for, lone surrogates included.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UID = re.compile(r"[0-9.]+")


def render(arc_queries: Iterable[ArcQuery]) -> bytes:
    """The root element, without the declaration (see ``DECLARATION``), in UTF-8."""
    root = _root(arc_queries)
    root.set("xmlns", NAMESPACE)
    return etree.tostring(root, encoding="unicode").encode()


def render_json(arc_queries: Iterable[ArcQuery]) -> bytes:
    """The same as JSON: attributes are members, and children lists of objects."""
    document = {"manifest": _as_json(_root(arc_queries))}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _as_json(element: etree._Element) -> dict[str, Any]:
    members: dict[str, Any] = {str(k): v for k, v in element.items()}
    for child in element:
        members.setdefault(child.tag, []).append(_as_json(child))
    return members


def _root(arc_queries: Iterable[ArcQuery]) -> etree._Element:
    root = etree.Element("manifest")
    for arc_query in arc_queries:
        _append_arc_query(root, arc_query)
    return root


def _append_arc_query(root: etree._Element, arc_query: ArcQuery) -> None:
    element = etree.SubElement(root, "arcQuery", _arc_query_attributes(arc_query))
    for key, value in arc_query.http_tags:
        _append(element, "httpTag", key=key, value=value)
    if arc_query.message:
        _append(
            element,
            "Message",
            title=arc_query.message.title,
            description=arc_query.message.description,
            severity=arc_query.message.severity.value,
        )
    for patient, studies in by_patient(arc_query.studies):
        _append_patient(element, patient, studies, arc_query)


def _arc_query_attributes(arc_query: ArcQuery) -> dict[str, str]:
    form = arc_query.form
    is_wado_uri = form == Form.WADO_URI
    parameters = arc_query.additional_parameters if is_wado_uri else ""
    only_object = is_wado_uri and arc_query.needs_only_object
    attributes = {
        "arcId": arc_query.arc_id,
        "baseUrl": arc_query.base_url,
        "requireOnlySOPInstanceUID": "true" if only_object else "false",
        "additionalParameters": parameters,
        "additionnalParameters": parameters,
    }
    if form.is_dicomweb:
        attributes["queryMode"] = "DICOM_WEB"
    elif arc_query.override_tags:
        # Weasis would take the multipart answer of WADO-RS for a DICOM file.
        attributes["overrideDicomTagsList"] = arc_query.override_tags
    if form.fetches_series:
        attributes["seriesRetrieve"] = "true"
    return attributes


def _append(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    """A child with the attributes that are not empty, without what XML can't hold."""
    present = {
        # Most values are plain: asking that is faster than looking for what is not.
        name: value if value.isprintable() and value.isascii() else _clean(value)
        for name, value in attributes.items()
        if value
    }
    return etree.SubElement(parent, tag, present)


def _clean(value: str) -> str:
    return _NOT_XML.sub("", value)


def _append_patient(
    parent: etree._Element,
    patient: Patient,
    studies: Iterable[Study],
    arc_query: ArcQuery,
) -> None:
    element = _append(
        parent,
        "Patient",
        PatientID=patient.patient_id,
        PatientName=patient.patient_name,
        IssuerOfPatientID=patient.issuer_of_patient_id,
        PatientBirthDate=patient.patient_birth_date,
        PatientSex=patient.patient_sex,
    )
    for required in ("PatientID", "PatientName"):
        if required not in element.attrib:
            element.set(required, "")
    for study in studies:
        _append_study(element, study, arc_query)


def _append_study(parent: etree._Element, study: Study, arc_query: ArcQuery) -> None:
    element = _append(
        parent,
        "Study",
        StudyInstanceUID=study.study_instance_uid,
        StudyDate=study.study_date,
        StudyTime=study.study_time,
        StudyDescription=study.study_description,
        AccessionNumber=study.accession_number,
        StudyID=study.study_id,
        ReferringPhysicianName=study.referring_physician_name,
    )
    is_listed = study.study_instance_uid in arc_query.listed_studies
    if arc_query.form == Form.WADO_RS_STUDY and not is_listed:
        return
    for series in sorted(study.series, key=series_order):
        _append_series(element, study, series, arc_query)


def _append_series(
    parent: etree._Element, study: Study, series: Series, arc_query: ArcQuery
) -> None:
    form, uid = arc_query.form, series.series_instance_uid
    is_wado_uri = form == Form.WADO_URI
    path = f"/{_segment(study.study_instance_uid)}/{_segment(uid)}/"
    element = _append(
        parent,
        "Series",
        SeriesInstanceUID=uid,
        Modality=series.modality,
        SeriesNumber=_number(series.series_number),
        SeriesDescription=series.series_description,
        SeriesDate=series.series_date,
        SeriesTime=series.series_time,
        ReferringPhysicianName=study.referring_physician_name,
        WadoTransferSyntaxUID=arc_query.transfer_syntax if is_wado_uri else "",
        WadoCompressionRate=_number(arc_query.compression_rate) if is_wado_uri else "",
        DirectDownloadThumbnail=f"{path}thumbnail.jpg" if form == Form.FILES else "",
    )
    if not form.fetches_series or uid in arc_query.listed_series:
        _append_instances(element, study, series, form)


def _append_instances(
    parent: etree._Element, study: Study, series: Series, form: Form
) -> None:
    prefix, suffix = _file_address(study, series, form)
    for instance in sorted(series.instances, key=instance_order):
        uid = instance.sop_instance_uid
        _append(
            parent,
            "Instance",
            SOPInstanceUID=uid,
            SOPClassUID=instance.sop_class_uid,
            InstanceNumber=_number(instance.instance_number),
            DirectDownloadFile=f"{prefix}{_segment(uid)}{suffix}" if prefix else "",
        )


def _file_address(study: Study, series: Series, form: Form) -> tuple[str, str]:
    """What stands around an instance's UID after the base; empty for WADO-URI.

    With WADO-RS it can't be left to Weasis, which would add a WADO-URI query.
    """
    parents = (_segment(study.study_instance_uid), _segment(series.series_instance_uid))
    if form.is_dicomweb:
        return "/studies/{}/series/{}/instances/".format(*parents), ""
    return ("/{}/{}/".format(*parents), ".dcm") if form == Form.FILES else ("", "")


def _segment(uid: str) -> str:
    """A UID in a path; archives hold some that are none."""
    return uid if _UID.fullmatch(uid) else quote(uid, safe="", errors="replace")


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
