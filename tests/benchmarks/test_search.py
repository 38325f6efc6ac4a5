"""From the POST of a search to its first rows, and what the browser is sent for them.

Two real Orthanc archives, one asked by DIMSE and one by DICOMweb, with 2,000 studies each,
of which 500 are in both. All goes through the web server, in the order in which browsers
ask: the POST, the page it leads to, and one fragment per archive, both at once. Times are
medians of 15 runs, each a search of its own; sizes are those of the compressed answers.

    python -m pytest tests/benchmarks/test_search.py -s
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from time import perf_counter
from urllib.parse import urlencode

import pytest
from django.contrib.staticfiles import finders
from whitenoise.compress import Compressor

from tests.benchmarks.measuring import REPEATS, table
from tests.dicom_files import write_patients
from tests.dicom_plan import PlannedPatient, PlannedSeries, PlannedStudy
from tests.orthanc import start_orthanc
from tests.requirements import needs
from tests.stack import Stack, start_stack
from tests.test_waiting import LOGIN

STUDIES = 2000
IN_BOTH = 500
FIRST_ROWS_MS = 300
PAGE_BYTES = 60_000
TOKEN = "t" * 32  # the same in cookie and header is what a form sends
SEARCHES = {
    "a name of all studies": {"patient_name": "benchmark"},
    "a name of a tenth": {"patient_name": "benchmark, a"},
    "a month of one modality": {
        "study_date_from": "2024-03-01",
        "study_date_to": "2024-03-31",
        "modalities": "CR",
    },
    "one patient": {"patient_id": "BENCH-00007"},
}


def plan() -> list[PlannedPatient]:
    """Patients of two studies each, in two archives that share some of them."""
    modalities = ("CT", "MR", "CR", "US")
    return [
        PlannedPatient(
            "shared" if number < IN_BOTH // 2 else f"archive {number % 2}",
            f"BENCH-{number:05d}",
            f"Benchmark^{'ABCDEFGHIJ'[number % 10]}. {number}",
            tuple(
                PlannedStudy(
                    f"bench-{number}-{visit}",
                    f"{modalities[number % 4]} visit {visit}",
                    (PlannedSeries(modalities[number % 4], "Series"),),
                    f"{2022 + number % 4}{1 + number % 12:02d}{1 + number % 28:02d}",
                    f"{8 + number % 10:02d}{visit * 10:02d}00",
                    f"B{number:05d}{visit}",
                )
                for visit in range(2)
            ),
            "HOSPITAL-A",
        )
        for number in range((2 * STUDIES - IN_BOTH) // 2)
    ]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    needs("orthanc")
    files = write_patients(tmp_path_factory.mktemp("dicom"), plan())
    with ExitStack() as stack:
        started = stack.enter_context(start_stack(tmp_path_factory.mktemp("stack")))
        for number in range(2):
            folder = tmp_path_factory.mktemp(f"orthanc-{number}")
            orthanc = stack.enter_context(start_orthanc(folder, files))
            studies = files.group("shared", f"archive {number}")
            assert len(studies) == STUDIES
            orthanc.upload(files.paths(studies))
            if number:
                started.add_dicomweb_archive("web", url=orthanc.dicomweb_url)
            else:
                started.add_dimse_archive(
                    "dimse", port=orthanc.dicom_port, ae_title=orthanc.ae_title
                )
        yield started


@dataclass(frozen=True, slots=True)
class Sent:
    """An answer, and how many bytes of body the web server sent for it."""

    text: str
    size: int
    location: str


class Browser:
    """Asks as browsers do: over two connections, and for compressed answers."""

    def __init__(self, hub: Stack) -> None:
        self._address = hub.url.removeprefix("http://")
        cookies = hub.console.run(LOGIN)
        self._headers = {
            "Cookie": f"{cookies}; viewerhub-csrf={TOKEN}",
            "X-CSRFToken": TOKEN,
            "Accept-Encoding": "gzip",
        }
        self._pool = ThreadPoolExecutor(2)
        self._connections = [self._connect() for _ in range(2)]

    def _connect(self) -> HTTPConnection:
        return HTTPConnection(self._address, timeout=60)

    def _ask(
        self, connection: HTTPConnection, method: str, path: str, body: str = ""
    ) -> Sent:
        headers = dict(self._headers)
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if "/archives/" in path:
            headers["HX-Request"] = "true"
        connection.request(method, path, body, headers)
        with connection.getresponse() as reply:
            content = reply.read()
            assert reply.status in {200, 302}, (reply.status, content)
            is_compressed = reply.headers["Content-Encoding"] == "gzip"
        text = zlib.decompress(content, 31) if is_compressed else content
        return Sent(text.decode(), len(content), reply.headers["Location"] or "")

    def get(self, path: str) -> Sent:
        return self._ask(self._connections[0], "GET", path)

    def search(self, fields: dict[str, str]) -> tuple[str, Sent]:
        """The address of the page of a new search, and the page."""
        for (
            connection
        ) in self._connections:  # the server ends those it has not heard of
            connection.close()
        posted = self._ask(self._connections[0], "POST", "/search/", urlencode(fields))
        return posted.location, self.get(posted.location)

    def fragments(self, page: Sent) -> list[Future[Sent]]:
        """What the page asks for when it is loaded."""
        paths = re.findall(r'hx-get="([^"]+)" hx-trigger="load"', page.text)
        assert len(paths) == 2
        return [
            self._pool.submit(self._ask, connection, "GET", unescape(path))
            for connection, path in zip(self._connections, paths, strict=True)
        ]

    def close(self) -> None:
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()


@pytest.fixture(scope="module")
def visitor(hub: Stack) -> Iterator[Browser]:
    started = Browser(hub)
    yield started
    started.close()


@dataclass(frozen=True, slots=True)
class Run:
    """Milliseconds since the POST, and what was sent."""

    first_rows: float
    all_rows: float
    page: Sent
    fragments: tuple[Sent, ...]


def search(visitor: Browser, fields: dict[str, str]) -> Run:
    started = perf_counter()
    _, page = visitor.search(fields)
    fragments = visitor.fragments(page)
    first = None
    for one in as_completed(fragments):
        if first is None and "data-study" in one.result().text:
            first = perf_counter()
    assert first is not None, "no study was found"
    ended = perf_counter()
    return Run(
        first_rows=(first - started) * 1000,
        all_rows=(ended - started) * 1000,
        page=page,
        fragments=tuple(one.result() for one in fragments),
    )


def judged(value: float, goal: float) -> tuple[str, str]:
    return f"{goal:,}", "met" if value <= goal else "MISSED"


def studies_in(run: Run) -> int:
    """How many studies are in the merged result, from the last fragment's heading."""
    totals = [
        int(number.replace(",", ""))
        for one in run.fragments
        for number in re.findall(r"([\d,]+) stud(?:y|ies)</h2>", one.text)
        + re.findall(r"of ([\d,]+) studies", one.text)
    ]
    return max(totals, default=0)


def test_first_rows_of_a_search_over_two_archives(visitor):
    rows = [("search", "studies", "first rows ms", "goal", "", "all rows ms")]
    for name, fields in SEARCHES.items():
        runs = [search(visitor, fields) for _ in range(REPEATS + 1)][1:]
        first = median(one.first_rows for one in runs)
        everything = median(one.all_rows for one in runs)
        rows.append(
            (
                name,
                f"{studies_in(runs[-1])}",
                f"{first:.0f}",
                *judged(first, FIRST_ROWS_MS),
                f"{everything:.0f}",
            )
        )

    table("From POST to rows, two Orthanc archives of 2,000 studies", rows)


def static_files(page: Sent) -> dict[str, int]:
    """What the page loads besides, by name, as the web server sends it in production."""
    compressor = Compressor()
    sizes = {}
    for name in re.findall(r'(?:src|href)="/static/([^"]+)"', page.text):
        path = finders.find(name)
        assert isinstance(path, str)
        content = Path(path).read_bytes()
        sizes[name] = len(compressor.compress_gzip(content))
    return sizes


def test_weight_of_the_results_page(visitor):
    run = search(visitor, next(iter(SEARCHES.values())))
    path, _ = visitor.search(next(iter(SEARCHES.values())))
    whole = visitor.get(f"{path}?wait")
    static = static_files(whole)
    rows = [("what", "bytes", "goal", "")]
    rows += [(name, f"{size:,}", "", "") for name, size in static.items()]
    rows.append(("page with 50 rows", f"{whole.size:,}", "", ""))
    rows.append(("page before the answers", f"{run.page.size:,}", "", ""))
    rows += [
        (f"fragment {number}", f"{one.size:,}", "", "")
        for number, one in enumerate(run.fragments, 1)
    ]
    for name, size in (
        ("whole page with 50 rows", whole.size),
        (
            "whole page with its fragments",
            run.page.size + sum(one.size for one in run.fragments),
        ),
    ):
        total = size + sum(static.values())
        rows.append((name, f"{total:,}", *judged(total, PAGE_BYTES)))

    table("What a browser is sent for a search, compressed", rows)
