"""Viewers in a browser: which pages may ask the gateway, and for what."""

import pytest
from django.test import AsyncClient

from archives.entities import Selection
from launcher.tasks import build_manifest
from launcher.tokens import image_token
from tests.dicomweb_studies import make_study
from tests.factories import make_dicomweb_archive, make_launch
from tests.loops import run
from tests.vendors.generic import Generic
from tests.vendors.server import serving

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

OHIF = "https://ohif.example.org"
SELECTION = Selection(study_instance_uids=("1.1",))
STUDIES = "/gateway/web/dicom-web/studies"
ASKING = {
    "access-control-request-method": "GET",
    "access-control-request-headers": "authorization",
}


@pytest.fixture(autouse=True)
def origins(settings):
    settings.VIEWERHUB_GATEWAY_ORIGINS = [OHIF]


@pytest.fixture
def token():
    with serving(Generic([make_study("1.1")])) as server:
        archive = make_dicomweb_archive(server.address)
        started = make_launch([archive], selection=SELECTION)
        build_manifest(str(started.launch.build_id))
        yield image_token(started.manifest_url.rpartition("/m/")[2])


def ask(method, path, **headers):
    return run(AsyncClient().generic(method, path, headers=headers))


def test_page_of_a_viewer_may_ask_with_its_token():
    response = ask("OPTIONS", STUDIES, origin=OHIF, **ASKING)

    assert response.status_code == 204
    assert response["Access-Control-Allow-Origin"] == OHIF
    assert "Authorization" in response["Access-Control-Allow-Headers"]
    assert response["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert "Origin" in response["Vary"]
    assert "Access-Control-Allow-Credentials" not in response


def test_page_of_a_viewer_may_read_the_answer(token):
    bearer = f"Bearer {token}"

    found = ask("GET", STUDIES, origin=OHIF, authorization=bearer)
    refused = ask("GET", STUDIES, origin=OHIF, authorization="Bearer x")

    assert (found.status_code, refused.status_code) == (200, 401)
    for response in (found, refused):
        assert response["Access-Control-Allow-Origin"] == OHIF
        assert "Access-Control-Allow-Credentials" not in response


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://ohif.example.org.evil.example",
        "http://ohif.example.org",
        "https://ohif.example.org:8443",
        "null",
        "",
    ],
)
def test_other_pages_may_not(origin, token):
    sent = {"origin": origin} if origin else {}
    preflight = ask("OPTIONS", STUDIES, **sent, **ASKING)
    answer = ask("GET", STUDIES, authorization=f"Bearer {token}", **sent)

    assert preflight.status_code == 405
    for response in (preflight, answer):
        assert "Access-Control-Allow-Origin" not in response
        assert "Origin" in response["Vary"]


def test_nothing_else_is_open_to_pages(token):
    for path in ("/gateway/web/wado", "/m/x", "/api/v1/launches"):
        response = ask("OPTIONS", path, origin=OHIF, **ASKING)
        assert "Access-Control-Allow-Origin" not in response
    response = ask("POST", STUDIES, origin=OHIF, authorization=f"Bearer {token}")
    assert response.status_code == 405


def test_no_page_may_unless_settings_say_so(settings):
    settings.VIEWERHUB_GATEWAY_ORIGINS = []

    response = ask("OPTIONS", STUDIES, origin=OHIF, **ASKING)

    assert response.status_code == 405
    assert "Access-Control-Allow-Origin" not in response
