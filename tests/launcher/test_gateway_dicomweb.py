"""DICOMweb through the gateway, on a real Orthanc: what a launch has, and nothing else."""

import asyncio
import json
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import urlencode

import pydicom
import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from archives.entities import InstanceIdentifier, Selection, SeriesIdentifier
from launcher import events
from launcher.tasks import build_manifest
from launcher.tokens import image_token
from tests.dicom_files import StoredStudy
from tests.factories import make_dicomweb_archive, make_launch
from tests.loops import run
from tests.weasis_http import Answer as WeasisAnswer
from tests.weasis_http import split_multipart

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

BASE = "http://127.0.0.1:8000/gateway/web/dicom-web"
DICOM_JSON = "application/dicom+json"
ANY_DICOM = 'multipart/related;type="application/dicom";transfer-syntax=*'


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    def json(self):
        assert self.status == 200
        assert self.headers["Content-Type"] == DICOM_JSON
        return json.loads(self.body)

    def parts(self):
        assert self.status == 200
        headers = {"content-type": self.headers["Content-Type"]}
        return split_multipart(WeasisAnswer(self.status, headers, self.body))


class Viewer:
    """Asks the gateway with the image token of one launch."""

    def __init__(self, archive, selection):
        started = make_launch([archive], selection=selection)
        build_manifest(str(started.launch.build_id))
        self.launch = started.launch
        self.token = image_token(started.manifest_url.rpartition("/m/")[2])

    def get(self, path, query=None, *, token=None, slug="web", **headers):
        return self.all([path], query, token=token, slug=slug, **headers)[0]

    def all(
        self, paths, query=None, *, token=None, slug="web", method="GET", **headers
    ):
        """The answers to several requests, in one event loop."""
        suffix = f"?{urlencode(query)}" if query else ""
        urls = [f"/gateway/{slug}/dicom-web/{path}{suffix}" for path in paths]
        bearer = f"Bearer {self.token if token is None else token}"
        return run(self._all(urls, method, {"authorization": bearer, **headers}))

    async def _all(self, urls, method, headers):
        client, answers = AsyncClient(), []
        for url in urls:
            response = await client.generic(method, url, headers=headers)
            pieces = (
                [piece async for piece in response.streaming_content]
                if response.streaming
                else [response.content]
            )
            assert not response.cookies
            values = dict(response.items())
            answers.append(Answer(response.status_code, values, b"".join(pieces)))
        return answers


def path_of(study, series=None, instance=None):
    path = f"studies/{study.study_instance_uid}"
    if series:
        path += f"/series/{series.series_instance_uid}"
    if instance:
        path += f"/instances/{instance.sop_instance_uid}"
    return path


def values(objects, tag):
    return [each[tag]["Value"][0] for each in objects]


@pytest.fixture
def archive(orthanc):
    return make_dicomweb_archive(orthanc.dicomweb_url)


@pytest.fixture
def ct(orthanc) -> StoredStudy:
    return orthanc.dataset.study("ct")


@pytest.fixture
def viewer(archive, ct):
    return Viewer(archive, Selection(study_instance_uids=(ct.study_instance_uid,)))


def test_searches_find_the_study_of_the_launch_alone(viewer, ct, orthanc):
    """Its patient has others, and the archive has other patients."""
    prior = orthanc.dataset.study("ct-prior").study_instance_uid
    for query in (
        {},
        {"00100020": "DEMO-1"},
        {"PatientID": "DEMO-1", "limit": "10", "includefield": "00081030"},
        {"StudyInstanceUID": ct.study_instance_uid},
        {"0020000d": f"{ct.study_instance_uid},{prior}"},
    ):
        found = viewer.get("studies", query).json()
        assert values(found, "0020000D") == [ct.study_instance_uid]
        assert values(found, "00081190") == [f"{BASE}/{path_of(ct)}"]
    for query in (
        {"StudyInstanceUID": prior},
        {"00100020": "DEMO-2"},
        {"PatientID": "DEMO-1", "offset": "1"},
        {"limit": "0"},
    ):
        assert viewer.get("studies", query).json() == []


def test_searches_below_the_study_find_all_of_it(viewer, ct):
    path = path_of(ct)
    series = viewer.get(f"{path}/series", {"includefield": "0008103E,00201209"}).json()
    assert set(values(series, "0020000E")) == {s.series_instance_uid for s in ct.series}
    assert {s["00201209"]["Value"][0] for s in series} == {
        len(s.instances) for s in ct.series
    }
    instances = viewer.get(f"{path}/instances").json()
    assert set(values(instances, "00080018")) == ct.sop_instance_uids
    lung = ct.series[1]
    first = lung.instances[0].sop_instance_uid
    found = viewer.get("instances", {"00080018": first}).json()
    assert values(found, "00081190") == [
        f"{BASE}/{path_of(ct, lung, lung.instances[0])}"
    ]
    pages = [
        viewer.get(
            f"{path_of(ct, lung)}/instances", {"limit": "8", "offset": str(offset)}
        ).json()
        for offset in (0, 8, 16)
    ]
    assert [len(page) for page in pages] == [8, 8, 4]
    uids = {uid for page in pages for uid in values(page, "00080018")}
    assert uids == {one.sop_instance_uid for one in lung.instances}


def test_answers_are_private_and_have_their_length(viewer, ct):
    instance = path_of(ct, ct.series[1], ct.series[1].instances[0])
    for answer in viewer.all(["studies", instance], accept="*/*"):
        assert answer.headers["Cache-Control"] == "private, no-store"
        if "Content-Length" in answer.headers:
            assert int(answer.headers["Content-Length"]) == len(answer.body)
    head = viewer.all(["studies", instance, f"{path_of(ct)}/metadata"], method="HEAD")
    assert [answer.status for answer in head] == [200] * 3
    assert viewer.all(["studies"], method="POST")[0].status == 405


def test_objects_come_as_they_are_stored(viewer, ct, orthanc):
    lung = ct.series[1]
    one = viewer.get(path_of(ct, lung, lung.instances[0]), accept=ANY_DICOM).parts()
    series = viewer.get(path_of(ct, lung), accept=ANY_DICOM).parts()
    study = viewer.get(path_of(ct)).parts()

    assert len(one) == 1
    stored = orthanc.dataset.read(lung.instances[0])
    assert pydicom.dcmread(BytesIO(one[0])) == stored
    assert len(series) == len(lung.instances)
    uids = {pydicom.dcmread(BytesIO(part)).SOPInstanceUID for part in study}
    assert uids == ct.sop_instance_uids


def test_metadata_names_the_gateway_for_bulk_data(archive, orthanc):
    us = orthanc.dataset.study("us")
    viewer = Viewer(archive, Selection(study_instance_uids=(us.study_instance_uid,)))

    found = viewer.get(f"{path_of(us)}/metadata").json()

    assert set(values(found, "00080018")) == us.sop_instance_uids
    text = json.dumps(found)
    assert orthanc.url not in text
    assert str(orthanc.http_port) not in text
    addresses = {
        element["BulkDataURI"]
        for each in found
        for element in each.values()
        if "BulkDataURI" in element
    }
    assert addresses
    for address in addresses:
        answer = viewer.get(address.removeprefix(f"{BASE}/"))
        assert answer.status == 200
        assert answer.body


def test_frames_and_pictures_come_from_the_archive(viewer, ct, orthanc):
    lung = ct.series[1]
    instance = path_of(ct, lung, lung.instances[0])

    answer = viewer.get(f"{instance}/frames/1")
    frame = answer.parts()
    picture = viewer.get(
        f"{instance}/rendered", {"viewport": "64,64"}, accept="image/jpeg"
    )

    assert frame == [orthanc.dataset.read(lung.instances[0]).PixelData]
    assert orthanc.url.encode() not in answer.body
    assert picture.status == 200
    assert picture.headers["Content-Type"] == "image/jpeg"
    assert picture.body.startswith(b"\xff\xd8")


def test_other_studies_are_not_there(viewer, ct, orthanc):
    prior = orthanc.dataset.study("ct-prior")
    theirs = path_of(prior, prior.series[0], prior.series[0].instances[0])
    mixed = path_of(ct, ct.series[1], prior.series[0].instances[0])
    paths = [
        path_of(prior),
        path_of(prior, prior.series[0]),
        theirs,
        mixed,
        path_of(ct, prior.series[0]),
        f"{path_of(prior)}/series",
        f"{path_of(prior)}/instances",
        f"{path_of(prior)}/metadata",
        f"{path_of(ct, prior.series[0])}/instances",
        *(
            f"{path}/{rest}"
            for path in (theirs, mixed)
            for rest in (
                "metadata",
                "frames/1",
                "rendered",
                "thumbnail",
                "bulk/7fe00010",
            )
        ),
    ]

    assert [answer.status for answer in viewer.all(paths)] == [404] * len(paths)


def test_part_of_a_study_is_never_sent_with_the_rest(archive, ct):
    """A series alone, and one image of another."""
    lung, mediastinum = ct.series[1], ct.series[2]
    image = mediastinum.instances[0]
    selection = Selection(
        series=(
            SeriesIdentifier(
                series_instance_uid=lung.series_instance_uid,
                study_instance_uid=ct.study_instance_uid,
            ),
        ),
        instances=(
            InstanceIdentifier(
                sop_instance_uid=image.sop_instance_uid,
                series_instance_uid=mediastinum.series_instance_uid,
                study_instance_uid=ct.study_instance_uid,
            ),
        ),
    )
    viewer = Viewer(archive, selection)
    mine = {one.sop_instance_uid for one in lung.instances} | {image.sop_instance_uid}

    for path in (f"{path_of(ct)}/instances", "instances", f"{path_of(ct)}/metadata"):
        assert set(values(viewer.get(path).json(), "00080018")) == mine
    for path in (
        f"{path_of(ct, mediastinum)}/metadata",
        f"{path_of(ct, mediastinum)}/instances",
    ):
        assert values(viewer.get(path).json(), "00080018") == [image.sop_instance_uid]
    series = viewer.get(f"{path_of(ct)}/series").json()
    assert len(series) == 2
    whole, part, foreign, series, instance = viewer.all(
        [
            path_of(ct),
            path_of(ct, mediastinum),
            path_of(ct, mediastinum, mediastinum.instances[1]),
            path_of(ct, lung),
            path_of(ct, mediastinum, image),
        ]
    )
    assert uids_in(whole) == mine
    assert uids_in(part) == {image.sop_instance_uid}
    assert foreign.status == 404
    assert (series.status, instance.status) == (200, 200)
    one_syntax = ANY_DICOM.replace("*", "1.2.840.10008.1.2.4.50")
    assert viewer.get(path_of(ct), accept=one_syntax).status == 404


def uids_in(answer):
    """Of the files in an answer of several parts; each only once."""
    uids = [pydicom.dcmread(BytesIO(part)).SOPInstanceUID for part in answer.parts()]
    assert len(uids) == len(set(uids))
    return set(uids)


def test_numbers_are_those_of_the_launch(archive, ct):
    lung = ct.series[1]
    image = InstanceIdentifier(
        sop_instance_uid=lung.instances[0].sop_instance_uid,
        series_instance_uid=lung.series_instance_uid,
        study_instance_uid=ct.study_instance_uid,
    )
    viewer = Viewer(archive, Selection(instances=(image,)))

    [study] = viewer.get("studies").json()
    [series] = viewer.get(f"{path_of(ct)}/series").json()

    assert values([study], "00201206") == [1]
    assert values([study], "00201208") == [1]
    assert values([series], "00201209") == [1]
    assert study["00080061"]["Value"] == ["CT"]
    queries = [{name: "XX"} for name in ("ModalitiesInStudy", "00080061")]
    assert [len(viewer.get("studies", query).json()) for query in queries] == [1, 1]


def test_search_waits_for_the_build_of_its_launch(archive, ct):
    """With $dicom:rs Weasis asks at once, and not again."""
    selection = Selection(study_instance_uids=(ct.study_instance_uid,))
    started = make_launch([archive], selection=selection)
    build_id = str(started.launch.build_id)
    token = image_token(started.manifest_url.rpartition("/m/")[2])

    async def search_while_it_is_built():
        request = asyncio.create_task(
            AsyncClient().get(
                "/gateway/web/dicom-web/studies?0020000D=*",
                headers={"authorization": f"Bearer {token}"},
            )
        )
        while not request.done() and build_id not in events.listener()._waiters:
            await asyncio.sleep(0.01)
        assert not request.done()
        await sync_to_async(build_manifest, thread_sensitive=False)(build_id)
        return await request

    response = run(search_while_it_is_built())

    assert values(json.loads(response.content), "0020000D") == [ct.study_instance_uid]


def test_clients_that_want_something_else_than_json_are_told(viewer, ct):
    paths = ["studies", f"{path_of(ct)}/metadata"]

    for answer in viewer.all(
        paths, accept='multipart/related; type="application/dicom+xml"'
    ):
        assert answer.status == 406
    assert viewer.get("studies", {"limit": "many"}).status == 400
