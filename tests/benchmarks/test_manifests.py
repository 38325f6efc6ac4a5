"""From ``GET /weasis`` to the complete manifest, beside DCMTK and the raw answers.

Every figure is the median of 15 runs on a real Orthanc, all measured in turn in one run:
the whole way through web server, queue, worker and Redis on one side, and on the other
DCMTK's ``findscu`` doing the STUDY, SERIES and IMAGE queries one process after the other,
or a bare HTTP client reading the same answers and throwing them away.

    python -m pytest tests/benchmarks/test_manifests.py -s
"""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection

import pytest
from lxml import etree

from tests.benchmarks.measuring import medians, table
from tests.dicom_files import DicomFiles, StoredStudy, write_patients
from tests.dicom_plan import PlannedPatient, PlannedSeries, PlannedStudy, big, many
from tests.orthanc import Orthanc, start_orthanc
from tests.requirements import needs, program
from tests.stack import Stack, start_stack
from tests.weasis_uri import parse_uri

KEYS = {
    "STUDY": ("0010,0010", "0010,0021", "0010,0030", "0010,0040", "0008,0020"),
    "SERIES": ("0008,0060", "0008,103e", "0020,0011"),
    "IMAGE": ("0008,0016", "0020,0013"),
}


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    query: dict[str, str]
    studies: tuple[StoredStudy, ...]

    @property
    def instances(self) -> int:
        return sum(len(study.instances) for study in self.studies)


def plan() -> list[PlannedPatient]:
    def patient(key: str, series: int, instances: int) -> PlannedPatient:
        planned = tuple(PlannedSeries("MR", f"{n}", instances) for n in range(series))
        studies = (PlannedStudy(key, key, planned),)
        return PlannedPatient(key, key.upper(), f"{key}^Benchmark", studies)

    return [patient("small", 2, 5), patient("wide", 100, 10), *big(), *many()]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DicomFiles:
    return write_patients(tmp_path_factory.mktemp("dicom"), plan())


@pytest.fixture(scope="module")
def cases(files: DicomFiles) -> list[Case]:
    def one_study(name: str, key: str) -> Case:
        study = files.study(key)
        return Case(name, {"studyUID": study.study_instance_uid}, (study,))

    return [
        one_study("2 series x 5", "small"),
        one_study("10 series x 300", "big"),
        one_study("100 series x 10", "wide"),
        Case("patient, 40 studies", {"patientID": "MANY"}, files.group("many")),
    ]


@pytest.fixture(scope="module", params=[True, False], ids=["nodelay", "as shipped"])
def orthanc(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    files: DicomFiles,
) -> Iterator[Orthanc]:
    """Orthanc with and without ``TCP_NODELAY=1``, which DCMTK's side shares."""
    needs("orthanc")
    needs("dcmtk")
    folder = tmp_path_factory.mktemp("orthanc")
    with start_orthanc(folder, files, nodelay=request.param) as server:
        server.upload(files.paths())
        yield server


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with start_stack(tmp_path_factory.mktemp("stack")) as hub:
        yield hub


def launch_and_fetch(stack: Stack, case: Case, archive: str) -> None:
    """As Weasis 4.7.2 does; every instance must be there."""
    uri = stack.launch(case.query | {"archive": archive})
    (url,) = parse_uri(uri).commands[0].values("wado")
    headers = {
        "User-Agent": "Weasis/4.7.2 (Linux; 6; amd64; pf:default; rv:4.7.2) Java/26"
    }
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        body = response.read()
    listed = body.count(b"<Instance ")
    assert listed == case.instances, f"{listed} of {case.instances}"
    assert etree.fromstring(body) is not None


def findscu(orthanc: Orthanc, level: str, *keys: str, nodelay: str) -> None:
    command = [str(program("findscu")), "-S", "-aec", orthanc.ae_title]
    command += [orthanc.host, str(orthanc.dicom_port)]
    wanted = [*keys, *KEYS[level], f"0008,0052={level}"]
    for key in wanted:
        command += ["-k", key]
    environment = {**os.environ, "TCP_NODELAY": nodelay}
    subprocess.run(command, env=environment, check=True, capture_output=True)


def find_all(orthanc: Orthanc, case: Case, nodelay: str) -> None:
    """STUDY, SERIES per study and IMAGE per series, a process each."""
    key = "0010,0020" if "patientID" in case.query else "0020,000d"
    (value,) = case.query.values()
    findscu(orthanc, "STUDY", f"{key}={value}", "0020,000d", nodelay=nodelay)
    for study in case.studies:
        of_study = f"0020,000d={study.study_instance_uid}"
        findscu(orthanc, "SERIES", of_study, "0020,000e", nodelay=nodelay)
        for series in study.series:
            of_series = f"0020,000e={series.series_instance_uid}"
            findscu(orthanc, "IMAGE", of_study, of_series, "0008,0018", nodelay=nodelay)


def test_manifest_by_dimse_beside_findscu(stack, orthanc, cases, request):
    nodelay = "1" if request.node.callspec.params["orthanc"] else "0"
    stack.add_dimse_archive("dimse", port=orthanc.dicom_port, ae_title="ORTHANC")
    rows = [("case", "C-FINDs", "findscu ms", "launch to manifest ms", "ratio")]
    for case in cases:
        queries = 1 + sum(1 + len(study.series) for study in case.studies)
        measured = medians(
            {
                "hub": lambda case=case: launch_and_fetch(stack, case, "dimse"),
                "findscu": lambda case=case: find_all(orthanc, case, nodelay),
            },
            every={"findscu": 5 if queries > 50 else 2},
        )
        rows.append(
            (
                case.name,
                str(queries),
                f"{measured['findscu']:.0f}",
                f"{measured['hub']:.1f}",
                f"{measured['hub'] / measured['findscu']:.3f}",
            )
        )

    table(f"DIMSE, Orthanc with TCP_NODELAY={nodelay}", rows)


def drain(orthanc: Orthanc, path: str) -> int:
    """Read an answer to its end and throw it away; how many bytes it had."""
    connection = HTTPConnection(orthanc.host, orthanc.http_port, timeout=120)
    try:
        headers = {"Accept": "application/dicom+json"}
        connection.request("GET", f"/dicom-web{path}", headers=headers)
        with connection.getresponse() as response:
            assert response.status == 200
            return len(response.read())
    finally:
        connection.close()


def drain_series(orthanc: Orthanc, study: StoredStudy) -> None:
    """The metadata of each series, one after the other."""
    for series in study.series:
        uid = series.series_instance_uid
        drain(orthanc, f"/studies/{study.study_instance_uid}/series/{uid}/metadata")


@pytest.mark.parametrize("orthanc", [True], indirect=True, ids=["nodelay"])
def test_manifest_by_dicomweb_beside_the_raw_answers(stack, orthanc, cases):
    case = cases[1]
    study = case.studies[0]
    path = f"/studies/{study.study_instance_uid}"
    stack.add_dicomweb_archive("web", url=orthanc.dicomweb_url)
    measured = medians(
        {
            "hub": lambda: launch_and_fetch(stack, case, "web"),
            "instances": lambda: drain(orthanc, f"{path}/instances"),
            "metadata": lambda: drain(orthanc, f"{path}/metadata"),
            "series metadata": lambda: drain_series(orthanc, study),
        }
    )
    hub = measured.pop("hub")
    fastest = min(measured, key=lambda name: measured[name])
    rows = [("what", "ms", "hub / it")]
    rows += [
        (f"drain {n}", f"{ms:.0f}", f"{hub / ms:.2f}") for n, ms in measured.items()
    ]
    rows.append(("launch to manifest", f"{hub:.0f}", f"fastest: {fastest}"))

    table(f"DICOMweb, {case.instances:,} instances", rows)
