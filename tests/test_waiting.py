"""Requests that wait for archives leave threads and database connections to others."""

from __future__ import annotations

import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from pynetdicom import evt

from archives.embedded import EmbeddedArchive
from archives.embedded.server import Results
from tests.dicom_files import DicomFiles
from tests.postgresql import PostgreSql
from tests.servers import Slow
from tests.stack import Answer, Stack, start_stack
from tests.weasis_client import WeasisClient

CONNECTIONS = 2
WAITING = 12
LOGIN = """
from django.test import Client
user, _ = User.objects.get_or_create(username="alice")
client = Client()
client.force_login(user)
result = "; ".join(f"{key}={one.value}" for key, one in client.cookies.items())
"""
SEARCH = """
from launcher.search import store
from launcher.search.criteria import SearchCriteria
criteria = SearchCriteria(patient_id=patient_id, archives=tuple(archives))
owner = User.objects.get(username="alice").pk
result = [store.save(criteria, preset="", owner=owner).id for _ in range(number)]
"""


class Counted(Slow):
    """Releases ``queries`` once for each query it was asked."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.queries = threading.Semaphore(0)

    def find(self, event: evt.Event) -> Results:
        self.queries.release()
        yield from super().find(event)


@pytest.fixture(scope="module")
def hub(
    tmp_path_factory: pytest.TempPathFactory,
    postgresql: PostgreSql,
    embedded_archive: EmbeddedArchive,
) -> Iterator[Stack]:
    """The stack on PostgreSQL, with next to no connections and one prompt archive."""
    with start_stack(
        tmp_path_factory.mktemp("waiting"),
        database_url=postgresql.create_database("waiting"),
        settings={"VIEWERHUB_DATABASE_POOL": str(CONNECTIONS)},
    ) as started:
        started.add_dimse_archive("prompt", port=embedded_archive.port)
        yield started


@pytest.fixture
def slow(hub: Stack, dicom_files: DicomFiles) -> Iterator[Counted]:
    """An archive that is asked, and silent until it may proceed."""
    with Counted(dicom_files.paths(dicom_files.of_patient("MANY"))) as archive:
        hub.add_dimse_archive(
            "slow", port=archive.port, answer_timeout=100, maximum_associations=WAITING
        )
        yield archive


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(WAITING) as executor:
        yield executor


def start_searches(
    hub: Stack, pool: ThreadPoolExecutor, cookies: str, path: str
) -> list[Future[Answer]]:
    searches = hub.console.run(SEARCH, patient_id="MANY", number=WAITING, archives=())
    return [
        pool.submit(hub.get, path.format(search), Cookie=cookies) for search in searches
    ]


@pytest.mark.parametrize("path", ["/search/r/{}/archives/slow/", "/search/r/{}/?wait"])
def test_searches_of_a_slow_archive_hold_up_nobody(
    hub: Stack, slow: Counted, pool: ThreadPoolExecutor, path: str
) -> None:
    cookies = hub.console.run(LOGIN)
    uri = hub.launch({"patientID": "1CT1", "archive": "prompt"})

    searches = start_searches(hub, pool, cookies, path)
    asked = all(slow.queries.acquire(timeout=60) for _ in searches)
    opened = WeasisClient().open(uri)
    page = hub.get("/", Cookie=cookies)
    were_waiting = not any(search.done() for search in searches)
    slow.proceed.set()

    assert asked
    assert were_waiting
    assert opened.failures == []
    assert len(opened.downloaded) == 1
    assert page.status == 200
    assert {search.result().status for search in searches} == {200}
    assert b"MANY" in searches[0].result().body


def test_searches_by_the_api_hold_up_nobody(
    hub: Stack, slow: Counted, pool: ThreadPoolExecutor
) -> None:
    key = hub.create_api_client("ris", "search", "launch")
    query = {"patient_id": "MANY", "archives": "slow"}
    bearer = f"Bearer {key}"

    searches = [
        pool.submit(hub.get, "/api/v1/studies", query, Authorization=bearer)
        for _ in range(WAITING)
    ]
    asked = all(slow.queries.acquire(timeout=60) for _ in searches)
    opened = hub.open({"patientID": "1CT1", "archive": "prompt"})
    were_waiting = not any(search.done() for search in searches)
    slow.proceed.set()

    assert asked
    assert were_waiting
    assert opened.failures == []
    assert {search.result().status for search in searches} == {200}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_waiting_keeps_no_thread(
    hub: Stack, slow: Counted, pool: ThreadPoolExecutor
) -> None:
    cookies = hub.console.run(LOGIN)
    everyone = threading.Semaphore(0)

    def manifest() -> bytes:
        address = f"{hub.url}/manifest?patientID=MANY&archive=slow"
        with urllib.request.urlopen(address, timeout=60) as reply:
            everyone.release()
            body: bytes = reply.read()
        return body

    at_rest, _ = hub.web_usage()
    searches = start_searches(hub, pool, cookies, "/search/r/{}/archives/slow/")
    for _ in searches:
        assert slow.queries.acquire(timeout=60)
    with ThreadPoolExecutor(WAITING) as others:
        manifests = [others.submit(manifest) for _ in range(WAITING)]
        for _ in manifests:
            assert everyone.acquire(timeout=60)
        waiting, _ = hub.web_usage()
        slow.proceed.set()

    assert waiting - at_rest <= 4
    assert all(b"SOPInstanceUID" in one.result() for one in manifests)
    assert {search.result().status for search in searches} == {200}
