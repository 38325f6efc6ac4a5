"""Who may use the REST API, for which archives, and what it keeps to itself."""

import logging
from datetime import timedelta

import httpx2
import pytest
from django.contrib.staticfiles import finders
from django.utils import timezone

from launcher.models import ApiClient
from tests.api_calls import build, launch, problems_of
from tests.factories import make_api_client, make_dicomweb_archive, make_dimse_archive

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

CALLS = [
    ("POST", "/launches", "launch"),
    ("GET", "/launches/7f5fd0b4-93cf-4e5c-90de-bb4a9a1b1d7a", "launch"),
    ("DELETE", "/launches/7f5fd0b4-93cf-4e5c-90de-bb4a9a1b1d7a", "launch"),
    ("GET", "/studies?quick=1CT1", "search"),
    ("POST", "/studies/search", "search"),
    ("GET", "/archives", "archives"),
]


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
def test_call_needs_the_key_of_an_active_client_with_its_scope(
    connect, method, path, scope
):
    past = timezone.now() - timedelta(seconds=1)
    others = [one for one in ApiClient.Scope.values if one != scope]
    refused = {
        401: [
            connect(key=""),
            connect(key="vh_wrong"),
            connect(name="Disabled", is_enabled=False),
            connect(name="Expired", expires=past),
        ],
        403: [connect(name="Other", scopes=others)],
    }

    for status, clients in refused.items():
        for client in clients:
            response = client.request(method, path)
            assert response.status_code == status
            assert problems_of(response)
            assert ("WWW-Authenticate" in response.headers) == (status == 401)
    allowed = connect(name="Allowed", scopes=[scope]).request(method, path)
    assert allowed.status_code not in {401, 403}


def test_call_with_a_session_needs_a_key_all_the_same(connect, client, admin_user):
    client.force_login(admin_user)
    browser = connect(key="")
    browser.cookies.update(
        {name: morsel.value for name, morsel in client.cookies.items()}
    )

    assert browser.get("/archives").status_code == 401
    assert browser.post("/launches", json={"patient_ids": ["1"]}).status_code == 401


def test_unknown_address_is_a_problem_too(ris):
    response = ris.get("/nothing/here")

    assert response.status_code == 404
    assert problems_of(response)


def test_archives_are_listed_without_hosts_or_secrets(ris, connect):
    make_dimse_archive(host="pacs.internal.example", called_ae_title="SECRETAE")
    web = make_dicomweb_archive(
        "https://web.internal.example/rs",
        authentication="basic",
        username="hub",
        password="s3cret",
        is_enabled=False,
    )
    few, key = make_api_client(name="Few")
    few.archives.add(web)

    everything = ris.get("/archives")
    allowed = connect(key=key).get("/archives").json()

    assert everything.json()["archives"] == [
        {
            "slug": "main",
            "name": "Main PACS",
            "protocol": "dimse",
            "images": "gateway",
            "enabled": True,
        },
        {
            "slug": "web",
            "name": "Web PACS",
            "protocol": "dicomweb",
            "images": "gateway",
            "enabled": False,
        },
    ]
    assert [archive["slug"] for archive in allowed["archives"]] == ["web"]


@pytest.mark.parametrize("path", ["/archives", "/launches"])
def test_method_that_an_address_does_not_take_is_a_problem_too(ris, path):
    response = ris.put(path)

    assert response.status_code == 405
    assert response.headers["Allow"] in {"GET", "POST"}
    assert response.headers["Allow"] in problems_of(response)[""]


def test_client_can_neither_launch_from_nor_search_archives_it_may_not_use(connect):
    allowed = make_dimse_archive()
    make_dimse_archive(name="Closed", slug="closed")
    client, key = make_api_client()
    client.archives.add(allowed)
    http = connect(key=key)

    launched = http.post(
        "/launches", json={"patient_ids": ["1"], "archives": ["closed"]}
    )
    searched = http.post(
        "/studies/search", json={"patient_id": "1CT1", "archives": ["closed"]}
    )

    for response in (launched, searched):
        assert response.status_code == 400
        assert "closed" in problems_of(response)["archives"]
    assert launch(http)["archives"] == ["main"]


def test_logs_hold_neither_keys_nor_tokens_nor_patient_data(
    connect, embedded_archive, caplog
):
    make_dimse_archive(embedded_archive)
    make_dimse_archive(name="Dead", slug="dead")
    _, key = make_api_client()
    http = connect(key=key)
    caplog.set_level(logging.INFO)

    created = launch(http, patient_ids=["MARKER-1"], accession_numbers=["MARKER-2"])
    build(created)
    http.get(f"/launches/{created['id']}")
    http.post("/launches", json={"patient_ids": ["MARKER-3*"]})
    http.post("/launches", content=b"MARKER-4")
    http.get("/studies", params={"patient_name": "MARKER^5", "archives": "MARKER6"})
    http.get("/studies", params={"quick": "MARKER-7"})
    http.post("/studies/search", json={"patient_name": "MARKER^8"})

    # Not what pytest makes the server's access log say, nor the client of this test.
    lines = [
        record.getMessage()
        for record in caplog.records
        if not record.name.startswith(("uvicorn.access", "httpx2"))
    ]
    text = "\n".join(lines)
    assert "request_finished" in text
    assert "MARKER" not in text
    assert key not in text
    assert created["manifest_url"].rpartition("/")[2] not in text


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_documentation_is_for_users_clients_and_trusted_networks(
    connect, hub, path, settings
):
    settings.VIEWERHUB_TRUSTED_NETWORKS = []
    stranger = httpx2.get(f"{hub}{path}", headers={"Accept": "application/json"})
    browser = httpx2.get(f"{hub}{path}", headers={"Accept": "text/html"})
    client = connect(scopes=[ApiClient.Scope.ARCHIVES]).get(path)
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["127.0.0.0/8"]
    neighbour = httpx2.get(f"{hub}{path}")

    assert stranger.status_code == 401
    assert browser.headers["Location"] == f"/accounts/login/?next=/api/v1{path}"
    assert client.status_code == neighbour.status_code == 200


def test_documentation_page_needs_nothing_from_elsewhere(ris):
    page = ris.get("/docs")

    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "/static/ninja/swagger-ui-bundle.js" in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "http" not in policy.replace("https:", "")
    assert finders.find("ninja/swagger-ui-bundle.js")
