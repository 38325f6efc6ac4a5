"""The example links of weasis-pacs-connector and ViewerHub, on a real archive.

Each is opened as it stands in their documentation, host aside, and its manifest has to
hold the studies that the documentation says. Where the two disagree about dates, the
meaning is a setting of the template.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from lxml import etree

from tests.orthanc import Orthanc
from tests.stack import Stack, start_stack
from tests.weasis_client import WeasisClient

ARCHIVES = "dcm4chee-local, orthanc-local, 1000"
A, B, C = (
    [f"doc-{name}-{year}" for year in (2008, 2009, 2011, 2013, 2015)] for name in "abc"
)
OLD = "1.3.6.1.4.1.5962.1.2.2.20031208063649"
SERIES = "1.2.840.113704.1.111.4924.1273631010.17"
SIEMENS = "1.3.12.2.1107.5.1.4.54023.30000004093"

CONNECTOR = {
    "weasis?patientID=9702672": ["doc-issuer-test", "doc-issuer-other"],
    "weasis?patientID=9702672%5E%5E%5Etest": ["doc-issuer-test"],
    "weasis?patientID=97026728&patientID=2023231696": [*A, "doc-second"],
    "weasis?patientID=97026728&modalitiesInStudy=MR,XA": [A[0], A[3], A[4]],
    "weasis?patientID=97026728&containsInDescription=abdo,thorax": A[:3],
    f"weasis?studyUID={OLD}.855": ["doc-855"],
    "weasis?accessionNumber=3224252": ["doc-3224252"],
    f"weasis?seriesUID={SERIES}": ["doc-parts"],
    "weasis?objectUID=1.2.840.113704.1.111.3520.1273640118.5118": ["doc-parts"],
    f"weasis?studyUID={OLD}.855&studyUID={OLD}.857&seriesUID={SERIES}": [
        "doc-855",
        "doc-857",
        "doc-parts",
    ],
    "IHEInvokeImageDisplay?requestType=PATIENT&patientID=97026728"
    "&mostRecentResults=2": A[3:],
    "IHEInvokeImageDisplay?requestType=PATIENT&patientID=97026728"
    "&modalitiesInStudy=MR,XA": [A[0], A[3], A[4]],
    "IHEInvokeImageDisplay?requestType=PATIENT&patientID=97026728"
    "&containsInDescription=abdo,thorax": A[:3],
    "IHEInvokeImageDisplay?requestType=STUDY&accessionNumber=1657271": ["doc-1657271"],
    "weasis?patientID=9702672&cdb": ["doc-issuer-test", "doc-issuer-other"],
    "weasis?patientID=97026728&archive=1000": A,
}
CONNECTOR_DATES = {
    "weasis?patientID=97026728&modalitiesInStudy=CT"
    "&upperDateTime=2010-01-01T12:00:00Z": [A[2]],
    "IHEInvokeImageDisplay?requestType=PATIENT&patientID=97026728"
    "&lowerDateTime=2010-01-01T12:00:00": A[:2],
    "IHEInvokeImageDisplay?requestType=PATIENT&patientID=97026728"
    "&upperDateTime=2010-01-01T12:00:00": A[2:],
}
VIEWERHUB = {
    "display/weasis?patientID=1168514&archive=dcm4chee-local": B,
    "display/weasis?patientID=1168514&patientID=2023231696&archive=dcm4chee-local": [
        *B,
        "doc-second",
    ],
    "display/weasis?patientID=1168514%5E%5E%5Etest&archive=dcm4chee-local": B,
    f"display/weasis?studyUID={SIEMENS}013443132800000021&archive=dcm4chee-local": [
        "doc-21"
    ],
    "display/weasis?accessionNumber=2066852&archive=dcm4chee-local": ["doc-2066852"],
    f"display/weasis?seriesUID={SIEMENS}016410718700008612&archive=dcm4chee-local": [
        "doc-siemens"
    ],
    f"display/weasis?studyUID={OLD}.855&studyUID={OLD}.857&seriesUID={SERIES}"
    "&archive=dcm4chee-local": ["doc-855", "doc-857", "doc-parts"],
    f"display/weasis?objectUID={SIEMENS}016410718700010432&archive=dcm4chee-local": [
        "doc-siemens"
    ],
    "display/weasis?patientID=11685148&mostRecentResults=2": C[3:],
    "display/weasis?patientID=1168514&modalitiesInStudy=CT,XA"
    "&archive=dcm4chee-local": B[1:4],
    "display/weasis?patientID=11685148&containsInDescription=coronary,thorax": [
        C[1],
        C[3],
    ],
    "display/weasis?patientID=11685148&lowerDateTime=2010-01-01T12:00:00": C[2:],
    "display/weasis?patientID=11685148&upperDateTime=2010-01-01T12:00:00": C[:2],
    "display/IHEInvokeImageDisplay?requestType=PATIENT&patientID=11685148"
    "&mostRecentResults=2": C[3:],
    "display/IHEInvokeImageDisplay?requestType=PATIENT&patientID=11685148"
    "&modalitiesInStudy=CT,XA": C[1:4],
    "display/IHEInvokeImageDisplay?requestType=PATIENT&patientID=11685148"
    "&containsInDescription=coronary,thorax": [C[1], C[3]],
    "display/IHEInvokeImageDisplay?requestType=STUDY&accessionNumber=1657271": [
        "doc-1657271"
    ],
    f"display?viewer=WEASIS&studyUID={SIEMENS}013443132800000021"
    "&archive=dcm4chee-local": ["doc-21"],
    f"display?viewer=WEASIS&studyUID={SIEMENS}013443132800000021"
    "&archive=orthanc-local": ["doc-21"],
}
MANIFESTS = {
    f"manifest?studyUID={OLD}.855": ["doc-855"],
    f"manifest?studyUID={OLD}.855&gzip": ["doc-855"],
    "manifest?studyUID=2.16.756.5.5.100.397184556.14391.1373576413.1508": [
        "doc-pixels"
    ],
}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with start_stack(tmp_path_factory.mktemp("links")) as started:
        yield started


@pytest.fixture(scope="module", params=["dimse", "dicomweb"])
def hub(request: pytest.FixtureRequest, started: Stack, orthanc: Orthanc) -> Stack:
    """A hub with Orthanc as its only archive, under the names the examples use."""
    if request.param == "dimse":
        started.add_dimse_archive(
            "main",
            port=orthanc.dicom_port,
            ae_title=orthanc.ae_title,
            previous_names=ARCHIVES,
        )
    else:
        started.add_dicomweb_archive(
            "main", url=orthanc.dicomweb_url, previous_names=ARCHIVES
        )
    return started


def set_template(hub: Stack, **fields: str) -> None:
    hub.console.run("LaunchTemplate.objects.update(**fields)", fields=fields)


def opened(hub: Stack, link: str) -> set[str]:
    """The studies in the manifest that a link leads Weasis to."""
    answer = hub.get(f"/{link}")
    assert answer.status == 302, (answer.status, answer.body)
    result = WeasisClient().open(answer.location)
    assert result.messages == []
    return {uid for one in result.patients.values() for uid in one.studies}


def uids(orthanc: Orthanc, keys: list[str]) -> set[str]:
    return {orthanc.dataset.study(key).study_instance_uid for key in keys}


@pytest.mark.parametrize("link", [*CONNECTOR, *VIEWERHUB])
def test_documented_link_opens_its_studies(hub: Stack, orthanc: Orthanc, link: str):
    expected = (CONNECTOR | VIEWERHUB)[link]

    assert opened(hub, link) == uids(orthanc, expected)


@pytest.mark.parametrize("link", CONNECTOR_DATES)
def test_documented_dates_of_the_connector_are_a_setting(
    hub: Stack, orthanc: Orthanc, link: str
):
    set_template(hub, date_meaning="legacy")
    try:
        assert opened(hub, link) == uids(orthanc, CONNECTOR_DATES[link])
    finally:
        set_template(hub, date_meaning="ihe")


@pytest.mark.parametrize("path", ["", "weasis-pacs-connector/"])
def test_link_keeps_the_path_of_the_connector(hub: Stack, orthanc: Orthanc, path: str):
    link = f"{path}weasis?studyUID={OLD}.855"

    assert opened(hub, link) == uids(orthanc, ["doc-855"])


@pytest.mark.parametrize("link", MANIFESTS)
def test_documented_manifest_is_answered(hub: Stack, orthanc: Orthanc, link: str):
    answer = hub.get(f"/{link}")

    assert answer.status == 200
    is_packed = answer.body.startswith(b"\x1f\x8b")
    assert is_packed == link.endswith("gzip")
    body = gzip.decompress(answer.body) if is_packed else answer.body
    studies = etree.fromstring(body).iter("{*}Study")
    found = {study.get("StudyInstanceUID") for study in studies}
    assert found == uids(orthanc, MANIFESTS[link])


def test_address_of_a_manifest_can_be_asked_for(hub: Stack, orthanc: Orthanc):
    answer = hub.get(f"/manifest?studyUID={OLD}.855&url")

    assert answer.headers["content-type"].startswith("text/plain")
    manifest = hub.get(urlsplit(answer.body.decode().strip()).path)
    assert f"{OLD}.855".encode() in manifest.body
    assert orthanc.dataset.study("doc-855").sop_instance_uids
