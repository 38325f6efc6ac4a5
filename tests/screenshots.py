"""Takes the pictures of the documentation: ``python -m tests.screenshots``.

Needs Chromium. The pictures show the demo archive, whose patients do not exist. With a
folder, every state of the pages (``tests.page_states``) is written there instead, in
both themes and in three sizes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.demo import ROOT, Demo, environment, running_demo
from tests.page_states import THEMES, all_states, pictures_shown, put_on
from tests.requirements import chromium

FOLDER = ROOT / "docs" / "images"
PASSWORD = "for the pictures"
SIZE: ViewportSize = {"width": 1280, "height": 800}
SIZES: dict[str, ViewportSize] = {
    "narrow": {"width": 360, "height": 740},
    "wide": {"width": 1280, "height": 800},
    "huge": {"width": 2560, "height": 1440},
}


def main() -> None:
    wanted = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    executable = chromium()
    if executable is None:
        raise SystemExit("Install Chromium first: apt-get install chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        with browser:
            if wanted is None:
                take_documentation(browser, Path(folder))
            elif complaints := take_states(browser, wanted, Path(folder)):
                raise SystemExit("\n".join(complaints))


def take_states(browser: Browser, folder: Path, work: Path) -> list[str]:
    """A picture of each state in each size and theme; returns what scrolls sideways."""
    folder.mkdir(parents=True, exist_ok=True)
    complaints = []
    for state in all_states(browser, work):
        page = state.page
        for size, viewport in SIZES.items():
            if state.is_narrow_only and size != "narrow":
                continue
            page.set_viewport_size(viewport)
            for theme in THEMES:
                put_on(page, theme)
                path = folder / f"{state.name}-{size}-{theme}.png"
                page.screenshot(path=path, full_page=not state.is_narrow_only)
            wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if wider > 0:
                complaints.append(f"{state.name} is {wider} pixels too wide ({size}).")
        page.set_viewport_size(SIZE)
    return complaints


def take_documentation(browser: Browser, work: Path) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    variables = environment(work, VIEWERHUB_DEMO_PASSWORD=PASSWORD)
    with running_demo(variables) as demo:
        page = browser.new_page(viewport=SIZE, locale="en")
        log_in(page, demo)
        search(page)
        page.screenshot(path=FOLDER / "search.png")
        launch(page)
        page.screenshot(path=FOLDER / "launch.png")


def log_in(page: Page, demo: Demo) -> None:
    page.goto(f"http://127.0.0.1:{demo.port}/")
    page.fill("input[name=login]", "admin")
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_selector("[data-quick]")


def search(page: Page) -> None:
    page.fill("[data-quick]", "doe")
    page.press("[data-quick]", "Enter")
    page.wait_for_selector("[data-study]")
    page.click("[data-expand] >> nth=3")
    page.wait_for_selector("[data-series-loaded]")
    pictures_shown(page)


def launch(page: Page) -> None:
    """Open the first study; a browser without Weasis stays where it is."""
    page.click("[data-open] >> nth=0")
    page.wait_for_load_state("networkidle")
    page.click("a[href^='/launch/'] >> nth=0")
    page.wait_for_selector(".launch-page >> text=Ready")
    page.set_viewport_size({"width": 1280, "height": 490})
    page.reload()  # now that the patient is known
    page.wait_for_load_state("networkidle")


if __name__ == "__main__":
    main()
