"""What leads a launch URL to its viewer: names, rules, policies, and who made the link."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from django.core.cache import cache
from django.test import Client

from archives.models import Archive
from launcher.models import (
    ArchiveOutcome,
    Build,
    Launch,
    LaunchTemplate,
    Viewer,
    ViewerRule,
)
from tests.factories import make_api_client, make_dicomweb_archive, make_dimse_archive
from tests.launcher.test_legacy_encryption import spring_encrypted, xor_encrypted
from tests.servers import Slow
from tests.weasis_uri import parse_uri

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]
JSON = {"accept": "application/json"}
CT_SMALL = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
OHIF = "https://ohif.example.org/viewer/{archive}?StudyInstanceUIDs={study_uids}"


@pytest.fixture
def client(settings):
    """A machine in a network the hub trusts."""
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["127.0.0.0/8"]
    return Client()


def launch(machine, path="/weasis", /, **parameters):
    return machine.get(f"{path}?{urlencode(parameters, doseq=True)}", headers=JSON)


def fields_of(response):
    return [error["field"] for error in response.json()["errors"]]


def asked():
    return set(Launch.objects.get().build.archives.values_list("slug", flat=True))


def make_viewer(**values):
    defaults = {"name": "OHIF", "slug": "ohif", "url_template": OHIF}
    return Viewer.objects.create(**(defaults | values))


# Archives


def test_archive_answers_to_its_previous_names(client):
    make_dimse_archive(previous_names="dcm4chee-local, 1000")
    make_dimse_archive(name="Other", slug="other")

    assert launch(client, patientID="1", archive="1000").status_code == 302
    assert asked() == {"main"}


def test_short_name_wins_over_the_previous_name_of_another(client):
    make_dimse_archive(previous_names="other")
    make_dimse_archive(name="Other", slug="other")

    launch(client, patientID="1", archive="other")

    assert asked() == {"other"}


def test_archive_that_allows_no_such_identifier_is_left_out(client):
    make_dimse_archive()
    make_dimse_archive(name="UIDs", slug="uids", identifiers=["studyUID"])

    launch(client, patientID="1")

    assert asked() == {"main"}


def test_identifier_that_no_archive_allows_is_403(client):
    make_dimse_archive(identifiers=["studyUID", "seriesUID"])

    response = launch(client, patientID="1", studyUID="1.2", accessionNumber="A")

    assert response.status_code == 403
    assert fields_of(response) == ["patientID", "accessionNumber"]
    assert not Launch.objects.exists()


def test_archive_that_is_named_must_allow_the_identifier(client):
    make_dimse_archive()
    make_dimse_archive(name="Old", slug="old", identifiers=["studyUID"])

    response = launch(client, patientID="1", archive="main,old")

    assert response.status_code == 403
    [problem] = response.json()["errors"]
    assert problem["field"] == "patientID"
    assert "“old”" in problem["message"]
    assert not Launch.objects.exists()


def test_archives_of_a_template_must_allow_the_identifier(client):
    make_dimse_archive()
    old = make_dimse_archive(name="Old", slug="old", identifiers=["studyUID"])
    template = LaunchTemplate.objects.create(name="Old", slug="old")
    template.archives.add(old)

    response = launch(client, patientID="1", template="old")
    old.is_enabled = False
    old.save()
    nowhere = launch(client, patientID="1", template="old")

    assert response.status_code == 403
    assert fields_of(response) == ["patientID"]
    assert nowhere.status_code == 400
    assert fields_of(nowhere) == ["archive"]


def test_identifiers_no_archive_allows_together_are_403(client):
    make_dimse_archive(identifiers=["studyUID"])
    make_dimse_archive(name="Other", slug="other", identifiers=["patientID"])

    assert launch(client, patientID="1", studyUID="1.2").status_code == 403


# Verifying


def test_template_that_verifies_is_404_for_what_is_nowhere(client, embedded_archive):
    make_dimse_archive(embedded_archive)
    LaunchTemplate.objects.create(name="V", slug="v", policy="verify")

    found = launch(client, studyUID=CT_SMALL, template="v")
    missing = launch(client, studyUID="1.2.3", template="v")

    assert found.status_code == 302
    assert missing.status_code == 404
    assert Launch.objects.count() == 1


def test_archive_that_is_slow_does_not_hold_up_a_launch(client):
    LaunchTemplate.objects.create(name="V", slug="v", policy="verify")
    with Slow() as server:
        make_dimse_archive(server)
        response = launch(client, patientID="1CT1", template="v")

    assert response.status_code == 302


# Other viewers and rules


def test_viewer_is_started_without_asking_where_the_uids_are_known(client):
    make_viewer()
    make_dimse_archive()  # nothing listens there

    response = launch(client, "/display", studyUID=["1.2", "1.3"], viewer="OHIF")

    assert response.status_code == 302
    assert response["Location"] == (
        "https://ohif.example.org/viewer/main?StudyInstanceUIDs=1.2,1.3"
    )
    stored = Launch.objects.get()
    assert (stored.state, stored.viewer) == (Launch.State.FETCHED, "OHIF")
    outcome = ArchiveOutcome.objects.get()
    assert (outcome.state, outcome.studies) == ("ok", 2)


def test_viewer_that_needs_uids_gets_those_that_are_found(client, embedded_archive):
    make_viewer()
    make_dimse_archive(embedded_archive)
    make_dimse_archive(name="Down", slug="down")

    response = launch(client, patientID="1CT1", viewer="ohif")

    assert response["Location"].endswith(f"/main?StudyInstanceUIDs={CT_SMALL}")
    assert asked() == {"main"}


def test_viewer_with_nothing_to_open_is_404_or_503(client, embedded_archive):
    make_viewer()
    make_dimse_archive(embedded_archive)

    assert launch(client, patientID="nobody", viewer="ohif").status_code == 404
    make_dimse_archive(name="Down", slug="down")
    silent = launch(client, patientID="nobody", viewer="ohif")

    assert silent.status_code == 503
    assert "Down" in silent.json()["errors"][0]["message"]
    assert not Launch.objects.exists()


def test_program_is_started_by_its_own_scheme(client):
    make_viewer(slug="slicer", url_template="slicer://viewer?studyUID={study_uid}")
    make_dimse_archive()

    response = launch(client, studyUID="1.2", viewer="slicer")

    assert response["Location"] == "slicer://viewer?studyUID=1.2"


def test_what_a_viewer_can_not_open_is_400(client):
    make_viewer(maximum_studies=1)
    make_dimse_archive()

    response = launch(client, studyUID=["1.2", "1.3"], viewer="ohif")

    assert response.status_code == 400
    assert fields_of(response) == ["viewer"]
    assert not Launch.objects.exists()


def test_no_archive_is_asked_for_a_viewer_that_can_not_open_it(client):
    make_viewer(slug="radiant", url_template="radiant://?a={ae_title}&s={study_uid}")
    make_dicomweb_archive("http://127.0.0.1:9/rs")
    link = "/weasis?patientID=1&viewer=radiant"

    head, response = (ask(link, headers=JSON) for ask in (client.head, client.get))

    assert (head.status_code, response.status_code) == (400, 400)
    [problem] = response.json()["errors"]
    assert problem["field"] == "viewer"
    assert "DIMSE archives" in problem["message"]
    assert client.head("/manifest?patientID=1&viewer=radiant").status_code == 200


@pytest.mark.parametrize(
    "parameters", [{"viewer": "none"}, {"template": "none"}, {"viewer": "a\x00b"}]
)
def test_unknown_viewer_or_template_is_400(client, parameters):
    make_dimse_archive()

    response = launch(client, studyUID="1.2", **parameters)

    assert response.status_code == 400
    assert fields_of(response) == list(parameters)


def test_rule_by_modality_asks_the_archives_first(client, embedded_archive):
    make_dimse_archive(embedded_archive)
    template = LaunchTemplate.objects.create(name="CT", slug="ct", viewer=make_viewer())
    ViewerRule.objects.create(name="CT", modalities="CT", template=template)

    ct = launch(client, patientID="1CT1")
    mr = launch(client, patientID="4MR1")
    named = launch(client, patientID="1CT1", viewer="weasis")

    assert ct["Location"].startswith("https://ohif.example.org/")
    assert mr["Location"].startswith("weasis://")
    assert named["Location"].startswith("weasis://")


def test_rule_opens_studies_of_its_templates_archives_only(client, embedded_archive):
    make_dimse_archive(embedded_archive)
    other = make_dimse_archive(name="Other", slug="other")
    viewer = make_viewer(needs_one_archive=False)
    template = LaunchTemplate.objects.create(name="CT", slug="ct", viewer=viewer)
    template.archives.add(other)
    ViewerRule.objects.create(name="CT", modalities="CT", template=template)

    response = launch(client, patientID="1CT1")

    assert response.status_code == 503
    assert response.json()["errors"][0]["message"].startswith("Other did not answer")
    assert not Launch.objects.exists()


@pytest.mark.parametrize(
    ("viewer", "template", "field"),
    [
        ("nonsense", "plain", "viewer"),
        ("ohif", "plain", "viewer"),
        ("weasis", "other", "viewer"),
        ("ohif", "nonsense", "template"),
    ],
)
def test_viewer_and_template_must_agree(client, viewer, template, field):
    make_dimse_archive()
    LaunchTemplate.objects.create(name="Plain", slug="plain")
    LaunchTemplate.objects.create(name="Other", slug="other", viewer=make_viewer())

    response = launch(client, studyUID="1.2", viewer=viewer, template=template)

    assert response.status_code == 400
    assert fields_of(response) == [field]
    agreed = launch(client, studyUID="1.2", viewer="OHIF", template="other")
    assert agreed["Location"].startswith("https://ohif.example.org/")


# What a link may add


def test_extras_that_the_template_allows_are_carried(client):
    make_dimse_archive()
    LaunchTemplate.objects.create(
        name="T", slug="t", allowed_properties="weasis.profile", is_default=True
    )

    uri = launch(client, patientID="1", pro="weasis.profile ward")["Location"]

    assert parse_uri(uri).configuration["pro"] == ["weasis.profile ward"]


def test_user_and_host_go_where_the_template_says(client):
    make_dimse_archive()
    template = LaunchTemplate.objects.default()
    template.properties = "weasis.user {user}\nlocal.workstation {host}"
    template.save()

    uri = launch(client, patientID="1", user="anna", host="ward-7")["Location"]

    properties = parse_uri(uri).configuration["pro"]
    assert properties == ["weasis.user anna", "local.workstation ward-7"]


def test_link_to_weasis_is_never_too_long(client):
    make_dimse_archive()
    template = LaunchTemplate.objects.default()
    template.commands = '$dicom:close -p "{patient_id}"'
    template.properties = "weasis.user {user}"
    template.allowed_properties = "a.b"
    template.save()
    patients = [f"é{number:0>60}" for number in range(9)]

    response = launch(client, patientID=patients, user="日" * 150)
    too_long = launch(client, patientID="1", pro="a.b " + "é" * 400)
    judged = client.head(f"/weasis?patientID=1&pro=a.b+{'é' * 400}")

    assert response.status_code == 302
    assert len(response["Location"]) <= 1800
    assert len(parse_uri(response["Location"]).commands) == 10
    assert (too_long.status_code, judged.status_code) == (400, 400)
    assert fields_of(too_long) == ["pro"]
    assert Launch.objects.count() == 1


def test_extras_that_are_not_allowed_are_403(client):
    make_dimse_archive()

    response = launch(client, patientID="1", pro="a b", arg="$dicom:close --all")

    assert response.status_code == 403
    assert fields_of(response) == ["pro", "arg"]
    assert not Launch.objects.exists()


# Dates


def period(**parameters):
    kept = Build.objects.get().get_selection().study_filter
    return kept.earliest and kept.earliest.year, kept.latest and kept.latest.year


DATES = {"patientID": "1", "lowerDateTime": "2020-06-01", "upperDateTime": "2010-06-01"}


def test_dates_have_the_meaning_of_ihe(client):
    make_dimse_archive()

    assert launch(client, **DATES).status_code == 400  # nothing is before and after
    launch(client, patientID="1", lowerDateTime="2010-06-01")

    assert period() == (2010, None)


def test_dates_have_the_meaning_of_the_template(client):
    make_dimse_archive()
    LaunchTemplate.objects.create(name="L", slug="l", date_meaning="legacy")

    assert launch(client, **DATES, template="l").status_code == 302

    assert period() == (2010, 2020)


@pytest.mark.parametrize("names_itself", [True, False])
def test_dates_have_the_meaning_of_the_client(client, names_itself):
    make_dimse_archive()
    _, key = make_api_client(date_meaning="legacy", slug="old-ris")

    if names_itself:
        response = launch(client, **DATES, client="old-ris")
    else:
        response = Client().get(
            f"/weasis?{urlencode(DATES)}", headers={"authorization": f"Bearer {key}"}
        )

    assert response.status_code == 302
    assert period() == (2010, 2020)


# Encryption


def make_encrypting(**values):
    defaults = {
        "name": "Old RIS",
        "slug": "old-ris",
        "encryption": "xor",
        "encryption_key": "paraphrasefortest",
    }
    return make_api_client(**(defaults | values))


def test_encrypted_identifiers_are_read(client):
    make_dimse_archive()
    make_encrypting()

    response = launch(
        client,
        patientID=xor_encrypted("1CT1^^^HOSP"),
        studyUID=f"{xor_encrypted('1.2.3')},{xor_encrypted('1.2.4')}",
    )

    assert response.status_code == 302
    selection = Build.objects.get().get_selection()
    assert selection.patients[0].patient_id == "1CT1"
    assert selection.study_instance_uids == ("1.2.3", "1.2.4")


def test_identifiers_of_viewerhub_are_read(client):
    make_dimse_archive()
    make_encrypting(encryption="spring", encryption_salt="5c0744940b5c369b")

    response = launch(client, "/display", accessionNumber=spring_encrypted("A77"))

    assert response.status_code == 302
    assert Build.objects.get().get_selection().accession_numbers == ("A77",)


def test_identifier_that_is_not_encrypted_is_refused(client):
    make_dimse_archive()
    make_encrypting()

    response = launch(client, patientID="1CT1", studyUID=xor_encrypted("1.2.3"))

    assert response.status_code == 400
    assert fields_of(response) == ["patientID"]
    assert "1CT1" not in response.content.decode()
    assert not Launch.objects.exists()


def test_client_without_encryption_may_go_on_in_plain(client):
    make_dimse_archive()
    make_encrypting()
    _, key = make_api_client(name="New RIS", slug="new-ris")

    by_name = launch(client, patientID="1CT1", client="new-ris")
    by_key = Client().get(
        "/weasis?patientID=1CT1", headers={"authorization": f"Bearer {key}"}
    )

    assert (by_name.status_code, by_key.status_code) == (302, 302)


def test_several_encrypting_clients_have_to_name_themselves(client):
    make_dimse_archive()
    make_encrypting()
    make_encrypting(name="B", slug="b", encryption_key="another-key-for-b")
    sealed = xor_encrypted("1CT1", "another-key-for-b")

    unnamed = launch(client, patientID=sealed)

    assert (unnamed.status_code, fields_of(unnamed)) == (400, ["client"])
    assert launch(client, patientID=sealed, client="b").status_code == 302


def test_encryption_that_can_not_work_is_503(client):
    make_dimse_archive()
    make_encrypting(encryption="spring", encryption_salt="salt")

    assert launch(client, patientID="x").status_code == 503


def test_encrypted_links_of_a_disabled_client_are_not_read(client):
    make_dimse_archive()
    make_encrypting(is_enabled=False)

    assert launch(client, patientID="1CT1").status_code == 302


# Posting


def post(client, data, path="/display", **options):
    body = data if isinstance(data, bytes | str) else json.dumps(data)
    defaults = {"content_type": "application/json", "headers": JSON}
    return client.post(path, body, **(defaults | options))


@pytest.mark.parametrize(
    "path", ["/display", "/display/weasis", "/weasis", "/display/IHEInvokeImageDisplay"]
)
def test_posted_parameters_are_those_of_the_query(client, path):
    make_dimse_archive()

    response = post(
        client,
        {
            "requestType": "STUDY",
            "studyUID": ["1.2", "1.3"],
            "archive": "main",
            "keyImagesOnly": False,
            "user": None,
        },
        path,
    )

    assert response.status_code == 302
    uids = Build.objects.get().get_selection().study_instance_uids
    assert uids == ("1.2", "1.3")


def test_posted_form_is_read(client):
    make_dimse_archive()

    response = post(
        client,
        "patientID=1CT1&mostRecentResults=2",
        content_type="application/x-www-form-urlencoded",
    )

    assert response.status_code == 302
    assert Build.objects.get().get_selection().study_filter.most_recent == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{", "body"),
        ("[]", "body"),
        ("[" * 100_000, "body"),
        (b"\xff\xfe\x00", "body"),
        ('{"patientID": {"a": 1}}', "patientID"),
        ('{"patientID": [["1"]]}', "patientID"),
        ('{"patientID": 1.5}', "patientID"),
        ('{"patientID": "*"}', "patientID"),
        ("", "identifiers"),
    ],
)
def test_body_that_can_not_be_read_is_400(client, body, field):
    make_dimse_archive()

    response = post(client, body)

    assert response.status_code == 400
    assert fields_of(response) == [field]
    assert not Launch.objects.exists()


def test_body_that_is_too_large_is_413(client):
    assert post(client, b" " * (2**20 + 1)).status_code == 413


def test_post_of_a_session_needs_the_token_of_a_form(django_user_model):
    make_dimse_archive()
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(django_user_model.objects.create_user("alice"))
    browser.get("/")
    token = browser.cookies["viewerhub-csrf"].value

    refused = post(browser, {"patientID": "1"})
    opened = post(browser, {"patientID": "1"}, headers=JSON | {"x-csrftoken": token})

    assert refused.status_code == 403
    assert opened.status_code == 302


def test_post_of_another_site_through_a_trusted_browser_is_403(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["127.0.0.0/8"]
    make_dimse_archive()
    machine = Client(enforce_csrf_checks=True)

    foreign = post(
        machine, {"patientID": "1"}, headers=JSON | {"origin": "https://evil.example"}
    )
    program = post(machine, {"patientID": "1"})

    assert foreign.status_code == 403
    assert program.status_code == 302


# Logging in first


@pytest.fixture
def stranger(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = []
    cache.clear()
    return Client(headers={"accept": "text/html"})


@pytest.mark.parametrize(
    ("link", "origin"),
    [
        ("/weasis?patientID=MARKER-77&archive=main", "url"),
        ("/IHEInvokeImageDisplay?requestType=PATIENT&patientID=MARKER-77", "iid"),
    ],
)
def test_browser_comes_back_from_the_login_to_the_same_launch(
    stranger, django_user_model, link, origin
):
    make_dimse_archive()
    django_user_model.objects.create_user("alice", password="secret")

    login = stranger.get(link)["Location"]
    assert login.startswith("/accounts/login/?next=/launch/resume/")
    assert "MARKER" not in login
    assert b"MARKER" not in stranger.get(login).content
    answer = stranger.post(login, {"login": "alice", "password": "secret"})
    response = stranger.get(answer["Location"])

    assert response["Location"].startswith("weasis://")
    stored = Launch.objects.get()
    assert (stored.user.username, stored.origin) == ("alice", origin)
    assert stored.build.get_selection().patients[0].patient_id == "MARKER-77"


def test_waiting_launch_is_for_those_who_have_logged_in(stranger):
    path = stranger.get("/weasis?patientID=1")["Location"].partition("next=")[2]

    response = stranger.get(path)

    assert response["Location"] == f"/accounts/login/?next={path}"


def test_launch_that_waited_too_long_is_404(stranger, django_user_model):
    stranger.force_login(django_user_model.objects.create_user("alice"))

    response = stranger.get("/launch/resume/nothing-here/")

    assert response.status_code == 404
    assert b"waited too long" in response.content


def test_address_for_members_asks_networks_to_log_in(client):
    make_dimse_archive()

    for path in ("/display/auth", "/display/auth/weasis"):
        assert launch(client, path, patientID="1").status_code == 401
    _, key = make_api_client()
    response = Client().get(
        "/display/auth?patientID=1", headers={"authorization": f"Bearer {key}"}
    )
    assert response.status_code == 302


def test_address_for_members_stays_that_while_it_waits(client):
    make_dimse_archive()
    browser = {"accept": "text/html"}
    login = client.get("/display/auth?patientID=1", headers=browser)["Location"]
    path = login.partition("next=")[2]

    response = client.get(path)

    assert response["Location"] == f"/accounts/login/?next={path}"
    assert not Launch.objects.exists()


# Everything at once


def test_every_problem_is_told_at_once(client):
    make_dimse_archive()

    response = launch(
        client,
        patientID="*",
        studyUID="x",
        lowerDateTime="soon",
        archive="nowhere",
        template="nothing",
    )

    assert response.status_code == 400
    assert set(fields_of(response)) == {
        "patientID",
        "studyUID",
        "lowerDateTime",
        "archive",
        "template",
    }


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        (
            {"archive": "nope", "template": "nope", "studyUID": "1.2"},
            ["archive", "template"],
        ),
        (
            {"studyUID": "x", "viewer": "nope", "archive": "main,nope"},
            ["studyUID", "archive", "viewer"],
        ),
        (
            {
                "patientID": "*",
                "pro": "a b",
                "arg": "c:d",
                "wcfg": "https://e.example/",
            },
            ["patientID", "pro", "arg", "wcfg"],
        ),
        (
            {"studyUID": "1", "archive": "nope", "viewer": "ohif", "cdb": "http://e/"},
            ["archive", "cdb"],
        ),
        (
            {"studyUID": "1", "accessionNumber": "A", "archive": "uids", "pro": "a b"},
            ["accessionNumber", "pro"],
        ),
        (
            {"studyUID": "x", "template": ["a", "b"], "pro": "c d"},
            ["studyUID", "template"],
        ),
    ],
)
def test_names_and_extras_are_checked_whatever_else_is_wrong(
    client, parameters, fields
):
    make_viewer()
    make_dimse_archive()
    make_dimse_archive(name="UIDs", slug="uids", identifiers=["studyUID"])

    response = launch(client, **parameters)

    assert sorted(fields_of(response)) == sorted(fields)
    assert not Launch.objects.exists()


def test_extras_are_not_checked_where_the_template_is_not_known(client):
    archive = make_dimse_archive()
    template = LaunchTemplate.objects.create(name="M", slug="m", allowed_properties="a")
    ViewerRule.objects.create(name="M", template=template, archive=archive)

    wrong = launch(client, patientID="1", archive="nope", pro="a b")
    right = launch(client, patientID="1", archive="main", pro="a b")

    assert fields_of(wrong) == ["archive"]
    assert right.status_code == 302


def test_identifiers_that_can_not_be_decrypted_hide_nothing_else(client):
    make_dimse_archive()
    make_encrypting()

    response = launch(client, patientID="!", archive="nope", viewer="nope")

    assert fields_of(response) == ["patientID", "archive", "viewer"]


def test_head_stores_nothing_and_asks_nobody(client):
    make_dimse_archive()
    LaunchTemplate.objects.create(name="V", slug="v", policy="verify")

    good = client.head("/weasis?patientID=1&template=v")
    bad = client.head("/weasis?patientID=*", headers=JSON)

    assert (good.status_code, bad.status_code) == (200, 400)
    assert not Build.objects.exists()
    assert (
        Client(REMOTE_ADDR="192.0.2.1").head("/weasis?patientID=1").status_code == 401
    )


def test_answers_are_kept_in_no_cache(client):
    make_dimse_archive()

    for query in ("patientID=1", "patientID=*"):
        response = client.get(f"/weasis?{query}")
        assert "no-store" in response["Cache-Control"]


def test_previous_path_of_the_connector_works(client):
    make_dimse_archive()

    assert launch(client, "/weasis-pacs-connector/weasis", patientID="1").status_code
    assert Launch.objects.exists()
    assert Archive.objects.count() == 1
