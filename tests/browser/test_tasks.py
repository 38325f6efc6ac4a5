"""What users come for, from beginning to end, on a hospital with several archives.

Two are Orthanc, one by DIMSE and one by DICOMweb, which hold different studies and one in
common; beside them, one is down and one takes its time for each answer. The viewer is ``tests.weasis_client``,
which gets the address that the page handed to the browser, and nothing else.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from io import StringIO
from typing import Any

import pytest
from django.utils.formats import date_format
from django.utils.translation import gettext, override
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import logged_in, watch
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
    "German phone": {"viewport": PHONE, "has_touch": True, "locale": "de-DE"},
    "French": {"locale": "fr-FR"},
    "dark": {"color_scheme": "dark"},
}


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
        image = files.path(files.study("head").instances[0])
        slow = stack.enter_context(Slow([image], pause=0.5))
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
        return str(WAYS[self.way].get("locale", "en"))[:2]

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
            expect(self.page.locator("[data-quick]")).to_be_focused()
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
        visit = Visit(context.new_page(), way)
        visit.page.set_default_timeout(15_000)
        watch(visit.page, hub.url, visit.complaints, visit.viewer)
        logged_in(visit.page, hub, username)
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
        day = date_format(TODAY - timedelta(days=3), "SHORT_DATE_FORMAT")
    expect(head).to_contain_text(day)
    expect(head).to_contain_text(say("also in"))
    for slug, words in (("north", "North 1"), ("south", "South 2"), ("slow", "Slow 1")):
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


def test_radiologist_opens_a_pasted_number_by_two_keys(
    enter: Enter, hospital: Hospital
):
    visit = enter("keyboard")
    page = visit.page
    page.keyboard.insert_text("\u201cT1001\u201d\n")
    page.keyboard.press("Enter")
    expect(visit.studies).to_have_count(1)
    expect(visit.studies.locator("[data-open]")).to_be_focused()
    with page.expect_event("request", lambda one: one.url.startswith("weasis:")):
        page.keyboard.press("Enter")

    opened(visit.viewer[0], hospital.files.study("head"))
    expect(visit.studies.locator(".launch-state")).to_contain_text("Opened")
    expect(visit.studies.locator(".launched")).to_be_focused()


def test_radiologist_opens_a_study_with_its_priors(enter: Enter, hospital: Hospital):
    files, visit = hospital.files, enter("keyboard")
    page = visit.page
    visit.search("T1001")
    expect(visit.studies.locator("[data-open]")).to_be_focused()
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


@dataclass
class Typing:
    """Counts the fields somebody fills in."""

    page: Page
    fields: int = 0

    def field(self, label: str) -> Locator:
        self.fields += 1
        return self.page.get_by_label(re.compile(rf"^{label}\*?$"))

    def fill(self, label: str, text: str) -> None:
        self.field(label).fill(text)

    def choose(self, label: str, choice: str) -> None:
        self.field(label).select_option(label=choice)


@pytest.fixture
def administrator(enter: Enter, hub: Stack) -> Iterator[Visit]:
    """In the administration, which is left as it was."""
    visit = enter(username="admin", permissions=["clipboard-read", "clipboard-write"])
    visit.page.locator("[data-menu]", has_text="admin").locator("summary").click()
    visit.page.get_by_role("link", name="Administration").click()
    yield visit
    hub.console.run(
        "Archive.objects.filter(slug='radiology').delete()\n"
        "LaunchTemplate.objects.filter(is_default=False).delete()\n"
        "ApiClient.objects.all().delete()"
    )


def test_administrator_registers_an_archive_and_launches(
    administrator: Visit, hospital: Hospital
):
    page, typing = administrator.page, Typing(administrator.page)
    page.get_by_role("link", name="All archives").click()
    add(page)
    orthanc = page.locator(".vh-products li").filter(has_text="Orthanc")
    orthanc.get_by_role("link", name="DIMSE").click()
    typing.fill("Name", "Radiology")
    typing.fill("Host", "127.0.0.1")
    typing.fill("Port", str(hospital.north.dicom_port))
    expect(page.locator("#id_slug")).to_have_value("radiology")
    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_role("button", name="Verify connection", exact=True).click()
    steps = page.locator(".vh-checklist li")
    expect(steps.filter(has_text="Query")).to_contain_text("newest study")
    expect(page.get_by_role("img", name="Works").first).to_be_visible()
    expect(page.get_by_role("img", name="Failed")).to_have_count(0)

    page.goto("/admin/")
    page.get_by_role("link", name="Launch templates").first.click()
    add(page)
    typing.fill("Name", "Reading room")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("link", name="Preview a launch", exact=True).click()
    typing.fill("Launch URL or identifier", "accessionNumber=T1001")
    typing.choose("Archive", "Radiology")
    typing.choose("Template", "Reading room")
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(page.locator("#content-main")).to_contain_text("Reading room")
    expect(page.locator(".vh-manifest")).to_contain_text("Brain 1.0")

    page.get_by_role("link", name="URL builder").first.click()
    typing.choose("Identifier", "Accession number")
    typing.fill("Value", "T1001")
    typing.choose("Template", "Reading room")
    page.get_by_role("button", name="Make links").click()
    opened(follow(page, "Test Link"), hospital.files.study("head"), silent="Down")
    assert typing.fields <= 12


def add(page: Page) -> None:
    """From a list to the page that makes one more."""
    page.locator("a[href$='/add/']:visible").first.click()


def follow(page: Page, link: str) -> str:
    """What the browser is handed by a link that opens in a tab of its own."""
    with page.context.expect_event(
        "request", lambda request: request.url.startswith("weasis:")
    ) as request:
        page.get_by_role("link", name=link, exact=True).click()
    return request.value.url


def copied(page: Page, button: str) -> str:
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.get_by_role("button", name="Copied").first).to_be_visible()
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_integrator_copies_a_link_and_calls_that_work(
    administrator: Visit, hub: Stack, hospital: Hospital
):
    page, typing = administrator.page, Typing(administrator.page)
    head = hospital.files.study("head")
    page.get_by_role("link", name="API clients").first.click()
    add(page)
    typing.fill("Name", "RIS")
    page.get_by_label("Launch studies", exact=False).check()
    page.get_by_role("button", name="Save", exact=True).click()
    key = copied(page, "Copy")
    page.get_by_role("link", name="Make links and calls").click()
    typing.choose("Identifier", "Accession number")
    typing.fill("Value", "T1001")
    page.get_by_role("button", name="Make links").click()

    link = copied(page, "Copy IHE Invoke Image Display")
    answer = hub.get(link.removeprefix(hub.url))
    opened(answer.location, head, silent="Down")
    for title, find in (
        ("curl", r"(?mi)^location: (weasis:\S+)"),
        ("REST API", r'"weasis_uri": ?"([^"]+)"'),
    ):
        command = copied(page, f"Copy {title}")
        done = subprocess.run(
            ["sh", "-c", command],
            env={**os.environ, "VIEWERHUB_KEY": key},
            capture_output=True,
            text=True,
            timeout=60,
        )
        address = re.search(find, done.stdout)
        assert address, done.stdout + done.stderr
        opened(address[1], head, silent="Down")
        caller = "result = str(Launch.objects.latest('created').api_client)"
        assert hub.console.run(caller) == "RIS"  # not the trusted network

    page.goto("/api/v1/docs")
    expect(page.get_by_text("Start a launch")).to_be_visible()
    described = hub.get("/api/v1/openapi.json").json()
    assert "/api/v1/launches" in described["paths"]


@pytest.fixture
def knee_opened(enter: Enter, hospital: Hospital) -> StoredStudy:
    """A study that alice has found by its number and opened."""
    knee = hospital.files.study("knee")
    visit = enter()
    visit.search(knee.accession_number)
    expect(visit.studies).to_have_count(1)
    opened(visit.open(visit.studies), knee)
    expect(visit.studies.locator(".launch-state")).to_contain_text("Opened")
    return knee


def test_security_officer_sees_who_opened_what(
    enter: Enter, hub: Stack, knee_opened: StoredStudy
):
    """With no other rights than to look at launches and to audit them."""
    hub.create_user("olga", "not used")
    hub.console.run(
        "from django.contrib.auth.models import Permission\n"
        "rights = ['view_launch', 'audit_launch']\n"
        "olga = User.objects.get(username='olga')\n"
        "olga.user_permissions.set(Permission.objects.filter(codename__in=rights))\n"
        "User.objects.filter(pk=olga.pk).update(is_staff=True)"
    )
    page = enter(username="olga").page
    page.goto("/admin/")
    page.locator('a[href="/admin/launcher/launch/"]:visible').first.click()
    page.get_by_label("Who opened it?").fill(knee_opened.patient_id)
    page.get_by_role("button", name="Find launches").click()
    rows = page.locator("#result_list tbody tr")
    expect(rows.first).to_contain_text("alice")
    found = rows.count()
    assert knee_opened.patient_id not in page.url
    with page.expect_download() as download:
        page.get_by_role("link", name="Export this list as CSV").click()
    table = download.value.path().read_text(encoding="utf-8-sig")
    exported = list(csv.DictReader(StringIO(table)))
    assert len(exported) == found
    for row in exported:
        assert row["user"] == "alice"
        assert row["patients"] == knee_opened.patient_id
        assert row["studies"] == knee_opened.study_instance_uid
        assert row["accession_numbers"] == knee_opened.accession_number

    assert "moreau" not in table.lower()
    for mark in (
        "moreau",
        knee_opened.accession_number,
        knee_opened.study_instance_uid,
    ):
        assert mark.lower() not in hub.logs().lower()


def test_operator_sees_what_is_down_slow_or_waiting(
    enter: Enter, hub: Stack, knee_opened: StoredStudy
):
    hub.console.run(
        "build = Build.objects.latest('created')\n"
        "build.started = build.finished - timedelta(seconds=12)\n"
        "build.save()"
    )
    page = enter(username="admin").page
    page.goto("/admin/")
    archives = page.get_by_role("region", name="Archives")
    down = archives.get_by_role("row").filter(has_text="Down")
    expect(down).to_contain_text("refused the connection")
    north = archives.get_by_role("row").filter(has_text="North")
    expect(north).to_contain_text(re.compile(r"\d+ ms"))
    today = page.get_by_role("region", name="Launches today")
    expect(today).to_contain_text("12 seconds")
    queue = page.get_by_role("region", name="Queue")
    expect(queue).to_contain_text("0 tasks are waiting")
    expect(queue).to_contain_text("scheduler is not running")

    down.get_by_role("link", name="Down").click()
    expect(
        page.get_by_role("button", name="Verify connection", exact=True)
    ).to_be_visible()
    assert hub.get("/readyz").status == 200
    assert hub.get("/metrics").status == 200


def test_identifiers_are_copied(enter: Enter, hospital: Hospital):
    head = hospital.files.study("head")
    visit = enter(permissions=["clipboard-read", "clipboard-write"])
    visit.search(head.accession_number)
    visit.expand(visit.studies)
    for name, value in (
        ("Copy the patient ID", head.patient_id),
        ("Copy the accession number", head.accession_number),
        ("Copy the UID", head.study_instance_uid),
    ):
        visit.page.get_by_role("button", name=name).first.click()
        expect(visit.page.locator("#notice")).to_contain_text("copied")
        copied = visit.page.evaluate("navigator.clipboard.readText()")
        assert copied == value
