"""From ``GET /weasis`` to the complete manifest, beside DCMTK and the raw answers.

Every figure is the median of 15 runs on a real Orthanc, all measured in turn in one run:
the whole way through web server, queue, worker and Redis on one side, and on the other
DCMTK's ``findscu`` doing the STUDY, SERIES and IMAGE queries one process after the other,
and a bare socket or HTTP client reading the answers and throwing them away. A goal is the
ratio to ``findscu``, or to the fastest of the raw answers, that may not be exceeded.

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
from pydicom.datadict import tag_for_keyword

from archives.clients import matches as tags
from archives.clients.base import DimseEndpoint
from archives.clients.dimse import keys
from tests.benchmarks import raw_find
from tests.benchmarks.measuring import medians, table
from tests.dicom_files import DicomFiles, StoredStudy, write_patients
from tests.dicom_plan import PlannedPatient, PlannedSeries, PlannedStudy, big, many
from tests.orthanc import Orthanc, start_orthanc
from tests.requirements import needs, program
from tests.stack import Stack, start_stack
from tests.weasis_uri import parse_uri


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    query: dict[str, str]
    studies: tuple[StoredStudy, ...]
    # hub / findscu, with TCP_NODELAY=1 in the archive's environment and without
    goals: tuple[float, float]

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
    def one_study(name: str, key: str, *goals: float) -> Case:
        study = files.study(key)
        query = {"studyUID": study.study_instance_uid}
        nodelay, as_shipped = goals
        return Case(name, query, (study,), (nodelay, as_shipped))

    patient = {"patientID": "MANY"}
    return [
        one_study("2 series x 5", "small", 0.25, 0.15),
        one_study("10 series x 300", "big", 0.5, 0.25),
        one_study("100 series x 10", "wide", 0.08, 0.03),
        Case("patient, 40 studies", patient, files.group("many"), (0.08, 0.03)),
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


def findscu(
    orthanc: Orthanc, level: str, asked: keys.Keys, *, nodelay: str, **matched: str
) -> None:
    """One query by DCMTK, with the keys that the hub asks for."""
    command = [str(program("findscu")), "-S", "-aec", orthanc.ae_title]
    command += [orthanc.host, str(orthanc.dicom_port), "-k", f"0008,0052={level}"]
    named = {tag_for_keyword(keyword): value for keyword, value in matched.items()}
    for tag, value in (asked | named).items():
        command += ["-k", f"{tag >> 16:04x},{tag & 0xFFFF:04x}={value}"]
    environment = {**os.environ, "TCP_NODELAY": nodelay}
    subprocess.run(command, env=environment, check=True, capture_output=True)


def find_all(orthanc: Orthanc, case: Case, nodelay: str) -> None:
    """STUDY, SERIES per study and IMAGE per series, a process each."""
    findscu(orthanc, "STUDY", keys.STUDY_KEYS | dict([found_by(case)]), nodelay=nodelay)
    for study in case.studies:
        parent = {"StudyInstanceUID": study.study_instance_uid}
        findscu(orthanc, "SERIES", keys.SERIES_KEYS, nodelay=nodelay, **parent)
        for series in study.series:
            parents = parent | {"SeriesInstanceUID": series.series_instance_uid}
            asked = keys.MANIFEST_INSTANCE_KEYS
            findscu(orthanc, "IMAGE", asked, nodelay=nodelay, **parents)


def drain_dimse(orthanc: Orthanc, case: Case) -> None:
    """STUDY, SERIES per study and one IMAGE query per study, on one association."""
    endpoint = DimseEndpoint(
        name="Orthanc",
        host=orthanc.host,
        port=orthanc.dicom_port,
        called_ae_title=orthanc.ae_title,
    )
    queries = [("STUDY", keys.STUDY_KEYS | dict([found_by(case)]))]
    for study in case.studies:
        of_study = {tags.STUDY_INSTANCE_UID: study.study_instance_uid}
        queries.append(("SERIES", keys.SERIES_KEYS | of_study))
        queries.append(("IMAGE", keys.MANIFEST_INSTANCE_KEYS | of_study))
    series = sum(len(study.series) for study in case.studies)
    answers = raw_find.drain(endpoint, queries)
    assert answers == len(case.studies) + series + case.instances


def found_by(case: Case) -> tuple[int, str]:
    is_patient = "patientID" in case.query
    (value,) = case.query.values()
    return (tags.PATIENT_ID if is_patient else tags.STUDY_INSTANCE_UID), value


def judged(ratio: float, goal: float) -> tuple[str, str, str]:
    return f"{ratio:.3f}", f"{goal:.2f}", "met" if ratio <= goal else "MISSED"


def test_manifest_by_dimse_beside_findscu(stack, orthanc, cases, request):
    has_nodelay = request.node.callspec.params["orthanc"]
    nodelay = "1" if has_nodelay else "0"
    stack.add_dimse_archive("dimse", port=orthanc.dicom_port, ae_title="ORTHANC")
    head = ("case", "C-FINDs", "findscu ms", "raw ms", "launch to manifest ms")
    rows = [(*head, "hub / findscu", "goal", "")]
    for case in cases:
        queries = 1 + sum(1 + len(study.series) for study in case.studies)
        measured = medians(
            {
                "hub": lambda case=case: launch_and_fetch(stack, case, "dimse"),
                "raw": lambda case=case: drain_dimse(orthanc, case),
                "findscu": lambda case=case: find_all(orthanc, case, nodelay),
            }
        )
        ratio = measured["hub"] / measured["findscu"]
        rows.append(
            (
                case.name,
                str(queries),
                f"{measured['findscu']:.0f}",
                f"{measured['raw']:.1f}",
                f"{measured['hub']:.1f}",
                *judged(ratio, case.goals[0 if has_nodelay else 1]),
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


def drain_each(orthanc: Orthanc, paths: list[str]) -> None:
    for path in paths:
        drain(orthanc, path)


def resources(case: Case) -> dict[str, list[str]]:
    """The resources that have what a manifest needs, each with all its addresses."""
    studies = [f"/studies/{study.study_instance_uid}" for study in case.studies]
    series = [
        f"/studies/{study.study_instance_uid}/series/{one.series_instance_uid}"
        for study in case.studies
        for one in study.series
    ]
    return {
        "instances": [f"{study}/instances" for study in studies],
        "metadata": [f"{study}/metadata" for study in studies],
        "series metadata": [f"{one}/metadata" for one in series],
    }


@pytest.mark.parametrize("orthanc", [True], indirect=True, ids=["nodelay"])
@pytest.mark.parametrize(("number", "goal"), [(1, 1.25), (3, None)])
def test_manifest_by_dicomweb_beside_the_raw_answers(
    stack, orthanc, cases, number, goal
):
    case = cases[number]
    stack.add_dicomweb_archive("web", url=orthanc.dicomweb_url)
    measured = medians(
        {"hub": lambda: launch_and_fetch(stack, case, "web")}
        | {
            name: lambda paths=paths: drain_each(orthanc, paths)
            for name, paths in resources(case).items()
        }
    )
    hub = measured.pop("hub")
    fastest = min(measured, key=lambda name: measured[name])
    rows = [("what", "ms", "hub / it", "goal", "")]
    for name, ms in measured.items():
        is_fastest = goal is not None and name == fastest
        judgement = (
            judged(hub / ms, goal) if is_fastest else (f"{hub / ms:.3f}", "", "")
        )
        rows.append((f"drain {name}", f"{ms:.0f}", *judgement))
    rows.append(("launch to manifest", f"{hub:.0f}", "", "", ""))

    table(f"DICOMweb, {case.name}: {case.instances:,} instances", rows)
