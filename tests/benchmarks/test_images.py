"""Images through the gateway, beside what the archive gives without it.

All figures are medians taken in turn in one run, on a real Orthanc with
``TCP_NODELAY=1``: bytes per second of the gateway beside direct WADO-URI and beside DCMTK's
``getscu``, each with its goal, and the memory of the web process while 2 GB flow.

    python -m pytest tests/benchmarks/test_images.py -s
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelGet,
)

from archives.clients.base import DimseEndpoint
from archives.clients.dimse import DimseClient
from archives.clients.image_cache import ImageCache
from archives.clients.pool import close_connections
from archives.embedded.server import send_without_delay
from archives.entities import InstanceIdentifier
from tests.benchmarks.measuring import table
from tests.dicom_files import DicomFiles, StoredStudy, write_patients
from tests.dicom_plan import PlannedPatient, PlannedSeries, PlannedStudy
from tests.orthanc import Orthanc, start_orthanc
from tests.requirements import needs, program
from tests.stack import Stack, start_stack
from tests.weasis_client import open_uri

REPEATS = 5
CLIENTS = 12
ALONE = 40  # images that are retrieved by an association each
FLOW = 2 << 30
# The gateway's bytes per second over those of something else, at least
OF_DIRECT = 0.8
OF_GETSCU = 0.5
OF_ASSOCIATION_PER_IMAGE = 5.0
ALONE_BY_US = "association per image"
ALONE_BY_PYNETDICOM = "association per image, pynetdicom"


def plan() -> list[PlannedPatient]:
    def patient(key: str, instances: int, size: int) -> PlannedPatient:
        series = PlannedSeries("CT", key, instances, size=size)
        study = PlannedStudy(key, key, (series,))
        return PlannedPatient(key, key.upper(), f"{key}^Benchmark", (study,))

    return [patient("large", 500, 512), patient("small", 300, 8)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DicomFiles:
    return write_patients(tmp_path_factory.mktemp("dicom"), plan())


@pytest.fixture(scope="module")
def orthanc(
    tmp_path_factory: pytest.TempPathFactory, files: DicomFiles
) -> Iterator[Orthanc]:
    needs("orthanc")
    needs("dcmtk")
    with start_orthanc(tmp_path_factory.mktemp("orthanc"), files) as server:
        server.upload(files.paths())
        yield server


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc) -> Iterator[Stack]:
    with start_stack(tmp_path_factory.mktemp("stack")) as stack:
        stack.add_dimse_archive("dimse", port=orthanc.dicom_port, ae_title="ORTHANC")
        stack.add_dicomweb_archive(
            "web", url=orthanc.dicomweb_url, wado_uri_url=orthanc.wado_uri_url
        )
        yield stack


@dataclass(frozen=True, slots=True)
class Source:
    """Where a client gets the images of a study by WADO-URI."""

    url: str
    headers: dict[str, str]

    def load(self, study: StoredStudy) -> int:
        """All images, 12 at a time; their bytes."""
        waiting = iter(study.instances)
        lock = threading.Lock()
        series = study.series[0].series_instance_uid

        def client() -> int:
            address = urlsplit(self.url)
            connection = HTTPConnection(str(address.hostname), address.port, timeout=60)
            total = 0
            while True:
                with lock:
                    instance = next(waiting, None)
                if instance is None:
                    connection.close()
                    return total
                query = {
                    "requestType": "WADO",
                    "studyUID": study.study_instance_uid,
                    "seriesUID": series,
                    "objectUID": instance.sop_instance_uid,
                    "contentType": "application/dicom",
                }
                path = f"{address.path}?{urlencode(query, safe='/')}"
                total += self._get(connection, path)

        with ThreadPoolExecutor(CLIENTS) as pool:
            return sum(
                future.result()
                for future in [pool.submit(client) for _ in range(CLIENTS)]
            )

    def _get(self, connection: HTTPConnection, path: str) -> int:
        try:
            connection.request("GET", path, headers=self.headers)
            answer = connection.getresponse()
        except (RemoteDisconnected, ConnectionError):  # Orthanc ends kept connections
            connection.close()
            connection.request("GET", path, headers=self.headers)
            answer = connection.getresponse()
        with answer:
            assert answer.status == 200
            return len(answer.read())


def gateway(hub: Stack, study: StoredStudy, archive: str) -> Source:
    """The gateway as the launch of a study opens it; the cache of images is empty."""
    query = {"studyUID": study.study_instance_uid, "archive": archive}
    result = open_uri(hub.launch(query), fetch_images=False)
    assert result.failures == []
    wado = result.series[0]
    headers = {**dict(wado.headers), "Accept-Encoding": "identity"}
    return Source(f"{hub.url}/gateway/{archive}/wado", headers)


def empty(cache: Path) -> None:
    """Empty a cache of images, but leave the inodes in use.

    ext4 without a journal passes over those that were freed in the last minute, whenever
    a file is created: each repetition would be slower than the one before.
    """
    if cache.is_dir():
        emptied = cache.rename(cache.with_name(f"{cache.name}-{time.monotonic_ns()}"))
        for path in emptied.iterdir():
            os.truncate(path, 0)


def forget_images(hub: Stack) -> None:
    empty(hub.folder / "data" / "images")


def direct(orthanc: Orthanc) -> Source:
    return Source(orthanc.wado_uri_url, {"Accept-Encoding": "identity"})


def size_of(files: DicomFiles, study: StoredStudy) -> int:
    return sum(path.stat().st_size for path in files.paths([study]))


def getscu(orthanc: Orthanc, study: StoredStudy, folder: Path) -> None:
    command = [str(program("getscu")), "-S", "-aec", orthanc.ae_title]
    command += ["-k", "0008,0052=SERIES", "-od", str(folder)]
    command += ["-k", f"0020,000d={study.study_instance_uid}"]
    command += ["-k", f"0020,000e={study.series[0].series_instance_uid}"]
    command += [orthanc.host, str(orthanc.dicom_port)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True)


def endpoint_of(orthanc: Orthanc, **options: Any) -> DimseEndpoint:
    return DimseEndpoint(
        name="Orthanc",
        host=orthanc.host,
        port=orthanc.dicom_port,
        called_ae_title=orthanc.ae_title,
        **options,
    )


async def retrieve(endpoint: DimseEndpoint, study: StoredStudy, number: int) -> None:
    identifier = InstanceIdentifier(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=study.series[0].series_instance_uid,
        sop_instance_uid=study.instances[number].sop_instance_uid,
    )
    async with DimseClient(endpoint).retrieve_instance(identifier) as stream:
        async for _ in stream:
            pass


def ahead(orthanc: Orthanc, study: StoredStudy, folder: Path) -> None:
    """The client behind the gateway by itself, asked image by image."""
    cache = ImageCache(directory=folder / "ahead")
    endpoint = endpoint_of(orthanc, image_cache=cache)
    numbers = iter(range(len(study.instances)))

    async def viewer() -> None:
        for number in numbers:
            await retrieve(endpoint, study, number)

    async def main() -> None:
        await asyncio.gather(*(viewer() for _ in range(CLIENTS)))
        await close_connections()

    asyncio.run(main())
    empty(cache.directory)


def alone(orthanc: Orthanc, study: StoredStudy) -> None:
    """An association per image, one after the other, as simple gateways do."""

    async def main() -> None:
        for number in range(ALONE):
            await retrieve(endpoint_of(orthanc), study, number)
            await close_connections()

    asyncio.run(main())


def alone_by_pynetdicom(orthanc: Orthanc, study: StoredStudy) -> None:
    """The same with the library that simple gateways are made of."""
    entity = AE(ae_title="BENCHMARK")
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    entity.add_requested_context(CTImageStorage)
    role = build_role(CTImageStorage, scp_role=True)
    received: list[bytes] = []

    def keep(event: evt.Event) -> int:
        received.append(event.encoded_dataset())
        return 0x0000

    handlers = [(evt.EVT_C_STORE, keep), (evt.EVT_CONN_OPEN, send_without_delay)]
    for instance in study.instances[:ALONE]:
        wanted = Dataset()
        wanted.QueryRetrieveLevel = "IMAGE"
        wanted.StudyInstanceUID = study.study_instance_uid
        wanted.SeriesInstanceUID = study.series[0].series_instance_uid
        wanted.SOPInstanceUID = instance.sop_instance_uid
        association = entity.associate(
            orthanc.host,
            orthanc.dicom_port,
            ae_title=orthanc.ae_title,
            ext_neg=[role],
            evt_handlers=handlers,
        )
        root = StudyRootQueryRetrieveInformationModelGet
        for _ in association.send_c_get(wanted, root):
            pass
        association.release()
    assert len(received) == ALONE


def rates(
    measures: dict[str, Callable[[], object]], *, forget: Callable[[], None]
) -> dict[str, float]:
    """Median seconds of each, measured in turn; ``forget`` comes first each time."""
    times: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(REPEATS):
        forget()
        for name, measure in measures.items():
            started = time.perf_counter()
            measure()
            times[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in times.items()}


def row(
    name: str,
    study: tuple[int, int],
    seconds: float,
    speed: float | None = None,
    goal: float | None = None,
) -> tuple[str, ...]:
    """``study`` is its size and count; ``speed`` is the gateway's over this one's."""
    size, count = study
    judgement = "" if goal is None else "met" if speed and speed >= goal else "MISSED"
    return (
        name,
        f"{size / seconds / 1e6:.1f}",
        f"{count / seconds:.0f}",
        "" if speed is None else f"{speed:.2f}",
        "" if goal is None else f"{goal:.1f}",
        judgement,
    )


HEAD = ("what", "MB/s", "images/s", "gateway / it", "goal", "")


@pytest.mark.parametrize("key", ["large", "small"])
def test_series_by_dimse_beside_getscu(hub, orthanc, files, tmp_path, key):
    study = files.study(key)
    count = len(study.instances)
    source = gateway(hub, study, "dimse")
    seconds = rates(
        {
            "gateway": lambda: source.load(study),
            "gateway, from its cache": lambda: source.load(study),
            "client, without HTTP": lambda: ahead(orthanc, study, tmp_path),
            "getscu": lambda: getscu(orthanc, study, tmp_path),
            ALONE_BY_US: lambda: alone(orthanc, study),
            ALONE_BY_PYNETDICOM: lambda: alone_by_pynetdicom(orthanc, study),
        },
        forget=lambda: forget_images(hub),
    )
    for name in (ALONE_BY_US, ALONE_BY_PYNETDICOM):
        seconds[name] *= count / ALONE
    goals = {"getscu": OF_GETSCU, ALONE_BY_PYNETDICOM: OF_ASSOCIATION_PER_IMAGE}
    rows = [HEAD]
    for name, value in seconds.items():
        speed = value / seconds["gateway"]
        of = size_of(files, study), count
        rows.append(row(name, of, value, speed, goals.get(name)))

    table(f"A series of {count} {key} images by DIMSE, {CLIENTS} clients", rows)


@pytest.mark.parametrize("key", ["large", "small"])
def test_gateway_beside_direct_wado(hub, orthanc, files, key):
    study = files.study(key)
    of = size_of(files, study), len(study.instances)
    source, archive = gateway(hub, study, "web"), direct(orthanc)
    seconds = rates(
        {
            "gateway": lambda: source.load(study),
            "gateway, from its cache": lambda: source.load(study),
            "direct": lambda: archive.load(study),
        },
        forget=lambda: forget_images(hub),
    )
    rows = [HEAD]
    for name, value in seconds.items():
        goal = OF_DIRECT if name == "direct" else None
        rows.append(row(name, of, value, value / seconds["gateway"], goal))

    table(f"{of[1]} {key} images by WADO-URI, {CLIENTS} clients", rows)


def test_memory_while_much_flows(hub, files):
    study = files.study("large")
    rows = [("archive", "GB", "MB of memory before", "after each time")]
    for archive in ("web", "dimse"):
        source = gateway(hub, study, archive)
        _, before = hub.web_usage()
        flowed, usage = 0, []
        while flowed < FLOW:
            forget_images(hub)
            flowed += source.load(study)
            usage.append(str(hub.web_usage()[1]))
        rows.append((archive, f"{flowed / 1e9:.1f}", str(before), " ".join(usage)))

    table("Memory of the web process", rows)
