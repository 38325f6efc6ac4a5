"""Launches on the whole product, opened by a client that behaves as Weasis does."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import combinations, islice
from urllib.parse import urlencode, urlsplit

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from archives.embedded import EmbeddedArchive
from tests import weasis_client
from tests.dicom_files import DicomFiles, StoredStudy
from tests.environment import free_port
from tests.loops import run
from tests.orthanc import Orthanc
from tests.postgresql import PostgreSql
from tests.processes import wait_until
from tests.requirements import needs, program
from tests.servers import Slow
from tests.stack import Stack, start_stack
from tests.weasis_client import WeasisClient
from tests.weasis_http import DownloadError, Request
from tests.weasis_result import Result
from tests.weasis_uri import parse_uri

PROTOCOLS = ("dimse", "dicomweb")
EVERYTHING = (
    "demo",
    "charsets",
    "issuers",
    "edges",
    "compressed",
    "many",
    "big",
    "pixels",
)
VARIED = ("demo", "charsets", "issuers", "edges", "compressed")


@pytest.fixture(scope="module")
def hub(stack: Stack, orthanc: Orthanc) -> Stack:
    """The stack with Orthanc as two archives: by DIMSE and by DICOMweb."""
    return with_orthanc(stack, orthanc)


def with_orthanc(stack: Stack, orthanc: Orthanc) -> Stack:
    stack.add_dimse_archive("dimse", port=orthanc.dicom_port, ae_title=orthanc.ae_title)
    stack.add_dicomweb_archive("dicomweb", url=orthanc.dicomweb_url)
    return stack


@pytest.fixture(scope="module")
def servers_of_a_hospital(
    tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSql, orthanc: Orthanc
) -> Iterator[Stack]:
    """The stack on PostgreSQL and Redis."""
    needs("redis-server")
    with start_stack(
        tmp_path_factory.mktemp("hospital"),
        database_url=postgresql.create_database("viewerhub"),
        redis_executable=program("redis-server"),
    ) as started:
        yield with_orthanc(started, orthanc)


def launch_of(studies: Iterable[StoredStudy], archive: str) -> list[tuple[str, str]]:
    uids = [("studyUID", study.study_instance_uid) for study in studies]
    return [*uids, ("archive", archive)]


def assert_has_all_of(
    result: Result,
    studies: Iterable[StoredStudy],
    files: DicomFiles,
    *,
    undone: Collection[str] = (),
) -> None:
    """Each instance is listed once, under its own series, and arrived as stored.

    But for Transfer Syntaxes that the archive has ``undone``: those are explicit VR.
    """
    expected = {
        instance.sop_instance_uid: (series.series_instance_uid, instance)
        for study in studies
        for series in study.series
        for instance in series.instances
    }
    assert result.failures == []
    listed = [
        (uid, series.series_instance_uid)
        for series in result.series
        for uid in series.instances
    ]
    assert len(listed) == len(expected)
    assert dict(listed) == {uid: series for uid, (series, _) in expected.items()}
    assert result.downloaded.keys() == expected.keys()
    for uid, content in result.downloaded.items():
        stored = files.path(expected[uid][1])
        if content != stored.read_bytes():
            received, original = dcmread(BytesIO(content)), dcmread(stored)
            assert received == original
            syntax = original.file_meta.TransferSyntaxUID
            if syntax in undone:
                syntax = ExplicitVRLittleEndian
            assert received.file_meta.TransferSyntaxUID == syntax


# The main job


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_instance_of_every_study_opens(
    hub: Stack, orthanc: Orthanc, protocol: str
) -> None:
    studies = orthanc.dataset.group(*EVERYTHING)

    result = hub.open(launch_of(studies, protocol))

    assert_has_all_of(result, studies, orthanc.dataset)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_instance_opens_on_postgresql_and_redis(
    servers_of_a_hospital: Stack, orthanc: Orthanc, protocol: str
) -> None:
    studies = orthanc.dataset.group(*VARIED)

    result = servers_of_a_hospital.open(launch_of(studies, protocol))

    assert_has_all_of(result, studies, orthanc.dataset)


@pytest.mark.parametrize("version", [(4, 5, 0), (4, 6, 6), (4, 7, 0), (4, 7, 2)])
def test_study_opens_in_every_version_of_weasis(
    hub: Stack, orthanc: Orthanc, version: tuple[int, ...]
) -> None:
    study = orthanc.dataset.study("mr")

    result = hub.open(launch_of([study], "dimse"), version=version)

    assert_has_all_of(result, [study], orthanc.dataset)


@pytest.mark.parametrize(
    ("patient_id", "keys"),
    [
        ("DEMO-1", {"ct", "ct-prior", "cr"}),
        ("SHARED-ID^^^HOSPITAL-A", {"issuer-a"}),
        ("XML-<&>\"'", {"xml"}),
        ("QUOTE/#%20+&=; é", {"quote"}),
        ("EMPTY", {"empty"}),
    ],
)
def test_patient_opens_with_all_studies_and_no_other(
    hub: Stack, orthanc: Orthanc, patient_id: str, keys: set[str]
) -> None:
    result = hub.open({"patientID": patient_id, "archive": "dimse"})

    studies = [orthanc.dataset.study(key) for key in keys]
    assert_has_all_of(result, studies, orthanc.dataset)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_accession_number_opens_all_its_studies(
    hub: Stack, orthanc: Orthanc, protocol: str
) -> None:
    result = hub.open({"accessionNumber": "TWICE", "archive": protocol})

    studies = [orthanc.dataset.study(key) for key in ("accession-1", "accession-2")]
    assert_has_all_of(result, studies, orthanc.dataset)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_manifest_has_the_texts_of_every_character_set(
    hub: Stack, orthanc: Orthanc, protocol: str
) -> None:
    studies = orthanc.dataset.group("charsets", "edges")
    uri = hub.launch(launch_of(studies, protocol))
    client = WeasisClient(fetch_images=False)

    result = client.open(uri)

    named = {
        uid: (
            patient.attributes.get("PatientID", ""),
            patient.attributes["PatientName"],
        )
        for patient in result.patients.values()
        for uid in patient.studies
    }
    assert named == {
        study.study_instance_uid: (study.patient_id, study.patient_name)
        for study in studies
    }


def test_program_of_the_first_tour_downloads_the_image(
    stack: Stack, embedded_archive: EmbeddedArchive, tmp_path, capsys
) -> None:
    stack.add_dimse_archive("demo", port=embedded_archive.port)
    uri = stack.launch({"patientID": "1CT1", "archive": "demo"})

    status = weasis_client.main([uri, "--save", str(tmp_path)])

    assert status == 0
    assert "1 of 1 images" in capsys.readouterr().out
    assert [dcmread(path).PatientID for path in tmp_path.iterdir()] == ["1CT1"]


# Archives that do not answer


def test_stopped_archive_does_not_hide_the_other(hub: Stack, orthanc: Orthanc) -> None:
    hub.add_dimse_archive("stopped", port=free_port(), name="Old PACS")
    study = orthanc.dataset.study("cr")

    result = hub.open([*launch_of([study], "dimse"), ("archive", "stopped")])

    assert result.downloaded.keys() == study.sop_instance_uids
    [message] = result.messages
    assert message.severity == "ERROR"
    assert "Old PACS" in message.title + message.description


def test_silent_archive_does_not_hide_the_other(
    hub: Stack, orthanc: Orthanc, dicom_files: DicomFiles
) -> None:
    study = orthanc.dataset.study("cr")
    with Slow(dicom_files.paths([study])) as silent:
        hub.add_dimse_archive(
            "silent", port=silent.port, name="Sleepy PACS", answer_timeout=1
        )
        result = hub.open([*launch_of([study], "dimse"), ("archive", "silent")])

    assert result.downloaded.keys() == study.sop_instance_uids
    assert "Sleepy PACS" in result.messages[0].title


def test_stopped_archives_are_named_before_the_deadline(hub: Stack) -> None:
    hub.add_dimse_archive("stopped", port=free_port(), name="Old PACS")
    hub.add_dicomweb_archive(
        "gone", url=f"http://127.0.0.1:{free_port()}/rs", name="Web PACS"
    )

    result = hub.open([("patientID", "1"), ("archive", "stopped"), ("archive", "gone")])

    told = " ".join(message.title for message in result.messages)
    assert "Old PACS" in told
    assert "Web PACS" in told
    assert result.patients == {}
    assert result.dialogs == []
    assert all(request.seconds < 25 for request in result.requests)


def test_orthanc_with_credentials_serves_through_the_gateway(
    hub: Stack, dicom_files: DicomFiles, tmp_path
) -> None:
    from tests.orthanc import start_orthanc

    needs("orthanc")
    study = dicom_files.study("cr")
    with start_orthanc(tmp_path, dicom_files, auth=("viewer", "s3cret")) as locked:
        locked.upload(dicom_files.paths([study]))
        for slug, password in (("locked", "s3cret"), ("mistaken", "wrong")):
            hub.add_dicomweb_archive(
                slug,
                url=locked.dicomweb_url,
                authentication="basic",
                username="viewer",
                password=password,
            )
        right = hub.open(launch_of([study], "locked"))
        wrong = hub.open(launch_of([study], "mistaken"))

    assert_has_all_of(right, [study], dicom_files)
    assert wrong.patients == {}
    assert "mistaken" in wrong.messages[0].title


def test_weasis_asks_the_hub_for_two_archives_by_a_template(
    hub: Stack, orthanc: Orthanc, dicom_files: DicomFiles, tmp_path
) -> None:
    """While they are asked themselves; what goes wrong with a third one is told."""
    from tests.orthanc import start_orthanc

    needs("orthanc")
    cr, ct = dicom_files.study("cr"), dicom_files.study("ct")
    hub.console.run(
        "LaunchTemplate.objects.get_or_create(name='Rs', slug='rs', mode='dicom_rs')"
    )
    hub.add_dicomweb_archive(
        "gone", url=f"http://127.0.0.1:{free_port()}/rs", name="Web PACS"
    )
    with start_orthanc(tmp_path, dicom_files, auth=("viewer", "s3cret")) as locked:
        locked.upload(dicom_files.paths([cr]))
        hub.add_dicomweb_archive(
            "locked",
            url=locked.dicomweb_url,
            authentication="basic",
            username="viewer",
            password="s3cret",
        )
        uri = hub.launch(
            [
                *launch_of([cr], "locked"),
                *launch_of([ct], "dicomweb"),
                ("archive", "gone"),
                ("template", "rs"),
            ]
        )
        result = WeasisClient().open(uri)

    commands = parse_uri(uri).commands
    assert [one.name for one in commands] == ["dicom:rs"] * 3 + ["dicom:get"]
    assert "s3cret" not in uri
    assert result.dialogs == []
    assert result.downloaded.keys() == cr.sop_instance_uids | ct.sop_instance_uids
    [message] = result.messages
    assert "Web PACS" in message.title


# Processes that fail


def test_build_of_a_killed_worker_is_finished_by_another(
    stack: Stack, dicom_files: DicomFiles
) -> None:
    study = dicom_files.study("cr")
    with Slow(dicom_files.paths([study])) as slow:
        stack.add_dimse_archive("slow", port=slow.port, answer_timeout=60)
        uri = stack.launch(launch_of([study], "slow"))
        assert slow.asked.wait(20)
        stack.workers[-1].kill()
        slow.proceed.set()
        stack.start_worker()

        result = WeasisClient().open(uri)

    assert_has_all_of(result, [study], dicom_files)


def test_build_outlives_a_restart_of_redis(
    stack: Stack, embedded_archive: EmbeddedArchive, dicom_files: DicomFiles
) -> None:
    """While one archive has answered, and Weasis and the worker wait for the other."""
    study = dicom_files.study("cr")
    with Slow(dicom_files.paths([study])) as slow, ThreadPoolExecutor() as pool:
        stack.add_dimse_archive("demo", port=embedded_archive.port)
        stack.add_dimse_archive("slow", port=slow.port, answer_timeout=60)
        query = [
            *launch_of([study], "slow"),
            ("archive", "demo"),
            ("patientID", "1CT1"),
        ]
        uri = stack.launch(query)
        opening = pool.submit(WeasisClient().open, uri)
        assert slow.asked.wait(20)
        stack.redis.stop()
        stack.redis.start()
        slow.proceed.set()
        result = opening.result(120)
    stack.wait_for_worker()

    assert result.failures == []
    assert result.messages == []
    assert study.sop_instance_uids < result.downloaded.keys()
    assert len(result.downloaded) == len(study.instances) + 1


def test_launch_outlives_the_loss_of_its_message(
    stack: Stack, embedded_archive: EmbeddedArchive
) -> None:
    """Redis and the worker are restarted before the worker has taken it."""
    stack.add_dimse_archive("demo", port=embedded_archive.port)
    stack.workers[-1].kill()
    uri = stack.launch({"patientID": "1CT1", "archive": "demo"})
    stack.redis.stop()
    stack.redis.start()
    stack.start_worker()

    result = WeasisClient().open(uri)

    assert result.failures == []
    assert result.messages == []
    assert len(result.downloaded) == 1


def test_broker_that_is_down_refuses_launches_and_stores_nothing(
    stack: Stack, embedded_archive: EmbeddedArchive
) -> None:
    stack.add_dimse_archive("demo", port=embedded_archive.port)
    query = {"patientID": "1CT1", "archive": "demo"}
    before = stack.count()
    stack.redis.stop()
    try:
        answer = stack.get("/weasis", query, Accept="application/json")
        after = stack.count()
    finally:
        stack.redis.start()
        stack.wait_for_worker()

    assert answer.status == 503
    assert "queue" in answer.json()["errors"][0]["message"]
    assert after == before
    assert stack.open(query).failures == []


def test_manifest_is_built_again_when_redis_lost_it(
    stack: Stack, embedded_archive: EmbeddedArchive
) -> None:
    stack.add_dimse_archive("demo", port=embedded_archive.port)
    uri = stack.launch({"patientID": "1CT1", "archive": "demo"})
    assert WeasisClient().open(uri).failures == []
    stack.redis.stop()
    stack.redis.start()
    stack.wait_for_worker()

    result = WeasisClient().open(uri)

    assert result.failures == []
    assert len(result.downloaded) == 1


# The manifest's address


def manifest_path(uri: str) -> str:
    [url] = parse_uri(uri).commands[-1].values("wado")
    return urlsplit(url).path


def test_manifest_is_repeatable(
    stack: Stack, embedded_archive: EmbeddedArchive
) -> None:
    stack.add_dimse_archive("demo", port=embedded_archive.port)
    path = manifest_path(stack.launch({"patientID": "1CT1", "archive": "demo"}))

    first, *others = [stack.get(path) for _ in range(4)]

    assert b"1CT1" in first.body
    # The first may have waited for the build, with white space after the declaration.
    squeezed = re.sub(rb"\?>\s+<", b"?><", first.body)
    assert {re.sub(rb"\?>\s+<", b"?><", one.body) for one in others} == {squeezed}


def test_manifest_addresses_are_long_random_and_without_patient_data(
    stack: Stack, embedded_archive: EmbeddedArchive
) -> None:
    stack.add_dimse_archive("demo", port=embedded_archive.port)
    query = {"patientID": "1CT1", "archive": "demo"}
    uris = [stack.launch(query) for _ in range(20)]

    tokens = {manifest_path(uri).rpartition("/")[2] for uri in uris}

    assert len(tokens) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43,}", token) for token in tokens)
    assert not any("1CT1" in uri for uri in uris)
    assert all(len(uri) < 2000 for uri in uris)


@pytest.mark.parametrize(
    "fields", [{"state": "revoked"}, {"expires": -1}], ids=["revoked", "expired"]
)
def test_launch_that_is_over_gives_a_message_and_no_image(
    stack: Stack, embedded_archive: EmbeddedArchive, fields: dict
) -> None:
    stack.add_dimse_archive("demo", port=embedded_archive.port)
    client = WeasisClient()
    uri = stack.launch({"patientID": "1CT1", "archive": "demo"})
    first = client.open(uri)
    image = next(one for one in first.requests if one.kind == "image")
    stack.update_launches(**fields)

    second = WeasisClient().open(uri)

    assert [message.title for message in second.messages] == ["This launch is over"]
    assert second.patients == {}

    def is_refused() -> bool:
        try:
            client.http.get_ok("image", image.url, authorization(image))
        except DownloadError as error:
            return bool(re.search(r"code 40[134]", str(error)))
        return False

    assert wait_until(is_refused)  # tokens are looked up once a second
    client.http.close()


def authorization(request: Request) -> dict[str, str]:
    return {"Authorization": request.headers["Authorization"]}


def test_gateway_wants_a_token_and_gives_only_the_launch(
    hub: Stack, orthanc: Orthanc
) -> None:
    opened, other = orthanc.dataset.study("cr"), orthanc.dataset.study("us")
    client = WeasisClient()
    result = client.open(hub.launch(launch_of([opened], "dimse")))
    image = next(one for one in result.requests if one.kind == "image")
    foreign = image.url
    for mine, theirs in (
        (opened.study_instance_uid, other.study_instance_uid),
        (
            result.series[0].series_instance_uid,
            other.series[0].series_instance_uid,
        ),
    ):
        foreign = foreign.replace(mine, theirs)
    uid = re.search(r"objectUID=([0-9.]+)", image.url)
    assert uid is not None
    foreign = foreign.replace(uid[1], other.instances[0].sop_instance_uid)

    for url, headers in ((image.url, {}), (foreign, authorization(image))):
        with pytest.raises(DownloadError, match=r"code 40[134]"):
            client.http.get_ok("image", url, headers)
    client.http.close()


def test_logs_hold_no_patient_data_and_no_token(hub: Stack, orthanc: Orthanc) -> None:
    study = orthanc.dataset.study("ct-prior")
    key = hub.create_api_client("RIS of the log test", "launch")
    query = {"patientID": "DEMO-1", "archive": "dimse"}
    uri = hub.launch(query, Authorization=f"Bearer {key}")
    result = WeasisClient().open(uri)
    sent = [
        request.headers["Authorization"].removeprefix("Bearer ")
        for request in result.requests
        if request.kind == "image"
    ]

    logs = hub.logs()

    secrets = {key, manifest_path(uri).rpartition("/")[2], *sent}
    people = {study.patient_id, "Lindqvist", "Astrid", study.accession_number}
    assert result.failures == []
    assert [word for word in secrets | people if word in logs] == []


# Many at once


async def fetch(
    url: str, on_first_byte: Callable[[], None] = lambda: None
) -> tuple[dict[str, str], bytes]:
    """GET on a connection of its own, which costs this process next to nothing."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    writer.write(f"GET {path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.read(1)
    on_first_byte()
    body += await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    status, *rest = head.decode("latin-1").splitlines()
    assert status.split()[1] in {"200", "302"}, (status, body)
    pairs = (line.partition(": ")[::2] for line in rest)
    return {name.lower(): value for name, value in pairs}, body


async def wait_together(
    urls: list[str], while_waiting: Callable[[], None]
) -> list[bytes]:
    """Fetch all at once; ``while_waiting`` runs when each has its first byte."""
    everyone = threading.Semaphore(0)
    waiting = [asyncio.create_task(fetch(url, everyone.release)) for url in urls]
    for _ in urls:
        assert await asyncio.to_thread(everyone.acquire, timeout=60)
    await asyncio.to_thread(while_waiting)
    return [body for _, body in await asyncio.gather(*waiting)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_launches_at_once_are_all_answered_right(
    stack: Stack, dicom_files: DicomFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = dicom_files.of_patient("MANY")
    pairs = list(islice(combinations(studies, 2), 200))
    usage: dict[str, tuple[int, int]] = {"at rest": stack.web_usage()}

    async def launch_all() -> list[str]:
        queries = (urlencode(launch_of(pair, "busy")) for pair in pairs)
        redirects = [fetch(f"{stack.url}/weasis?{query}") for query in queries]
        answers = await asyncio.gather(*redirects)
        return [manifest_path(headers["location"]) for headers, _ in answers]

    def measure_and_proceed() -> None:
        usage["all waiting"] = stack.web_usage()
        slow.proceed.set()

    with Slow(dicom_files.paths(studies), pause=100) as slow:
        stack.add_dimse_archive("busy", port=slow.port, answer_timeout=100)
        paths = run(launch_all())
        usage["all launched"] = stack.web_usage()
        urls = [stack.url + path for path in paths]
        bodies = run(wait_together(urls, measure_and_proceed))
    usage["all answered"] = stack.web_usage()
    with capsys.disabled():
        print("\nWeb process, 200 launches at once:")
        for moment, (threads, size) in usage.items():
            print(f"  {moment:12} {threads:4} threads {size:5} MB")

    assert len(set(paths)) == 200
    for pair, body in zip(pairs, bodies, strict=True):
        listed = re.findall(rb'SOPInstanceUID="([0-9.]+)"', body)
        expected = [uid.encode() for study in pair for uid in study.sop_instance_uids]
        assert sorted(listed) == sorted(expected)
    threads, size = (usage["all waiting"][n] - usage["all launched"][n] for n in (0, 1))
    assert threads <= 2
    assert size <= 40  # 200 kB for each waiting client
