"""Clients that know nothing of the hub, on an Orthanc whose password they don't have."""

from io import BytesIO

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
from requests import HTTPError

from archives.entities import Selection
from launcher.models import LaunchTemplate
from launcher.services import start_launch
from launcher.tasks import build_manifest
from launcher.tokens import image_token
from tests.asgi import serve_hub
from tests.factories import make_dicomweb_archive
from tests.orthanc import start_orthanc
from tests.requirements import needs
from tests.weasis_client import open_uri

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

LOGIN = ("gateway", "a secret of the archive")
AS_STORED = (("application/dicom", "*"),)
HIDDEN = ("KO", "PR")  # from Weasis's list of series, so that they need no thumbnail
KEYS = ("ct", "us", "compressed")


@pytest.fixture(scope="module")
def locked_orthanc(tmp_path_factory, dicom_files):
    needs("orthanc")
    folder = tmp_path_factory.mktemp("locked")
    with start_orthanc(folder, dicom_files, auth=LOGIN) as orthanc:
        studies = [*map(dicom_files.study, (*KEYS, "ct-prior"))]
        orthanc.upload(dicom_files.paths(studies))
        yield orthanc


@pytest.fixture(scope="module")
def hub(valkey):
    with serve_hub() as address:
        yield address


@pytest.fixture
def archive(locked_orthanc, hub, settings):
    settings.VIEWERHUB_PUBLIC_URL = hub
    return make_dicomweb_archive(
        locked_orthanc.dicomweb_url,
        authentication="basic",
        username=LOGIN[0],
        password=LOGIN[1],
    )


@pytest.fixture
def studies(dicom_files):
    return [dicom_files.study(key) for key in KEYS]


def launch_of(archive, studies, **template):
    values = {"name": "T", "slug": "t", "mode": "manifest"} | template
    chosen = LaunchTemplate.objects.create(**values)
    started = start_launch(
        selection=Selection(
            study_instance_uids=tuple(study.study_instance_uid for study in studies)
        ),
        archives=[archive],
        template=chosen,
        origin="url",
    )
    build_manifest(str(started.launch.build_id))
    return started


def stored(studies, dicom_files):
    return {
        one.sop_instance_uid: dicom_files.read(one)
        for study in studies
        for one in study.instances
    }


FORMS = {
    "wado_uri": {"retrieval": "wado_uri"},
    "wado_rs": {"retrieval": "wado_rs"},
    "wado_rs_series": {"retrieval": "wado_rs_series"},
    "wado_rs_study": {"retrieval": "wado_rs_study"},
    "files": {"retrieval": "files"},
    "dicom_rs": {"mode": "dicom_rs"},
}


@pytest.mark.parametrize(
    ("form", "version"),
    [
        *((form, "4.7.2") for form in FORMS),
        *(("dicom_rs", version) for version in ("4.5.0", "4.6.6", "4.7.0")),
    ],
)
def test_weasis_loads_every_image_in_every_form(
    hub, archive, studies, dicom_files, form, version
):
    started = launch_of(archive, studies, **FORMS[form])
    assert ("%24dicom%3Ars" in started.uri) is (form == "dicom_rs")

    result = open_uri(started.uri, version)

    assert result.failures == []
    assert result.warnings == []
    assert result.messages == []
    expected = stored(studies, dicom_files)
    assert result.downloaded.keys() == expected.keys()
    for uid, content in result.downloaded.items():
        assert pydicom.dcmread(BytesIO(content)) == expected[uid]
    assert result.thumbnails.keys() == {
        series.series_instance_uid
        for study in studies
        for series in study.series
        if series.modality not in HIDDEN
    }
    images = [one.url for one in result.requests if one.url.startswith("http")]
    images = [url for url in images if "/m/" not in url]
    assert all(url.startswith(f"{hub}/gateway/web/") for url in images)


@pytest.fixture
def dicomweb(archive, studies, hub):
    started = launch_of(archive, studies)
    token = image_token(started.manifest_url.rpartition("/m/")[2])
    session = create_session()
    session.headers["Authorization"] = f"Bearer {token}"
    yield DICOMwebClient(url=f"{hub}/gateway/web/dicom-web", session=session)
    session.close()


def test_dicomweb_client_searches_the_launch(dicomweb, studies):
    ct = studies[0]
    found = dicomweb.search_for_studies()
    assert {each["0020000D"]["Value"][0] for each in found} == {
        study.study_instance_uid for study in studies
    }
    demo = dicomweb.search_for_studies(search_filters={"PatientID": "DEMO-1"})
    assert [each["0020000D"]["Value"][0] for each in demo] == [ct.study_instance_uid]
    series = dicomweb.search_for_series(ct.study_instance_uid)
    assert len(series) == len(ct.series)
    instances = dicomweb.search_for_instances(ct.study_instance_uid, limit=5)
    assert len(instances) == 5


def test_dicomweb_client_retrieves_the_launch(dicomweb, studies, dicom_files):
    expected = stored(studies, dicom_files)
    for study in studies:
        uid = study.study_instance_uid
        for dataset in dicomweb.retrieve_study(uid, media_types=AS_STORED):
            assert dataset == expected.pop(dataset.SOPInstanceUID)
    assert not expected

    ct = studies[0]
    lung = ct.series[1]
    one = lung.instances[0]
    uids = ct.study_instance_uid, lung.series_instance_uid, one.sop_instance_uid
    assert len(dicomweb.retrieve_series(*uids[:2])) == len(lung.instances)
    assert dicomweb.retrieve_instance(*uids) == dicom_files.read(one)
    assert len(dicomweb.retrieve_series_metadata(*uids[:2])) == len(lung.instances)
    metadata = dicomweb.retrieve_instance_metadata(*uids)
    assert metadata["00080018"]["Value"] == [one.sop_instance_uid]
    frames = dicomweb.retrieve_instance_frames(
        *uids, frame_numbers=[1], media_types=("application/octet-stream",)
    )
    assert frames == [dicom_files.read(one).PixelData]
    rendered = dicomweb.retrieve_instance_rendered(*uids, media_types=("image/jpeg",))
    assert rendered.startswith(b"\xff\xd8")


def test_dicomweb_client_gets_nothing_of_another_study(dicomweb, dicom_files):
    prior = dicom_files.study("ct-prior").study_instance_uid

    assert dicomweb.search_for_studies(search_filters={"StudyInstanceUID": prior}) == []
    for ask in (
        dicomweb.search_for_series,
        dicomweb.retrieve_study,
        dicomweb.retrieve_study_metadata,
    ):
        with pytest.raises(HTTPError, match="404"):
            ask(prior)
