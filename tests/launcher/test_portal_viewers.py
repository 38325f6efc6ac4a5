"""Viewers that the portal offers, and those it refuses to start."""

import pytest

from launcher.models import Launch, LaunchTemplate, Viewer
from tests.factories import make_dimse_archive

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]


def test_template_of_a_disabled_viewer_is_refused(admin_client):
    make_dimse_archive()
    viewer = Viewer.objects.create(
        name="Web", slug="web", url_template="https://web.example/?s={study_uids}"
    )
    LaunchTemplate.objects.create(name="Other", slug="other", viewer=viewer)
    fields = {"study_instance_uid": "1.2.3", "archive": "main", "template": "other"}
    assert admin_client.post("/launch/", fields)["Location"].startswith("https://web.")

    Viewer.objects.update(is_enabled=False)
    refused = admin_client.post("/launch/", fields)

    assert refused.status_code == 400
    assert "This viewer is disabled" in refused.content.decode()
    assert Launch.objects.count() == 1


def test_archive_without_study_uids_in_links_opens_from_the_portal(admin_client):
    make_dimse_archive(identifiers=["patientID"])

    opened = admin_client.post("/launch/", {"study_instance_uid": "1.2.3"})

    assert opened.status_code == 302
    assert Launch.objects.count() == 1


@pytest.mark.parametrize(
    ("referer", "page"),
    [
        ("http://testserver//evil.example/", "/"),
        ("http://testserver/\\\\evil.example/", "/"),
        ("http://testserver/launches/?page=2", "/launches/"),
    ],
)
def test_choosing_a_theme_leads_to_a_page_of_our_own(client, referer, page):
    response = client.post("/theme/", {"theme": "dark"}, headers={"Referer": referer})

    assert response["Location"] == page
