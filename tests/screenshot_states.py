"""Every state of the pages as pictures, to be looked at: light and dark, wide and narrow.

``python -m tests.screenshots FOLDER`` writes them there, on a hub of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, expect

from archives.embedded import EmbeddedArchive
from archives.entities import Instance, Patient, Series, Study
from tests.dicomweb_server import Behaviour, DicomWebServer, serving
from tests.environment import free_port
from tests.servers import Choosy, Slow
from tests.stack import Stack, start_stack
from tests.weasis_client import WeasisClient

PASSWORD: Final = "for the pictures"
SIZES: Final = {"wide": (1280, 800), "narrow": (360, 740)}
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


class Camera:
    """Takes a state in every size and theme, and tells what scrolls sideways."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.complaints: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def take(
        self,
        page: Page,
        name: str,
        *,
        narrow: bool = True,
        themes: Iterable[str] = THEMES,
    ) -> None:
        for size, (width, height) in SIZES.items():
            if size == "narrow" and not narrow:
                continue
            page.set_viewport_size({"width": width, "height": height})
            for theme in themes:
                page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
                page.screenshot(
                    path=self.folder / f"{name}-{size}-{theme}.png", full_page=True
                )
            wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if wider > 0:
                self.complaints.append(f"{name} is {wider} pixels too wide ({size}).")
        page.set_viewport_size({"width": 1280, "height": 800})


class Studio:
    """The hub, and a page of each of its users."""

    def __init__(self, hub: Stack, browser: Browser, camera: Camera) -> None:
        self.hub = hub
        self.camera = camera
        self._browser = browser

    def page(self, user: str = "", **options: Any) -> Page:
        page = self._browser.new_page(locale="en", base_url=self.hub.url, **options)
        if user:
            page.goto("/accounts/login/")
            page.fill("input[name=login]", user)
            page.fill("input[name=password]", PASSWORD)
            page.press("input[name=password]", "Enter")
            page.wait_for_url("/")
        return page

    def remove_archives(self) -> None:
        self.hub.console.run("Archive.objects.all().delete()")

    @contextmanager
    def archive(self, slug: str, server: EmbeddedArchive, name: str) -> Iterator[None]:
        with server:
            self.hub.add_dimse_archive(slug, port=server.port, name=name)
            yield


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


def without_archives(studio: Studio) -> None:
    for user, name in (("admin", "first-run-admin"), ("alice", "first-run-user")):
        page = studio.page(user)
        studio.camera.take(page, name)
        page.close()


def before_the_login(studio: Studio) -> None:
    page = studio.page()
    page.goto("/accounts/login/")
    studio.camera.take(page, "login")
    page.close()


def without_rights(studio: Studio) -> None:
    studio.hub.add_dimse_archive("closed", port=free_port(), name="Main PACS")
    studio.hub.console.run(
        "from django.contrib.auth.models import Group\n"
        "group = Group.objects.create(name='Radiology')\n"
        "Archive.objects.get().groups.add(group)"
    )
    page = studio.page("alice")
    studio.camera.take(page, "no-right-to-any-archive")
    page.close()
    studio.remove_archives()


def searches(studio: Studio, page: Page) -> None:
    take = studio.camera.take
    page.goto("/")
    take(page, "before-a-search")
    page.click(".more > summary")
    take(page, "before-a-search-more-filters")
    search(page, "doe")
    answered(page)
    take(page, "results")
    page.click("[data-expand] >> nth=3")
    page.wait_for_selector("[data-series-loaded]")
    pictures_shown(page)
    take(page, "results-series")
    search(page, "nobody is called so")
    answered(page)
    take(page, "empty")
    page.goto("/")
    page.fill("[data-quick]", "*")
    page.press("[data-quick]", "Enter")
    page.wait_for_selector("[role=alert]")
    take(page, "too-broad")
    page.goto("/search/r/AAAAAAAAAAAAAAAAAAAAAA/")
    take(page, "search-has-ended")


def phone_filters(studio: Studio, page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/")
    page.click(".filters-open")
    page.click(".more > summary")
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        path = studio.camera.folder / f"filters-narrow-{theme}.png"
        page.screenshot(path=path)
    page.set_viewport_size({"width": 1280, "height": 800})


def slow_archives(studio: Studio, page: Page) -> None:
    with ExitStack() as stack:
        slow = Slow()
        stack.enter_context(studio.archive("slow", slow, "Radiotherapy"))
        search(page, "doe")
        page.wait_for_selector("[data-study]")
        studio.camera.take(page, "partial")
        studio.hub.console.run(
            "Archive.objects.exclude(slug='slow').update(is_enabled=False)"
        )
        search(page, "doe")
        studio.camera.take(page, "searching")
        studio.hub.console.run("Archive.objects.update(is_enabled=True)")
        slow.proceed.set()
    studio.hub.console.run("Archive.objects.filter(slug='slow').delete()")


def dead_archives(studio: Studio, page: Page) -> None:
    studio.hub.add_dimse_archive("dead", port=free_port(), name="Old archive")
    with studio.archive("choosy", Choosy(), "Choosy archive"):
        search(page, "doe")
        answered(page)
        studio.camera.take(page, "one-archive-down")
        page.click("#archive-dead summary")
        studio.camera.take(page, "one-archive-down-why")
        studio.hub.console.run(
            "Archive.objects.filter(slug='main').update(is_enabled=False)"
        )
        search(page, "doe")
        answered(page)
        studio.camera.take(page, "all-down")
    studio.hub.console.run(
        "Archive.objects.filter(slug__in=['dead', 'choosy']).delete()\n"
        "Archive.objects.update(is_enabled=True)"
    )


def expired_session(studio: Studio) -> None:
    page = studio.page("alice")
    page.context.clear_cookies(name="viewerhub-session")
    page.fill("[data-quick]", "doe")
    page.press("[data-quick]", "Enter")
    page.wait_for_url(re.compile("/accounts/login/"))
    studio.camera.take(page, "session-expired")
    page.close()


def unusual_values(studio: Studio, page: Page) -> None:
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
        studio.camera.take(page, "unusual-values")
        for number in (0, 1):
            page.check(f"[data-study] [data-pick] >> nth={number}")
        studio.camera.take(page, "several-patients-selected")
        page.click("#open-selected button")
        page.wait_for_selector(".confirm")
        studio.camera.take(page, "several-patients-confirm")
    studio.hub.console.run("Archive.objects.filter(slug='unusual').delete()")


def launches(studio: Studio) -> None:
    """On pages of their own: Chromium's question about ``weasis:`` takes the keyboard."""
    take = studio.camera.take
    page = studio.page("alice")
    with studio.archive("slow", slow := Slow(), "Radiotherapy"):
        search(page, "doe")
        page.wait_for_selector("[data-study]")
        page.click("[data-open] >> nth=0")
        expect(page.locator(".launch-state").first).to_be_visible()
        take(page, "launch-asking")
        slow.proceed.set()
    studio.hub.console.run("Archive.objects.filter(slug='slow').delete()")
    page.close()
    page = studio.page("alice")
    search(page, "doe")
    page.wait_for_selector("[data-study]")
    with page.expect_event(
        "request", lambda one: one.url.startswith("weasis:")
    ) as asked:
        page.click("[data-open] >> nth=0")
    expect(page.locator(".launch-state").first).to_contain_text("Ready")
    take(page, "launch-ready")
    expect(page.get_by_text("Weasis did not start?")).to_be_visible()
    take(page, "launch-viewer-missing")
    details = page.get_by_role("link", name="Details").get_attribute("href") or "/"
    WeasisClient().open(asked.value.url)
    expect(page.locator(".launch-state").first).to_contain_text("Opened")
    take(page, "launch-fetched")
    for name, code in _LAUNCH_STATES.items():
        studio.hub.console.run(_ONE_LAUNCH + code, path=details)
        page.goto(details)
        take(page, f"launch-page-{name}")
    page.goto("/launches/")
    take(page, "recent-launches")
    page.close()


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
_LAUNCH_STATES: Final = {
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


def administration(studio: Studio, theme: str) -> None:
    """Its pages look which theme is wanted when they are loaded."""
    page = studio.page("admin", color_scheme=theme)
    take = partial(studio.camera.take, narrow=False, themes=[theme])
    for path, name in (
        ("/admin/", "admin"),
        ("/admin/archives/archive/", "admin-archives"),
        ("/admin/launcher/viewerrule/", "admin-rules"),
        ("/admin/launcher/launch/", "admin-launches"),
    ):
        page.goto(path)
        take(page, name)
    page.goto("/admin/archives/archive/")
    page.click("text=Main PACS")
    page.get_by_role("button", name="Verify connection", exact=True).click()
    page.wait_for_selector(".vh-checklist, .vh-verification")
    take(page, "admin-archive-verified")
    page.goto("/admin/launcher/launchtemplate/preview-launch/")
    page.get_by_label("Launch URL or identifier").fill("patientID=1CT1")
    page.get_by_role("button", name="Preview", exact=True).click()
    page.wait_for_selector(".vh-manifest")
    take(page, "admin-preview")
    page.goto("/admin/launcher/launchtemplate/url-builder/")
    page.select_option("#id_kind", "patientID")
    page.fill("#id_value", "1CT1")
    page.select_option("#id_tester", label="RIS")
    page.get_by_role("button", name="Make links").click()
    page.get_by_role("button", name="Test REST API", exact=True).click()
    page.wait_for_selector("#rest-answer")
    take(page, "admin-url-builder")
    page.close()


def take_all(browser: Browser, folder: Path, work: Path) -> list[str]:
    """Every state; returns what is too wide."""
    camera = Camera(folder)
    with start_stack(work) as hub:
        for user, is_superuser in (("admin", True), ("alice", False)):
            hub.create_user(user, PASSWORD, is_superuser=is_superuser)
        hub.create_api_client("RIS", "launch")
        studio = Studio(hub, browser, camera)
        before_the_login(studio)
        without_archives(studio)
        without_rights(studio)
        with studio.archive("main", EmbeddedArchive(), "Main PACS"):
            launches(studio)
            page = studio.page("alice")
            states: list[Callable[[Studio, Page], None]] = [
                searches,
                phone_filters,
                slow_archives,
                dead_archives,
                unusual_values,
            ]
            for state in states:
                state(studio, page)
            expired_session(studio)
            for theme in THEMES:
                administration(studio, theme)
    return camera.complaints
