"""Everything by the keyboard, and where the focus is meanwhile."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.test_portal import further_archive, search, studies
from tests.dicom_files import DicomFiles
from tests.environment import free_port
from tests.servers import Slow
from tests.stack import Stack


def row(page: Page, number: int):
    """The part of a study that has the focus for the whole of it."""
    return studies(page).nth(number).locator("> tr").first


def test_everything_is_done_by_keyboard(alice: Page, viewer: list[str]):
    alice.evaluate("document.activeElement.blur()")
    alice.keyboard.press("/")
    alice.keyboard.type("lindqvist")
    alice.keyboard.press("Enter")
    expect(studies(alice)).to_have_count(3)

    for key in ("j", "ArrowDown", "j", "k", "ArrowUp"):
        alice.keyboard.press(key)
    expect(row(alice, 0)).to_be_focused()
    alice.keyboard.press("x")
    expect(alice.locator("[data-series-loaded]")).to_be_visible()
    alice.keyboard.press("Space")
    expect(alice.get_by_text("1 selected")).to_be_visible()
    alice.keyboard.press("?")
    expect(alice.get_by_role("dialog")).to_be_visible()
    alice.keyboard.press("Escape")
    expect(row(alice, 0)).to_be_focused()
    with alice.expect_event("request", lambda one: one.url.startswith("weasis:")):
        alice.keyboard.press("Enter")

    expect(studies(alice).first.locator(".launch-state")).to_be_visible()
    expect(row(alice, 0)).to_be_focused()
    assert len(viewer) == 1


def test_enter_alone_opens_none_of_several(alice: Page, viewer: list[str]):
    search(alice, "lindqvist")
    expect(studies(alice)).to_have_count(3)
    alice.keyboard.press("Enter")

    expect(alice.locator("#results-title")).to_be_focused()
    assert viewer == []


def test_keys_keep_their_meaning_for_controls(alice: Page, viewer: list[str]):
    search(alice, "lindqvist")
    expect(studies(alice)).to_have_count(3)
    alice.keyboard.press("j")
    alice.keyboard.press("Tab")
    expect(studies(alice).first.get_by_role("checkbox")).to_be_focused()
    alice.keyboard.press("Space")
    expect(studies(alice).first.get_by_role("checkbox")).to_be_checked()
    alice.locator("[data-quick]").focus()
    alice.keyboard.type(" jx?")

    expect(alice.locator("[data-quick]")).to_have_value(" jx?lindqvist")
    expect(alice.get_by_role("dialog")).to_be_hidden()
    assert viewer == []


def test_single_key_shortcuts_can_be_switched_off(alice: Page):
    alice.get_by_role("button", name="Keyboard shortcuts").click()
    alice.get_by_label("Use single-key shortcuts").uncheck()
    alice.get_by_role("button", name="Close").first.click()
    alice.reload()

    alice.locator("main").press("?")
    expect(alice.get_by_role("dialog")).to_be_hidden()
    search(alice, "lindqvist")
    expect(studies(alice)).to_have_count(3)
    alice.keyboard.press("j")
    expect(alice.locator("#results-title")).to_be_focused()


def test_focus_stays_when_archives_answer(
    alice: Page, hub: Stack, dicom_files: DicomFiles
):
    paths = dicom_files.paths(dicom_files.group("demo"))
    with Slow(paths) as slow, further_archive(hub, "slow", port=slow.port):
        search(alice, "lindqvist")
        expect(studies(alice)).to_have_count(3)
        alice.keyboard.press("j")
        alice.keyboard.press("j")
        name = studies(alice).nth(1).get_attribute("id")
        slow.proceed.set()
        expect(alice.locator("#archive-slow")).not_to_contain_text("asking")

        expect(row(alice, 1)).to_be_focused()
        expect(studies(alice).nth(1)).to_contain_text("also in")
        assert studies(alice).nth(1).get_attribute("id") == name


def test_focus_follows_what_is_replaced(alice: Page, hub: Stack):
    with further_archive(hub, "dead", port=free_port()):
        search(alice, "lindqvist")
        expect(alice.locator('#archive-dead[data-state="unavailable"]')).to_be_visible()
        summary = alice.locator("#chip-dead")
        summary.focus()
        alice.keyboard.press("Enter")
        alice.locator("#archive-dead .chip-foot a").focus()
        alice.keyboard.press("Enter")
        expect(alice.locator("#archive-dead details[open]")).to_have_count(0)
        expect(summary).to_be_focused()

        search(alice, "nobody at all")
        expect(alice.locator('#archive-dead[data-state="unavailable"]')).to_be_visible()
        expect(alice.locator("[data-state=asking]")).to_have_count(0)
        alice.get_by_role("link", name="again").last.focus()
        alice.keyboard.press("Enter")
        expect(summary).to_be_focused()
        search(alice, "lindqvist")
    for selector in ("[data-expand]", "[data-open]"):
        button = studies(alice).nth(1).locator(selector)
        button.focus()
        alice.keyboard.press("Enter")
        if selector == "[data-expand]":
            expect(alice.locator("[data-series-loaded]")).to_be_visible()
            expect(button).to_be_focused()
    expect(studies(alice).nth(1).locator(".launched")).to_be_focused()
