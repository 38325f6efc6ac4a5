from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from archives.embedded import EmbeddedArchive, Index, Level, bundled_files
from tests import servers
from tests.dicom_files import DicomFiles, StoredStudy
from tests.requirements import needs

FIND = StudyRootQueryRetrieveInformationModelFind
PATIENT_FIND = PatientRootQueryRetrieveInformationModelFind
GET = StudyRootQueryRetrieveInformationModelGet
MOVE = StudyRootQueryRetrieveInformationModelMove
GROUPS = ("demo", "charsets", "issuers", "edges", "compressed", "many")


@pytest.fixture(scope="module")
def archive(dicom_files: DicomFiles) -> Iterator[EmbeddedArchive]:
    paths = dicom_files.paths(dicom_files.group(*GROUPS))
    with EmbeddedArchive(paths, ae_title="TESTED") as started:
        yield started


@contextmanager
def associated(
    archive: EmbeddedArchive, *models: str, **options: Any
) -> Iterator[Association]:
    ae = AE(ae_title="TEST")
    for model in models:
        ae.add_requested_context(model)
    for context in options.pop("contexts", ()):
        ae.add_requested_context(context.abstract_syntax, context.transfer_syntax)
    association = ae.associate(
        archive.host, archive.port, ae_title=archive.ae_title, **options
    )
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def identifier(level: str, keys: Mapping[str, Any]) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


def find(
    archive: EmbeddedArchive, level: str, model: str = FIND, **keys: Any
) -> list[Dataset]:
    with associated(archive, model) as association:
        answers = list(association.send_c_find(identifier(level, keys), model))
    assert answers[-1][0].Status == 0x0000
    return [answer for _, answer in answers[:-1] if answer is not None]


def study_uids(archive: EmbeddedArchive, **keys: Any) -> set[str]:
    keys = {"StudyInstanceUID": "", **keys}
    return {match.StudyInstanceUID for match in find(archive, "STUDY", **keys)}


def uids_of(*studies: StoredStudy) -> set[str]:
    return {study.study_instance_uid for study in studies}


def test_echo_answers(archive: EmbeddedArchive) -> None:
    with associated(archive, Verification) as association:
        assert association.send_c_echo().Status == 0x0000


def test_bundled_files_hold_the_documented_patient(
    embedded_archive: EmbeddedArchive,
) -> None:
    [match] = find(embedded_archive, "STUDY", PatientID="1CT1", StudyInstanceUID="")

    assert match.StudyInstanceUID == ("1.3.6.1.4.1.5962.1.2.1.20040119072730.12322")


@pytest.mark.filterwarnings("ignore")  # pydicom brings files with odd values on purpose
def test_bundled_files_are_left_out_only_if_broken_or_duplicate(
    embedded_archive: EmbeddedArchive,
) -> None:
    index = embedded_archive.index
    left_out = {
        dataset.SOPInstanceUID
        for path in bundled_files()
        if path.suffix == ".dcm" and (dataset := dcmread(path, force=True))
        if "TransferSyntaxUID" in dataset.file_meta and "SOPInstanceUID" in dataset
        if dataset.get("StudyInstanceUID") and dataset.get("SeriesInstanceUID")
        if dataset.SOPInstanceUID and dataset.SOPInstanceUID not in index.instances
    }

    assert left_out == set()
    assert len(index.instances) > 120


def test_index_leaves_out_files_cut_short(tmp_path: Path) -> None:
    truncated = next(one for one in bundled_files() if one.name == "MR_truncated.dcm")

    assert Index([truncated]).instances == {}


def test_index_skips_what_is_not_dicom(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").touch()

    assert Index(tmp_path).instances == {}


@pytest.mark.parametrize("group", GROUPS)
def test_find_answers_every_level(
    archive: EmbeddedArchive, dicom_files: DicomFiles, group: str
) -> None:
    for study in dicom_files.group(group)[:5]:
        of_study = {"StudyInstanceUID": study.study_instance_uid}
        found = find(archive, "SERIES", **of_study, SeriesInstanceUID="", Modality="")
        assert {(one.SeriesInstanceUID, one.Modality) for one in found} == {
            (series.series_instance_uid, series.modality) for series in study.series
        }
        for series in study.series:
            of_series = {"SeriesInstanceUID": series.series_instance_uid, **of_study}
            images = find(
                archive, "IMAGE", **of_series, SOPInstanceUID="", InstanceNumber=""
            )
            assert {(one.SOPInstanceUID, one.InstanceNumber) for one in images} == {
                (one.sop_instance_uid, one.instance_number) for one in series.instances
            }


def test_find_answers_relational_queries(
    archive: EmbeddedArchive, dicom_files: DicomFiles
) -> None:
    study = dicom_files.study("ct")

    images = find(
        archive,
        "IMAGE",
        StudyInstanceUID=study.study_instance_uid,
        SeriesInstanceUID="",
        SOPInstanceUID="",
        PatientID="",
        StudyDescription="",
    )

    assert {one.SOPInstanceUID for one in images} == study.sop_instance_uids
    assert {one.PatientID for one in images} == {study.patient_id}
    assert {one.StudyDescription for one in images} == {study.study_description}
    assert {one.SeriesInstanceUID for one in images} == {
        one.series_instance_uid for one in study.series
    }


def test_find_patient_root_has_the_level_patient(
    archive: EmbeddedArchive, dicom_files: DicomFiles
) -> None:
    [match] = find(
        archive,
        "PATIENT",
        PATIENT_FIND,
        PatientID="MANY",
        PatientName="",
        NumberOfPatientRelatedStudies="",
        NumberOfPatientRelatedInstances="",
    )

    studies = dicom_files.of_patient("MANY")
    assert match.PatientName == "Frequent^Visitor"
    assert match.NumberOfPatientRelatedStudies == 40
    assert match.NumberOfPatientRelatedInstances == sum(
        len(study.instances) for study in studies
    )


def test_find_study_root_refuses_the_level_patient(archive: EmbeddedArchive) -> None:
    with associated(archive, FIND) as association:
        query = identifier("PATIENT", {"PatientID": "MANY"})
        [(status, answer)] = association.send_c_find(query, FIND)

    assert (status.Status, answer) == (0xA900, None)


def test_find_answers_only_what_was_asked(archive: EmbeddedArchive) -> None:
    [match] = find(archive, "STUDY", PatientID="COMPRESSED", SOPInstanceUID="")

    assert set(match.dir()) == {"QueryRetrieveLevel", "PatientID"}


def test_find_counts_and_lists_what_is_below(
    archive: EmbeddedArchive, dicom_files: DicomFiles
) -> None:
    study = dicom_files.study("ct")

    [match] = find(
        archive,
        "STUDY",
        StudyInstanceUID=study.study_instance_uid,
        ModalitiesInStudy="",
        NumberOfStudyRelatedSeries="",
        NumberOfStudyRelatedInstances="",
    )
    series = find(
        archive,
        "SERIES",
        StudyInstanceUID=study.study_instance_uid,
        SeriesInstanceUID="",
        NumberOfSeriesRelatedInstances="",
    )

    assert set(match.ModalitiesInStudy) == study.modalities
    assert match.NumberOfStudyRelatedSeries == len(study.series)
    assert match.NumberOfStudyRelatedInstances == len(study.instances)
    assert {
        one.SeriesInstanceUID: one.NumberOfSeriesRelatedInstances for one in series
    } == {one.series_instance_uid: len(one.instances) for one in study.series}


@pytest.mark.parametrize("group", ["charsets", "edges", "issuers"])
def test_find_keeps_every_text(
    archive: EmbeddedArchive, dicom_files: DicomFiles, group: str
) -> None:
    for study in dicom_files.group(group):
        [match] = find(
            archive,
            "STUDY",
            StudyInstanceUID=study.study_instance_uid,
            PatientName="",
            PatientID="",
            IssuerOfPatientID="",
            StudyDescription="",
            AccessionNumber="",
            StudyTime="",
        )
        texts = [match.PatientName, match.PatientID, match.IssuerOfPatientID]
        texts += [match.StudyDescription, match.AccessionNumber, match.StudyTime]
        assert [str(text or "") for text in texts] == [
            study.patient_name,
            study.patient_id,
            study.issuer_of_patient_id,
            study.study_description,
            study.accession_number,
            study.study_time,
        ]


@pytest.mark.parametrize(
    ("keys", "patient_ids"),
    [
        ({"PatientName": "lindqvist*"}, {"DEMO-1"}),
        ({"PatientName": "LINDQVIST^ASTRID^MARIA^DR.^PHD"}, {"DEMO-1"}),
        ({"PatientName": "Lindqvist"}, set()),
        ({"PatientName": "M?reau^*"}, {"DEMO-2"}),
        ({"PatientName": "山田^太郎"}, {"CS-2022-JP"}),
        ({"PatientName": "*Παπαδάκ*"}, {"CS-126"}),
        ({"PatientName": "[a-z]*"}, set()),
        ({"PatientID": "DEMO-?"}, {"DEMO-1", "DEMO-2"}),
        ({"PatientID": "demo-1"}, set()),
        ({"PatientID": "DEMO-1\\MANY", "StudyID": "CT"}, {"DEMO-1"}),
        ({"PatientID": "XML-<&>\"'"}, {"XML-<&>\"'"}),
        ({"IssuerOfPatientID": "R&D"}, {"XML-<&>\"'"}),
        (
            {"AccessionNumber": "CS00?"},
            {f"CS-{n}" for n in (100, 101, 126, 144, 192)}
            | {"CS-2022-JP", "CS-2022-KR", "CS-FIVE"},
        ),
        ({"StudyDate": "20260301-20260302"}, {"DEMO-1"}),
        ({"StudyDate": "20251120-20251121"}, {"DEMO-2"}),
        ({"StudyDate": "-19870101"}, {"MANY"}),
        ({"StudyDate": "20240101-", "PatientID": "MANY"}, {"MANY"}),
        ({"StudyTime": "1600-1610"}, {"DEMO-2"}),
        ({"StudyTime": "112030"}, {"DEMO-2"}),
        ({"StudyTime": "1100-1120"}, {"DEMO-2"}),
        ({"ModalitiesInStudy": "PR"}, {"DEMO-1"}),
        ({"ModalitiesInStudy": "KO\\DOC"}, {"DEMO-1", "DEMO-2"}),
        ({"PatientSex": "F"}, {"DEMO-1"}),
        ({"StudyDescription": "MR*"}, {"DEMO-2"}),
        ({"PatientBirthDate": "18000101"}, set()),
    ],
)
def test_find_matches(
    archive: EmbeddedArchive, keys: dict[str, str], patient_ids: set[str]
) -> None:
    query = identifier("STUDY", {"PatientID": "", **keys})
    with associated(archive, FIND) as association:
        found = {
            match.PatientID
            for _, match in association.send_c_find(query, FIND)
            if match is not None
        }

    assert found == patient_ids


def test_find_matches_lists_of_uids(
    archive: EmbeddedArchive, dicom_files: DicomFiles
) -> None:
    wanted = [dicom_files.study("mr"), dicom_files.study("cr")]

    found = study_uids(archive, StudyInstanceUID=sorted(uids_of(*wanted)))

    assert found == uids_of(*wanted)


def test_find_matches_numbers_by_value(
    archive: EmbeddedArchive, dicom_files: DicomFiles
) -> None:
    study = dicom_files.study("ct")

    [match] = find(
        archive,
        "SERIES",
        StudyInstanceUID=study.study_instance_uid,
        SeriesNumber="02",
        SeriesInstanceUID="",
    )

    assert match.SeriesInstanceUID == study.series[1].series_instance_uid


def test_find_obeys_cancel(dicom_files: DicomFiles) -> None:
    paths = dicom_files.paths(dicom_files.group("many"))
    with (
        servers.Slow(paths, ae_title="SLOW", pause=0.1) as archive,
        associated(archive, FIND) as association,
    ):
        query = identifier("STUDY", {"StudyInstanceUID": ""})
        answers = association.send_c_find(query, FIND, msg_id=7)
        next(answers)  # pynetdicom forgets a C-CANCEL that comes before it has begun
        association.send_c_cancel(7, query_model=FIND)
        statuses = [status.Status for status, _ in answers]

    assert statuses[-1] == 0xFE00
    assert len(statuses) < 40
    assert archive.cancelled.is_set()


def received(
    archive: EmbeddedArchive, query: Dataset
) -> tuple[dict[str, Dataset], Dataset]:
    """Retrieve with C-GET: the datasets by UID, and the last response."""
    stored: dict[str, Dataset] = {}

    def store(event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        stored[dataset.SOPInstanceUID] = dataset
        return 0x0000

    offered = {
        (one.sop_class_uid, one.transfer_syntax_uid)
        for one in archive.index.instances.values()
    }
    ae = AE(ae_title="TEST")
    ae.add_requested_context(GET)
    for sop_class, syntax in offered:
        ae.add_requested_context(sop_class, syntax)
    roles = [build_role(uid, scp_role=True) for uid, _ in offered]
    association = ae.associate(
        archive.host,
        archive.port,
        ae_title=archive.ae_title,
        ext_neg=roles,
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    responses = [status for status, _ in association.send_c_get(query, GET)]
    association.release()
    return stored, responses[-1]


@pytest.mark.parametrize("key", ["compressed", "us", "ct", "empty", "cs-2022-jp"])
def test_get_sends_the_stored_content(
    archive: EmbeddedArchive, dicom_files: DicomFiles, key: str
) -> None:
    study = dicom_files.study(key)

    stored, response = received(
        archive, identifier("STUDY", {"StudyInstanceUID": study.study_instance_uid})
    )

    assert response.Status == 0x0000
    assert stored.keys() == study.sop_instance_uids
    for instance in study.instances:
        dataset = stored[instance.sop_instance_uid]
        assert dataset == dicom_files.read(instance)
        syntax = dataset.file_meta.TransferSyntaxUID
        assert syntax == instance.transfer_syntax_uid


def test_get_sends_one_instance(
    archive: EmbeddedArchive, dicom_files: DicomFiles
) -> None:
    study = dicom_files.study("ct")
    instance = study.series[1].instances[4]
    keys = {
        "StudyInstanceUID": study.study_instance_uid,
        "SeriesInstanceUID": study.series[1].series_instance_uid,
        "SOPInstanceUID": instance.sop_instance_uid,
    }

    stored, response = received(archive, identifier("IMAGE", keys))

    assert list(stored) == [instance.sop_instance_uid]
    assert response.NumberOfCompletedSuboperations == 1


def test_get_of_an_unknown_study_sends_nothing(archive: EmbeddedArchive) -> None:
    stored, response = received(
        archive, identifier("STUDY", {"StudyInstanceUID": "1.2.3.4"})
    )

    assert (stored, response.Status) == ({}, 0x0000)


def test_get_without_unique_key_is_refused(archive: EmbeddedArchive) -> None:
    stored, response = received(archive, identifier("STUDY", {"PatientID": "MANY"}))

    assert (stored, response.Status) == ({}, 0xA900)


def test_get_sends_all_bundled_files(embedded_archive: EmbeddedArchive) -> None:
    index = embedded_archive.index
    for entity in index.find(Level.PATIENT, {}):
        wanted = {one.attributes[0x00080018] for one in entity.instances}
        studies = {one.attributes[0x0020000D] for one in entity.instances}
        for study_instance_uid in studies:
            stored, response = received(
                embedded_archive,
                identifier("STUDY", {"StudyInstanceUID": study_instance_uid}),
            )
            assert response.Status == 0x0000
            wanted -= stored.keys()
        assert wanted == set()


@contextmanager
def storage_provider(
    study: StoredStudy,
) -> Iterator[tuple[int, Callable[[], set[str]]]]:
    stored: set[str] = set()

    def store(event: evt.Event) -> int:
        stored.add(event.request.AffectedSOPInstanceUID)
        return 0x0000

    ae = AE(ae_title="STORE")
    for instance in study.instances:
        ae.add_supported_context(instance.sop_class_uid, instance.transfer_syntax_uid)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    try:
        yield server.server_address[1], lambda: stored
    finally:
        ae.shutdown()


def test_move_sends_to_a_known_destination(dicom_files: DicomFiles) -> None:
    study = dicom_files.study("cr")
    query = identifier("STUDY", {"StudyInstanceUID": study.study_instance_uid})
    with (
        storage_provider(study) as (port, stored),
        EmbeddedArchive(
            dicom_files.paths([study]), destinations={"STORE": ("127.0.0.1", port)}
        ) as archive,
        associated(archive, MOVE) as association,
    ):
        *_, (status, _) = association.send_c_move(query, "STORE", MOVE)

        assert status.Status == 0x0000
        assert stored() == study.sop_instance_uids


def test_move_to_an_unknown_destination_is_refused(archive: EmbeddedArchive) -> None:
    with associated(archive, MOVE) as association:
        query = identifier("STUDY", {"StudyInstanceUID": "1.2"})
        [(status, _)] = association.send_c_move(query, "NOWHERE", MOVE)

    assert status.Status == 0xA801


def test_archive_listens_on_loopback_only(archive: EmbeddedArchive) -> None:
    assert archive.host == "127.0.0.1"


def test_archive_stops_listening(dicom_files: DicomFiles) -> None:
    archive = EmbeddedArchive(dicom_files.paths([dicom_files.study("cr")]))
    archive.start()
    port = archive.port
    archive.stop()

    again = EmbeddedArchive(archive.index, port=port)
    again.start()
    again.stop()

    assert again.port == port


def dcmtk(archive: EmbeddedArchive, name: str, *arguments: str, folder: Path) -> str:
    command = [name, *arguments, "-aec", archive.ae_title, archive.host]
    done = subprocess.run(
        [*command, str(archive.port)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_dcmtk_finds_studies(
    archive: EmbeddedArchive, dicom_files: DicomFiles, tmp_path: Path
) -> None:
    needs("dcmtk")
    dcmtk(
        archive,
        "findscu",
        *("-S", "-X", "-k", "QueryRetrieveLevel=STUDY"),
        *("-k", "PatientID=MANY", "-k", "StudyInstanceUID"),
        folder=tmp_path,
    )

    found = {dcmread(path, force=True).StudyInstanceUID for path in tmp_path.iterdir()}
    assert found == uids_of(*dicom_files.of_patient("MANY"))


def test_dcmtk_gets_a_study(
    archive: EmbeddedArchive, dicom_files: DicomFiles, tmp_path: Path
) -> None:
    needs("dcmtk")
    study = dicom_files.study("mr")
    dcmtk(
        archive,
        "getscu",
        *("-S", "-k", "QueryRetrieveLevel=STUDY"),
        *("-k", f"StudyInstanceUID={study.study_instance_uid}"),
        folder=tmp_path,
    )

    found = {dcmread(path).SOPInstanceUID for path in tmp_path.iterdir()}
    assert found == study.sop_instance_uids


def test_dcmtk_moves_to_itself_are_refused(
    archive: EmbeddedArchive, tmp_path: Path
) -> None:
    needs("dcmtk")
    done = subprocess.run(
        [
            *("movescu", "-v", "-S", "-aec", archive.ae_title, "-aem", "NOBODY"),
            *("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2"),
            *(archive.host, str(archive.port)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "MoveDestinationUnknown" in done.stdout + done.stderr


def test_servers_misbehave_as_named(dicom_files: DicomFiles) -> None:
    index = Index(dicom_files.paths(dicom_files.group("demo", "compressed", "many")))
    study = dicom_files.study("mr")
    of_study = {"StudyInstanceUID": study.study_instance_uid, "SOPInstanceUID": ""}

    with servers.WithoutRetrieval(index) as archive:
        ae = AE()
        ae.add_requested_context(FIND)
        ae.add_requested_context(GET)
        association = ae.associate(archive.host, archive.port)
        accepted = {cx.abstract_syntax for cx in association.accepted_contexts}
        association.release()
        assert accepted == {FIND}
    with servers.WrongPatient(index) as archive:
        found = find(archive, "STUDY", PatientID="DEMO-1")
        assert {match.PatientID for match in found} == {"SOMEBODY-ELSE"}
    with servers.IgnoresKeys(index) as archive:
        assert len(study_uids(archive, PatientID="NOBODY")) == 46
    with servers.Limited(index) as archive:
        assert len(find(archive, "IMAGE", SOPInstanceUID="")) == 100
    for server, status in ((servers.Hierarchical, 0xA900), (servers.Failing, 0xA700)):
        with server(index) as archive, associated(archive, FIND) as association:
            query = identifier("IMAGE", of_study)
            *_, (last, _) = association.send_c_find(query, FIND)
            assert last.Status == status
    with servers.Dying(index) as archive, associated(archive, FIND) as association:
        query = identifier("IMAGE", of_study)
        *first, (last, _) = association.send_c_find(query, FIND)
        assert len(first) == 1
        assert "Status" not in last
    with servers.Choosy(index) as archive:
        ae = AE(ae_title="STRANGER")
        ae.add_requested_context(FIND)
        assert ae.associate(archive.host, archive.port).is_rejected
    with servers.WithoutCompressedSyntaxes(index) as archive:
        stored, response = received(
            archive,
            identifier(
                "STUDY",
                {
                    "StudyInstanceUID": dicom_files.study(
                        "compressed"
                    ).study_instance_uid
                },
            ),
        )
        assert len(stored) == 2  # in implicit little endian, and deflated
        assert response.NumberOfFailedSuboperations == 9
