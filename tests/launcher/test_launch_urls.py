from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from launcher.models import ApiClient, Build, Launch, LaunchTemplate
from tests.factories import make_api_client, make_dimse_archive
from tests.weasis_uri import parse_uri

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]


@pytest.fixture
def client(settings):
    """A machine in a network the hub trusts."""
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["127.0.0.0/8"]
    return Client()


def launch(client, path="/weasis", **parameters):
    return client.get(f"{path}?{urlencode(parameters, doseq=True)}")


def problems_of(response):
    assert response["Content-Type"] == "application/problem+json"
    return {error["field"]: error["message"] for error in response.json()["errors"]}


@pytest.mark.parametrize("path", ["/weasis", "/display"])
def test_launch_redirects_to_weasis_before_any_archive_is_asked(client, path):
    make_dimse_archive()  # nothing listens there

    response = launch(client, path, patientID="1CT1")

    assert response.status_code == 302
    assert response["Location"].startswith("weasis://?%24dicom%3Aget%20-w%20")
    stored = Launch.objects.get()
    assert stored.state == Launch.State.PENDING
    assert stored.origin == Launch.Origin.URL
    assert stored.build.get_selection().patients[0].patient_id == "1CT1"


def test_launch_puts_no_patient_data_into_the_uri(client):
    make_dimse_archive()

    location = launch(client, patientID="MARKER-77^^^HOSP", accessionNumber="ACC-88")[
        "Location"
    ]

    assert "MARKER" not in location
    assert "ACC-88" not in location
    assert "HOSP" not in location


def test_launch_tokens_have_256_bits_and_are_stored_as_hashes(client):
    make_dimse_archive()
    locations = [launch(client, patientID=f"P{n}")["Location"] for n in range(20)]

    tokens = {
        location.rpartition("%2Fm%2F")[2].removesuffix("%22") for location in locations
    }

    assert len(tokens) == 20
    assert all(len(token) == 43 for token in tokens)  # 32 bytes in base64
    stored = str(list(Launch.objects.values()))
    assert not any(token in stored for token in tokens)


def test_launch_asks_the_archives_it_names(client):
    make_dimse_archive()
    second = make_dimse_archive(name="Second", slug="second")

    launch(client, patientID="1CT1", archive="second")

    assert list(Build.objects.get().archives.all()) == [second]


def test_launch_without_archive_asks_those_of_its_template(client):
    make_dimse_archive()
    second = make_dimse_archive(name="Second", slug="second")
    template = LaunchTemplate.objects.create(name="Second only", slug="second-only")
    template.archives.add(second)

    launch(client, patientID="1CT1", template="second-only")

    assert list(Build.objects.get().archives.all()) == [second]


def test_launch_uses_the_commands_and_properties_of_the_template(client):
    make_dimse_archive()
    LaunchTemplate.objects.create(
        name="Close first",
        slug="close",
        commands="$dicom:close --all",
        properties="weasis.profile  radiology ward",
        cdb="https://hub.example.org/weasis",
    )

    uri = launch(client, patientID="1CT1", template="close")["Location"]

    parsed = parse_uri(uri)
    assert [command.name for command in parsed.commands] == ["dicom:close", "dicom:get"]
    assert parsed.configuration["pro"] == ["weasis.profile radiology ward"]
    assert parsed.configuration["cdb"] == ["https://hub.example.org/weasis"]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({}, "identifiers"),
        ({"patientID": "*"}, "patientID"),
        ({"patientID": "DOE?"}, "patientID"),
        ({"accessionNumber": "A\\B"}, "accessionNumber"),
        ({"studyUID": "1.2.x"}, "studyUID"),
        ({"seriesUID": "1" * 65}, "seriesUID"),
        ({"objectUID": "1..2"}, "objectUID"),
        ({"patientID": "1", "archive": "nowhere"}, "archive"),
        ({"patientID": "1", "template": "nothing"}, "template"),
        ({"studyUID": [f"1.{n}" for n in range(10_000)]}, "studyUID"),
    ],
)
def test_launch_names_what_is_wrong_and_stores_nothing(client, parameters, field):
    make_dimse_archive()

    response = client.get(
        f"/weasis?{urlencode(parameters, doseq=True)}",
        headers={"accept": "application/json"},
    )

    assert response.status_code == 400
    assert field in problems_of(response)
    assert not Launch.objects.exists()
    assert not Build.objects.exists()


def test_launch_shows_browsers_a_page_with_every_problem(client):
    make_dimse_archive()

    response = client.get(
        "/weasis?patientID=*&studyUID=x", headers={"accept": "text/html"}
    )

    assert response.status_code == 400
    assert b"patientID" in response.content
    assert b"studyUID" in response.content


def test_launch_of_the_same_selection_shares_the_build_under_way(client):
    make_dimse_archive()

    launch(client, studyUID=["1.2", "1.3"])
    launch(client, studyUID=["1.2", "1.3", "1.2"])
    launch(client, studyUID=["1.3", "1.2"])  # another study is the first one

    assert Launch.objects.count() == 3
    assert Build.objects.count() == 2


def test_launch_from_elsewhere_is_401_for_machines_and_login_for_browsers(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["10.0.0.0/8"]
    make_dimse_archive()
    stranger = Client()

    machine = stranger.get("/weasis?patientID=1", headers={"accept": "*/*"})
    browser = stranger.get("/weasis?patientID=1", headers={"accept": "text/html"})

    assert machine.status_code == 401
    assert machine["WWW-Authenticate"].startswith("Bearer")
    assert browser.status_code == 302
    assert browser["Location"].startswith("/accounts/login/")
    assert not Launch.objects.exists()


def test_launch_by_a_user_asks_only_archives_of_their_groups(client, django_user_model):
    everyone = make_dimse_archive()
    closed = make_dimse_archive(name="Closed", slug="closed")
    closed.groups.add(Group.objects.create(name="Research"))
    client.force_login(django_user_model.objects.create_user("alice"))

    launch(client, patientID="1CT1")
    refused = launch(client, patientID="1CT1", archive="closed")

    assert list(Build.objects.get().archives.all()) == [everyone]
    assert refused.status_code == 400
    assert Launch.objects.get().user.username == "alice"


def test_launch_by_an_api_key_belongs_to_its_client():
    make_dimse_archive()
    api_client, key = make_api_client()

    response = Client().get(
        "/weasis?patientID=1CT1", headers={"authorization": f"Bearer {key}"}
    )

    assert response.status_code == 302
    assert Launch.objects.get().api_client == api_client


@pytest.mark.parametrize(
    "values", [{"is_enabled": False}, {"scopes": [ApiClient.Scope.SEARCH]}]
)
def test_launch_by_a_key_that_may_not_is_401_even_from_a_trusted_network(
    client, values
):
    make_dimse_archive()
    _, key = make_api_client(**values)

    response = client.get(
        "/weasis?patientID=1CT1", headers={"authorization": f"Bearer {key}"}
    )

    assert response.status_code == 401


def test_launch_with_the_broker_down_is_503_and_stores_nothing(client, valkey):
    make_dimse_archive()
    valkey.stop()
    try:
        response = client.get(
            "/weasis?patientID=1CT1", headers={"accept": "application/json"}
        )
    finally:
        valkey.start()

    assert response.status_code == 503
    assert "queue is not reachable" in problems_of(response)[""]
    assert not Launch.objects.exists()
    assert not Build.objects.exists()
