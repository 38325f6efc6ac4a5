"""Viewers whose launch addresses are known, to begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from archives.texts import gettext_noop as _
from launcher.viewers import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerPreset:
    """What fills the form of a new viewer; ``note`` says what is still to be done."""

    slug: str
    name: str
    url_template: str
    limits: Limits
    note: str


PRESETS: Final = (
    ViewerPreset(
        slug="ohif",
        name="OHIF Viewer",
        url_template="https://ohif.example.org/viewer/{archive}"
        "?StudyInstanceUIDs={study_uids}[&SeriesInstanceUIDs={series_uids}]"
        "[&initialSopInstanceUID={object_uid}|&initialSeriesInstanceUID={series_uid}]",
        limits=Limits(needs_one_archive=True),
        note=_(
            "Put in where OHIF is. The archive's short name must be the sourceName of "
            "a data source of OHIF, which fetches the images itself, with a login of its own: "
            "it gets no token of the hub."
        ),
    ),
    ViewerPreset(
        slug="slicer",
        name="3D Slicer",
        url_template="slicer://viewer?studyUID={study_uid}"
        "&dicomweb_endpoint={archive_url}",
        limits=Limits(maximum_studies=1, needs_one_archive=True, needs_dicomweb=True),
        note=_(
            "3D Slicer fetches the study from the archive's DICOMweb address, which "
            "must ask the workstation for no password."
        ),
    ),
    ViewerPreset(
        slug="microdicom",
        name="MicroDicom",
        url_template="microdicom://?param=pacsServer&value={ae_title}:{host}[:{port}]"
        "&param=pacsTagValue&value=[0020000D&value={study_uid}"
        "|00080050&value={accession_number}|00100020&value={patient_id}]",
        limits=Limits(maximum_studies=1, needs_one_archive=True),
        note=_(
            "MicroDicom fetches the images by DIMSE: the archive must know the AE "
            "title of each workstation."
        ),
    ),
    ViewerPreset(
        slug="radiant",
        name="RadiAnt",
        url_template="radiant://?n=paet&v={ae_title}&n=pstv&v=0020000D&v={study_uid}",
        limits=Limits(maximum_studies=1, needs_one_archive=True),
        note=_(
            "The archive must be set up in RadiAnt on each workstation, with the same "
            "AE title as here."
        ),
    ),
    ViewerPreset(
        slug="osirix",
        name="OsiriX",
        url_template="osirix://?methodName=retrieve&serverName={archive}"
        "&filterKey=StudyInstanceUID&filterValue={study_uid}",
        limits=Limits(maximum_studies=1, needs_one_archive=True),
        note=_(
            "The archive must be a location in OsiriX on each workstation, with the "
            "archive's short name as its description."
        ),
    ),
    ViewerPreset(
        slug="stone",
        name="Stone Web viewer (Orthanc)",
        url_template="https://orthanc.example.org/stone-webviewer/index.html"
        "?study={study_uid}",
        limits=Limits(maximum_studies=1, needs_one_archive=True),
        note=_("Put in where Orthanc is."),
    ),
)
