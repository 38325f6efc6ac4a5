"""The REST API over HTTP, as an external system uses it."""

import asyncio
import logging
from datetime import timedelta

import httpx2
import pytest
from django.contrib.staticfiles import finders
from django.utils import timezone

from launcher.models import ApiClient, Build, Launch, LaunchTemplate
from launcher.tasks import build_manifest
from tests.asgi import serve_hub
from tests.dicomweb_server import Behaviour, DicomWebServer
from tests.dicomweb_studies import make_study
from tests.factories import make_api_client, make_dicomweb_archive, make_dimse_archive
from tests.servers import IgnoresKeys
from tests.weasis_uri import parse_uri

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"  # of CT_small.dcm


@pytest.fixture(scope="module")
def hub(valkey):
    with serve_hub() as address:
        yield f"{address}/api/v1"


@pytest.fixture
def connect(hub):
    """Makes HTTP clients with a key, or without one."""
    opened = []

    def connect(key=None, **values):
        if key is None:
            key = make_api_client(**values)[1]
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        opened.append(httpx2.Client(base_url=hub, headers=headers, timeout=20))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


@pytest.fixture
def ris(connect):
    """The HTTP client of an API client with every scope."""
    return connect()


def problems_of(response):
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert set(body) == {"type", "title", "status", "detail", "errors"}
    return {error["field"]: error["message"] for error in body["errors"]}


def launch(client, **body):
    response = client.post("/launches", json=body or {"patient_ids": ["1CT1"]})
    assert response.status_code == 201, response.text
    return response.json()


def build(created):
    build_manifest(str(Launch.objects.get(pk=created["id"]).build_id))


def test_launch_answers_with_its_addresses_before_any_archive_is_asked(ris, settings):
    make_dimse_archive()  # nothing listens there

    response = ris.post("/launches", json={"patients": [{"patient_id": "1CT1"}]})

    assert response.status_code == 201
    created = response.json()
    stored = Launch.objects.get()
    assert created["id"] == str(stored.pk)
    assert created["state"] == "pending"
    assert created["archives"] == ["main"]
    assert created["launch_url"] == f"http://127.0.0.1:8000/launch/{stored.pk}/"
    assert stored.origin == Launch.Origin.API
    assert stored.api_client.name == "RIS"
    (command,) = parse_uri(created["weasis_uri"]).commands
    assert created["manifest_url"] in str(command)
    location = response.headers["Location"]
    assert location == f"http://127.0.0.1:8000/api/v1/launches/{stored.pk}"
    assert response.headers["Cache-Control"] == "private, no-store"


def test_launch_selects_all_that_is_named(ris):
    make_dimse_archive()

    launch(
        ris,
        patients=[{"patient_id": "A", "issuer_of_patient_id": "HOSP"}],
        patient_ids=["B^^^CLINIC", "A^^^HOSP"],
        study_instance_uids=["1.2", "1.3", "1.2"],
        accession_numbers=["ACC 1"],
        series=[{"series_instance_uid": "1.4", "study_instance_uid": "1.5"}],
        instances=[{"sop_instance_uid": "1.6"}],
    )

    selection = Build.objects.get().get_selection()
    patients = [(p.patient_id, p.issuer_of_patient_id) for p in selection.patients]
    assert patients == [("A", "HOSP"), ("B", "CLINIC")]
    assert selection.study_instance_uids == ("1.2", "1.3")
    assert selection.accession_numbers == ("ACC 1",)
    assert selection.series[0].series_instance_uid == "1.4"
    assert selection.series[0].study_instance_uid == "1.5"
    assert selection.instances[0].sop_instance_uid == "1.6"


def test_launch_uses_the_archives_and_the_template_it_names(ris):
    make_dimse_archive()
    second = make_dimse_archive(name="Second", slug="second")
    LaunchTemplate.objects.create(
        name="Close first", slug="close", commands="$dicom:close --all"
    )

    created = launch(ris, patient_ids=["1"], archives=["second"], template="close")

    assert list(Build.objects.get().archives.all()) == [second]
    assert created["archives"] == ["second"]
    names = [command.name for command in parse_uri(created["weasis_uri"]).commands]
    assert names == ["dicom:close", "dicom:get"]


def test_launch_is_followed_to_its_end(ris, embedded_archive, hub):
    make_dimse_archive(embedded_archive)
    make_dimse_archive(name="Second", slug="second")  # nothing listens there
    created = launch(ris)
    path = f"/launches/{created['id']}"

    before = ris.get(path).json()
    build(created)
    ready = ris.get(path).json()
    token = created["manifest_url"].rpartition("/m/")[2]
    manifest = httpx2.get(
        f"{hub.removesuffix('/api/v1')}/m/{token}",
        headers={"user-agent": "Weasis/4.7.2 (Linux)"},
    )
    after = ris.get(path).json()

    assert [one["state"] for one in before["archives"]] == ["asking", "asking"]
    assert before["state"] == "pending"
    assert ready["state"] == "ready"
    assert (ready["studies"], ready["series"], ready["instances"]) == (1, 1, 1)
    main, second = ready["archives"]
    assert (main["archive"], main["state"], main["instances"]) == ("main", "ok", 1)
    assert (second["archive"], second["state"]) == ("second", "unavailable")
    assert "Second" in second["message"]
    assert manifest.status_code == 200
    assert after["state"] == "fetched"
    assert after["fetched"]
    assert after["viewer"] == "Weasis 4.7.2"


def test_launch_is_revoked_at_once_and_again_without_effect(ris, embedded_archive, hub):
    make_dimse_archive(embedded_archive)
    created = launch(ris)
    build(created)

    answers = [ris.delete(f"/launches/{created['id']}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert answers[0].content == b""
    assert ris.get(f"/launches/{created['id']}").json()["state"] == "revoked"
    token = created["manifest_url"].rpartition("/m/")[2]
    manifest = httpx2.get(f"{hub.removesuffix('/api/v1')}/m/{token}").text
    assert "1CT1" not in manifest


def test_launch_that_is_over_is_expired_before_the_sweeper_comes(ris):
    make_dimse_archive()
    created = launch(ris)
    Launch.objects.update(expires=timezone.now() - timedelta(seconds=1))

    assert ris.get(f"/launches/{created['id']}").json()["state"] == "expired"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_launch_of_another_client_is_not_found(ris, connect, method):
    make_dimse_archive()
    created = launch(ris)
    other = connect(name="EMR")

    response = other.request(method, f"/launches/{created['id']}")

    assert response.status_code == 404
    assert problems_of(response)
    assert Launch.objects.get().state == Launch.State.PENDING


def test_launch_names_every_problem_at_once_and_stores_nothing(ris):
    make_dimse_archive()

    response = ris.post(
        "/launches",
        json={
            "patients": [{"patient_id": "A*"}, {"patient_id": ""}],
            "patient_ids": ["X^^^a\\b"],
            "study_instance_uids": ["1.2", "1.2.x"],
            "accession_numbers": ["A?"],
            "series": [{"series_instance_uid": "", "study_instance_uid": "x"}],
            "instances": [{"sop_instance_uid": "1" * 65}],
            "archives": ["main", "nowhere"],
            "template": "nothing",
        },
    )

    assert response.status_code == 400
    problems = problems_of(response)
    assert set(problems) == {
        "patients[0].patient_id",
        "patients[1].patient_id",
        "patient_ids[0]",
        "study_instance_uids[1]",
        "accession_numbers[0]",
        "series[0].series_instance_uid",
        "series[0].study_instance_uid",
        "instances[0].sop_instance_uid",
        "archives",
        "template",
    }
    assert "wildcard" in problems["patients[0].patient_id"]
    assert "nowhere" in problems["archives"]
    assert not Launch.objects.exists()
    assert not Build.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", ""),
        (b"{", ""),
        (b"\xff\xfe", ""),
        (b"[" * 100_000, ""),
        (b"[]", ""),
        (b"{}", "identifiers"),
        (b'{"patient_ids": []}', "identifiers"),
        (b'{"patient_ids": "1"}', "patient_ids"),
        (b'{"patient_ids": [1]}', "patient_ids[0]"),
        (b'{"patient_ids": [null]}', "patient_ids[0]"),
        (b'{"patient_ids": ["\\ud800"]}', "patient_ids[0]"),
        (b'{"patient_ids": ["\\u0000"]}', "patient_ids[0]"),
        (b'{"patients": ["1"]}', "patients[0]"),
        (b'{"patients": [{}]}', "patients[0].patient_id"),
        (b'{"patientID": ["1"], "patient_ids": ["1"]}', "patientID"),
        (
            b'{"series": [{"series_instance_uid": "1.2", "uid": 1}]}',
            "series[0].uid",
        ),
        (
            b'{"study_instance_uids": [' + b",".join([b'"1.2"'] * 10_000) + b"]}",
            "study_instance_uids",
        ),
    ],
)
def test_launch_with_a_bad_body_says_where(ris, body, field):
    make_dimse_archive()

    response = ris.post(
        "/launches", content=body, headers={"Content-Type": "application/json"}
    )

    assert response.status_code == 400
    assert list(problems_of(response)) == [field]
    assert not Build.objects.exists()


def test_launch_with_too_large_a_body_is_refused(ris):
    response = ris.post("/launches", content=b'["' + b"x" * 3_000_000 + b'"]')

    assert response.status_code == 413
    assert problems_of(response)


def test_launch_with_the_broker_down_is_503_and_stores_nothing(ris, valkey):
    make_dimse_archive()
    valkey.stop()
    try:
        plain = ris.post("/launches", json={"patient_ids": ["1"]})
        keyed = ris.post(
            "/launches",
            json={"patient_ids": ["1"]},
            headers={"Idempotency-Key": "one"},
        )
    finally:
        valkey.start()

    for response in (plain, keyed):
        assert response.status_code == 503
        assert "queue is not reachable" in problems_of(response)[""]
    assert not Build.objects.exists()


def send_once(client, key, **body):
    return client.post("/launches", json=body, headers={"Idempotency-Key": key})


def test_launch_with_the_same_idempotency_key_is_started_once(ris):
    make_dimse_archive()

    first = send_once(ris, "key-1", patient_ids=["1"])
    again = send_once(ris, "key-1", patient_ids=["1"])
    other = send_once(ris, "key-2", patient_ids=["1"])

    assert first.json() == again.json()
    assert first.headers["Location"] == again.headers["Location"]
    assert other.json()["id"] != first.json()["id"]
    assert Launch.objects.count() == 2


def test_idempotency_key_of_another_request_is_409(ris):
    make_dimse_archive()
    send_once(ris, "key-1", patient_ids=["1"])

    response = send_once(ris, "key-1", patient_ids=["2"])

    assert response.status_code == 409
    assert "Idempotency-Key" in problems_of(response)
    assert Launch.objects.count() == 1


def test_idempotency_keys_of_two_clients_have_nothing_in_common(ris, connect):
    make_dimse_archive()
    first = send_once(ris, "key-1", patient_ids=["1"])

    second = send_once(connect(name="EMR"), "key-1", patient_ids=["1"])

    assert second.status_code == 201
    assert second.json()["id"] != first.json()["id"]


def test_idempotency_key_of_a_refused_request_can_be_used_again(ris):
    refused = send_once(ris, "key-1", patient_ids=["1"])
    make_dimse_archive()

    accepted = send_once(ris, "key-1", patient_ids=["1"])

    assert refused.status_code == 400
    assert accepted.status_code == 201


def test_idempotency_keeps_neither_token_nor_patient_readable_in_redis(ris):
    from django.core.cache import cache

    make_dimse_archive()
    created = send_once(ris, "MARKER-KEY", patient_ids=["MARKER-77"]).json()

    redis = cache._cache.get_client()
    kept = [
        redis.get(name)
        for name in redis.scan_iter("*")
        if redis.type(name) == b"string"
    ]
    text = repr(kept) + repr(list(redis.scan_iter("*")))
    assert "idempotency" in text
    assert "MARKER" not in text
    assert created["manifest_url"].rpartition("/")[2] not in text


@pytest.mark.parametrize("key", ["x" * 256, "with space"])
def test_idempotency_key_that_is_no_key_is_named(ris, key):
    make_dimse_archive()

    response = send_once(ris, key, patient_ids=["1"])

    assert response.status_code == 400
    assert list(problems_of(response)) == ["Idempotency-Key"]


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


@pytest.mark.parametrize("by", ["body", "address"])
def test_search_finds_studies_by_body_and_by_address(ris, embedded_archive, by):
    make_dimse_archive(embedded_archive)
    filters = {"patient_id": "1CT1", "modalities": ["CT", "MR"], "limit": 5}

    if by == "body":
        response = ris.post("/studies/search", json=filters)
    else:
        response = ris.get("/studies", params=filters)

    assert response.status_code == 200
    result = response.json()
    (study,) = result["studies"]
    assert study["study_instance_uid"] == STUDY
    assert study["patient"]["patient_name"] == "CompressedSamples^CT1"
    assert study["archives"] == ["main"]
    assert not result["has_more"]
    (outcome,) = result["archives"]
    assert (outcome["archive"], outcome["state"]) == ("main", "answered")
    assert outcome["studies"] == 1


def test_search_merges_archives_and_names_the_one_that_is_down(ris, embedded_archive):
    make_dimse_archive(embedded_archive)
    make_dimse_archive(embedded_archive, name="Copy", slug="copy")
    make_dimse_archive(name="Dead", slug="dead")

    result = ris.post("/studies/search", json={"quick": STUDY}).json()

    (study,) = result["studies"]
    assert sorted(study["archives"]) == ["copy", "main"]
    states = {one["archive"]: one["state"] for one in result["archives"]}
    assert states == {"main": "answered", "copy": "answered", "dead": "unavailable"}
    messages = {one["archive"]: one["message"] for one in result["archives"]}
    assert messages["main"] == ""
    assert "Dead" in messages["dead"]


def test_search_leaves_out_what_was_not_asked_for(ris):
    with IgnoresKeys() as server:
        make_dimse_archive(server)

        result = ris.post("/studies/search", json={"patient_id": "1CT1"}).json()

    assert [one["study_instance_uid"] for one in result["studies"]] == [STUDY]
    assert result["archives"][0]["left_out"] > 0


def test_search_with_a_secret_that_cannot_be_read_names_that_archive(
    ris, embedded_archive, settings
):
    make_dicomweb_archive(
        "https://web.example", authentication="bearer", bearer_token="s3cret"
    )
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key, after the first was lost"]
    make_dimse_archive(embedded_archive)

    result = ris.post("/studies/search", json={"patient_id": "1CT1"}).json()

    assert len(result["studies"]) == 1
    states = {one["archive"]: one["state"] for one in result["archives"]}
    assert states == {"main": "answered", "web": "refused"}


def test_search_gives_no_more_than_its_limit_and_says_so(ris, embedded_archive):
    make_dimse_archive(embedded_archive)

    result = ris.post(
        "/studies/search", json={"patient_birth_date": "1950-01-01", "limit": 1}
    ).json()

    assert len(result["studies"]) <= 1


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({}, ""),
        ({"quick": "*"}, ""),
        ({"patient_name": "A*"}, ""),
        ({"modalities": ["CT"]}, ""),
        ({"study_date_from": "2020-01-01", "study_date_to": "2026-01-01"}, ""),
        ({"quick": "1CT1", "limit": 0}, "limit"),
        ({"quick": "1CT1", "limit": 1_000_000}, "limit"),
        ({"quick": "1CT1", "modalities": ["X-RAY"]}, "modalities"),
        ({"quick": "1CT1", "patient_sex": "Z"}, "patient_sex"),
        ({"quick": "1CT1", "study_date_from": "20260131"}, "study_date_from"),
        ({"quick": "1CT1", "study_date_from": "2026-02-30"}, "study_date_from"),
        ({"quick": "1CT1\\2"}, "quick"),
        ({"patient_name": "x" * 65}, "patient_name"),
        ({"quick": "1CT1", "archives": ["nowhere"]}, "archives"),
        ({"quick": "1CT1", "archives": ["a\x00b"]}, "archives"),
        ({"quick": "1CT1", "patientID": "1"}, "patientID"),
        ({"quick": "1CT1", "patient_id": "12345"}, "patient_id"),
    ],
)
def test_search_that_is_broad_or_wrong_is_refused_with_advice(ris, filters, field):
    make_dimse_archive()

    by_body = ris.post("/studies/search", json=filters)
    by_address = ris.get("/studies", params=filters)

    for response in (by_body, by_address):
        assert response.status_code == 400
        (problem,) = problems_of(response).items()
        assert problem[0] == field
        assert problem[1]
    if not field:
        assert "too broad" in problem[1]


def test_search_by_address_refuses_a_filter_given_twice(ris):
    make_dimse_archive()

    response = ris.get("/studies?quick=1CT1&quick=4MR1")

    assert response.status_code == 400
    assert list(problems_of(response)) == ["quick"]


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


def test_search_goes_to_dicomweb_archives_as_well(ris):
    study = make_study("1.77", patient={"patient_id": "WEB-1"})
    server = DicomWebServer((study,), Behaviour())

    async def search():
        async with server.running() as running:
            await asyncio.to_thread(make_dicomweb_archive, running.url)
            return await asyncio.to_thread(
                ris.post, "/studies/search", json={"patient_id": "WEB-1"}
            )

    result = asyncio.run(search()).json()

    assert [one["study_instance_uid"] for one in result["studies"]] == ["1.77"]
    assert result["archives"][0]["state"] == "answered"
