"""What users come for, from beginning to end, on a hospital with several archives.

Two are Orthanc, one by DIMSE and one by DICOMweb, which hold different studies and one in
common; beside them, one is down and one is slow. The viewer is ``tests.weasis_client``,
which gets the address that the page handed to the browser, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest
from django.utils.formats import date_format
from django.utils.translation import gettext, override
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import watch
from tests.dicom_files import DicomFiles, StoredStudy, write_patients
from tests.dicom_plan import PlannedPatient, PlannedSeries, PlannedStudy
from tests.environment import free_port
from tests.orthanc import Orthanc, start_orthanc
from tests.requirements import needs
from tests.servers import Slow
from tests.stack import Stack, start_stack
from tests.weasis_client import WeasisClient

TODAY = date.today()
PHONE = {"width": 360, "height": 740}
# How somebody may come: each has to get as far as the others.
WAYS: dict[str, dict[str, Any]] = {
    "mouse": {},
    "keyboard": {},
    "no script": {"java_script_enabled": False},
    "phone": {"viewport": PHONE},
    "French": {"locale": "fr-FR"},
    "dark": {"color_scheme": "dark"},
}
LOGIN = """
from django.test import Client
client = Client()
client.force_login(User.objects.get(username=username))
result = {key: one.value for key, one in client.cookies.items()}
"""


def planned() -> list[PlannedPatient]:
    """Two patients: ``head`` is recent and has a prior study, ``knee`` is recent."""

    def study(
        key: str, description: str, number: str, days: int, *series: PlannedSeries
    ) -> PlannedStudy:
        day = f"{TODAY - timedelta(days=days):%Y%m%d}"
        return PlannedStudy(key, description, series, day, "101500", number)

    def images(modality: str, description: str, count: int) -> PlannedSeries:
        return PlannedSeries(modality, description, count, size=64)

    return [
        PlannedPatient(
            "tasks",
            "T-1",
            "Lindqvist^Astrid",
            (
                study(
                    "head",
                    "CT Head",
                    "T1001",
                    3,
                    images("CT", "Brain 1.0", 6),
                    images("CT", "Bone 1.0", 4),
                ),
                study("prior", "CT Head", "T0877", 700, images("CT", "Brain 5.0", 5)),
            ),
            "HOSPITAL-A",
            "19610214",
            "F",
        ),
        PlannedPatient(
            "tasks",
            "T-2",
            "Moreau^Bastien",
            (
                study("knee", "MR Knee", "T1010", 10, images("MR", "pd sag", 3)),
                study("foot", "MR Foot", "T0500", 400, images("MR", "t1 cor", 2)),
            ),
            "HOSPITAL-A",
            "19800630",
            "M",
        ),
    ]


@dataclass(frozen=True)
class Hospital:
    """``north`` is asked by DIMSE, ``south`` by DICOMweb; both hold ``head``."""

    files: DicomFiles
    north: Orthanc
    south: Orthanc
    slow: Slow


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    needs("orthanc", "chromium")
    files = write_patients(tmp_path_factory.mktemp("files"), planned())
    holdings = {"north": ("head", "knee"), "south": ("head", "prior", "foot")}
    with ExitStack() as stack:
        orthancs = {}
        for name, keys in holdings.items():
            started = start_orthanc(tmp_path_factory.mktemp(name), files)
            orthancs[name] = stack.enter_context(started)
            orthancs[name].upload(files.paths(map(files.study, keys)))
        foot = files.paths([files.study("foot")])
        slow = stack.enter_context(Slow(foot, pause=1.0))
        yield Hospital(files=files, slow=slow, **orthancs)


@pytest.fixture(scope="module")
def hub(
    tmp_path_factory: pytest.TempPathFactory, hospital: Hospital
) -> Iterator[Stack]:
    with start_stack(tmp_path_factory.mktemp("tasks")) as hub:
        north, south = hospital.north, hospital.south
        hub.add_dimse_archive(
            "north", name="North", port=north.dicom_port, ae_title=north.ae_title
        )
        hub.add_dicomweb_archive("south", name="South", url=south.dicomweb_url)
        hub.add_dimse_archive("down", name="Down", port=free_port())
        hub.add_dimse_archive("slow", name="Slow", port=hospital.slow.port)
        for name in ("alice", "admin"):
            hub.create_user(name, "not used", is_superuser=name == "admin")
        yield hub


@dataclass
class Visit:
    """A page of somebody who is logged in, and what it did."""

    page: Page
    way: str
    viewer: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def language(self) -> str:
        return "fr" if self.way == "French" else "en"

    def say(self, text: str) -> str:
        """How the page says it in the visitor's language."""
        with override(self.language):
            said = gettext(text)
        assert (said == text) == (self.language == "en"), f"not translated: {text}"
        return said

    @property
    def has_script(self) -> bool:
        return self.way != "no script"

    def search(self, text: str) -> None:
        """From the page before a search; its box has the focus."""
        if self.way == "keyboard":
            self.page.keyboard.type(text)
            self.page.keyboard.press("Enter")
        else:
            box = self.page.locator("[data-quick]")
            box.fill(text)
            self.page.locator("#search-form .quick .primary").click()
        self.page.wait_for_url(re.compile("/search/r/"))

    @property
    def studies(self) -> Locator:
        return self.page.locator("[data-study]:visible")

    def expand(self, row: Locator) -> Locator:
        """The series of a study."""
        if self.way == "keyboard":
            self.page.keyboard.press("j")
            self.page.keyboard.press("x")
        else:
            row.locator("[data-expand]").click()
        return (row if self.has_script else self.page).locator(".series")

    def open(self, row: Locator) -> str:
        """What the browser is handed by the button of a row."""
        with self.page.expect_event(
            "request", lambda request: request.url.startswith("weasis:")
        ):
            if self.way == "keyboard":
                self.page.keyboard.press("Enter")
            else:
                row.locator("[data-open]").click()
        return self.viewer[-1]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(
            self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        )


Enter = Callable[..., Visit]


@pytest.fixture
def enter(browser: Browser, hub: Stack) -> Iterator[Enter]:
    """Makes visits, and checks them when the test is over."""
    visits: list[Visit] = []

    def make(way: str = "mouse", username: str = "alice", **more: Any) -> Visit:
        context = browser.new_context(base_url=hub.url, **(WAYS[way] | more))
        cookies = hub.console.run(LOGIN, username=username)
        context.add_cookies(
            [{"name": key, "value": cookies[key], "url": hub.url} for key in cookies]
        )
        visit = Visit(context.new_page(), way)
        visit.page.set_default_timeout(15_000)
        watch(visit.page, hub.url, visit.complaints, visit.viewer)
        visit.page.goto("/")
        visits.append(visit)
        return visit

    yield make
    for visit in visits:
        visit.page.context.close()
    assert [one for visit in visits for one in visit.complaints] == []


def opened(address: str, *studies: StoredStudy, silent: str = "") -> None:
    """Weasis gets all images of these studies, and nothing else.

    It shows that the archive ``silent`` does not answer, and no other message.
    """
    result = WeasisClient().open(address)
    expected = [f"message: {silent}: not answering"] if silent else []
    assert [
        one[: len("message: Down: not answering")] for one in result.failures
    ] == expected
    wanted = {uid for study in studies for uid in study.sop_instance_uids}
    assert set(result.downloaded) == wanted


@pytest.mark.parametrize("way", WAYS)
def test_study_is_found_and_opened(enter: Enter, hospital: Hospital, way: str):
    visit = enter(way)
    page, files, say = visit.page, hospital.files, visit.say
    expect(page.locator("html")).to_have_attribute("lang", visit.language)
    visit.search("lindqvist")
    expect(visit.studies).to_have_count(2)
    head = visit.studies.first
    for words in ("Lindqvist, Astrid", "CT Head", "T-1", "HOSPITAL-A", "T1001"):
        expect(head).to_contain_text(words)
    with override(visit.language):
        day = date_format(TODAY - timedelta(days=3), "DATE_FORMAT")
    expect(head).to_contain_text(day)
    expect(head).to_contain_text(say("also in"))
    for slug, words in (("north", "North 1"), ("south", "South 2"), ("slow", "Slow 0")):
        expect(page.locator(f"#archive-{slug} .chip")).to_contain_text(words)
    expect(page.locator("#archive-down .chip")).to_contain_text(say("not answering"))

    series = visit.expand(head)
    expect(series.locator("tbody tr")).to_have_count(2)
    pictures = series.locator("img")
    for number in range(2):
        pictures.nth(number).scroll_into_view_if_needed()
        expect(pictures.nth(number)).not_to_have_js_property("naturalWidth", 0)
    assert visit.overflow() <= 0
    if not visit.has_script:
        page.get_by_role("link", name="Back to the results").click()
        expect(visit.studies).to_have_count(2)

    opened(visit.open(head), files.study("head"))
    if visit.has_script:
        expect(head.locator(".launch-state")).to_contain_text(
            say("Opened %(time)s") % {"time": ""}
        )
        assert visit.overflow() <= 0
    page.goto("/launches/")
    expect(page.locator(".launch-item").first).to_contain_text("Lindqvist, Astrid")
    assert visit.overflow() <= 0


def test_radiologist_opens_a_study_with_its_priors(enter: Enter, hospital: Hospital):
    files, visit = hospital.files, enter("keyboard")
    page = visit.page
    visit.search("T1001")
    expect(visit.studies).to_have_count(1)
    page.keyboard.press("j")
    with page.expect_event("request", lambda one: one.url.startswith("weasis:")):
        page.keyboard.press("p")

    opened(visit.viewer[0], files.study("head"), files.study("prior"), silent="Down")


def test_referring_physician_finds_the_last_month_on_a_phone(
    enter: Enter, hospital: Hospital
):
    visit = enter("phone", has_touch=True)
    page = visit.page
    page.locator("[data-quick]").fill("moreau")
    page.get_by_role("button", name="Filters").tap()
    page.get_by_label("30 days").check()
    page.locator("#filters").get_by_role("button", name="Search").tap()
    page.wait_for_url(re.compile("/search/r/"))
    expect(visit.studies).to_have_count(1)
    expect(visit.studies).to_contain_text("MR Knee")

    series = visit.expand(visit.studies)
    expect(series.locator("img")).to_be_visible()
    expect(series.locator("img")).not_to_have_js_property("naturalWidth", 0)
    assert visit.overflow() <= 0

    opened(visit.open(visit.studies), hospital.files.study("knee"))
