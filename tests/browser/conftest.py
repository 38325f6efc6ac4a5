"""Chromium, a hub of its own, and what no page may ever do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from archives.embedded import EmbeddedArchive
from tests.dicom_files import DicomFiles
from tests.requirements import chromium, needs
from tests.stack import Stack, start_stack

expect.set_options(timeout=20_000)

PASSWORD = "correct horse battery"
# Debian's Chromium in a container: no sandbox of its own, no calls home, and nothing loaded
# ahead for a user interface that nobody sees.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=PreloadTopChromeWebUI,PreloadTopChromeWebUILessNavigations",
)
WATCH = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`Content Security Policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Ended with its module: while it runs, no other test can run an event loop."""
    needs("chromium")
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(
        executable_path=chromium(), args=list(ARGUMENTS)
    )
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def browser_context_args(hub: Stack) -> dict[str, Any]:
    """Addresses that begin with a slash are the hub's."""
    return {"base_url": hub.url}


@pytest.fixture(scope="session")
def demo_archive(dicom_files: DicomFiles) -> Iterator[EmbeddedArchive]:
    studies = dicom_files.group("demo", "charsets", "edges")
    with EmbeddedArchive(dicom_files.paths(studies)) as archive:
        yield archive


@pytest.fixture(scope="session")
def hub(
    tmp_path_factory: pytest.TempPathFactory, demo_archive: EmbeddedArchive
) -> Iterator[Stack]:
    """The whole product with one archive and two users, alice and the administrator."""
    needs("chromium")
    with start_stack(tmp_path_factory.mktemp("portal")) as hub:
        hub.add_dimse_archive("main", name="Main PACS", port=demo_archive.port)
        hub.create_user("alice", PASSWORD)
        hub.create_user("admin", PASSWORD, is_superuser=True)
        yield hub


@pytest.fixture
def complaints() -> list[str]:
    """What a page did that it must not: the tests fail if it is not empty."""
    return []


@pytest.fixture
def viewer() -> list[str]:
    """The addresses the page handed to Weasis."""
    return []


def watch(page: Page, url: str, complaints: list[str], viewer: list[str]) -> None:
    def requested(address: str) -> None:
        if address.startswith("weasis:"):
            viewer.append(address)
        elif not address.startswith((url, "data:")):
            complaints.append(f"request to {address}")

    page.add_init_script(WATCH)
    page.on("request", lambda request: requested(request.url))
    page.on("dialog", lambda dialog: (complaints.append("dialog"), dialog.dismiss()))
    page.on("pageerror", lambda error: complaints.append(f"error {error}"))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            if message.type == "error" and "Failed to load resource" not in message.text
            else None
        ),
    )


@pytest.fixture
def page(
    page: Page, hub: Stack, complaints: list[str], viewer: list[str]
) -> Iterator[Page]:
    """A page that is watched, and checked at the end of the test."""
    page.set_default_timeout(15_000)
    watch(page, hub.url, complaints, viewer)
    yield page
    assert complaints == []


@pytest.fixture
def alice(page: Page, hub: Stack) -> Page:
    """A page of a user who has logged in."""
    return logged_in(page, hub)


def logged_in(page: Page, hub: Stack, username: str = "alice") -> Page:
    """By a session that is made for it, which is much faster than to log in."""
    page.context.add_cookies(
        [
            {"name": name, "value": value, "url": hub.url}
            for name, value in hub.log_in(username).items()
        ]
    )
    page.goto(f"{hub.url}/")
    return page


def log_in(page: Page, url: str, username: str = "alice") -> Page:
    page.goto(f"{url}/accounts/login/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{url}/")
    return page
