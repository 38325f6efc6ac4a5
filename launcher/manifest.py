"""The XML manifest Weasis reads (its ``manifest.xsd``, and what its parser really does).

Names are case-sensitive, ``httpTag`` comes before ``Patient``, and both spellings of the
additional parameters are sent: Weasis read ``additionnalParameters`` up to 4.6.6 and
``additionalParameters`` since 4.7.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from lxml import etree

from archives.entities import Instance, Patient, Series, Study

NAMESPACE: Final = "http://www.weasis.org/xsd/2.5"
DECLARATION: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n'

# Everything XML 1.0 has no place for, lone surrogates included.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Severity(StrEnum):
    """The icon of the dialog Weasis shows."""

    INFO = "INFO"
    WARNING = "WARN"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A dialog in Weasis; both texts must have something in them."""

    title: str
    description: str
    severity: Severity = Severity.WARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcQuery:
    """What one archive holds, and where its images are fetched.

    ``base_url`` is absolute, has no query and no trailing slash, and must be the same in
    every launch: Weasis skips a series it knows from another base. With ``is_dicomweb``
    images are fetched by WADO-RS (Weasis 4.7.0 and later), else by WADO-URI.
    """

    arc_id: str
    base_url: str
    studies: tuple[Study, ...] = ()
    http_tags: tuple[tuple[str, str], ...] = ()
    message: Message | None = None
    is_dicomweb: bool = False


def render(arc_queries: Iterable[ArcQuery]) -> bytes:
    """The root element, without the declaration (see ``DECLARATION``), in UTF-8."""
    root = etree.Element("manifest", {"xmlns": NAMESPACE})
    for arc_query in arc_queries:
        _append_arc_query(root, arc_query)
    return etree.tostring(root, encoding="unicode").encode()


def _append_arc_query(root: etree._Element, arc_query: ArcQuery) -> None:
    attributes = {
        "arcId": arc_query.arc_id,
        "baseUrl": arc_query.base_url,
        "requireOnlySOPInstanceUID": "false",
        "additionalParameters": "",
        "additionnalParameters": "",
    }
    if arc_query.is_dicomweb:
        attributes["queryMode"] = "DICOM_WEB"
    element = etree.SubElement(root, "arcQuery", attributes)
    for key, value in arc_query.http_tags:
        etree.SubElement(element, "httpTag", {"key": key, "value": value})
    if arc_query.message:
        _append(
            element,
            "Message",
            title=arc_query.message.title,
            description=arc_query.message.description,
            severity=arc_query.message.severity.value,
        )
    for patient, studies in _patients(arc_query.studies):
        _append_patient(element, patient, studies, arc_query.is_dicomweb)


def _append(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    """A child with the attributes that are not empty, without what XML can't hold."""
    present = {
        name: _NOT_XML.sub("", value) for name, value in attributes.items() if value
    }
    return etree.SubElement(parent, tag, present)


def _append_patient(
    parent: etree._Element,
    patient: Patient,
    studies: Iterable[Study],
    is_dicomweb: bool,
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
        _append_study(element, study, is_dicomweb)


def _append_study(parent: etree._Element, study: Study, is_dicomweb: bool) -> None:
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
    for series in sorted(study.series, key=_series_order):
        _append_series(element, study, series, is_dicomweb)


def _append_series(
    parent: etree._Element, study: Study, series: Series, is_dicomweb: bool
) -> None:
    element = _append(
        parent,
        "Series",
        SeriesInstanceUID=series.series_instance_uid,
        Modality=series.modality,
        SeriesNumber=_number(series.series_number),
        SeriesDescription=series.series_description,
        SeriesDate=series.series_date,
        SeriesTime=series.series_time,
        ReferringPhysicianName=study.referring_physician_name,
    )
    path = (
        f"/studies/{study.study_instance_uid}/series/{series.series_instance_uid}"
        "/instances/"
    )
    for instance in sorted(series.instances, key=_instance_order):
        uid = instance.sop_instance_uid
        _append(
            element,
            "Instance",
            SOPInstanceUID=uid,
            SOPClassUID=instance.sop_class_uid,
            InstanceNumber=_number(instance.instance_number),
            # Without it Weasis would add a WADO-URI query to the WADO-RS base.
            DirectDownloadFile=path + uid if is_dicomweb else "",
        )


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _patients(studies: Sequence[Study]) -> Iterator[tuple[Patient, list[Study]]]:
    """Studies of each patient, newest first; patients in the order of their newest.

    Two patients are one only when both the ID and its issuer agree. Without an ID
    nothing tells that they are the same, so the name must agree too.
    """
    grouped: dict[tuple[str, ...], list[Study]] = {}
    newest_first = sorted(
        sorted(studies, key=lambda study: study.study_instance_uid),
        key=lambda study: (study.study_date, study.study_time),
        reverse=True,
    )
    for study in newest_first:
        patient = study.patient
        key: tuple[str, ...] = (patient.patient_id, patient.issuer_of_patient_id)
        if not patient.patient_id:
            key += (patient.patient_name, patient.patient_birth_date)
        grouped.setdefault(key, []).append(study)
    for group in grouped.values():
        yield group[0].patient, group


def _series_order(series: Series) -> tuple[bool, int, str]:
    number = series.series_number
    return number is None, number or 0, series.series_instance_uid


def _instance_order(instance: Instance) -> tuple[bool, int, str]:
    number = instance.instance_number
    return number is None, number or 0, instance.sop_instance_uid


def fold_duplicates(
    answers: Sequence[tuple[Study, ...]],
) -> tuple[tuple[Study, ...], ...]:
    """Keep each series in one archive only: the one with most of its instances.

    Weasis skips a series it already got from another base URL, so a complete copy must
    not lose to a partial one that comes first. Ties go to the earlier archive.
    """
    best: dict[str, tuple[int, int]] = {}
    for index, studies in enumerate(answers):
        for series in (series for study in studies for series in study.series):
            count = len(series.instances)
            known = best.get(series.series_instance_uid)
            if known is None or count > known[1]:
                best[series.series_instance_uid] = index, count

    def kept(index: int, study: Study) -> Study:
        series = [
            series
            for series in study.series
            if best[series.series_instance_uid][0] == index
        ]
        return replace(study, series=tuple(series))

    return tuple(
        tuple(
            folded
            for study in studies
            if (folded := kept(index, study)).series or not study.series
        )
        for index, studies in enumerate(answers)
    )
