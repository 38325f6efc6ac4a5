"""What an administrator does in the browser: archives, viewers, rules, links."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from archives.embedded import EmbeddedArchive
from tests.browser.conftest import logged_in
from tests.processes import wait_until
from tests.stack import Stack
from tests.weasis_client import WeasisClient


@pytest.fixture
def administrator(page: Page, hub: Stack) -> Iterator[Page]:
    yield logged_in(page, hub, "admin")
    hub.console.run(
        "Archive.objects.exclude(slug='main').delete()\n"
        "LaunchTemplate.objects.filter(is_default=False).delete()\n"
        "ApiClient.objects.all().delete()\n"
        "Viewer.objects.all().delete()"
    )


FIELDS_OF = {
    "none": set(),
    "basic": {"username", "password"},
    "bearer": {"bearer_token"},
    "oauth2": {
        *("token_url", "client_id", "client_secret", "token_scope", "token_audience"),
    },
    "google": {"service_account_key"},
    "aws": {
        *("aws_region", "aws_access_key_id"),
        *("aws_secret_access_key", "aws_session_token"),
    },
    "headers": {"custom_headers"},
}


FORMS = {
    "plain": "Link",
    "signed": "Signed link",
    "iid": "IHE Invoke Image Display",
    "html": "HTML",
    "curl": "curl",
    "rest": "REST API",
}


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()


def text_of(page: Page, selector: str) -> str:
    return (page.locator(selector).text_content() or "").strip()


def test_archive_is_registered_from_a_preset(
    administrator: Page, demo_archive: EmbeddedArchive
):
    page = administrator
    page.goto("/admin/archives/archive/add/")
    product = page.locator(".vh-products li").filter(has_text="dcm4chee")
    product.get_by_role("link", name="DIMSE").click()
    page.get_by_label("Name", exact=False).first.fill("Second PACS")
    expect(page.locator("#id_called_ae_title")).to_have_value("DCM4CHEE")
    page.locator("#id_slug").fill("second")
    page.locator("#id_host").fill("127.0.0.1")
    page.locator("#id_port").fill(str(demo_archive.port))

    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_role("button", name="Verify connection", exact=True).click()

    steps = page.locator(".vh-checklist, .vh-verification")
    expect(steps).to_contain_text("Query")
    expect(steps).to_contain_text("Image")
    expect(page.locator(".vh-bad")).to_have_count(0)


def test_refused_form_begins_at_the_first_wrong_field(administrator: Page):
    page = administrator
    page.goto("/admin/archives/archive/add/?preset=orthanc&protocol=dimse")
    page.get_by_label("Name", exact=False).first.fill("Third PACS")
    page.locator("#id_slug").fill("third")
    page.locator("#id_host").fill("no such host")
    page.locator("#id_port").fill("104")

    save(page)

    expect(page.locator("#id_host")).to_be_focused()


def test_form_asks_for_the_fields_of_the_chosen_authentication(administrator: Page):
    page = administrator
    page.goto("/admin/archives/archive/add/?preset=azure&protocol=dicomweb")
    fields = page.locator("[class*='vh-kind-'] :is(input, textarea):not([type=hidden])")

    def shown() -> set[str]:
        visible = fields.locator("visible=true")
        return {
            visible.nth(i).get_attribute("name") or "" for i in range(visible.count())
        }

    kind = page.locator("#id_authentication")
    expect(kind).to_have_value("oauth2")
    for chosen, names in FIELDS_OF.items():
        kind.select_option(chosen)
        assert shown() == names


def test_preview_shows_which_rule_chose_the_viewer(administrator: Page):
    page = administrator
    page.goto("/admin/launcher/viewer/add/?preset=ohif")
    page.locator("#id_url_template").fill(
        "https://ohif.example/viewer?StudyInstanceUIDs={study_uids}"
    )
    page.locator("#id_needs_dicomweb").uncheck()
    save(page)
    page.goto("/admin/launcher/launchtemplate/add/")
    page.locator("#id_name").fill("In OHIF")
    page.locator("#id_slug").fill("in-ohif")
    page.locator("#id_viewer").select_option(label="OHIF Viewer")
    save(page)
    page.goto("/admin/launcher/viewerrule/add/")
    page.locator("#id_name").fill("Magnetic resonance")
    page.locator("#id_modalities").fill("MR")
    page.locator("#id_template").select_option(label="In OHIF")
    save(page)

    page.goto("/admin/launcher/launchtemplate/preview-launch/")
    page.get_by_label("Launch URL or identifier").fill("accessionNumber=A1010")
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(page.get_by_text("Magnetic resonance")).to_be_visible()
    expect(page.get_by_text("https://ohif.example/viewer?Study")).to_be_visible()
    assert "A1010" not in page.url

    page.get_by_label("Launch URL or identifier").fill("accessionNumber=A1001")
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(page.locator(".vh-manifest")).to_contain_text("<manifest")
    expect(page.locator(".vh-manifest")).to_contain_text("Lung 1.0")
    expect(page.locator("#content-main")).to_contain_text("$dicom:get -w")
    expect(page.locator("#content-main")).to_contain_text("1,800")


def test_built_links_open_what_they_say(administrator: Page, hub: Stack):
    page = administrator
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    hub.console.run(
        "client = ApiClient(name='RIS', scopes=['launch'])\n"
        "client.issue_key()\n"
        "client.signing_secret = 'a secret of the test, long enough'\n"
        "client.save()"
    )
    page.goto("/admin/launcher/launchtemplate/url-builder/")
    page.locator("#id_kind").select_option("accessionNumber")
    page.locator("#id_value").fill("A1011")
    page.locator("#id_client").select_option(label="RIS")
    page.get_by_role("button", name="Make links").click()
    expect(page.locator("#signed")).to_contain_text("sig=")
    for key, title in FORMS.items():
        page.get_by_role("button", name=f"Copy {title}", exact=True).click()
        expect(page.get_by_role("button", name=f"Copied {title}")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == page.locator(f"#{key}").text_content()
    assert "A1011" not in page.url

    for key in ("plain", "signed", "iid"):
        path = text_of(page, f"#{key}").removeprefix(hub.url)
        answer = hub.get(path)
        assert answer.status == 302, (key, answer.body)
        result = WeasisClient().open(answer.location)
        assert result.failures == []
        assert len(result.downloaded) == 3
    assert hub.get(path).status == 302
    spent = text_of(page, "#signed").removeprefix(hub.url)
    assert hub.get(spent).status in {401, 403}


def test_every_form_is_tested_from_the_url_builder(
    administrator: Page, hub: Stack, viewer: list[str]
):
    page = administrator
    hub.console.run(
        "client = ApiClient(name='RIS', scopes=['launch'])\n"
        "client.issue_key()\n"
        "client.signing_secret = 'a secret of the test, long enough'\n"
        "client.save()"
    )
    page.goto("/admin/launcher/launchtemplate/url-builder/")
    page.locator("#id_kind").select_option("accessionNumber")
    page.locator("#id_value").fill("A1011")
    page.locator("#id_client").select_option(label="RIS")
    page.locator("#id_tester").select_option(label="RIS")
    page.get_by_role("button", name="Make links").click()

    for title in ("Link", "Signed link", "IHE Invoke Image Display", "HTML"):
        launches = hub.count()["Launch"]
        page.get_by_role("link", name=f"Test {title}", exact=True).click()
        assert wait_until(lambda before=launches: hub.count()["Launch"] == before + 1)
    before = hub.count()
    for key, title, status in (
        ("curl", "curl", "302 Found"),
        ("rest", "REST API", "201 Created"),
    ):
        page.get_by_role("button", name=f"Test {title}", exact=True).click()
        answer = page.locator(f"#{key}-answer")
        expect(answer).to_contain_text(f"{status} is what RIS would be answered")
        expect(answer).to_contain_text("weasis://")
        assert "A1011" not in page.url
    assert hub.count() == before


def test_overview_leads_to_who_opened_a_study(administrator: Page, hub: Stack):
    page = administrator
    assert hub.get("/weasis?accessionNumber=A1011").status == 302
    assert wait_until(
        lambda: hub.console.run("result = ArchiveOutcome.objects.exists()")
    )

    page.goto("/admin/")
    expect(page.get_by_role("row", name="Main PACS")).to_contain_text("Working")
    page.get_by_role("link", name="All launches").click()
    page.get_by_label("Who opened it?").fill("A1011")
    page.get_by_role("button", name="Find launches").click()
    expect(page.locator("#result_list")).to_contain_text("Trusted network")
    assert "A1011" not in page.url
    with page.expect_download() as downloaded:
        page.get_by_role("link", name="Export this list as CSV").click()

    assert downloaded.value.suggested_filename.startswith("launches-")
    text = downloaded.value.path().read_text("utf-8-sig")
    assert "A1011" in text
    assert "127.0.0.1" in text
    hub.console.run("Build.objects.all().delete()")
