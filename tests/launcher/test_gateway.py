"""The image gateway: what a launch's token opens, and that nothing else does."""

import time
from datetime import timedelta
from io import BytesIO
from urllib.parse import urlencode

import pydicom
import pytest
from django.test import AsyncClient
from django.utils import timezone
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from archives.entities import PatientIdentifier, Selection
from archives.models import Archive
from launcher import background, store
from launcher.gateway import pictures
from launcher.models import Launch
from launcher.tasks import build_manifest
from launcher.tokens import image_token
from tests.factories import make_dicomweb_archive, make_dimse_archive, make_launch
from tests.loops import run
from tests.servers import WithoutRetrieval

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

CT_SMALL = Selection(patients=(PatientIdentifier(patient_id="1CT1"),))


def built(archive, selection=CT_SMALL):
    started = make_launch([archive], selection=selection)
    build_manifest(str(started.launch.build_id))
    return started


def token_of(started):
    return image_token(started.manifest_url.rpartition("/m/")[2])


def first_instance(started, archive):
    answer = background.run(store.load_answer(str(started.launch.build_id), archive.pk))
    study = answer.studies[0]
    return {
        "requestType": "WADO",
        "studyUID": study.study_instance_uid,
        "seriesUID": study.series[0].series_instance_uid,
        "objectUID": study.series[0].instances[0].sop_instance_uid,
        "contentType": "application/dicom",
    }


async def fetch(token, parameters, slug="main"):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    response = await AsyncClient().get(
        f"/gateway/{slug}/wado?{urlencode(parameters)}", headers=headers
    )
    if response.streaming:
        return response, b"".join([c async for c in response.streaming_content])
    return response, response.content


@pytest.fixture
def archive(embedded_archive):
    return make_dimse_archive(embedded_archive)


def test_gateway_serves_the_stored_image(archive):
    started = built(archive)

    response, body = run(fetch(token_of(started), first_instance(started, archive)))

    assert response.status_code == 200
    assert response["Content-Type"] == "application/dicom"
    assert not response.cookies
    stored = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    served = pydicom.dcmread(BytesIO(body))
    assert served == stored
    assert served.file_meta.TransferSyntaxUID == stored.file_meta.TransferSyntaxUID


def test_gateway_answers_head_without_retrieving(archive, settings, tmp_path):
    settings.VIEWERHUB_IMAGE_CACHE_DIR = tmp_path / "images"
    started = built(archive)
    asked = first_instance(started, archive)
    Archive.objects.update(port=9)  # nobody is there
    endpoint = Archive.objects.get().endpoint()
    series = endpoint.image_cache.series(endpoint.cache_owner, asked["seriesUID"])

    async def head(parameters):
        headers = {"authorization": f"Bearer {token_of(started)}"}
        path = f"/gateway/main/wado?{urlencode(parameters)}"
        return await AsyncClient().head(path, headers=headers)

    unknown = run(head(asked))
    assert unknown.status_code == 200
    assert "Content-Length" not in unknown
    assert unknown["Content-Type"] == "application/dicom"
    assert run(head(asked | {"objectUID": "1.2.3"})).status_code == 404

    with series.lock():
        image = series.create(asked["objectUID"])
        image.write(b"12345")
        image.finish()
    assert run(head(asked))["Content-Length"] == "5"


@pytest.mark.parametrize("empty", ["studyUID", "seriesUID"])
def test_gateway_accepts_empty_parents(archive, empty):
    started = built(archive)
    parameters = first_instance(started, archive) | {empty: ""}

    assert run(fetch(token_of(started), parameters))[0].status_code == 200


async def fetch_file(token, *names, slug="main"):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    path = f"/gateway/{slug}/wado/{'/'.join(names)}"
    response = await AsyncClient().get(path, headers=headers)
    if response.streaming:
        return response, b"".join([c async for c in response.streaming_content])
    return response, response.content


def file_of(started, archive):
    asked = first_instance(started, archive)
    return [asked["studyUID"], asked["seriesUID"], f"{asked['objectUID']}.dcm"]


def test_gateway_serves_images_as_files(archive):
    started = built(archive)

    response, body = run(fetch_file(token_of(started), *file_of(started, archive)))

    assert response.status_code == 200
    stored = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    assert pydicom.dcmread(BytesIO(body)) == stored


@pytest.mark.parametrize("place", [0, 1, 2])
def test_gateway_has_no_other_file(archive, place):
    started = built(archive)
    names = file_of(started, archive)
    names[place] = "1.2.3.dcm"

    response, _ = run(fetch_file(token_of(started), *names))

    assert response.status_code == 404


def test_gateway_has_no_file_without_a_token(archive):
    started = built(archive)
    names = file_of(started, archive)

    for name in (names[-1], "thumbnail.jpg", "other.jpg"):
        response, _ = run(fetch_file("", *names[:2], name))
        assert response.status_code == 401


def picture(body):
    image = Image.open(BytesIO(body))
    image.load()
    return image


def test_gateway_makes_the_thumbnail_of_a_series(archive):
    """As Weasis asks, by WADO-URI and beside files; the archive has no renderer."""
    started = built(archive)
    names = file_of(started, archive)
    token = token_of(started)
    size = {"imageQuality": "75", "rows": "256", "columns": "256"}
    asked = first_instance(started, archive) | {"contentType": "image/jpeg"} | size

    wado, by_wado = run(fetch(token, asked))
    file, by_file = run(fetch_file(token, *names[:2], "thumbnail.jpg"))

    assert by_wado == by_file
    assert picture(by_wado).size == (256, 256)
    for response in (wado, file):
        assert response["Content-Type"] == "image/jpeg"
        assert response["Cache-Control"] == "private, no-store"
        assert int(response["Content-Length"]) == len(by_wado)


def test_gateway_makes_the_picture_that_is_asked_for(archive):
    started = built(archive)
    token = token_of(started)
    asked = first_instance(started, archive) | {"contentType": "image/png"}

    plain = picture(run(fetch(token, asked))[1])
    window = {"windowCenter": "5000", "windowWidth": "1"}
    dark = picture(run(fetch(token, asked | window))[1])

    assert (plain.format, plain.size) == ("PNG", (128, 128))
    assert plain.getextrema() == (0, 255)
    assert dark.getextrema() == (0, 0)
    for change, status in (
        ({"rows": "0"}, 400),
        ({"columns": "many"}, 400),
        ({"imageQuality": "101"}, 400),
        ({"windowCenter": "nan", "windowWidth": "inf"}, 400),
        ({"frameNumber": "2"}, 404),
    ):
        response, _ = run(fetch(token, asked | change))
        assert response.status_code == status


def test_gateway_has_an_icon_for_what_is_no_image(embedded_archive):
    """Without asking the archive, which need not even be there."""
    archive = make_dimse_archive(embedded_archive)
    report = pydicom.dcmread(get_testdata_file("reportsi.dcm"))
    selection = Selection(study_instance_uids=(report.StudyInstanceUID,))
    started = built(archive, selection)
    Archive.objects.update(port=9)
    asked = {
        "objectUID": report.SOPInstanceUID,
        "contentType": "image/jpeg",
        "rows": "64",
        "columns": "64",
    }

    response, body = run(fetch(token_of(started), asked))

    assert response.status_code == 200
    assert picture(body).size == (64, 64)


def test_gateway_gives_up_a_picture_that_takes_long(archive, monkeypatch):
    """And does not try again for a while; the images are not kept waiting."""
    started = built(archive)
    token = token_of(started)
    asked = first_instance(started, archive)
    monkeypatch.setattr(pictures, "_paused", {})

    monkeypatch.setattr(pictures, "DEADLINE", 0.0)
    response, _ = run(fetch(token, asked | {"contentType": "image/jpeg"}))
    assert response.status_code == 404
    monkeypatch.undo()
    monkeypatch.setattr(pictures, "_paused", {archive.pk: time.monotonic() + 1000.0})
    response, _ = run(fetch(token, asked | {"contentType": "image/jpeg"}))
    assert response.status_code == 404
    assert run(fetch(token, asked))[0].status_code == 200


@pytest.mark.parametrize(
    ("way", "wanted", "sent"),
    [
        ("wado_rs", ImplicitVRLittleEndian, ImplicitVRLittleEndian),
        ("wado_rs", JPEGBaseline8Bit, ExplicitVRLittleEndian),  # it has 16 bits
        ("wado_rs", "no UID", ExplicitVRLittleEndian),
        ("wado_uri", "*", ExplicitVRLittleEndian),
        ("wado_uri", "1.2.3", ExplicitVRLittleEndian),
    ],
)
def test_gateway_asks_for_a_transfer_syntax(orthanc, way, wanted, sent):
    """Orthanc has them by WADO-RS; what it can't send comes as it is stored."""
    options = {"wado_uri_url": orthanc.wado_uri_url} if way == "wado_uri" else {}
    archive = make_dicomweb_archive(orthanc.dicomweb_url, **options)
    uid = orthanc.dataset.study("ct").study_instance_uid
    started = built(archive, Selection(study_instance_uids=(uid,)))
    asked = first_instance(started, archive) | {"transferSyntax": wanted}

    response, body = run(fetch(token_of(started), asked, slug="web"))

    assert response.status_code == 200
    served = pydicom.dcmread(BytesIO(body))
    assert served.file_meta.TransferSyntaxUID == sent
    assert served.SOPInstanceUID == asked["objectUID"]


def test_gateway_sends_what_is_stored_by_dimse(archive):
    started = built(archive)
    wanted = {"transferSyntax": "1.2.840.10008.1.2.4.50", "imageQuality": "50"}
    parameters = first_instance(started, archive) | wanted

    response, body = run(fetch(token_of(started), parameters))

    assert response.status_code == 200
    assert pydicom.dcmread(BytesIO(body)) == pydicom.dcmread(
        get_testdata_file("CT_small.dcm")
    )


@pytest.mark.parametrize(
    "change",
    [
        {"objectUID": "1.2.3"},
        {"objectUID": ""},
        {"studyUID": "1.2.3"},
        {"seriesUID": "1.2.3"},
        {"contentType": "image/jpeg", "objectUID": "1.2.3"},
        {"contentType": "image/gif"},
        {"contentType": "text/html"},
    ],
)
def test_gateway_has_nothing_else(archive, change):
    started = built(archive)
    parameters = first_instance(started, archive) | change

    assert run(fetch(token_of(started), parameters))[0].status_code == 404


def test_gateway_keeps_launches_apart(archive):
    """A token of one launch does not open an image of another."""
    other = Selection(patients=(PatientIdentifier(patient_id="4MR1"),))
    started, foreign = built(archive), built(archive, other)
    parameters = first_instance(foreign, archive)

    assert run(fetch(token_of(foreign), parameters))[0].status_code == 200
    assert run(fetch(token_of(started), parameters))[0].status_code == 404


def test_gateway_keeps_archives_apart(archive, embedded_archive):
    make_dimse_archive(embedded_archive, name="Second", slug="second")
    started = built(archive)
    parameters = first_instance(started, archive)

    response, _ = run(fetch(token_of(started), parameters, slug="second"))

    assert response.status_code == 404


@pytest.mark.parametrize("mutate", [lambda t: "", lambda t: t[:-1], lambda t: t + "A"])
def test_gateway_without_the_right_token_is_401(archive, mutate):
    started = built(archive)
    parameters = first_instance(started, archive)

    response, _ = run(fetch(mutate(token_of(started)), parameters))

    assert response.status_code == 401


def test_gateway_does_not_take_the_manifest_token(archive):
    started = built(archive)
    manifest_token = started.manifest_url.rpartition("/m/")[2]

    response, _ = run(fetch(manifest_token, first_instance(started, archive)))

    assert response.status_code == 401


@pytest.mark.parametrize(
    "values",
    [{"state": Launch.State.REVOKED}, {"expires": timezone.now() - timedelta(hours=1)}],
)
def test_gateway_closes_with_the_launch(archive, values):
    started = built(archive)
    parameters = first_instance(started, archive)
    Launch.objects.update(**values)

    assert run(fetch(token_of(started), parameters))[0].status_code == 401


def test_gateway_says_503_when_the_archive_is_gone(archive):
    started = built(archive)
    parameters = first_instance(started, archive)
    type(archive).objects.update(port=9)

    response, body = run(fetch(token_of(started), parameters))

    assert response.status_code == 503
    assert b"Main PACS" in body


def test_gateway_says_502_when_the_archive_refuses_c_get():
    with WithoutRetrieval() as server:
        archive = make_dimse_archive(server)
        started = built(archive)
        response, body = run(fetch(token_of(started), first_instance(started, archive)))

    assert response.status_code == 502
    assert b"C-GET" in body


def test_gateway_fetches_by_wado_uri_what_a_dimse_archive_refuses(orthanc):
    study = orthanc.dataset.group("demo")[0]
    with WithoutRetrieval(orthanc.dataset.paths([study])) as server:
        archive = make_dimse_archive(server, wado_uri_url=orthanc.wado_uri_url)
        selection = Selection(study_instance_uids=(study.study_instance_uid,))
        started = built(archive, selection)
        parameters = first_instance(started, archive)
        response, body = run(fetch(token_of(started), parameters))

    assert response.status_code == 200
    served = pydicom.dcmread(BytesIO(body))
    assert served.SOPInstanceUID == parameters["objectUID"]
