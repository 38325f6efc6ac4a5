"""A browser that leaves a search ends it at the archives that are still at it."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest
from pynetdicom import evt

from archives.embedded import EmbeddedArchive
from archives.embedded.server import Results
from tests.dicom_files import DicomFiles
from tests.dicomweb_server import Behaviour, DicomWebServer, serving
from tests.dicomweb_studies import make_study
from tests.servers import Slow
from tests.stack import Stack, start_stack
from tests.test_waiting import LOGIN, SEARCH

ANSWERS = """
from launcher.search import store
search = store.load(search_id, User.objects.get(username="alice").pk)
result = {slug: one.state for slug, one in store.answers(search, slugs).items()}
"""


class Counting(Slow):
    """Releases ``queries`` for each query it was asked, ``cancels`` for each cancelled."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.queries = threading.Semaphore(0)
        self.cancels = threading.Semaphore(0)

    def find(self, event: evt.Event) -> Results:
        self.queries.release()
        for status, answer in super().find(event):
            if status == 0xFE00:
                self.cancels.release()
            yield status, answer


class Silent(DicomWebServer):
    """Takes searches and says nothing until whoever asked is gone."""

    def __init__(self) -> None:
        super().__init__([make_study()], Behaviour())
        self.asked = threading.Event()
        self.left = threading.Event()
        self.answer_with("*", self._wait)

    async def _wait(self, writer: asyncio.StreamWriter) -> None:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:  # the server ends the answer when the connection is closed
            self.left.set()


@pytest.fixture(scope="module")
def hub(
    tmp_path_factory: pytest.TempPathFactory, embedded_archive: EmbeddedArchive
) -> Iterator[Stack]:
    with start_stack(tmp_path_factory.mktemp("leaving")) as started:
        started.add_dimse_archive("prompt", port=embedded_archive.port)
        yield started


@pytest.fixture
def slow(hub: Stack, dicom_files: DicomFiles) -> Iterator[Counting]:
    with Counting(dicom_files.paths(dicom_files.of_patient("MANY"))) as archive:
        hub.add_dimse_archive("slow", port=archive.port)
        yield archive


@pytest.fixture
def silent(hub: Stack) -> Iterator[Silent]:
    server = Silent()
    with serving(server):
        hub.add_dicomweb_archive("silent", url=server.url)
        yield server


@pytest.fixture(scope="module")
def cookies(hub: Stack) -> str:
    return str(hub.console.run(LOGIN))


def new_search(hub: Stack, *archives: str) -> str:
    """Of these archives, or of all."""
    (search_id,) = hub.console.run(
        SEARCH, patient_id="MANY", number=1, archives=archives
    )
    return str(search_id)


@contextmanager
def asking(hub: Stack, path: str, cookies: str) -> Iterator[None]:
    """A browser that has asked for this path; it leaves at the end."""
    connection = HTTPConnection(hub.url.removeprefix("http://"), timeout=60)
    connection.request("GET", path, headers={"Cookie": cookies, "HX-Request": "true"})
    try:
        yield
    finally:
        connection.close()


def states(hub: Stack, search_id: str, *slugs: str) -> dict[str, str]:
    states: dict[str, str] = hub.console.run(ANSWERS, search_id=search_id, slugs=slugs)
    return states


@pytest.mark.parametrize("path", ["archives/slow/", "?wait"])
def test_leaving_sends_a_cancel_to_a_dimse_archive(
    hub: Stack, slow: Counting, cookies: str, path: str
) -> None:
    search_id = new_search(hub)

    with asking(hub, f"/search/r/{search_id}/{path}", cookies):
        assert slow.asked.wait(60)
        assert not slow.cancelled.is_set()

    assert slow.cancelled.wait(60)
    assert "slow" not in states(hub, search_id, "slow")


@pytest.mark.parametrize("path", ["archives/silent/", "?wait"])
def test_leaving_closes_the_connection_to_a_dicomweb_archive(
    hub: Stack, silent: Silent, cookies: str, path: str
) -> None:
    search_id = new_search(hub)

    with asking(hub, f"/search/r/{search_id}/{path}", cookies):
        assert silent.asked.wait(60)
        assert not silent.left.is_set()

    assert silent.left.wait(60)
    assert "silent" not in states(hub, search_id, "silent")


@pytest.fixture
def alone(hub: Stack) -> Iterator[None]:
    """No archive but the test's: only then the patient's other studies are counted."""
    enable = "Archive.objects.filter(slug='prompt').update(is_enabled=is_enabled)"
    hub.console.run(enable, is_enabled=False)
    yield
    hub.console.run(enable, is_enabled=True)


@pytest.mark.usefixtures("alone")
def test_leaving_a_study_ends_all_that_was_asked_for_it(
    hub: Stack, slow: Counting, cookies: str
) -> None:
    # Of one archive alone: only then, the patient's other studies are counted.
    search_id = new_search(hub, "slow")
    slow.proceed.set()
    page = hub.get(f"/search/r/{search_id}/archives/slow/", Cookie=cookies)
    (path,) = set(re.findall(rb'href="(/search/r/[^"]+/studies/[^"]+)"', page.body)[:1])
    assert slow.queries.acquire(timeout=60)
    slow.proceed.clear()

    with asking(hub, path.decode(), cookies):  # series, and the patient's other studies
        assert all(slow.queries.acquire(timeout=60) for _ in range(2))
        assert not slow.cancelled.is_set()

    assert all(slow.cancels.acquire(timeout=60) for _ in range(2))


def test_studies_of_a_prompt_archive_are_there_while_another_is_asked(
    hub: Stack, slow: Counting, cookies: str
) -> None:
    search_id = new_search(hub)

    with asking(hub, f"/search/r/{search_id}/archives/slow/", cookies):
        assert slow.asked.wait(60)
        page = hub.get(f"/search/r/{search_id}/archives/prompt/", Cookie=cookies)
        was_silent = not slow.cancelled.is_set() and not states(hub, search_id, "slow")

    assert page.status == 200
    assert b'id="archive-prompt"' in page.body
    assert was_silent
