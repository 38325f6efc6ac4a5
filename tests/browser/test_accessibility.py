"""What axe-core finds in every state of every page: nothing (WCAG 2.2 AA).

Each is examined wide and narrow, in the light and the dark theme. The frame of the
admin's pages is Unfold's: there, what is minor or moderate does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page

from tests.page_states import THEMES, State, all_states, put_on

WIDTHS: Final = (1280, 360)
STATES: Final = (
    "login login-refused password-reset password-change two-factor session-expired",
    "first-run-admin first-run-user no-right-to-any-archive",
    "before-a-search before-a-search-more-filters modalities-open filters keyboard",
    "searching partial results ways-to-open results-series empty too-broad wrong-field",
    "search-has-ended one-archive-down one-archive-down-why all-down",
    "unusual-values several-patients-selected several-patients-confirm",
    "no-saved-searches columns-open save-open save-refused",
    "launch-asking launch-ready launch-viewer-missing launch-failed launch-fetched",
    "launch-page-queued launch-page-building launch-page-ready launch-page-incomplete",
    "launch-page-fetched launch-page-failed launch-page-expired launch-page-revoked",
    "no-launches recent-launches launch-revoke",
    "error-not-found error-launch error-open-too-long",
    "admin admin-archives admin-archive-products admin-archive-dimse",
    "admin-archive-dicomweb admin-archive-verified admin-archive-refused",
    "admin-templates admin-template admin-viewer admin-rules admin-rule",
    "admin-clients admin-client admin-users admin-groups admin-launches admin-log",
    "admin-system",
    "admin-preview-form admin-preview admin-url-builder",
)
# A change of the theme changes colours only.
COLOURS: Final = {"runOnly": ["color-contrast"]}
EVERYTHING: Final = {"rules": {"target-size": {"enabled": True}}}
EXAMINE: Final = """
async (options) => {
  const found = await axe.run({...options, preload: false, resultTypes: ["violations"]});
  return found.violations.flatMap(({id, impact, nodes}) => nodes.map(
    ({html, failureSummary}) => ({id, impact, text: `${html} ${failureSummary}`})));
}
"""


def findings(state: State) -> Iterator[str]:
    for width in (360,) if state.is_narrow_only else WIDTHS:
        state.page.set_viewport_size({"width": width, "height": 800})
        for theme in THEMES:
            put_on(state.page, theme)
            options = EVERYTHING if theme == THEMES[0] else COLOURS
            for one in examine(state.page, options):
                if "admin" in state.page.url and one["impact"] in {"minor", "moderate"}:
                    continue
                where = f"{state.name}, {width} pixels, {theme}"
                yield f"{where}: {one['impact']} {one['id']}: {one['text']}"


def examine(page: Page, options: dict[str, Any]) -> list[dict[str, str]]:
    """Evaluated by the debugger, which the page's Content Security Policy allows."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found: list[dict[str, str]] = page.evaluate(EXAMINE, options)
    return found


def test_no_state_of_any_page_has_a_barrier(browser: Browser, tmp_path: Path):
    found: dict[str, list[str]] = {}
    for state in all_states(browser, tmp_path):
        found[state.name] = list(findings(state))
        state.page.set_viewport_size({"width": 1280, "height": 800})

    assert sorted(found) == sorted(" ".join(STATES).split())
    assert [one for state in found.values() for one in state] == []


def test_a_barrier_is_found(browser: Browser):
    page = browser.new_page()
    page.set_content("<html lang=en><title>T</title><main><h1>T</h1><img src=x></main>")

    assert [one["id"] for one in examine(page, EVERYTHING)] == ["image-alt"]
    page.close()
