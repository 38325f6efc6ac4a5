"""What Weasis sees when the archive behind the gateway fails: a cut, a status, or nothing.

A cut leads to its retry; a status other than 200 is told to the user. What it takes for an
image is always whole.
"""

import asyncio
import threading
import time
from contextlib import contextmanager
from io import BytesIO

import pydicom
import pytest

from archives.embedded import EmbeddedArchive
from archives.entities import Instance, Patient, Selection, Series, Study
from archives.health import ArchiveState
from archives.models import Archive
from archives.watching import settle
from launcher.models import LaunchTemplate
from launcher.tasks import build_manifest
from tests.asgi import serve_hub
from tests.factories import make_dicomweb_archive, make_dimse_archive, make_launch
from tests.faulty_proxy import faulty_proxy
from tests.processes import wait_until
from tests.servers import WithoutRetrieval
from tests.token_server import ProtectedServer, TokenServer
from tests.weasis_client import open_uri

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

HALF = 200_000  # bytes; images have 512 KiB


@pytest.fixture(scope="module")
def hub(valkey):
    with serve_hub() as address:
        yield address


@pytest.fixture(autouse=True)
def here(hub, settings, tmp_path):
    settings.VIEWERHUB_PUBLIC_URL = hub
    settings.VIEWERHUB_IMAGE_CACHE_DIR = tmp_path / "images"


@pytest.fixture(scope="module")
def study(dicom_files):
    """20 images in full size."""
    return dicom_files.study("pixels")


@pytest.fixture(scope="module")
def served(dicom_files, study):
    with EmbeddedArchive(dicom_files.paths([study])) as running:
        yield running


@pytest.fixture
def proxy_to(served, request):
    """A way to the archive of a protocol that can be made to fail, registered as it."""
    opened = []

    def proxy_to(protocol, **values):
        is_dimse = protocol == "dimse"
        orthanc = None if is_dimse else request.getfixturevalue("orthanc")
        port = served.port if is_dimse else orthanc.http_port
        opened.append(faulty_proxy(port, after=HALF, is_dimse=is_dimse))
        proxy = opened[-1].__enter__()
        if is_dimse:
            make_dimse_archive(served, port=proxy.port, **values)
        else:
            make_dicomweb_archive(f"http://127.0.0.1:{proxy.port}/dicom-web", **values)
        return proxy

    yield proxy_to
    for one in opened:
        one.__exit__(None, None, None)


def launched(study, **template):
    chosen = LaunchTemplate.objects.create(name="T", slug="t", **template)
    selection = Selection(study_instance_uids=(study.study_instance_uid,))
    archives = list(Archive.objects.all())
    started = make_launch(archives, selection=selection, template=chosen)
    build_manifest(str(started.launch.build_id))
    return started


def assert_is_whole(result, study, dicom_files):
    """What was taken for an image is one, and every image was asked for."""
    stored = {one.sop_instance_uid: one for one in study.instances}
    assert result.images.keys() == stored.keys()
    for uid, content in result.downloaded.items():
        assert pydicom.dcmread(BytesIO(content)) == dicom_files.read(stored[uid])


DIMSE, DICOMWEB = ("dimse", "wado_uri"), ("dicomweb", "wado_uri")
PARTS = ("dicomweb", "wado_rs")


@pytest.mark.parametrize(
    ("fault", "archive"),
    [
        *((fault, way) for fault in ("dies", "closes") for way in (DICOMWEB, PARTS)),
        *((fault, DIMSE) for fault in ("dies", "closes", "aborts")),
        *(("stalls", way) for way in (DIMSE, DICOMWEB)),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
# One of them may be for the picture of the series.
@pytest.mark.parametrize("times", [2, 4])
def test_fault_in_mid_image_is_repaired(
    proxy_to, study, dicom_files, fault, archive, times
):
    """By the hub, or by the retry of Weasis. Of silence it may tell, and all is well again."""
    protocol, retrieval = archive
    proxy = proxy_to(protocol, answer_timeout=1.0 if fault == "stalls" else 20.0)
    started = launched(study, retrieval=retrieval)
    proxy.fail(fault, times)

    result = open_uri(started.uri)

    assert proxy.failed == times
    assert_is_whole(result, study, dicom_files)
    if fault == "stalls":
        assert all(one.endswith("status code 503") for one in result.failures)
        result = open_uri(started.uri)
        assert_is_whole(result, study, dicom_files)
    assert result.failures == []


@pytest.mark.parametrize("archive", [DIMSE, DICOMWEB, PARTS], ids="-".join)
def test_archive_that_always_fails_is_no_image(proxy_to, study, dicom_files, archive):
    """Every image ends in a cut or in a status; none seems to be there."""
    protocol, retrieval = archive
    proxy = proxy_to(protocol)
    started = launched(study, retrieval=retrieval)
    proxy.fail("closes", 10_000)

    result = open_uri(started.uri)

    assert_is_whole(result, study, dicom_files)
    assert result.downloaded == {}
    assert len(result.failures) >= len(study.instances)


@pytest.mark.parametrize("archive", [DIMSE, DICOMWEB], ids="-".join)
def test_closed_connections_are_opened_again(proxy_to, study, dicom_files, archive):
    """Of an archive that ended them while they were idle: nobody notices."""
    protocol, retrieval = archive
    proxy = proxy_to(protocol)
    started = launched(study, retrieval=retrieval)
    for _ in range(2):
        proxy.close_connections()

        result = open_uri(started.uri)

        assert result.failures == []
        assert len(result.downloaded) == len(study.instances)
        assert_is_whole(result, study, dicom_files)


def test_refusal_of_c_get_is_a_status(dicom_files, study):
    """Weasis does not ask again, and tells that images are missing."""
    with WithoutRetrieval(dicom_files.paths([study])) as server:
        make_dimse_archive(server)
        started = launched(study, retrieval="wado_uri")

        result = open_uri(started.uri)

    statuses = [one.status for one in result.requests if one.kind == "image"]
    assert statuses == [502] * len(study.instances)
    assert len(result.failures) == len(study.instances)
    assert wait_until(lambda: learnt() == ArchiveState.REFUSED)


def learnt():
    """What administrators are told of the archive by now."""
    settle()
    return Archive.objects.get().state


class Locked(ProtectedServer):
    """Has the files of a study. Its tokens end after a few images, once."""

    def __init__(self, study, dicom_files, tokens):
        super().__init__([entity_of(study)], tokens)
        self.behaviour.sends_series = False  # a request, and a token, for each image
        self.paths = {
            one.sop_instance_uid: dicom_files.path(one) for one in study.instances
        }
        self.sent = 0

    def _file(self, uid):
        self.sent += 1
        if self.sent == 5:
            self.tokens.revoke_all()
        return self.paths[uid].read_bytes()


def entity_of(study):
    series = tuple(
        Series(
            series_instance_uid=one.series_instance_uid,
            modality=one.modality,
            series_number=one.series_number,
            instances=tuple(
                Instance(
                    sop_instance_uid=each.sop_instance_uid,
                    sop_class_uid=each.sop_class_uid,
                    instance_number=each.instance_number,
                )
                for each in one.instances
            ),
        )
        for one in study.series
    )
    return Study(
        study_instance_uid=study.study_instance_uid,
        patient=Patient(patient_id=study.patient_id, patient_name=study.patient_name),
        series=series,
    )


@contextmanager
def running(server, tokens):
    """Both in a thread."""
    loop, is_ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve():
        async with tokens.running(), server.running():
            is_ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert is_ready.wait(20)
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_token_that_ends_in_the_middle_of_a_launch_is_renewed(dicom_files, study):
    tokens = TokenServer(time.monotonic, seconds=3600)
    with running(Locked(study, dicom_files, tokens), tokens) as server:
        make_dicomweb_archive(
            server.url,
            authentication="oauth2",
            token_url=tokens.url,
            client_id="hub",
            client_secret="a secret",
        )
        started = launched(study, retrieval="wado_uri")

        result = open_uri(started.uri)

        assert result.failures == []
        assert_is_whole(result, study, dicom_files)
        assert server.refused >= 1
        assert len(tokens.requests) == 2
