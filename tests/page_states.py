"""Every state of the pages, reached one after the other on a hub of its own.

``tests.screenshots`` takes pictures of them, and ``tests.browser.test_accessibility``
examines them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, expect

from archives.embedded import EmbeddedArchive
from archives.entities import Instance, Patient, Series, Study
from tests.dicomweb_server import Behaviour, DicomWebServer, serving
from tests.environment import free_port
from tests.servers import Choosy, Slow
from tests.stack import Stack, start_stack
from tests.weasis_client import WeasisClient

expect.set_options(timeout=20_000)

PASSWORD: Final = "for the pictures"
THEMES: Final = ("light", "dark")
MODALITIES: Final = tuple(
    [
        "CT",
        "MR",
        "CR",
        "DX",
        "US",
        "XA",
        "NM",
        "PT",
        "MG",
        "OT",
        "RF",
        "SC",
        "SR",
        "KO",
        "PR",
        "AU",
        "BI",
        "CD",
        "CP",
        "CS",
        "DD",
        "DG",
        "DM",
        "DS",
        "EC",
        "ECG",
        "EM",
        "EPS",
        "ES",
        "FA",
        "FS",
        "GM",
        "HC",
        "HD",
        "IO",
        "IVUS",
        "LP",
        "LS",
        "MA",
        "MS",
    ]
)


@dataclass(frozen=True)
class State:
    """A page in a state. Whoever looks may change the size of the window and the theme."""

    name: str
    page: Page
    is_narrow_only: bool = False


States = Iterator[State]


def _study(
    number: int, name: str, modalities: tuple[str, ...] = ("CT",), **values: object
) -> Study:
    patient = Patient(
        patient_id=str(values.pop("patient_id", f"STATE-{number}")),
        issuer_of_patient_id="HOSPITAL-A",
        patient_name=name,
        patient_birth_date="19610203",
        patient_sex="F",
    )
    series = tuple(
        Series(
            series_instance_uid=f"1.2.3.{number}.{index}",
            modality=modality,
            series_number=index,
            series_description="Thorax 1.0 B70f",
            instances=(Instance(sop_instance_uid=f"1.2.3.{number}.{index}.1"),),
        )
        for index, modality in enumerate(modalities, 1)
    )
    fields = {
        "study_date": f"2022062{number % 10}",
        "study_time": "101200",
        "accession_number": f"A10000{number}",
        "study_description": "CT Thorax and abdomen",
        "modalities_in_study": modalities,
    }
    return Study(
        study_instance_uid=f"1.2.3.{number}",
        patient=patient,
        series=series,
        **{**fields, **values},  # type: ignore[arg-type]
    )


def _unusual() -> list[Study]:
    family = "Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh"
    return [
        _study(
            1, f"{family}^Hubert Blaine Maximilian Alexander^Theodore^Prof. Dr.^III"
        ),
        _study(2, "Stateful^Forty", MODALITIES),
        _study(3, "Stateful^Nothing", study_description="", accession_number=""),
        _study(4, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        _study(5, "حداد^ليلى", study_description="أشعة مقطعية للصدر"),
        _study(6, "Stateful^Dateless", study_date="", study_time=""),
        _study(7, "", patient_id="STATE-NAMELESS-0123456789-0123456789-0123456789"),
        _study(
            8,
            "Stateful^Long",
            study_description="Computed tomography of thorax, abdomen and pelvis "
            "with intravenous contrast, arterial and portal venous phases",
        ),
    ]


def put_on(page: Page, theme: str) -> None:
    """Change to a theme; the admin's pages look which one is wanted when they load."""
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.evaluate(
        """(isDark) => {
          if (document.querySelector("link[href*=unfold]"))
            document.documentElement.classList.toggle("dark", isDark);
        }""",
        theme == "dark",
    )


class Studio:
    """The hub, and a page of each of its users."""

    def __init__(self, hub: Stack, browser: Browser) -> None:
        self.hub = hub
        self._browser = browser

    @contextmanager
    def page(self, user: str = "") -> Iterator[Page]:
        context = self._browser.new_context(locale="en", base_url=self.hub.url)
        page = context.new_page()
        if user:
            page.goto("/accounts/login/")
            page.fill("input[name=login]", user)
            page.fill("input[name=password]", PASSWORD)
            page.press("input[name=password]", "Enter")
            page.wait_for_url("/")
        yield page
        context.close()

    @contextmanager
    def archive(self, slug: str, server: EmbeddedArchive, name: str) -> Iterator[None]:
        with server:
            self.hub.add_dimse_archive(slug, port=server.port, name=name)
            yield
        self.remove(slug)

    def remove(self, slug: str) -> None:
        self.hub.console.run("Archive.objects.filter(slug=slug).delete()", slug=slug)

    @contextmanager
    def without(self, slug: str) -> Iterator[None]:
        """An archive is disabled meanwhile."""
        code = "Archive.objects.filter(slug=slug).update(is_enabled=enabled)"
        self.hub.console.run(code, slug=slug, enabled=False)
        yield
        self.hub.console.run(code, slug=slug, enabled=True)


def search(page: Page, text: str) -> None:
    page.goto("/")
    page.fill("[data-quick]", text)
    page.press("[data-quick]", "Enter")
    page.wait_for_url(re.compile("/search/r/"))


def answered(page: Page) -> None:
    expect(page.locator("[data-chip][data-state=asking]")).to_have_count(0)


def pictures_shown(page: Page) -> None:
    for picture in page.locator(".series img").all():
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("complete", True)
    page.evaluate("scrollTo(0, 0)")


# The states


def before_the_login(studio: Studio) -> States:
    with studio.page() as page:
        page.goto("/accounts/login/")
        yield State("login", page)
        page.fill("input[name=login]", "nobody")
        page.fill("input[name=password]", "wrong")
        page.press("input[name=password]", "Enter")
        page.get_by_role("alert").wait_for(timeout=3000)
        yield State("login-refused", page)
        page.goto("/accounts/password/reset/")
        yield State("password-reset", page)


def without_archives(studio: Studio) -> States:
    for user, name in (("admin", "first-run-admin"), ("alice", "first-run-user")):
        with studio.page(user) as page:
            yield State(name, page)


def without_rights(studio: Studio) -> States:
    studio.hub.add_dimse_archive("closed", port=free_port(), name="Main PACS")
    studio.hub.console.run(
        "from django.contrib.auth.models import Group\n"
        "group = Group.objects.create(name='Radiology')\n"
        "Archive.objects.get().groups.add(group)"
    )
    with studio.page("alice") as page:
        yield State("no-right-to-any-archive", page)
    studio.remove("closed")


def searches(studio: Studio, page: Page) -> States:
    page.goto("/")
    yield State("before-a-search", page)
    page.click(".more > summary")
    yield State("before-a-search-more-filters", page)
    page.goto("/")
    page.click("[data-menu]:has([data-modality-choices]) > summary")
    yield State("modalities-open", page)
    search(page, "doe")
    answered(page)
    yield State("results", page)
    yield from ways_to_open(studio, page)
    page.click("[data-expand] >> nth=3")
    page.wait_for_selector("[data-series-loaded]")
    pictures_shown(page)
    yield State("results-series", page)
    page.click("[data-dialog=keyboard]")
    yield State("keyboard", page)
    page.keyboard.press("Escape")
    search(page, "nobody is called so")
    answered(page)
    yield State("empty", page)
    page.goto("/")
    page.fill("[data-quick]", "*")
    page.press("[data-quick]", "Enter")
    page.wait_for_selector("[role=alert]")
    yield State("too-broad", page)
    page.goto("/")
    page.click(".more > summary")
    page.fill("[name=study_date_from]", "2026-02-01")
    page.fill("[name=study_date_to]", "2026-01-01")
    page.press("[data-quick]", "Enter")
    page.wait_for_selector("[role=alert]")
    yield State("wrong-field", page)
    page.goto("/search/r/AAAAAAAAAAAAAAAAAAAAAA/")
    yield State("search-has-ended", page)


def saved_searches(studio: Studio, page: Page) -> States:
    page.goto("/searches/")
    yield State("no-saved-searches", page)
    search(page, "doe")
    answered(page)
    page.get_by_text("Columns").click()
    yield State("columns-open", page)
    page.get_by_text("Save this search").click()
    yield State("save-open", page)
    page.get_by_role("button", name="Save search").click()
    yield State("save-refused", page)


def phone_filters(studio: Studio, page: Page) -> States:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/")
    page.click(".filters-open")
    page.click(".more > summary")
    yield State("filters", page, is_narrow_only=True)


def slow_archives(studio: Studio, page: Page) -> States:
    with studio.archive("slow", slow := Slow(), "Radiotherapy"):
        search(page, "doe")
        page.wait_for_selector("[data-study]")
        yield State("partial", page)
        with studio.without("main"):
            search(page, "doe")
            yield State("searching", page)
        slow.proceed.set()


def dead_archives(studio: Studio, page: Page) -> States:
    studio.hub.add_dimse_archive("dead", port=free_port(), name="Old archive")
    with studio.archive("choosy", Choosy(), "Choosy archive"):
        search(page, "doe")
        answered(page)
        yield State("one-archive-down", page)
        page.click("#archive-dead summary")
        yield State("one-archive-down-why", page)
        with studio.without("main"):
            search(page, "doe")
            answered(page)
            yield State("all-down", page)
    studio.remove("dead")


def expired_session(studio: Studio) -> States:
    with studio.page("alice") as page:
        page.context.clear_cookies(name="viewerhub-session")
        page.fill("[data-quick]", "doe")
        page.press("[data-quick]", "Enter")
        page.wait_for_url(re.compile("/accounts/login/"))
        yield State("session-expired", page)


def unusual_values(studio: Studio, page: Page) -> States:
    server = DicomWebServer(_unusual(), Behaviour(ignores_keys=True))
    with serving(server):
        studio.hub.add_dicomweb_archive(
            "unusual", url=server.url, name="Unusual archive"
        )
        page.goto("/")
        page.click(".more > summary")
        page.fill("[name=patient_id]", "STATE-*")
        page.press("[name=patient_id]", "Enter")
        page.wait_for_selector("[data-study]")
        answered(page)
        yield State("unusual-values", page)
        for number in (0, 1):
            page.check(f"[data-study] [data-pick] >> nth={number}")
        yield State("several-patients-selected", page)
        page.click("#open-selected button")
        page.wait_for_selector(".confirm")
        yield State("several-patients-confirm", page)
    studio.remove("unusual")


def ways_to_open(studio: Studio, page: Page) -> States:
    """Two templates that open a study, one that does not, and its reason."""
    studio.hub.console.run(
        "plain = LaunchTemplate.objects.create(name='Second screen', slug='second')\n"
        "address = 'https://web.example/?u={archive_url}&s={study_uids}'\n"
        "web = Viewer.objects.create(name='Web', slug='web', url_template=address)\n"
        "LaunchTemplate.objects.create(name='Web viewer', slug='web', viewer=web)"
    )
    page.reload()
    answered(page)
    page.get_by_label("More ways to open").first.click()
    yield State("ways-to-open", page)
    studio.hub.console.run(
        "LaunchTemplate.objects.filter(slug__in=['second', 'web']).delete()\n"
        "Viewer.objects.all().delete()"
    )
    page.reload()
    answered(page)


def launches(studio: Studio) -> States:
    """On pages of their own: Chromium's question about ``weasis:`` takes the keyboard."""
    with studio.page("alice") as page:
        page.goto("/launches/")
        yield State("no-launches", page)
        with studio.archive("slow", slow := Slow(), "Radiotherapy"):
            search(page, "doe")
            page.wait_for_selector("[data-study]")
            page.click("[data-open] >> nth=0")
            expect(page.locator(".launch-state").first).to_be_visible()
            yield State("launch-asking", page)
            slow.proceed.set()
    with studio.page("alice") as page:
        search(page, "doe")
        page.wait_for_selector("[data-study]")
        with page.expect_event(
            "request", lambda one: one.url.startswith("weasis:")
        ) as asked:
            page.click("[data-open] >> nth=0")
        state = page.locator(".launch-state").first
        expect(state).to_contain_text("Ready")
        yield State("launch-ready", page)
        expect(page.get_by_text("Weasis did not start?")).to_be_visible()
        yield State("launch-viewer-missing", page)
        details = page.get_by_role("link", name="Details").get_attribute("href") or "/"
        WeasisClient().open(asked.value.url)
        expect(state).to_contain_text("Opened")
        yield State("launch-fetched", page)
        for name, code in LAUNCH_STATES.items():
            studio.hub.console.run(_ONE_LAUNCH + code, path=details)
            page.goto(details)
            yield State(f"launch-page-{name}", page)
        page.goto("/launches/")
        yield State("recent-launches", page)
        page.get_by_role("link", name="Revoke", exact=True).first.click()
        yield State("launch-revoke", page)
    with studio.page("alice") as page:
        search(page, "doe")
        page.wait_for_selector("[data-study]")
        page.click("[data-open] >> nth=1")
        state = page.locator(".launch-state").first
        expect(state).to_contain_text("Ready")
        details = page.get_by_role("link", name="Details").get_attribute("href") or "/"
        studio.hub.console.run(_ONE_LAUNCH + LAUNCH_STATES["failed"], path=details)
        expect(state).to_contain_text("Retry")
        yield State("launch-failed", page)


_ONE_LAUNCH: Final = """
launch = Launch.objects.get(pk=path.strip("/").split("/")[-1])
outcome = ArchiveOutcome.objects.filter(build=launch.build).first()
later = timezone.now() + timedelta(hours=1)
def become(state, expires=later, outcome_state="ok", message="", created=None):
    values = {"created": created} if created else {}
    Launch.objects.filter(pk=launch.pk).update(state=state, expires=expires, **values)
    outcome.state, outcome.message = outcome_state, message
    outcome.save()
"""
LAUNCH_STATES: Final = {
    "queued": 'become("pending")',
    "building": 'become("building")',
    "fetched": 'become("fetched")',
    "ready": 'become("ready", created=timezone.now() - timedelta(seconds=8))',
    "incomplete": 'become("ready", outcome_state="truncated", message="12,345 images of '
    "Main PACS are missing: it did not list all it holds. Open the study again, or ask "
    "the archive's administrator about its limit for answers.\")",
    "failed": 'become("failed", outcome_state="unavailable", message="Main PACS did not '
    'accept a connection. Check that it runs, or tell its administrator.")',
    "expired": 'become("expired", expires=timezone.now() - timedelta(hours=1))',
    "revoked": 'become("revoked")',
}


def errors(studio: Studio) -> States:
    with studio.page("alice") as page:
        for name, path in ERRORS.items():
            page.goto(path)
            yield State(f"error-{name}", page)
        page.goto("/accounts/password/change/")
        yield State("password-change", page)
        page.goto("/accounts/2fa/")
        yield State("two-factor", page)
        page.goto("/")
        page.context.clear_cookies()
        page.click("[data-menu] > summary >> text=alice")
        page.click("text=Sign out")
        page.wait_for_selector("text=403")
        yield State("error-open-too-long", page)


ERRORS: Final = {
    "not-found": "/nothing-is-here/",
    "launch": "/weasis?studyUID=not-a-uid&colour=blue",
}


def administration(studio: Studio) -> States:
    with studio.page("admin") as page:
        for path, name in ADMIN_PAGES.items():
            page.goto(f"/admin/{path}")
            yield State(name, page)
        page.goto("/admin/archives/archive/")
        page.click("text=Main PACS")
        page.get_by_role("button", name="Verify connection", exact=True).click()
        page.wait_for_selector(".vh-checklist, .vh-verification")
        yield State("admin-archive-verified", page)
        page.click("text=Save and continue editing >> visible=true")
        page.fill("#id_host", "")
        page.click("text=Save and continue editing >> visible=true")
        page.wait_for_selector(".errornote, [role=alert], .errorlist")
        yield State("admin-archive-refused", page)
        page.goto("/admin/launcher/launchtemplate/preview-launch/")
        yield State("admin-preview-form", page)
        page.get_by_label("Launch URL or identifier").fill("patientID=1CT1")
        page.get_by_role("button", name="Preview", exact=True).click()
        page.wait_for_selector(".vh-manifest")
        yield State("admin-preview", page)
        page.goto("/admin/launcher/launchtemplate/url-builder/")
        page.select_option("#id_kind", "patientID")
        page.fill("#id_value", "1CT1")
        page.select_option("#id_tester", label="RIS")
        page.get_by_role("button", name="Make links").click()
        page.get_by_role("button", name="Test REST API", exact=True).click()
        page.wait_for_selector("#rest-answer")
        yield State("admin-url-builder", page)


_ADD_ARCHIVE: Final = "archives/archive/add/"
ADMIN_PAGES: Final = {
    "": "admin",
    "archives/archive/": "admin-archives",
    _ADD_ARCHIVE: "admin-archive-products",
    f"{_ADD_ARCHIVE}?preset=orthanc&protocol=dimse": "admin-archive-dimse",
    f"{_ADD_ARCHIVE}?preset=azure&protocol=dicomweb": "admin-archive-dicomweb",
    "launcher/launchtemplate/": "admin-templates",
    "launcher/launchtemplate/add/": "admin-template",
    "launcher/viewer/add/?preset=ohif": "admin-viewer",
    "launcher/viewerrule/": "admin-rules",
    "launcher/viewerrule/add/": "admin-rule",
    "launcher/apiclient/": "admin-clients",
    "launcher/apiclient/add/": "admin-client",
    "launcher/launch/": "admin-launches",
    "auth/user/": "admin-users",
    "auth/group/": "admin-groups",
    "admin/logentry/": "admin-log",
    "system/": "admin-system",
}


def all_states(browser: Browser, work: Path) -> States:
    """Every state, each once; the next is reached when it was looked at."""
    with start_stack(work) as hub:
        for user, is_superuser in (("admin", True), ("alice", False)):
            hub.create_user(user, PASSWORD, is_superuser=is_superuser)
        hub.create_api_client("RIS", "launch")
        studio = Studio(hub, browser)
        yield from before_the_login(studio)
        yield from without_archives(studio)
        yield from without_rights(studio)
        with studio.archive("main", EmbeddedArchive(), "Main PACS"):
            yield from launches(studio)
            with studio.page("alice") as page:
                for states in (
                    searches,
                    saved_searches,
                    phone_filters,
                    slow_archives,
                    dead_archives,
                    unusual_values,
                ):
                    yield from states(studio, page)
            yield from expired_session(studio)
            yield from errors(studio)
            yield from administration(studio)
