"""The test servers themselves: a wrong laboratory makes every other test worthless."""

from __future__ import annotations

import json
from http.client import HTTPConnection

import psycopg
import pytest
import redis
from pydicom import Dataset

from tests.dcmtk import Dcmqrscp
from tests.dicom_files import DicomFiles, write
from tests.orthanc import Orthanc
from tests.postgresql import PostgreSql
from tests.processes import ServerDidNotStartError, ServerProcess, accepts
from tests.requirements import needs
from tests.valkey import RedisServer, start_redis


def test_dicom_files_hold_what_the_truth_says(dicom_files: DicomFiles) -> None:
    for study in dicom_files.group(
        "demo", "charsets", "issuers", "edges", "compressed"
    ):
        for series in study.series:
            for instance in series.instances:
                dataset = dicom_files.read(instance)

                assert dataset.SOPInstanceUID == instance.sop_instance_uid
                assert dataset.file_meta.MediaStorageSOPInstanceUID == (
                    instance.sop_instance_uid
                )
                assert dataset.file_meta.TransferSyntaxUID == (
                    instance.transfer_syntax_uid
                )
                assert dataset.SeriesInstanceUID == series.series_instance_uid
                assert dataset.StudyInstanceUID == study.study_instance_uid
                assert dataset.get("InstanceNumber") == instance.instance_number
                assert dataset.get("SeriesNumber") == series.series_number
                assert dataset.Modality == series.modality
                assert dataset.PatientID == study.patient_id
                assert str(dataset.PatientName) == study.patient_name
                assert (
                    dataset.get("StudyDescription") or ""
                ) == study.study_description


def test_dicom_files_are_always_the_same(dicom_files: DicomFiles, tmp_path) -> None:
    again = write(tmp_path, ["demo", "compressed"])

    for study in again.studies:
        assert study == dicom_files.study(study.key)
        for instance in study.instances:
            content = again.path(instance).read_bytes()
            assert content == dicom_files.path(instance).read_bytes()


def test_dicom_files_have_distinct_instances_and_pixels(
    dicom_files: DicomFiles,
) -> None:
    study = dicom_files.study("big")

    assert len(study.series) == 10
    assert len(study.sop_instance_uids) == 3000
    pixels = {dicom_files.read(one).PixelData for one in study.series[0].instances}
    assert len(pixels) == 300


def test_dicom_files_truth_survives_saving(dicom_files: DicomFiles) -> None:
    assert DicomFiles.load(dicom_files.folder) == dicom_files


def test_orthanc_holds_every_instance(orthanc: Orthanc) -> None:
    connection = HTTPConnection(orthanc.host, orthanc.http_port, timeout=10)
    connection.request("GET", "/statistics")
    with connection.getresponse() as response:
        statistics = json.load(response)
    connection.close()

    assert statistics["CountInstances"] == len(orthanc.dataset.paths())
    assert statistics["CountStudies"] == len(orthanc.dataset.studies)


def test_orthanc_speaks_dicom(orthanc: Orthanc) -> None:
    assert accepts(orthanc.dicom_port)


def test_dcmqrscp_holds_its_groups(dcmqrscp: Dcmqrscp, tmp_path) -> None:
    from pynetdicom import AE
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find

    ae = AE()
    ae.add_requested_context(Find)
    association = ae.associate(dcmqrscp.host, dcmqrscp.port, ae_title=dcmqrscp.ae_title)
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", ""
    found = {
        match.StudyInstanceUID
        for _, match in association.send_c_find(query, Find)
        if match is not None
    }
    association.release()

    assert found == {study.study_instance_uid for study in dcmqrscp.studies}


def test_valkey_keeps_what_it_is_given(valkey: RedisServer) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.set("laboratory", "works", ex=10)

        assert client.get("laboratory") == b"works"


def test_valkey_starts_again_on_the_same_port(tmp_path) -> None:
    with start_redis(tmp_path) as server:
        server.stop()
        assert not server.is_ready()
        server.start()
        assert server.is_ready()


def test_redis_server_is_an_equal(tmp_path) -> None:
    needs("redis-server")
    with start_redis(tmp_path, executable="redis-server") as server:
        assert server.is_ready()
    assert not server.is_ready()


def test_postgresql_creates_databases(postgresql: PostgreSql) -> None:
    url = postgresql.create_database("laboratory")

    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
    assert row == ("laboratory",)


def test_server_process_reports_why_it_did_not_start(tmp_path) -> None:
    server = ServerProcess(
        ["sh", "-c", "echo no disk; exit 3"], folder=tmp_path, log=tmp_path / "log"
    )

    with pytest.raises(ServerDidNotStartError, match="no disk"):
        server.start(lambda: False)


def test_server_process_is_killed_when_it_ignores_the_signal(tmp_path) -> None:
    script = 'trap "" TERM; touch up; while :; do sleep 1; done'
    server = ServerProcess(["sh", "-c", script], folder=tmp_path, log=tmp_path / "log")
    server.start((tmp_path / "up").exists)

    server.stop(seconds=0.1)

    assert not server.is_running()


def test_needs_fails_where_everything_is_required(monkeypatch) -> None:
    monkeypatch.setitem(
        needs.__globals__["REQUIREMENTS"], "nothing", ("Nothing", lambda: None)
    )
    monkeypatch.setenv("VIEWERHUB_TEST_REQUIRE", "all")
    with pytest.raises(pytest.fail.Exception, match="Nothing"):
        needs("nothing")

    monkeypatch.delenv("VIEWERHUB_TEST_REQUIRE")
    with pytest.raises(pytest.skip.Exception, match="not installed: Nothing"):
        needs("nothing")
