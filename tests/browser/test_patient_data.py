"""Who a study is of stays where it belongs: in pages, manifests and archives.

A crawl with values that can't be mistaken looks at everything else that is written down
on the way: logs, addresses, titles, referrers, names in Redis, tasks and the browser.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

import httpx2
import pytest
from playwright.sync_api import Browser, Page, Request, expect
from redis import Redis

from archives.embedded import EmbeddedArchive
from tests.browser.conftest import PASSWORD, logged_in
from tests.dicom_files import write_patients
from tests.dicom_plan import PlannedPatient, PlannedSeries, PlannedStudy
from tests.dicomweb_server import Behaviour, DicomWebServer, content, serving
from tests.dicomweb_studies import make_study
from tests.environment import free_port
from tests.processes import ServerProcess, wait_until
from tests.redis_watch import watching
from tests.servers import Failing
from tests.stack import ROOT, Stack, start_stack
from tests.weasis_client import WeasisClient

UID_ROOT = "1.2.9753186420"
MARKS = re.compile(r"zqxwv|1917-?07-?17|9753186420", re.IGNORECASE)
ISSUER = "ZQXWVISSUER"
PATIENT = {
    "patient_id": "ZQXWV-4711",
    "issuer_of_patient_id": ISSUER,
    "patient_name": "Zqxwvfamily^Zqxwvgiven",
    "patient_birth_date": "19170717",
    "patient_sex": "F",
}
DOCTOR = "Zqxwvdoctor^Zqxwvwise"
IDENTIFIERS = {
    "patientID": PATIENT["patient_id"],
    "studyUID": f"{UID_ROOT}.1",
    "accessionNumber": "ZQXWVACC1",
}
# The browser tells what a page leaves behind, whenever that may have changed.
TELL = """
const tell = () => console.debug("seen " + JSON.stringify([
  document.title, location.href, document.referrer, history.state,
  {...localStorage}, {...sessionStorage}, document.cookie, window.name]));
for (const name of ["DOMContentLoaded", "load", "htmx:afterSettle", "popstate"])
  addEventListener(name, tell);
"""
# Whatever a page would ask for if it was used, and whom it would ask.
ADDRESSES = """() => ["href", "src", "action", "formaction", "hx-get", "hx-post"]
  .flatMap((name) => [...document.querySelectorAll(`[${name}]`)]
    .map((one) => one.getAttribute(name)))"""


@dataclass
class Seen:
    """What was written down during the crawl, apart from what pages show."""

    log: str = ""
    requests: list[Request] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    addresses: set[str] = field(default_factory=set)
    referrers: set[str] = field(default_factory=set)
    titles: set[str] = field(default_factory=set)
    browser: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    tasks: list[str] = field(default_factory=list)
    redis: str = ""

    def told(self, text: str) -> None:
        """What a page says of itself; see ``TELL``."""
        if not text.startswith("seen "):
            return
        title, address, referrer, *rest = json.loads(text.removeprefix("seen "))
        self.titles.add(title)
        self.addresses.add(address)
        self.referrers.add(referrer)
        self.browser.add(json.dumps(rest))


def planned() -> list[PlannedPatient]:
    """A patient whose every value is a mark, with an older study."""

    def study(number: int, date: str, *series: PlannedSeries) -> PlannedStudy:
        return PlannedStudy(
            key=f"zqxwvstudy{number}",
            description=f"Zqxwvdescription {number}",
            series=series,
            date=date,
            accession_number=f"ZQXWVACC{number}",
            referring_physician_name=DOCTOR,
            uid=f"{UID_ROOT}.{number}",
        )

    image = PlannedSeries("CT", "Zqxwvseries", 3, uid=f"{UID_ROOT}.1.1")
    other = PlannedSeries("PR", "Zqxwvstate", uid=f"{UID_ROOT}.1.2")
    return [
        PlannedPatient(
            "marks",
            **PATIENT,
            studies=(
                study(1, "20260302", image, other),
                study(2, "20250302", PlannedSeries("MR", "Zqxwvseries", 2)),
            ),
        )
    ]


def quoting() -> DicomWebServer:
    """An archive that fails, and sends back whom it was asked for."""
    server = DicomWebServer([], Behaviour())
    body = json.dumps([*PATIENT.values(), IDENTIFIERS]).encode()
    server.answer_with("*", content(body, status=500, media_type="text/plain"))
    return server


def rambling() -> DicomWebServer:
    """An archive that answers with marks where there should be JSON."""
    server = DicomWebServer([], Behaviour())
    server.answer_with("*", content(b"Zqxwvfamily^Zqxwvgiven is no JSON"))
    return server


@pytest.fixture(scope="module")
def hub(
    tmp_path_factory: pytest.TempPathFactory, playwright: object
) -> Iterator[Stack]:
    """A hub whose every archive knows the patient, or fails with him in its hands."""
    files = write_patients(tmp_path_factory.mktemp("marks"), planned())
    web = DicomWebServer(
        [
            make_study(
                f"{UID_ROOT}.3",
                patient=PATIENT,
                accession_number="ZQXWVACC3",
                study_description="Zqxwvdescription 3",
                referring_physician_name=DOCTOR,
            )
        ],
        Behaviour(),
    )
    with ExitStack() as stack:
        main = stack.enter_context(EmbeddedArchive(files.paths()))
        failing = stack.enter_context(Failing(files.paths()))
        folder = tmp_path_factory.mktemp("hub")
        hub = stack.enter_context(
            start_stack(folder, settings={"VIEWERHUB_LOG_LEVEL": "DEBUG"})
        )
        hub.add_dimse_archive("main", name="Main", port=main.port)
        hub.add_dimse_archive("failing", name="Failing", port=failing.port)
        hub.add_dimse_archive("dead", name="Dead", port=free_port())
        for slug, server in (("web", web), ("quote", quoting()), ("talk", rambling())):
            stack.enter_context(serving(server))
            hub.add_dicomweb_archive(slug, name=slug, url=server.url)
        hub.create_user("alice", PASSWORD)
        hub.create_user("admin", PASSWORD, is_superuser=True)
        stack.enter_context(beat(hub))
        yield hub


def beat(hub: Stack) -> ServerProcess:
    command = [sys.executable, "-m", "celery", "-A", "viewerhub", "beat"]
    command += ["--loglevel=DEBUG", "--schedule", str(hub.folder / "schedule")]
    process = ServerProcess(
        command,
        folder=ROOT,
        log=hub.folder / "beat.log",
        environment=hub.environment,
        inherits=False,
    )
    return process.start(lambda: "beat" in process.output())


@dataclass
class Crawl:
    """Uses the hub as everybody does who can, and collects what is written down."""

    hub: Stack
    browser: Browser
    seen: Seen = field(default_factory=Seen)
    # Addresses that other systems made, which name a patient by their nature.
    typed: set[str] = field(default_factory=set)
    followed: set[str] = field(default_factory=set)

    def page(self, username: str = "") -> Page:
        context = self.browser.new_context(base_url=self.hub.url)
        context.add_init_script(TELL)
        context.on("request", lambda request: self.seen.requests.append(request))
        context.on("console", lambda message: self.seen.told(message.text))
        page = context.new_page()
        page.set_default_timeout(15_000)
        return logged_in(page, self.hub, username) if username else page

    def look(self, page: Page) -> None:
        """Keep what the page shows, and whom it would ask for more."""
        self.seen.pages.append(page.content())
        self.seen.addresses |= self.offered(page)

    def offered(self, page: Page) -> set[str]:
        return set(page.evaluate(ADDRESSES))

    def follow(self, page: Page) -> None:
        """Look, and ask for everything the page offers to ask for."""
        self.look(page)
        for address in sorted(self.offered(page) - self.followed):
            if address.startswith(("/", self.hub.url)) and "logout" not in address:
                self.followed.add(address)
                page.request.get(address)

    def type(self, page: Page, path: str, query: dict[str, str]) -> None:
        address = f"{self.hub.url}{path}?{urlencode(query)}"
        self.typed.add(address)
        page.goto(address, wait_until="load")

    def referrers(self) -> None:
        for request in self.seen.requests:
            if request.url.startswith("http"):
                self.seen.addresses.add(request.url)
                self.seen.referrers.add(request.headers.get("referer", ""))
        self.seen.requests.clear()


def search(page: Page, **fields: str) -> None:
    """Post the search form with these fields, as the page would."""
    page.goto("/")
    for name, value in fields.items():
        page.locator(f"#search-form [name={name}]").first.evaluate(
            "(input, value) => { input.value = value; }", value
        )
    page.locator("#search-form").evaluate("(form) => form.requestSubmit()")
    page.wait_for_url(re.compile("/search/r/"))
    expect(page.locator("[data-chip][data-state=asking]")).to_have_count(0)


def searching(crawl: Crawl, page: Page) -> None:
    """By every field, in both forms, and what is mistaken or too broad."""
    quick = [
        *(
            "zqxwvfamily zqxwvgiven",
            "ZQXWV-4711",
            f"ZQXWV-4711^^^{ISSUER}",
            "ZQXWVACC1",
        ),
        f"{UID_ROOT}.1",
    ]
    for text in quick:
        search(page, quick=text)
        expect(page.locator("[data-study]").first).to_be_visible()
        crawl.look(page)
    search(
        page,
        patient_name="Zqxwvfamily",
        patient_id=PATIENT["patient_id"],
        accession_number="ZQXWVACC1",
        study_description="Zqxwvdescription",
        referring_physician_name="Zqxwvdoctor",
        patient_birth_date="1917-07-17",
    )
    expect(page.locator("[data-study]")).to_have_count(1)
    crawl.follow(page)
    page.reload()
    saving(crawl, page)
    for fields in (
        {"patient_name": "Zqxwv", "study_date_from": "no"},
        {"quick": "z*q"},
    ):
        page.goto("/")
        posted = {"csrfmiddlewaretoken": token(page), **fields}
        page.request.post("/search/", form=posted)


def saving(crawl: Crawl, page: Page) -> None:
    """The search that is shown, under a name that says whom it is about."""
    page.get_by_text("Save this search").click()
    page.get_by_label("Name", exact=True).fill("Zqxwvfamily since 1917")
    page.get_by_role("button", name="Save search").click()
    expect(page.get_by_text("The search is saved.")).to_be_visible()
    for path in ("/", "/searches/"):
        page.goto(path)
        crawl.follow(page)
    page.get_by_role("button", name="Zqxwvfamily since").first.click()
    page.wait_for_url(re.compile("/search/r/"))
    expect(page.locator("[data-study]")).to_have_count(1)


def press_open(page: Page, selector: str) -> None:
    """Open by a click of the script, until the browser has been handed the address."""
    with page.expect_request(lambda request: request.url.startswith("weasis:")):
        page.locator(selector).first.dispatch_event("click")


def token(page: Page) -> str:
    return page.locator("[name=csrfmiddlewaretoken]").first.input_value()


def opening(crawl: Crawl, page: Page) -> None:
    """Series and their pictures, the patient's other studies, launches and retries."""
    search(page, quick="ZQXWV-4711")
    expect(page.locator("[data-study]")).to_have_count(3)
    page.locator("[data-expand]").first.click()
    expect(page.locator(".series img").first).to_be_visible()
    press_open(page, ".series .open")
    expect(page.locator(".series .launch-state")).to_be_visible()
    crawl.follow(page)
    press_open(page, "[data-priors]")
    page.locator(".series-foot form button").first.dispatch_event("click")
    expect(page.locator("[data-study]")).to_have_count(3)
    for number in range(3):
        page.locator("[data-pick]").nth(number).dispatch_event("click")
    press_open(page, "#open-selected button")
    launch = page.locator("#selected-launch [data-launch]")
    expect(launch).to_contain_text("images")
    assert WeasisClient().open(launch.get_attribute("data-weasis") or "").downloaded
    crawl.look(page)
    page.locator("#selected-launch .launch-links a").first.dispatch_event("click")
    page.wait_for_url(re.compile("/launch/"))
    expect(page.locator(".launch-progress")).to_contain_text("Weasis took over")
    crawl.look(page)
    press_open(page, ".button-row form button")
    expect(page.locator("#launch-again .launch-state")).to_be_visible()
    for path in ("/", "/launches/"):
        page.goto(path)
        crawl.follow(page)


def following_links(crawl: Crawl) -> None:
    """As other systems make them: they are answered, refused, or wait for a login."""
    hub = crawl.hub
    iid = {"requestType": "PATIENT", "patientID": IDENTIFIERS["patientID"]}
    for name, value in IDENTIFIERS.items():
        uri = hub.launch({name: value})
        assert WeasisClient().open(uri).downloaded
    for path in ("/display", "/weasis-pacs-connector/weasis", "/manifest"):
        assert hub.get(path, {"patientID": "ZQXWV-4711"}).status in {200, 302}
    for query in (
        iid,
        iid | {"patientName": "Zqxwvother^Zqxwvone"},
        {"patientID": "ZQXWV"},
    ):
        hub.get("/IHEInvokeImageDisplay", query)
    for query in (
        {"patientID": "ZQXWV-4711", "upperDateTime": "zqxwv"},
        {"patientID": "ZQXWV-4711", "archive": "zqxwv"},
        {"zqxwv": "zqxwv", "studyUID": f"{UID_ROOT}.x"},
    ):
        hub.get("/weasis", query)
    hub.get("/zqxwv/ZQXWV-4711", {"patientID": "ZQXWV-4711"})
    hub.get(f"/gateway/main/dicom-web/studies/{UID_ROOT}.1", {"PatientName": "Zqxwv*"})
    page = crawl.page("alice")
    nobody = iid | {"patientID": "ZQXWV-NOBODY", "archive": "main"}
    for query in (iid | {"requestType": "zqxwv"}, nobody):
        crawl.type(page, "/IHEInvokeImageDisplay", query)
        expect(page.get_by_text("could not be followed")).to_be_visible()
        crawl.look(page)
        page.get_by_role("link", name="Search").first.click()
        page.wait_for_url(f"{hub.url}/")
    crawl.type(page, "/weasiss", {"patientID": IDENTIFIERS["patientID"]})
    page.get_by_role("link", name="search").click()
    page.wait_for_url(f"{hub.url}/")
    stranger = crawl.page()
    crawl.type(stranger, "/display/auth", {"patientID": IDENTIFIERS["patientID"]})
    crawl.look(stranger)
    stranger.get_by_label("Username").fill("alice")
    stranger.get_by_label("Password", exact=True).fill(PASSWORD)
    with stranger.expect_request(lambda one: one.url.startswith("weasis:")):
        stranger.get_by_role("button", name="Sign in", exact=True).click()


def calling(crawl: Crawl) -> None:
    """The REST API, which takes identifiers in bodies and, for searches, in addresses."""
    key = crawl.hub.create_api_client("RIS", "launch", "search")
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(
        base_url=f"{crawl.hub.url}/api/v1", headers=headers, timeout=60
    ) as client:
        filters = {"patient_name": "Zqxwvfamily", "patient_id": "ZQXWV-4711"}
        for answer in (
            client.get("/studies", params=filters),
            client.post("/studies/search", json=filters),
        ):
            assert len(answer.json()["studies"]) == 3
        client.get("/studies", params={"patient_name": "z", "study_date_from": "zqxwv"})
        patient = {"patient_id": "ZQXWV-4711", "issuer_of_patient_id": ISSUER}
        created = client.post("/launches", json={"patients": [patient]}).json()
        assert WeasisClient().open(created["weasis_uri"]).downloaded
        client.get(f"/launches/{created['id']}")
        for body in ({"zqxwv": "ZQXWV-4711"}, {"patients": "ZQXWV-4711"}):
            assert client.post("/launches", json=body).status_code == 400


def administering(crawl: Crawl) -> None:
    """Lists, previews and links; no administrator has to name a patient in them."""
    page = crawl.page("admin")
    crawl.look(page)
    for path in (
        *("/admin/", "/admin/launcher/launch/", "/admin/archives/archive/"),
        *("/admin/launcher/launchtemplate/", "/admin/launcher/savedsearch/"),
        "/admin/system/",
    ):
        page.goto(path)
        crawl.follow(page)
    page.goto("/admin/launcher/launch/")
    page.locator("#result_list a[href*='/change/']").first.click()
    crawl.look(page)
    page.goto("/admin/launcher/launch/")
    page.get_by_label("Who opened it?").fill("ZQXWV-4711")
    page.get_by_role("button", name="Find launches").click()
    expect(page.locator("#result_list tbody tr").first).to_be_visible()
    crawl.follow(page)
    page.goto("/admin/launcher/launchtemplate/preview-launch/")
    page.get_by_label("Launch URL or identifier").fill("accessionNumber=ZQXWVACC1")
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(page.locator(".vh-manifest")).to_contain_text("Zqxwvfamily")
    crawl.look(page)
    page.goto("/admin/launcher/launchtemplate/url-builder/")
    page.locator("#id_kind").select_option("patientID")
    page.locator("#id_value").fill("ZQXWV-4711")
    page.get_by_role("button", name="Make links").click()
    expect(page.locator("#plain")).to_contain_text("ZQXWV-4711")
    crawl.seen.pages.append(page.content())


@contextmanager
def broken_table(hub: Stack, name: str) -> Iterator[None]:
    """The hub's database without this table."""
    rename = "from django.db import connection\nconnection.cursor().execute(statement)"
    hub.console.run(rename, statement=f"ALTER TABLE {name} RENAME TO away")
    yield
    hub.console.run(rename, statement=f"ALTER TABLE away RENAME TO {name}")


def failing(crawl: Crawl, page: Page) -> None:
    """The hub's own faults, in the web server and in the worker."""
    hub, uid = crawl.hub, f"{UID_ROOT}.2"
    search(page, quick="ZQXWV-4711")
    with broken_table(hub, "launcher_launch"):
        page.locator("[data-open]").first.dispatch_event("click")
        expect(page.locator("#notice")).not_to_be_empty()
        assert hub.get("/weasis", {"studyUID": uid}).status == 500
    with broken_table(hub, "launcher_archiveoutcome"):
        hub.launch({"studyUID": uid})
        assert wait_until(lambda: "no such table" in hub.workers[0].output())


@pytest.fixture(scope="module")
def seen(hub: Stack, browser: Browser) -> Seen:
    """What a crawl through everything left behind."""
    with watching(hub.redis.url) as redis:
        crawl = Crawl(hub, browser)
        page = crawl.page("alice")
        searching(crawl, page)
        opening(crawl, page)
        following_links(crawl)
        calling(crawl)
        administering(crawl)
        failing(crawl, page)
        crawl.referrers()
    seen = crawl.seen
    seen.log = "\n".join(one.read_text() for one in hub.folder.glob("*.log"))
    seen.addresses -= crawl.typed
    seen.redis = redis.values()
    with Redis.from_url(hub.redis.url) as client:
        seen.keys = redis.keys(client)
    seen.tasks = redis.tasks()
    return seen


def marked(values: Any) -> list[str]:
    """Those with patient data in them; encoded as in addresses, too."""
    return [one for one in values if MARKS.search(unquote(one))]


def test_pages_and_values_in_redis_have_what_is_looked_for(seen: Seen) -> None:
    """Else nothing below would mean anything."""
    for mark in (
        "zqxwvfamily",
        "ZQXWV-4711",
        "ZQXWVACC1",
        "Zqxwvdescription",
        "1917-07-17",
    ):
        assert any(mark.lower() in page.lower() for page in seen.pages), mark
        assert mark.lower() in seen.redis.lower(), mark


def test_logs_name_routes_and_no_patient(seen: Seen) -> None:
    for route in (
        *("POST /search/", "GET /search/r/<str:search_id>/archives/", "GET /weasis"),
        *("POST /api/v1/studies/search", "GET /IHEInvokeImageDisplay"),
        *("build_finished", "Traceback", "beat"),
    ):
        assert route in seen.log, route
    assert marked(seen.log.splitlines()) == []


def test_addresses_have_no_patient_data(seen: Seen) -> None:
    assert len(seen.addresses) > 50
    assert marked(seen.addresses) == []


def test_titles_have_no_patient_data(seen: Seen) -> None:
    assert len(seen.titles) > 5
    assert marked(seen.titles) == []


def test_no_other_page_is_told_a_link_with_patient_data(seen: Seen) -> None:
    assert len(seen.referrers) > 5
    assert marked(seen.referrers) == []


def test_browser_keeps_no_patient_data(seen: Seen) -> None:
    assert seen.browser
    assert marked(seen.browser) == []


def test_redis_keys_have_no_patient_data(seen: Seen) -> None:
    assert len(seen.keys) > 20
    assert marked(seen.keys) == []


def test_tasks_have_no_patient_data(seen: Seen) -> None:
    assert any("build_manifest" in task for task in seen.tasks)
    assert marked(seen.tasks) == []
