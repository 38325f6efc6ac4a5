"""Every form of a launch loads all images of two archives in every version of Weasis."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from archives.entities import Selection
from launcher import weasis
from launcher.models import LaunchTemplate
from launcher.services import start_launch
from launcher.tasks import build_manifest
from launcher.weasis import RsArchive
from tests.asgi import serve_hub
from tests.dicomweb_server import (
    BOUNDARY,
    Answer,
    Behaviour,
    DicomWebServer,
    Request,
    content,
    status,
)
from tests.dicomweb_studies import make_study
from tests.factories import make_dicomweb_archive, make_dimse_archive
from tests.vendors.files import files_of
from tests.vendors.server import serving
from tests.weasis_client import open_uri
from tests.weasis_result import Result

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

VERSIONS = ("4.5.0", "4.6.6", "4.7.0", "4.7.2")
# What pydicom's CT_small.dcm is, in the embedded archive.
CT_SMALL = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
CT_SMALL_IMAGE = "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
STUDIES = (make_study("1.1"), make_study("1.2", series=1, study_date="20260201"))
SELECTION = Selection(study_instance_uids=("1.1", CT_SMALL, "1.2"))
UIDS = files_of(STUDIES).keys() | {CT_SMALL_IMAGE}
KEYS = {"0020000D": "StudyInstanceUID", "0020000E": "SeriesInstanceUID"}


class ImageServer(DicomWebServer):
    """Real files, series fetched whole, and keys given by their tags, as Weasis does."""

    def __init__(self, studies=STUDIES) -> None:
        super().__init__(studies, Behaviour())
        self.files = files_of(studies)

    def _answer(self, request: Request) -> Answer:
        names = request.path.removeprefix("/dicom-web/").split("/")
        if len(names) == 4 and names[2] == "series":
            return self._whole_series(names[3])
        if names[-1] in {"thumbnail", "rendered"}:
            return status(404)
        return super()._answer(request)

    def _whole_series(self, uid: str) -> Answer:
        files = [
            self.files[instance.sop_instance_uid]
            for study in self.studies
            for series in study.series
            if series.series_instance_uid == uid
            for instance in series.instances
        ]
        start = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join(start + file + b"\r\n" for file in files)
        media_type = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        return content(body + f"--{BOUNDARY}--\r\n".encode(), media_type=media_type)

    def _is_match(self, match: dict, keys: dict[str, str]) -> bool:
        named = {KEYS.get(key, key): value for key, value in keys.items()}
        return super()._is_match(match, named)

    def _file(self, uid: str) -> bytes:
        return self.files[uid]


@pytest.fixture(scope="module")
def hub(valkey) -> Iterator[str]:
    with serve_hub() as address:
        yield address


@pytest.fixture(autouse=True)
def _public_address(hub: str, settings) -> None:
    settings.VIEWERHUB_PUBLIC_URL = hub


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with serving(ImageServer()) as running:
        yield running


def open_launch(archives, version: str, **template: object) -> Result:
    chosen = LaunchTemplate(name="T", slug="t", mode="manifest", **template)
    chosen.save()
    started = start_launch(
        selection=SELECTION, archives=archives, template=chosen, origin="url"
    )
    build_manifest(str(started.launch.build_id))
    return open_uri(started.uri, version)


def image_paths(result: Result) -> set[str]:
    """The kinds of addresses images came from, with ``*`` for every UID."""
    urls = [one.url for one in result.requests if one.kind == "image"]
    paths = (re.sub(r"https?://[^/]+|\?.*", "", url) for url in urls)
    return {re.sub(r"/[0-9.]+(?=[/.]|$)", "/*", path) for path in paths}


def formats_of(result: Result) -> set[str]:
    """The media types of the manifests."""
    return {
        one.response_headers["content-type"].partition(";")[0]
        for one in result.requests
        if one.kind == "manifest"
    }


HUB_WADO, HUB_FILES = "/gateway/web/wado", "/gateway/web/wado/*/*/*.dcm"
WADO, BY_IMAGE = "/wado", "/dicom-web/studies/*/series/*/instances/*"
BY_SERIES = "/dicom-web/studies/*/series/*"
HUB_BY_IMAGE, HUB_BY_SERIES = f"/gateway/web{BY_IMAGE}", f"/gateway/web{BY_SERIES}"


@pytest.mark.parametrize(
    ("template", "has_wado_uri", "expected"),
    [
        pytest.param({"images": "gateway"}, True, [HUB_WADO] * 4, id="hub"),
        pytest.param({"retrieval": "files"}, True, [HUB_FILES] * 4, id="files"),
        pytest.param({}, True, [WADO] * 4, id="wado-uri"),
        pytest.param(
            {"retrieval": "wado_rs"},
            False,
            [HUB_WADO, HUB_WADO, BY_IMAGE, BY_IMAGE],
            id="wado-rs",
        ),
        pytest.param(
            {"retrieval": "wado_rs_series"},
            False,
            [HUB_WADO, HUB_WADO, BY_IMAGE, BY_SERIES],
            id="wado-rs-series",
        ),
        pytest.param(
            {"retrieval": "wado_rs_study"},
            False,
            [HUB_WADO, HUB_WADO, BY_IMAGE, BY_SERIES],
            id="wado-rs-study",
        ),
        pytest.param(
            {"retrieval": "wado_rs_study", "images": "gateway"},
            True,
            [HUB_WADO, HUB_WADO, HUB_BY_IMAGE, HUB_BY_SERIES],
            id="hub-wado-rs-study",
        ),
        pytest.param(
            {"opens_primary_study_first": True}, True, [WADO] * 4, id="primary-first"
        ),
        pytest.param(
            {"override_tags": "0x00100010", "retrieval": "wado_rs"},
            True,
            [WADO] * 4,
            id="override-tags",
        ),
        pytest.param(
            {"properties": "weasis.manifest.accept json"}, True, [WADO] * 4, id="json"
        ),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_form_loads_all_images_of_two_archives(
    embedded_archive, server, version, template, has_wado_uri, expected
):
    wado_uri_url = server.url.replace("/dicom-web", "/wado") if has_wado_uri else ""
    archives = [
        make_dimse_archive(embedded_archive),
        make_dicomweb_archive(server.url, images="direct", wado_uri_url=wado_uri_url),
    ]

    result = open_launch(archives, version, **template)

    assert result.failures == []
    assert result.downloaded.keys() == UIDS
    main = HUB_FILES if template.get("retrieval") == "files" else HUB_WADO
    web = expected[VERSIONS.index(version)]
    wants_json = "json" in template.get("properties", "") and version == "4.7.2"
    assert formats_of(result) == {"application/json" if wants_json else "text/xml"}
    assert image_paths(result) == {main.replace("/web/", "/main/"), web}


def test_primary_study_is_loaded_before_the_others(embedded_archive, server):
    archives = [make_dimse_archive(embedded_archive), make_dicomweb_archive(server.url)]

    result = open_launch(archives, "4.7.2", opens_primary_study_first=True)

    order = [one.kind for one in result.requests if one.kind != "thumbnail"]
    assert order.count("manifest") == 2
    second = order.index("manifest", 1)
    assert order[1:second] == ["image"] * 6
    assert set(order[second + 1 :]) == {"image"}


@pytest.mark.parametrize("version", VERSIONS)
def test_dicom_rs_loads_all_images_of_two_archives(server, version):
    with serving(ImageServer([make_study("2.1"), make_study("9.9")])) as second:
        archives = [
            RsArchive(server.url, "&includedefaults=false"),
            RsArchive(second.url, repeats_parameters=True),
        ]
        selection = Selection(study_instance_uids=("1.1", "1.2", "2.1"))
        result = open_uri(weasis.open_dicom_rs(archives, selection), version)

    assert result.failures == []
    expected = files_of([*STUDIES, make_study("2.1")]).keys()
    assert result.downloaded.keys() == expected
