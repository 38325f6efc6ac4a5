"""Searches that are kept, and the search that needs two presses of Enter."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.test_portal import (
    NARROW,
    further_archive,
    overflow,
    search,
    studies,
)
from tests.dicom_files import DicomFiles
from tests.servers import Slow
from tests.stack import Stack


def test_enter_and_enter_again_open_the_only_study(alice: Page, viewer: list[str]):
    alice.keyboard.insert_text("\u00a0A1001\u200b ")
    alice.keyboard.press("Enter")
    alice.wait_for_url(re.compile("/search/r/"))
    expect(studies(alice).get_by_role("button", name="Open in Weasis")).to_be_focused()

    alice.keyboard.press("Enter")

    expect(studies(alice).locator(".launch-state")).to_contain_text("Ready")
    assert len(viewer) == 1


def test_nothing_is_focused_to_open_while_an_archive_is_asked(
    alice: Page, hub: Stack, dicom_files: DicomFiles
):
    paths = dicom_files.paths([dicom_files.study("ct")])
    with Slow(paths) as slow, further_archive(hub, "slow", port=slow.port):
        search(alice, "A1001")
        expect(studies(alice)).to_have_count(1)
        expect(alice.locator("#archive-slow")).to_contain_text("asking")
        expect(alice.locator("#results-title")).to_be_focused()

        slow.proceed.set()

        expect(studies(alice).get_by_role("button", name="Open in")).to_be_focused()


def test_search_is_saved_and_used_again_on_a_phone(alice: Page):
    alice.set_viewport_size(NARROW)
    search(alice, "lindqvist")
    alice.get_by_text("Save this search").click()
    alice.get_by_label("Name", exact=True).fill("Thorax <b>follow-up</b>")
    assert overflow(alice) <= 0
    alice.get_by_role("button", name="Save search").click()
    expect(alice.get_by_text("The search is saved.")).to_be_visible()

    alice.goto("/")
    assert overflow(alice) <= 0
    alice.get_by_role("button", name="Thorax <b>follow-up</b>").click()

    alice.wait_for_url(re.compile("/search/r/"))
    expect(studies(alice)).to_have_count(3)
    assert overflow(alice) <= 0
