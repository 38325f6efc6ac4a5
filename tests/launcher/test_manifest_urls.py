"""``/manifest?...`` and uploaded manifests."""

from __future__ import annotations

import gzip

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient, Client
from lxml import etree

from launcher.models import Build, Launch, LaunchTemplate, Viewer
from launcher.tasks import build_manifest
from tests.factories import make_dimse_archive
from tests.loops import run
from tests.weasis_uri import parse_uri

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]
JSON = {"accept": "application/json"}
POLICY = "default-src 'none'; sandbox"
UPLOAD = "/weasis?upload=manifest"
MANIFEST = b"""<?xml version="1.0" encoding="UTF-8"?>
<manifest xmlns="http://www.weasis.org/xsd/2.5">
  <arcQuery arcId="1000" baseUrl="https://pacs.example.org/wado">
    <Patient PatientID="42" PatientName="M\xc3\x9cLLER^JANE">
      <Study StudyInstanceUID="1.2.3">
        <Series SeriesInstanceUID="1.2.3.4" Modality="MR">
          <Instance SOPInstanceUID="1.2.3.4.5" InstanceNumber="1"/>
        </Series>
      </Study>
    </Patient>
  </arcQuery>
</manifest>
"""


@pytest.fixture
def client(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["127.0.0.0/8"]
    return Client()


async def get(path):
    """The answer and its body, while a worker builds what is asked for."""
    response = await AsyncClient().get(path)
    if not response.streaming:
        return response, response.content
    build = await Build.objects.aget()
    await sync_to_async(build_manifest)(str(build.pk))
    return response, b"".join([part async for part in response.streaming_content])


def studies_of(body):
    root = etree.fromstring(body)
    return [study.get("StudyInstanceUID") for study in root.iter("{*}Study")]


@pytest.mark.usefixtures("client")
def test_manifest_is_built_and_answered(embedded_archive):
    make_dimse_archive(embedded_archive)

    response, body = run(get("/manifest?patientID=1CT1"))

    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/xml")
    assert response["Content-Security-Policy"] == POLICY
    assert len(studies_of(body)) == 1
    assert Launch.objects.get().state == Launch.State.FETCHED


@pytest.mark.usefixtures("client")
def test_manifest_may_be_a_gzip_file(settings):
    settings.VIEWERHUB_MANIFEST_DEADLINE = 0.1  # nobody builds, and it will say so
    make_dimse_archive()

    response, body = run(get("/manifest?patientID=1CT1&gzip"))

    assert response["Content-Type"] == "application/gzip"
    assert "Content-Encoding" not in response
    root = etree.fromstring(gzip.decompress(body))
    assert [one.get("title") for one in root.iter("{*}Message")] == [
        "Main PACS: no answer yet"
    ]


def test_address_of_a_manifest_is_answered_as_text(client):
    make_dimse_archive()

    response = client.get("/manifest?patientID=1CT1&url")

    assert response["Content-Type"].startswith("text/plain")
    address = response.content.decode()
    assert address.startswith("http://127.0.0.1:8000/m/")
    assert Launch.objects.get().state == Launch.State.PENDING


def test_manifest_is_made_whatever_viewer_the_template_has(client):
    make_dimse_archive()
    viewer = Viewer.objects.create(
        name="O", slug="o", url_template="https://o.example.org/?s={study_uids}"
    )
    LaunchTemplate.objects.create(name="O", slug="o", viewer=viewer, is_default=True)

    response = client.get("/manifest?studyUID=1.2&url&viewer=o&pro=a%20b")

    assert response.status_code == 200
    assert "/m/" in response.content.decode()


def test_head_of_a_manifest_builds_nothing(client):
    make_dimse_archive()

    good = client.head("/manifest?patientID=1")
    bad = client.head("/manifest?patientID=*", headers=JSON)

    assert (good.status_code, bad.status_code) == (200, 400)
    assert good["Content-Type"].startswith("text/xml")
    assert not Build.objects.exists()


def test_manifest_is_not_for_everybody(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = []

    assert Client().get("/manifest?patientID=1").status_code == 401


# Uploads


def upload(client, body=MANIFEST, path=UPLOAD, **headers):
    return client.post(path, body, content_type="text/xml", headers=JSON | headers)


def problem_of(response):
    assert response.status_code == 400
    [error] = response.json()["errors"]
    return error["field"], error["message"]


@pytest.mark.parametrize("path", ["/manifest", "/weasis-pacs-connector/manifest"])
def test_browser_comes_back_from_the_login_to_the_manifest(
    settings, django_user_model, path
):
    settings.VIEWERHUB_TRUSTED_NETWORKS = []
    make_dimse_archive()
    django_user_model.objects.create_user("alice", password="secret")
    browser = Client(headers={"accept": "text/html"})

    login = browser.get(f"{path}?patientID=MARKER-77&viewer=ohif&url")["Location"]
    answer = browser.post(login, {"login": "alice", "password": "secret"})
    response = browser.get(answer["Location"])

    assert "MARKER" not in login
    assert response["Content-Type"].startswith("text/plain")
    assert "/m/" in response.content.decode()
    stored = Launch.objects.get()
    assert stored.user.username == "alice"
    assert stored.build.get_selection().patients[0].patient_id == "MARKER-77"


def test_waiting_manifest_is_for_those_who_have_logged_in(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = []
    browser = Client(headers={"accept": "text/html"})
    path = browser.get("/manifest?patientID=1")["Location"].partition("next=")[2]

    assert browser.get(path)["Location"] == f"/accounts/login/?next={path}"
    assert not Launch.objects.exists()


def test_upload_is_read_in_the_charset_of_its_sender(client):
    body = MANIFEST.partition(b"?>")[2].decode()  # Django encodes it

    response = client.post(UPLOAD, body, "text/xml; charset=ISO-8859-1")

    assert response.status_code == 302
    assert "MÜLLER" in Build.objects.get().uploaded_manifest


def test_uploaded_manifest_is_launched_like_any_other(client):
    response = upload(client)

    assert response.status_code == 302
    [command] = parse_uri(response["Location"]).commands
    assert command.name == "dicom:get"
    stored = Launch.objects.get()
    assert (stored.origin, stored.state) == (Launch.Origin.UPLOAD, Launch.State.READY)
    token = response["Location"].rpartition("%2Fm%2F")[2].removesuffix("%22")
    answer = client.get(f"/m/{token}")
    assert answer["Content-Security-Policy"] == POLICY
    assert answer["X-Content-Type-Options"] == "nosniff"
    body = answer.content
    assert studies_of(body) == ["1.2.3"]
    assert "MÜLLER^JANE" in body.decode()


@pytest.mark.parametrize("path", ["/m/unknown", "/m/a/b/c", "/gateway/main/wado"])
def test_errors_of_viewers_addresses_run_nothing_in_browsers(client, path):
    response = client.get(path)

    assert response.status_code in (401, 404)
    assert response["Content-Security-Policy"] == POLICY
    assert response["X-Content-Type-Options"] == "nosniff"


def test_upload_keeps_its_content_encrypted(client):
    upload(client)

    assert "JANE" not in str(list(Build.objects.values()))


def test_upload_may_name_a_template(client):
    LaunchTemplate.objects.create(
        name="Close", slug="close", commands="$dicom:close --all"
    )

    response = upload(client, path=f"{UPLOAD}&template=close")

    commands = parse_uri(response["Location"]).commands
    assert [command.name for command in commands] == ["dicom:close", "dicom:get"]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"", "Line 1"),
        (b"not xml", "Line 1"),
        (MANIFEST.replace(b"</Study>", b""), "Line 10"),
        (MANIFEST.replace(b"<Patient ", b"<Person "), "Line"),
        (MANIFEST.replace(b'StudyInstanceUID="1.2.3"', b""), "Line 5"),
        (MANIFEST.replace(b"<manifest ", b"<!DOCTYPE a><manifest "), "Line 2"),
    ],
)
def test_bad_upload_is_400_with_line_and_reason(client, body, line):
    field, message = problem_of(upload(client, body))

    assert field == "manifest"
    assert message.startswith(line)
    assert not Build.objects.exists()


def test_upload_reads_no_entity_and_no_file(client, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("S3CRET")
    entity = f'<!DOCTYPE m [<!ENTITY x SYSTEM "file://{secret}">]>'.encode()

    response = upload(client, entity + b"<manifest>&x;</manifest>")

    assert response.status_code == 400
    assert b"S3CRET" not in response.content


def test_upload_tells_every_problem_at_once(client):
    response = upload(client, b"<nothing/>", f"{UPLOAD}&template=none")

    fields = [error["field"] for error in response.json()["errors"]]
    assert fields == ["manifest", "template"]


def test_upload_of_more_than_ten_megabytes_is_413(client):
    assert upload(client, b" " * (10 * 2**20 + 1)).status_code == 413


def test_upload_is_not_for_everybody(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = []

    assert upload(Client(), accept="text/html").status_code == 401
    assert not Build.objects.exists()


def test_upload_to_the_address_for_members_is_not_for_networks(client):
    answer = upload(client, path="/display/auth?upload=manifest")

    assert answer.status_code == 401
    assert not Build.objects.exists()
