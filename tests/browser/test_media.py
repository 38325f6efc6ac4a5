"""Pages enlarged, printed, without motion, and in the colours of the system."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.test_portal import further_archive, overflow, search, studies
from tests.dicom_files import DicomFiles
from tests.servers import Slow
from tests.stack import Stack

# 1280 by 900 pixels, enlarged to 400 % (WCAG 1.4.10)
ENLARGED = {"width": 320, "height": 225}


def test_nothing_scrolls_both_ways_when_enlarged_to_400_percent(alice: Page):
    alice.set_viewport_size(ENLARGED)
    assert overflow(alice) <= 0
    search(alice, "lindqvist")
    expect(studies(alice)).to_have_count(3)
    alice.locator("[data-expand]").first.click()
    expect(alice.locator("[data-series-loaded]")).to_be_visible()
    assert overflow(alice) <= 0
    studies(alice).first.locator("[data-open]").scroll_into_view_if_needed()
    for menu in alice.locator("main details[data-menu]:visible").all()[:6]:
        menu.locator("summary").click()
        assert overflow(alice) <= 0
        alice.keyboard.press("Escape")
    alice.goto("/launches/")
    assert overflow(alice) <= 0


def test_paper_has_the_list_and_no_controls(alice: Page):
    search(alice, "lindqvist")
    expect(studies(alice)).to_have_count(3)
    alice.emulate_media(media="print", color_scheme="dark")

    expect(studies(alice).first.locator(".who")).to_be_visible()
    expect(alice.locator("[data-chip]")).to_contain_text("Main PACS 3")
    expect(alice.locator(":is(button, .button, [data-pick]):visible")).to_have_count(0)
    paper = "getComputedStyle(document.body).backgroundColor"
    assert alice.evaluate(paper) == "rgb(255, 255, 255)"


def test_nothing_moves_where_that_is_not_wanted(
    alice: Page, hub: Stack, dicom_files: DicomFiles
):
    moving = """document.getAnimations().filter(
      (one) => one.effect.getComputedTiming().duration > 0).length"""
    paths = dicom_files.paths(dicom_files.group("demo"))
    with Slow(paths) as slow, further_archive(hub, "slow", port=slow.port):
        search(alice, "lindqvist")
        expect(studies(alice)).to_have_count(3)
        assert alice.evaluate(moving) > 0
        alice.emulate_media(reduced_motion="reduce")
        assert alice.evaluate(moving) == 0


def test_focus_and_choices_are_seen_in_the_colours_of_the_system(alice: Page):
    alice.emulate_media(forced_colors="active")
    search(alice, "lindqvist")
    expect(studies(alice)).to_have_count(3)
    alice.keyboard.press("j")
    width = "(one) => parseFloat(getComputedStyle(one).outlineWidth)"

    assert alice.locator("[data-study] > tr:focus").evaluate(width) >= 2
    assert alice.locator("[data-presets] :checked + span").evaluate(width) >= 2
    current = alice.locator(".sections [aria-current]")
    assert "underline" in current.evaluate(
        "(one) => getComputedStyle(one).textDecorationLine"
    )
