"""The portal in German and French, and as if it were read from right to left."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PASSWORD
from tests.stack import Stack

WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser_context_args(hub: Stack) -> dict[str, Any]:
    return {"base_url": hub.url, "locale": "de-DE"}


def overflow(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def search(page: Page, text: str) -> None:
    page.fill("[data-quick]", text)
    page.press("[data-quick]", "Enter")
    page.wait_for_url(re.compile("/search/r/"))
    expect(page.locator("[data-chip][data-state=asking]")).to_have_count(0)


def choose_language(page: Page, name: str) -> None:
    page.locator("header details:has([name=language]) summary").click()
    with page.expect_event("load"):  # of the page that comes in that language
        page.get_by_role("button", name=name, exact=True).click()


def test_search_launch_and_progress_in_german(page: Page, viewer: list[str]) -> None:
    page.goto("/accounts/login/")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    page.get_by_label("Benutzername").fill("alice")
    page.get_by_label("Passwort", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Anmelden", exact=True).click()
    page.wait_for_url("/")

    search(page, "DEMO-1")
    expect(page.locator("#results-title")).to_contain_text("3 Studien")
    expect(page.locator("[data-study] time").first).to_have_text(
        re.compile(r"\d{2}\.\d{2}\.\d{4}")
    )
    page.locator("[data-open]").first.dispatch_event("click")
    expect(page.locator(".launched").first).to_contain_text("Bereit")
    assert len(viewer) == 1

    page.goto("/launches/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Letzte Aufrufe")
    # By script: Chromium's question about ``weasis:`` takes the pointer.
    page.locator(".launch-what a").first.dispatch_event("click")
    expect(page.locator(".outcome-state").first).to_contain_text("vollständig")


def test_results_stay_when_the_language_is_changed(alice: Page) -> None:
    search(alice, "DEMO-1")
    address = alice.url

    choose_language(alice, "Français")

    expect(alice.locator("html")).to_have_attribute("lang", "fr")
    expect(alice.locator("#results-title")).to_contain_text("3 études")
    assert alice.url == address


def test_language_is_chosen_before_the_login_without_javascript(
    browser: Browser, hub: Stack
) -> None:
    context = browser.new_context(
        base_url=hub.url, locale="de-DE", java_script_enabled=False
    )
    page = context.new_page()
    page.goto("/accounts/login/?next=/launches/")

    choose_language(page, "Français")

    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Se connecter à ViewerHub"
    )
    assert page.url == f"{hub.url}/accounts/login/?next=/launches/"
    context.close()


@pytest.mark.parametrize("language", ["Deutsch", "Français"])
def test_long_words_fit_into_a_narrow_window(alice: Page, language: str) -> None:
    choose_language(alice, language)
    alice.set_viewport_size(NARROW)
    assert overflow(alice) == 0
    header = alice.locator(".top").bounding_box()
    assert header
    assert header["height"] < 64  # one line

    search(alice, "DEMO-1")
    alice.locator("[data-expand]").first.click()
    alice.wait_for_selector("[data-series-loaded]")

    assert overflow(alice) == 0
    for path in ("/launches/", "/accounts/2fa/", "/accounts/password/change/"):
        alice.goto(path)
        assert overflow(alice) == 0, path


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_page_survives_being_read_from_right_to_left(
    alice: Page, size: dict[str, int]
) -> None:
    alice.set_viewport_size(size)  # type: ignore[arg-type]
    search(alice, "DEMO-1")

    alice.evaluate("document.documentElement.dir = 'rtl'")

    brand = alice.locator(".brand").bounding_box()
    name = alice.locator("[data-study] .who").first.bounding_box()
    button = alice.locator("[data-study] .act .launch").first.bounding_box()
    assert brand
    assert name
    assert button
    assert brand["x"] > size["width"] / 2
    if size == WIDE:
        assert name["x"] > button["x"]
    assert alice.evaluate("document.documentElement.scrollWidth") <= size["width"]
    arrow = alice.locator("[data-expand] .icon").first
    assert arrow.evaluate("icon => getComputedStyle(icon).scale") == "-1 1"
