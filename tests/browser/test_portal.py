"""The portal in Chromium: what a radiologist sees and does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from archives.embedded import EmbeddedArchive
from archives.entities import Instance, Patient, Series, Study
from tests.browser.conftest import log_in, watch
from tests.dicom_files import DicomFiles
from tests.dicomweb_server import Behaviour, DicomWebServer, serving
from tests.dicomweb_studies import make_study
from tests.environment import free_port
from tests.servers import Slow
from tests.stack import Stack
from tests.weasis_client import WeasisClient

NARROW = {"width": 360, "height": 740}
WIDE = {"width": 1280, "height": 900}
PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "'><iframe srcdoc='<script>alert(1)</script>'>",
    "</td></tr></table><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7|add:7 }}{% now 'Y' %}",
    "<a href=javascript:alert(1)>x</a>",
    "<button hx-get=/x hx-trigger=load>",
    "<div hx-on:htmx:load=alert(1)>",
    "<template><img src=x onerror=alert(1)></template>",
    "<style>*{display:none}</style>",
    "--><!--<script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u202e<b>\u2066",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
)


def search(page: Page, text: str) -> None:
    page.get_by_label("Name, patient ID, accession number or UID").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/search/r/"))


def studies(page: Page):
    return page.locator("[data-study]:visible")


def press(page: Page, selector: str) -> None:
    """Click by script: Chromium's question about ``weasis:`` takes the pointer."""
    page.locator(selector).first.dispatch_event("click")


@contextmanager
def further_archive(hub: Stack, slug: str, **fields) -> Iterator[None]:
    hub.add_dimse_archive(slug, **fields)
    try:
        yield
    finally:
        hub.console.run("Archive.objects.filter(slug=slug).delete()", slug=slug)


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def test_login_search_open_and_progress(
    page: Page, hub: Stack, viewer: list[str], dicom_files: DicomFiles
):
    alice = log_in(page, hub.url)
    search(alice, "lindqvist")
    expect(studies(alice)).to_have_count(3)
    expect(alice.locator("#results-title")).to_have_text("3 studies")
    expect(alice.locator("[data-chip]")).to_contain_text("Main PACS 3")
    row = studies(alice).nth(1)
    expect(row).to_contain_text("CT Thorax")

    row.get_by_role("button", name="Open in Weasis").click()
    expect(row.locator(".launch-state")).to_contain_text("Ready · 37 images")
    assert len(viewer) == 1
    assert viewer[0].startswith("weasis://?%24dicom%3Aget")

    result = WeasisClient().open(viewer[0])
    assert result.failures == []
    assert set(result.downloaded) == dicom_files.study("ct").sop_instance_uids
    expect(row.locator(".launch-state")).to_contain_text(
        re.compile(r"Opened \d\d:\d\d")
    )
    expect(row.get_by_text("Weasis did not start?")).to_be_hidden()
    assert alice.url.count("/search/r/") == 1


def test_help_appears_when_weasis_does_not_come(alice: Page, viewer: list[str]):
    search(alice, "A1011")
    studies(alice).get_by_role("button", name="Open in Weasis").click()

    expect(alice.get_by_text("Weasis did not start?")).to_be_visible()
    again = alice.get_by_role("link", name="Try again")
    assert again.get_attribute("href") == viewer[0]
    press(alice, "text=Copy link")
    expect(alice.locator("#notice")).to_have_text("Link copied")


def test_menu_opens_with_priors_and_says_why_a_viewer_does_not(
    alice: Page, hub: Stack, viewer: list[str]
):
    hub.console.run(
        "address = 'https://web.example/?u={archive_url}&s={study_uids}'\n"
        "web = Viewer.objects.create(name='Web', slug='web', url_template=address)\n"
        "LaunchTemplate.objects.create(name='Web viewer', slug='web', viewer=web)"
    )
    search(alice, "A1001")
    alice.get_by_label("More ways to open").press("Enter")

    refused = alice.get_by_role("button", name="Web viewer")
    refused.focus()
    expect(refused).to_be_focused()
    expect(refused).to_have_accessible_description(
        "It opens studies by DICOMweb, which Main PACS does not have."
    )
    refused.press("Enter")
    expect(refused).to_be_visible()
    alice.get_by_role("button", name="Open with priors").press("Enter")

    expect(alice.locator(".launch-state")).to_contain_text(
        "Ready · 3 studies · 55 images"
    )
    expect(alice.locator(".launched")).to_be_focused()
    assert len(viewer) == 1
    hub.console.run("LaunchTemplate.objects.filter(slug='web').delete()")
    hub.console.run("Viewer.objects.all().delete()")


def test_pointing_at_a_button_builds_ahead(alice: Page):
    search(alice, "A1010")
    button = studies(alice).get_by_role("button", name="Open in Weasis")
    button.evaluate("(one) => { one.form.dataset.ahead = '/launch/ahead/'; }")

    with alice.expect_response("**/launch/ahead/") as answer:
        button.hover()

    assert answer.value.status == 204


def test_series_are_listed_and_opened_one_by_one(
    alice: Page, viewer: list[str], dicom_files: DicomFiles
):
    search(alice, "A1001")
    alice.get_by_role("button", name="Series of").click()
    series = alice.locator(".series tbody tr")
    expect(series).to_have_count(6)
    expect(alice.get_by_text("2 other studies of this patient")).to_be_visible()
    # The pictures take their own width, and the descriptions have the rest.
    expect(series.nth(1).locator(".picture")).to_have_css("width", "64px")

    series.nth(1).get_by_role("button", name="Open").click()

    expect(series.nth(1).locator(".launch-state")).to_contain_text("20 images")
    lung = dicom_files.study("ct").series[1]
    uids = {instance.sop_instance_uid for instance in lung.instances}
    assert set(WeasisClient().open(viewer[0]).downloaded) == uids


def test_series_show_pictures_and_bear_to_have_none(alice: Page):
    search(alice, "A1001")
    alice.get_by_role("button", name="Series of").click()
    pictures = alice.locator(".series img")
    expect(alice.locator(".series tbody tr")).to_have_count(6)
    expect(pictures).to_have_count(3)  # key objects, states and reports have none
    for number in range(3):
        pictures.nth(number).scroll_into_view_if_needed()
        expect(pictures.nth(number)).not_to_have_js_property("naturalWidth", 0)
    assert pictures.first.get_attribute("alt") == "Picture of series 1"

    alice.route("**/*.jpg", lambda route: route.fulfill(status=404))
    alice.reload()
    alice.get_by_role("button", name="Series of").click()
    expect(alice.locator(".series tbody tr")).to_have_count(6)
    for number in range(3):
        pictures.nth(number).evaluate("(one) => { one.loading = 'eager'; }")
    expect(alice.locator(".series img:visible")).to_have_count(0)
    expect(alice.locator(".series")).to_contain_text("Lung 1.0")


def test_other_studies_of_the_patient_are_searched(alice: Page):
    search(alice, "A1001")
    alice.get_by_role("button", name="Series of").click()
    alice.get_by_role("button", name="2 other studies of this patient").click()

    expect(studies(alice)).to_have_count(3)


def test_slow_archive_hides_no_other_and_moves_no_row(
    alice: Page, hub: Stack, dicom_files: DicomFiles
):
    paths = dicom_files.paths(dicom_files.group("demo"))
    with Slow(paths) as slow, further_archive(hub, "slow", port=slow.port):
        search(alice, "DEMO-1")
        expect(studies(alice)).to_have_count(3)
        expect(alice.locator("#archive-slow")).to_contain_text("asking…")

        slow.proceed.set()

        expect(alice.locator("#archive-slow")).to_contain_text("slow 3")
        expect(studies(alice)).to_have_count(3)
        expect(studies(alice).first).to_contain_text("also in")


def test_studies_are_opened_while_another_archive_is_slow(
    alice: Page, hub: Stack, viewer: list[str], dicom_files: DicomFiles
):
    paths = dicom_files.paths(dicom_files.group("demo"))
    with Slow(paths) as slow, further_archive(hub, "slow", port=slow.port):
        search(alice, "DEMO-1")
        expect(studies(alice)).to_have_count(3)
        assert slow.asked.wait(20)
        with alice.expect_request(lambda request: request.url.startswith("weasis:")):
            studies(alice).nth(1).get_by_role("button", name="Open in Weasis").click()

        downloaded = WeasisClient().open(viewer[0]).downloaded

        assert set(downloaded) == dicom_files.study("ct").sop_instance_uids
        expect(alice.locator("#archive-slow")).to_contain_text("asking…")
        assert not slow.cancelled.is_set()


LEAVING = {
    "searches again": lambda page: search(page, "lindqvist"),
    "goes elsewhere": lambda page: page.get_by_role("link", name="ViewerHub").click(),
    "closes the page": lambda page: page.close(),
}


@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING.keys())
def test_leaving_a_search_ends_it_at_the_archive(
    alice: Page, hub: Stack, dicom_files: DicomFiles, leave: Callable[[Page], None]
):
    paths = dicom_files.paths(dicom_files.group("demo"))
    with Slow(paths) as slow, further_archive(hub, "slow", port=slow.port):
        search(alice, "DEMO-1")
        expect(studies(alice)).to_have_count(3)
        assert slow.asked.wait(20)
        assert not slow.cancelled.is_set()

        leave(alice)

        assert slow.cancelled.wait(20)


def test_rows_above_the_one_in_use_wait_until_they_are_asked_for(
    alice: Page, hub: Stack, dicom_files: DicomFiles
):
    older = dicom_files.paths([dicom_files.study("ct-prior")])
    newer = dicom_files.paths([dicom_files.study("ct"), dicom_files.study("cr")])
    with (
        EmbeddedArchive(older) as first,
        Slow(newer) as second,
        further_archive(hub, "older", port=first.port),
        further_archive(hub, "newer", port=second.port),
    ):
        alice.reload()
        alice.get_by_text("More filters").click()
        for name in ("older", "newer"):
            alice.get_by_label(name).check()
        search(alice, "DEMO-1")
        expect(studies(alice)).to_have_count(1)
        alice.keyboard.press("j")

        second.proceed.set()

        show = alice.get_by_role("button", name="2 more – show")
        expect(show).to_be_visible()
        expect(studies(alice)).to_have_count(1)
        expect(alice.locator("#results-title")).to_have_text("3 studies")
        show.click()
        expect(studies(alice)).to_have_count(3)
        expect(studies(alice).first).to_contain_text("Chest PA and LAT")
        expect(show).to_be_hidden()


def test_dead_archive_is_told_with_what_to_do(alice: Page, hub: Stack):
    with further_archive(hub, "dead", port=free_port()):
        search(alice, "lindqvist")
        expect(studies(alice)).to_have_count(3)
        chip = alice.locator("#archive-dead")
        expect(chip).to_contain_text("not answering")

        chip.locator("summary").click()

        expect(chip).to_contain_text("The other archives are not affected.")
        chip.get_by_role("button", name="Ask again").or_(
            chip.get_by_role("link", name="Ask again")
        ).click()
        expect(chip).to_contain_text("not answering")
        alice.keyboard.press("Escape")


def test_empty_and_broad_searches_say_what_to_try(alice: Page):
    search(alice, "nobody has this name")
    expect(alice.get_by_role("heading", name="No study matches")).to_be_visible()
    expect(alice.get_by_text("Answered: Main PACS.")).to_be_visible()

    alice.get_by_label("Name, patient ID").fill("*")
    alice.keyboard.press("Enter")
    expect(alice.get_by_role("alert")).to_contain_text("too broad for the archives")


def test_several_patients_are_opened_together_only_when_confirmed(
    alice: Page, viewer: list[str]
):
    alice.get_by_text("More filters").click()
    alice.get_by_label("Patient ID", exact=True).fill("DEMO-?")
    alice.keyboard.press("Enter")
    expect(studies(alice)).to_have_count(5)
    for number in (0, 2):
        studies(alice).nth(number).get_by_role("checkbox").check()
    expect(alice.get_by_text("These are 2 patients")).to_be_visible()
    expect(alice.get_by_text("2 selected")).to_be_visible()

    alice.get_by_role("button", name="Open selected in Weasis").click()
    expect(alice.locator(".confirm")).to_contain_text("Studies of 2 patients")
    expect(alice.locator(".confirm")).to_be_focused()
    assert viewer == []
    alice.get_by_role("button", name="Open all of them together").click()

    expect(alice.locator("#selected-launch .launch-state")).to_contain_text("images")
    expect(alice.locator("#selected-launch .launch")).to_be_focused()
    assert len(viewer) == 1


def test_theme_is_switched_and_kept(alice: Page):
    def background() -> str:
        return alice.evaluate("getComputedStyle(document.body).backgroundColor")

    alice.emulate_media(color_scheme="light")
    assert background() == "rgb(246, 247, 249)"
    for _ in range(2):
        alice.locator("[data-theme-switch] button").click()
    assert background() == "rgb(15, 19, 23)"

    alice.reload()

    assert background() == "rgb(15, 19, 23)"


def test_period_and_modalities_are_chosen_and_kept(alice: Page):
    alice.locator("summary", has_text="Modality").click()
    alice.get_by_label("CT Computed tomography").check()
    alice.get_by_label("Study date from").fill("2026-01-01")
    expect(alice.get_by_label("Any", exact=True).first).not_to_be_checked()
    search(alice, "lindqvist")

    expect(studies(alice)).to_have_count(1)
    expect(alice.locator("[data-modalities]")).to_have_text("CT")
    alice.get_by_label("30 days").check()
    expect(alice.get_by_label("Study date from")).to_have_value("")


@pytest.mark.parametrize("text", ["lindqvist", "Quoted, Ident", "Yamada"])
def test_nothing_scrolls_sideways_on_a_phone(alice: Page, text: str):
    alice.set_viewport_size(NARROW)
    assert overflow(alice) <= 0
    search(alice, text)
    expect(studies(alice).first).to_be_visible()
    alice.locator("[data-expand]").first.click()
    expect(alice.locator(".series")).to_be_visible()
    assert overflow(alice) <= 0

    alice.get_by_role("button", name="Filters").click()
    expect(alice.get_by_role("heading", name="Filters")).to_be_visible()
    alice.get_by_text("More filters").click()
    assert overflow(alice) <= 0
    alice.keyboard.press("Escape")

    studies(alice).get_by_role("button", name="Open in Weasis").first.click()
    expect(alice.locator(".launch-state").first).to_contain_text("Ready")
    assert overflow(alice) <= 0
    for path in ("/launches/", "/accounts/2fa/", "/accounts/password/change/"):
        alice.goto(alice.url.split("/search")[0].split("/launches")[0] + path)
        assert overflow(alice) <= 0


def test_launch_page_follows_the_launch(alice: Page, viewer: list[str]):
    search(alice, "A1010")
    # The page asks for the viewer on its own, which would end a navigation under way.
    with alice.expect_request(lambda request: request.url.startswith("weasis:")):
        studies(alice).get_by_role("button", name="Open in Weasis").click()
    details = alice.get_by_role("link", name="Details").get_attribute("href")
    assert details
    alice.goto(details)

    expect(alice.locator(".launch-progress")).to_contain_text("Main PACS")
    expect(alice.locator(".launch-progress")).to_contain_text("2 series · 20 images")
    WeasisClient().open(viewer[0])
    expect(alice.locator(".launch-progress")).to_contain_text("Weasis took over")
    alice.goto(f"{alice.url.split('/launch')[0]}/launches/")
    expect(alice.locator(".launch-item").first).to_contain_text("Moreau")


def test_session_that_expires_while_searching_loses_nothing(alice: Page, hub: Stack):
    alice.context.clear_cookies(name="viewerhub-session")
    alice.get_by_label("Name, patient ID").fill("lindqvist")
    alice.keyboard.press("Enter")
    expect(alice.get_by_role("heading", name="Sign in to ViewerHub")).to_be_visible()
    expect(alice.get_by_text("Your search is kept")).to_be_visible()
    assert "lindqvist" not in alice.url

    alice.get_by_label("Username").fill("alice")
    alice.get_by_label("Password", exact=True).fill("correct horse battery")
    alice.get_by_role("button", name="Sign in", exact=True).click()

    expect(studies(alice)).to_have_count(3)


def test_portal_works_without_javascript(
    browser: Browser, hub: Stack, viewer: list[str]
):
    complaints: list[str] = []
    context = browser.new_context(java_script_enabled=False, viewport=WIDE)
    page = context.new_page()
    watch(page, hub.url, complaints, viewer)
    log_in(page, hub.url)
    search(page, "lindqvist")
    expect(studies(page)).to_have_count(3)
    page.get_by_role("button", name="Series of").first.click()
    expect(page.locator(".series tbody tr")).to_have_count(2)
    page.get_by_role("link", name="Back to the results").click()
    expect(studies(page)).to_have_count(3)

    with page.expect_event("request", lambda one: one.url.startswith("weasis:")):
        studies(page).nth(1).get_by_role("button", name="Open in Weasis").click()

    assert viewer[0].startswith("weasis://?")
    assert complaints == []
    context.close()


@contextmanager
def hostile_archive(hub: Stack) -> Iterator[None]:
    """An archive whose every value is an attempt to be more than text."""
    server = DicomWebServer(_hostile_studies(), Behaviour(ignores_keys=True))
    with serving(server):
        hub.add_dicomweb_archive("hostile", url=server.url, name="<img src=x>")
        yield
        hub.console.run("Archive.objects.filter(slug='hostile').delete()")


def _hostile_studies() -> list[Study]:
    def series(number: int, text: str) -> Series:
        return Series(
            series_instance_uid=f"1.2.3.{number}.1",
            modality=text[:16],
            series_description=text,
            instances=(Instance(sop_instance_uid=f"1.2.3.{number}.1.1"),),
        )

    return [
        Study(
            study_instance_uid=f"1.2.3.{number}",
            patient=Patient(
                patient_id=text,
                issuer_of_patient_id=text,
                patient_name=f"Hostile^{text}",
                patient_birth_date=text,
                patient_sex=text,
            ),
            study_date=text,
            study_time=text,
            accession_number=text,
            study_id=text,
            study_description=text,
            referring_physician_name=text,
            modalities_in_study=(text,),
            series=(series(number, text),),
        )
        for number, text in enumerate(PAYLOADS)
    ]


def test_hostile_values_stay_text(alice: Page, hub: Stack, complaints: list[str]):
    with hostile_archive(hub):
        search(alice, "hostile")
        expect(studies(alice)).to_have_count(len(PAYLOADS))
        for number in range(len(PAYLOADS)):
            alice.locator("[data-expand]").nth(number).click()
            # Series that arrive move the rows below: a click is lost that began before.
            expect(alice.locator(".series")).to_have_count(number + 1)
        studies(alice).first.get_by_role("button", name="Open in Weasis").click()
        expect(alice.locator(".launch-state").first).to_contain_text("image")
        alice.goto(f"{hub.url}/launches/")
        expect(alice.locator(".launch-item").first).to_be_visible()

    assert complaints == []


# Order, pages and selection


@pytest.fixture
def visits(hub: Stack) -> Iterator[None]:
    """A patient with so many studies that they fill more than a page."""
    server = DicomWebServer(_visits(60), Behaviour(ignores_keys=True))
    with serving(server):
        hub.add_dicomweb_archive("visits", url=server.url, name="Visits")
        yield
        hub.console.run("Archive.objects.filter(slug='visits').delete()")


def _visits(number: int) -> list[Study]:
    return [
        make_study(
            f"1.2.4.{index}",
            patient={
                "patient_id": f"VISIT-{index % 2}",
                "patient_name": f"Visitor^{index:02d}",
            },
            study_time=f"10{index:02d}",
            study_description=f"Visit {index:02d}",
        )
        for index in range(number)
    ]


@pytest.mark.usefixtures("visits")
def test_order_and_page_are_in_the_address(alice: Page):
    search(alice, "visitor")
    title = alice.locator("#results-title")
    expect(title).to_have_text("1 to 50 of 60 studies")
    expect(studies(alice).first).to_contain_text("Visit 59")

    alice.get_by_role("link", name="Patient", exact=True).first.click()
    expect(studies(alice).first).to_contain_text("Visit 00")
    expect(alice.get_by_text("Sorted by patient name")).to_be_visible()
    alice.get_by_role("link", name="Next").click()
    expect(title).to_have_text("51 to 60 of 60 studies")
    expect(title).to_be_focused()
    expect(studies(alice).first).to_contain_text("Visit 50")
    alice.reload()
    expect(studies(alice).first).to_contain_text("Visit 50")

    alice.go_back()
    expect(studies(alice).first).to_contain_text("Visit 00")
    alice.go_back()
    expect(studies(alice).first).to_contain_text("Visit 59")
    assert "visit" not in alice.url.lower()


@pytest.mark.usefixtures("visits")
def test_selection_outlives_pages_and_is_opened_together(
    alice: Page, viewer: list[str], hub: Stack
):
    search(alice, "visitor")
    studies(alice).first.get_by_role("checkbox").check()
    alice.get_by_role("link", name="Next").click()
    expect(alice.locator("#results-title")).to_have_text("51 to 60 of 60 studies")
    expect(alice.get_by_text("1 selected")).to_be_visible()
    studies(alice).first.get_by_role("checkbox").check()
    expect(alice.get_by_text("2 selected")).to_be_visible()
    expect(alice.get_by_text("These are 2 patients")).to_be_hidden()
    studies(alice).nth(1).get_by_role("checkbox").check()
    expect(alice.get_by_text("These are 2 patients")).to_be_visible()
    studies(alice).nth(1).get_by_role("checkbox").uncheck()

    alice.get_by_role("button", name="Open selected in Weasis").click()

    expect(alice.locator("#selected-launch .launched")).to_be_visible()
    (count,) = hub.console.run(
        "launch = Launch.objects.latest('created')\n"
        "result = [len(launch.build.get_selection().study_instance_uids)]"
    )
    assert count == 2
    alice.get_by_role("link", name="Previous").click()
    expect(studies(alice).first.get_by_role("checkbox")).to_be_checked()


def test_identifiers_are_copied_with_a_notice(alice: Page):
    alice.context.grant_permissions(["clipboard-read", "clipboard-write"])
    search(alice, "A1001")
    row = studies(alice).first

    row.hover()
    for name, notice, text in (
        ("Copy the patient ID", "Patient ID copied", "DEMO-1"),
        ("Copy the accession number", "Accession number copied", "A1001"),
    ):
        row.get_by_role("button", name=name).click()
        expect(alice.locator("#notice")).to_have_text(notice)
        assert alice.evaluate("navigator.clipboard.readText()") == text


def test_chip_says_why_by_keyboard_and_the_end_is_announced_once(
    alice: Page, hub: Stack, dicom_files: DicomFiles
):
    paths = dicom_files.paths(dicom_files.group("demo"))
    with Slow(paths) as slow, further_archive(hub, "slow", port=slow.port):
        search(alice, "DEMO-1")
        expect(studies(alice)).to_have_count(3)
        told = alice.locator("[data-told]")
        chip = alice.locator("#chip-slow")
        chip.focus()
        alice.keyboard.press("Enter")
        expect(alice.get_by_text("This archive has not answered yet")).to_be_visible()
        expect(chip.get_by_text("slow, still asking")).to_be_visible()
        assert told.text_content() == ""

        slow.proceed.set()

        expect(told).to_contain_text("All archives have been asked: 3 studies.")
        expect(chip).to_be_focused()
        expect(alice.locator("#archive-slow")).to_contain_text("3 studies match")


def test_row_in_use_stays_the_same_while_others_come(
    alice: Page, hub: Stack, dicom_files: DicomFiles
):
    """Its focus, its place and what was opened in it."""
    newer = dicom_files.paths([dicom_files.study(key) for key in ("ct", "cr")])
    older = dicom_files.paths([dicom_files.study("ct-prior")])
    with (
        EmbeddedArchive(newer) as first,
        Slow([*newer, *older]) as second,
        further_archive(hub, "first", port=first.port),
        further_archive(hub, "second", port=second.port),
    ):
        alice.reload()
        alice.get_by_text("More filters").click()
        for name in ("first", "second"):
            alice.get_by_label(name, exact=True).check()
        search(alice, "DEMO-1")
        expect(studies(alice)).to_have_count(2)
        row = studies(alice).nth(1)
        row.get_by_role("button", name="Series of").click()
        expect(row.locator(".series")).to_be_visible()
        row.get_by_role("button", name="Series of").focus()
        element = row.element_handle()
        top = element.bounding_box()

        second.proceed.set()

        expect(studies(alice)).to_have_count(3)
        assert element.evaluate("(one) => one.isConnected")
        assert element.bounding_box()["y"] == top["y"]
        assert element.evaluate("(one) => one.contains(document.activeElement)")
        expect(row.locator(".series")).to_be_visible()
        expect(row).to_contain_text("also in second")
        expect(alice.get_by_role("button", name="Show what changed")).to_be_visible()
