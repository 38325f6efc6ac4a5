"""Launches by the REST API, as a RIS starts, follows and revokes them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import httpx2
import pytest
from django.utils import timezone

from archives.entities import StudyFilter
from launcher.models import Build, Launch, LaunchTemplate, Viewer
from tests.api_calls import build, launch, problems_of
from tests.factories import make_dimse_archive
from tests.weasis_uri import parse_uri

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]


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


def test_launch_keeps_the_filter_it_is_sent(ris, settings):
    settings.TIME_ZONE = "Europe/Zurich"
    make_dimse_archive()

    launch(
        ris,
        patients=[{"patient_id": "A", "universal_entity_id": "1.2.3"}],
        patient_ids=["B^^^CLINIC&1.2.4&ISO"],
        study_filter={
            "modalities_in_study": ["ct", "MR"],
            "description_contains": ["knee, left"],
            "earliest": "2024-07-19T10:15:30Z",
            "latest": "2024-07-20",
            "most_recent": 2,
            "patient_name": "Doe^Jane",
            "patient_birth_date": "1970-01-31",
        },
    )

    selection = Build.objects.get().get_selection()
    assert [one.universal_entity_id for one in selection.patients] == ["1.2.3", "1.2.4"]
    assert selection.study_filter == StudyFilter(
        modalities_in_study=("CT", "MR"),
        description_contains=("knee, left",),
        earliest=datetime(2024, 7, 19, 12, 15, 30),
        latest=datetime(2024, 7, 20, 23, 59, 59, 999_999),
        most_recent=2,
        patient_name="Doe^Jane",
        patient_birth_date="19700131",
    )


def test_launch_names_every_problem_of_its_filter(ris):
    make_dimse_archive()

    response = ris.post(
        "/launches",
        json={
            "patient_ids": ["A"],
            "study_filter": {
                "modalities_in_study": ["CT", "C*"],
                "description_contains": [" "],
                "earliest": "yesterday",
                "latest": "",
                "patient_name": "Doe*",
            },
        },
    )

    assert response.status_code == 400
    assert sorted(problems_of(response)) == [
        "study_filter.description_contains[0]",
        "study_filter.earliest",
        "study_filter.latest",
        "study_filter.modalities_in_study[1]",
        "study_filter.patient_name",
    ]
    assert not Launch.objects.exists()


@pytest.mark.parametrize("number", [0, -1, "2", 1.5, 10_000])
def test_launch_refuses_a_number_of_studies_that_is_none(ris, number):
    make_dimse_archive()

    response = ris.post(
        "/launches",
        json={"patient_ids": ["A"], "study_filter": {"most_recent": number}},
    )

    assert response.status_code == 400
    assert problems_of(response).keys() == {"study_filter.most_recent"}


def test_launch_refuses_a_period_that_ends_before_it_begins(ris):
    make_dimse_archive()
    period = {"earliest": "2024-07-20", "latest": "2024-07-19"}

    response = ris.post(
        "/launches", json={"patient_ids": ["A"], "study_filter": period}
    )

    assert response.status_code == 400
    assert problems_of(response).keys() == {"study_filter.earliest"}


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
    make_dimse_archive(embedded_archive, name="Third", slug="third")  # the same again
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

    assert [one["state"] for one in before["archives"]] == ["asking"] * 3
    assert before["state"] == "pending"
    assert ready["state"] == "ready"
    assert (ready["studies"], ready["series"], ready["instances"]) == (1, 1, 1)
    main, second, third = ready["archives"]
    assert third["instances"] == 1
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
        (
            b'{"study_instance_uids": [' + b"1," * 900_000 + b"1]}",
            "study_instance_uids",
        ),
        (
            b'{"patient_ids": ["1"], "study_instance_uids": ['
            + b",".join([b'"1.2"'] * 500)
            + b"]}",
            "study_instance_uids",
        ),
        (
            b'{"patient_ids": ["1"], "archives": [' + b'"a",' * 200 + b'"b"]}',
            "archives",
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


def test_launch_sent_many_times_at_once_is_started_once(ris):
    make_dimse_archive()

    with ThreadPoolExecutor(8) as pool:
        sent = [
            pool.submit(send_once, ris, "key-1", patient_ids=["1"]) for _ in range(8)
        ]
    responses = [one.result() for one in sent]

    statuses = [response.status_code for response in responses]
    assert set(statuses) <= {201, 409}
    assert len({r.json()["id"] for r in responses if r.status_code == 201}) == 1
    assert Launch.objects.count() == 1


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


def test_archive_that_is_named_must_allow_the_identifier(ris):
    make_dimse_archive()
    make_dimse_archive(name="Old", slug="old", identifiers=["studyUID"])

    named = ris.post(
        "/launches", json={"patient_ids": ["1"], "archives": ["main", "old"]}
    )
    any_archive = ris.post("/launches", json={"patient_ids": ["1"]})

    assert named.status_code == 403
    assert "“old”" in named.json()["errors"][0]["message"]
    assert any_archive.json()["archives"] == ["main"]


def test_identifier_that_no_archive_allows_is_403(ris):
    make_dimse_archive(identifiers=["studyUID"])

    response = ris.post("/launches", json={"patient_ids": ["1CT1"]})

    assert response.status_code == 403
    assert "patientID" in problems_of(response)
    assert not Launch.objects.exists()


def test_launch_opens_weasis_whatever_viewer_the_template_has(ris):
    make_dimse_archive()
    viewer = Viewer.objects.create(
        name="O", slug="o", url_template="https://o.example.org/?s={study_uids}"
    )
    LaunchTemplate.objects.create(name="O", slug="o", viewer=viewer, is_default=True)

    created = launch(ris, study_instance_uids=["1.2"])

    assert created["weasis_uri"].startswith("weasis://")
    assert "/m/" in created["manifest_url"]
