"""The administration of viewers and rules, the preview of launches, the URL builder."""

import json
import re
import shlex
import subprocess
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from archives.embedded import EmbeddedArchive
from launcher.launch_preview import indented, read_parameters
from launcher.models import (
    ApiClient,
    Build,
    Launch,
    LaunchTemplate,
    Viewer,
    ViewerRule,
)
from launcher.signed_links import read, verify
from tests.factories import make_api_client, make_dicomweb_archive, make_dimse_archive

pytestmark = pytest.mark.django_db

VIEWERS = "/admin/launcher/viewer/"
RULES = "/admin/launcher/viewerrule/"
PREVIEW = "/admin/launcher/launchtemplate/preview-launch/"
BUILDER = "/admin/launcher/launchtemplate/url-builder/"
HUB = "https://hub.example.org"


def text(response):
    assert response.status_code == 200
    return unescape(response.content.decode())


def errors_of(response):
    assert response.status_code == 200
    return dict(response.context["adminform"].form.errors)


def staff(*permissions):
    user = User.objects.create(username="-".join(permissions), is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


# Viewers


@pytest.mark.parametrize("slug", ["ohif", "slicer", "microdicom", "radiant", "stone"])
def test_viewer_is_added_from_a_preset(admin_client, slug):
    page = admin_client.get(f"{VIEWERS}add/?preset={slug}")
    initial = page.context["adminform"].form.initial
    data = {key: value for key, value in initial.items() if value} | {
        "is_enabled": "on"
    }

    response = admin_client.post(f"{VIEWERS}add/", data)

    assert response.status_code == 302
    viewer = Viewer.objects.get()
    assert viewer.slug == slug
    assert viewer.limits == page.context["preset"].limits
    assert f'href="?preset={slug}"' in text(page)


def test_page_of_viewers_explains_placeholders(admin_client):
    page = text(admin_client.get(f"{VIEWERS}add/"))

    assert "<code>{study_uids}</code>" in page
    assert "Begin with a viewer" in page


def test_viewer_error_says_what_to_change(admin_client):
    data = {"name": "X", "slug": "x", "url_template": "javascript:{study_uid}"}

    response = admin_client.post(f"{VIEWERS}add/", data)

    assert "not allowed" in errors_of(response)["url_template"][0]
    assert not Viewer.objects.exists()


def test_template_of_another_viewer_shows_its_address(admin_client):
    make_dicomweb_archive("https://pacs.example.org/rs")
    viewer = Viewer.objects.create(
        name="OHIF", slug="ohif", url_template="https://ohif.example.org/?s={study_uid}"
    )
    template = LaunchTemplate.objects.create(name="OHIF", slug="ohif", viewer=viewer)

    page = text(
        admin_client.get(f"/admin/launcher/launchtemplate/{template.pk}/change/")
    )

    assert "https://ohif.example.org/?s=1.2.826.0.1" in page
    assert "weasis://" not in page


# Rules


def test_rules_are_listed_in_order_before_the_default(admin_client):
    template = LaunchTemplate.objects.default()
    ViewerRule.objects.create(name="B", template=template, position=2)
    ViewerRule.objects.create(
        name="A", template=template, position=1, modalities="MG, US"
    )

    page = admin_client.get(RULES)

    assert [rule.name for rule in page.context["cl"].result_list] == ["A", "B"]
    assert "Modality MG or US" in text(page)
    assert re.search(r"Otherwise</strong>\s*Open in Weasis \(Weasis\)", text(page))


def test_order_of_rules_is_changed_in_the_list(admin_client):
    template = LaunchTemplate.objects.default()
    first, second = (
        ViewerRule.objects.create(name=name, template=template, position=number)
        for number, name in enumerate("AB", 1)
    )
    data = {
        "form-TOTAL_FORMS": 2,
        "form-INITIAL_FORMS": 2,
        "form-0-id": first.pk,
        "form-0-position": 9,
        "form-0-is_enabled": "on",
        "form-1-id": second.pk,
        "form-1-position": 2,
        "form-1-is_enabled": "on",
        "_save": "Save",
    }

    assert admin_client.post(RULES, data).status_code == 302

    assert list(ViewerRule.objects.all()) == [second, first]


def test_rule_error_names_its_field(admin_client):
    data = {
        "name": "A",
        "position": 1,
        "networks": "10.0.0.0/8, ward",
        "template": LaunchTemplate.objects.default().pk,
    }

    errors = errors_of(admin_client.post(f"{RULES}add/", data))

    assert "ward is not an address" in errors["networks"][0]


# The preview of a launch


@pytest.fixture(scope="module")
def server(dicom_files):
    with EmbeddedArchive(dicom_files.paths(dicom_files.group("demo"))) as archive:
        yield archive


@pytest.fixture
def main(server):
    return make_dimse_archive(server)


def preview(client, what, **values):
    return client.post(PREVIEW, {"text": what, "version": "4.7.2"} | values)


def test_preview_shows_what_a_launch_would_do(admin_client, main, settings):
    settings.VIEWERHUB_PUBLIC_URL = HUB

    page = text(preview(admin_client, "DEMO-1"))

    assert "Weasis, by the template “Open in Weasis”" in page
    assert "this is the default template" in page
    assert f'<code>$dicom:get -w "{HUB}/m/{"0" * 43}"</code>' in page
    assert "of at most 1,800 characters" in page
    assert "The images of Main PACS go through the hub" in page
    assert '<Patient PatientID="DEMO-1"' in page
    assert 'value="Bearer the-token-of-the-launch"' in page


def test_preview_stores_nothing(admin_client, main):
    preview(admin_client, "DEMO-1")

    assert not Build.objects.exists()
    assert not Launch.objects.exists()


def test_preview_follows_the_version_of_weasis(admin_client, main):
    main.images, main.wado_uri_url = "direct", "https://pacs.example.org/wado"
    main.save()
    template = LaunchTemplate.objects.default()
    template.retrieval = "files"
    template.save()

    page = text(preview(admin_client, "DEMO-1", version="4.5.0"))

    assert "DirectDownloadFile" in page


def test_preview_reads_a_whole_launch_url(admin_client, main, settings):
    LaunchTemplate.objects.create(
        name="Ward", slug="ward", commands='$dicom:close -p "{patient_id}"'
    )
    url = f"{HUB}/weasis?patientID=DEMO-1&archive=main&template=ward#top"

    page = text(preview(admin_client, url))

    assert "by the template “Ward”" in page
    assert '<code>$dicom:close -p "DEMO-1"</code>' in page


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("/weasis?patientID=DEMO-1", "The viewer starts at once"),
        (
            "/IHEInvokeImageDisplay?requestType=PATIENT&patientID=DEMO-1",
            "it does not start if none of them has a study",
        ),
    ],
)
def test_preview_says_when_the_archives_are_asked(
    admin_client, main, address, sentence
):
    assert sentence in text(preview(admin_client, f"{HUB}{address}"))


def test_preview_refuses_identifiers_the_archive_does_not_take(admin_client, main):
    main.identifiers = ["studyUID"]
    main.save()

    assert "would refuse" in text(preview(admin_client, "DEMO-1"))


def test_preview_applies_rules_to_the_modalities_found(admin_client, main):
    template = LaunchTemplate.objects.create(name="Slices", slug="slices")
    rule = ViewerRule.objects.create(name="CT", template=template, modalities="CT")

    assert "by the template “Slices”" in text(preview(admin_client, "DEMO-1"))
    rule.modalities = "XA"
    rule.save()
    assert "by the template “Open in Weasis”" in text(preview(admin_client, "DEMO-1"))


def test_preview_applies_rules_to_an_address(admin_client, main):
    template = LaunchTemplate.objects.create(name="Ward", slug="ward")
    ViewerRule.objects.create(name="Ward", template=template, networks="10.1.0.0/16")

    page = text(preview(admin_client, "DEMO-1", address="10.1.2.3"))

    assert "The rule “Ward” applies: caller in 10.1.0.0/16." in page


def test_preview_of_another_viewer_shows_its_address(admin_client, main):
    viewer = Viewer.objects.create(
        name="OHIF",
        slug="ohif",
        url_template="https://ohif.example.org/{archive}?s={study_uids}",
    )

    page = text(preview(admin_client, "patientID=DEMO-1&viewer=OHIF"))

    [url] = re.findall(r"<code>(https://ohif[^<]*)</code>", page)
    assert url.startswith("https://ohif.example.org/main?s=2.25.")
    viewer.maximum_studies, viewer.needs_dicomweb = 1, True
    viewer.save()
    page = text(preview(admin_client, "patientID=DEMO-1&viewer=ohif"))
    assert "OHIF can't open this." in page


def test_preview_shows_an_archive_that_is_down(admin_client, main):
    make_dimse_archive(name="Old PACS", slug="old")

    page = text(preview(admin_client, "DEMO-1"))

    assert "Not answering" in page
    assert "The images of Main PACS go" in page
    assert "The images of Old PACS go" not in page
    assert "0 studies" not in page
    assert '<Message title="Old PACS: not answering"' in page
    assert '<Patient PatientID="DEMO-1"' in page


def test_preview_keeps_the_newest_study_of_all_archives(
    admin_client, main, dicom_files
):
    prior = dicom_files.study("ct-prior")
    with EmbeddedArchive(dicom_files.paths([prior])) as older:
        make_dimse_archive(older, name="Old PACS", slug="old")
        what = "patientID=DEMO-1&mostRecentResults=1"

        page = text(preview(admin_client, what))

    assert page.count("<Study ") == 1
    assert 'StudyDate="20260303"' in page
    assert "Nothing found" in page


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("studyUID=1.x", "not a UID"),
        ("archive=main", "Give at least one of"),
        ("patientID=1&archive=nowhere", "no archive “nowhere”"),
        ("patientID=1&template=nowhere", "no launch template"),
        ("patientID=1&pro=weasis.profile x", "may not set the property weasis.profile"),
    ],
)
def test_preview_says_why_the_hub_would_refuse(admin_client, main, what, problem):
    page = text(preview(admin_client, what))

    assert "The hub would refuse this launch" in page
    assert problem in page


def test_preview_asks_only_archives_the_administrator_may_use(main):
    main.groups.add(Group.objects.create(name="Radiology"))
    client = staff("view_launchtemplate")

    page = text(preview(client, "DEMO-1"))

    assert "There is no archive you may use" in page
    assert "Main PACS" not in page


@pytest.mark.parametrize("url", [PREVIEW, BUILDER])
def test_tools_need_the_right_to_see_templates(client, url):
    assert client.get(url).status_code == 302
    assert staff("view_launch").get(url).status_code == 403
    assert staff("view_launchtemplate").get(url).status_code == 200


def test_tools_are_linked_from_the_list_of_templates(admin_client):
    page = text(admin_client.get("/admin/launcher/launchtemplate/"))

    assert f'href="{PREVIEW}"' in page
    assert f'href="{BUILDER}"' in page


@pytest.mark.parametrize(
    ("what", "kind", "expected"),
    [
        ("1.2.3", "", [("studyUID", "1.2.3")]),
        (" 42^^^HOSP ", "", [("patientID", "42^^^HOSP")]),
        ("1.2.3", "seriesUID", [("seriesUID", "1.2.3")]),
        ("?studyUID=1&studyUID=2", "", [("studyUID", "1"), ("studyUID", "2")]),
        ("patientID=a%20b&x=", "", [("patientID", "a b"), ("x", "")]),
        ("https://h/weasis?patientID=1#a=b", "", [("patientID", "1")]),
    ],
)
def test_parameters_are_read_from_whatever_is_pasted(what, kind, expected):
    assert list(read_parameters(what, kind)) == expected


def test_manifest_is_shown_one_element_a_line():
    xml = b'<a><b x="1&gt;2"><c/><c/></b></a>'

    assert indented(xml).splitlines() == [
        "<a>",
        '  <b x="1&gt;2">',
        "    <c/>",
        "    <c/>",
        "  </b>",
        "</a>",
    ]


# The URL builder


def links(response):
    page = response.content.decode()
    found = re.findall(r'<code id="(\w+)">(.*?)</code>', page, re.DOTALL)
    return {key: unescape(link) for key, link in found}


def build(browser, **values):
    data = {"kind": "studyUID", "value": "1.2.3"}
    return browser.post(BUILDER, data | values)


@pytest.fixture
def hub(settings):
    settings.VIEWERHUB_PUBLIC_URL = HUB


def test_links_open_what_was_asked_for(admin_client, hub):
    archive = make_dicomweb_archive("https://pacs.example.org/rs")
    LaunchTemplate.objects.create(name="Ward", slug="ward")

    made = links(
        build(
            admin_client,
            value="1.2.3, 1.2.4",
            archives=[archive.slug],
            template="ward",
        )
    )

    query = "studyUID=1.2.3%2C1.2.4&archive=web&template=ward"
    assert made["plain"] == f"{HUB}/weasis?{query}"
    assert made["iid"] == f"{HUB}/IHEInvokeImageDisplay?requestType=STUDY&{query}"
    assert unescape(made["html"]) == f'<a href="{made["plain"]}">Open images</a>'
    assert shlex.split(made["curl"])[-1] == made["plain"]
    call = shlex.split(made["rest"])
    assert f"{HUB}/api/v1/launches" in call
    assert json.loads(call[-1]) == {
        "study_instance_uids": ["1.2.3", "1.2.4"],
        "archives": ["web"],
        "template": "ward",
    }
    assert "signed" not in made


def test_calls_say_how_the_shell_gets_the_key(admin_client, hub):
    page = unescape(build(admin_client).content.decode())

    for call in ("curl", "rest"):
        line = re.search(rf'<code id="{call}-shell">(.*?)</code>', page)[1]
        shell = f"{line}\nsh -c 'printf %s \"$VIEWERHUB_KEY\"'"
        told = subprocess.run(
            ["sh", "-c", shell], input="vh_key\n", capture_output=True, text=True
        )
        assert told.stdout == "vh_key"


@pytest.mark.parametrize(
    ("kind", "value", "body", "has_iid"),
    [
        ("patientID", "42^^^HOSP", {"patient_ids": ["42^^^HOSP"]}, True),
        ("patientID", "1,2", {"patient_ids": ["1", "2"]}, False),
        ("accessionNumber", "A'1", {"accession_numbers": ["A'1"]}, True),
        ("seriesUID", "1.2", {"series": [{"series_instance_uid": "1.2"}]}, False),
        ("objectUID", "1.2", {"instances": [{"sop_instance_uid": "1.2"}]}, False),
    ],
)
def test_every_kind_of_identifier_has_its_forms(
    admin_client, hub, kind, value, body, has_iid
):
    made = links(build(admin_client, kind=kind, value=value))

    assert json.loads(shlex.split(made["rest"])[-1]) == body
    assert parse_qs(urlsplit(made["plain"]).query) == {kind: [value]}
    assert ("iid" in made) is has_iid


def test_link_is_signed_for_a_client(admin_client, hub):
    client, _ = make_api_client(signing_secret="a secret of its own")

    made = links(build(admin_client, client=client.slug, lifetime=300))

    address = urlsplit(made["signed"])
    link = read(address.path, address.query)
    verify(link, secret="a secret of its own", now=link.expires - 10, lifetime=3600)
    assert link.client == client.slug
    entry = LogEntry.objects.get()
    assert entry.get_edited_object() == client
    assert "Signed a link" in entry.get_change_message()


@pytest.mark.parametrize(
    ("maximum", "offered", "chosen"),
    [(300, [60, 300], 300), (3600, [60, 300, 3600], 300), (30, [30], 30)],
)
def test_signature_holds_no_longer_than_the_hub_allows(
    admin_client, hub, settings, maximum, offered, chosen
):
    settings.VIEWERHUB_SIGNED_LINK_LIFETIME = maximum
    client, _ = make_api_client(signing_secret="a secret of its own")

    form = admin_client.get(BUILDER).context["form"]
    refused = build(admin_client, client=client.slug, lifetime=maximum + 3600)

    assert [seconds for seconds, _ in form.fields["lifetime"].choices] == offered
    assert form["lifetime"].value() == chosen
    assert list(refused.context["form"].errors) == ["lifetime"]


def test_signing_needs_the_right_to_change_clients(hub):
    client, _ = make_api_client(signing_secret="a secret of its own")
    viewer = staff("view_launchtemplate")

    response = build(viewer, client=client.slug, lifetime=300)

    assert "client" not in response.context["form"].fields
    assert "signed" not in links(response)


def test_clients_without_a_secret_can_not_sign(admin_client):
    make_api_client()

    form = admin_client.get(BUILDER).context["form"]

    assert list(form.fields["client"].queryset) == []
    assert ApiClient.objects.count() == 1


@pytest.mark.parametrize("value", ["1.x", "", " , "])
def test_builder_refuses_what_the_hub_would(admin_client, value):
    response = build(admin_client, value=value)

    assert list(response.context["form"].errors) == ["value"]
    assert links(response) == {}


# Tests of calls in the URL builder


def call(browser, test, client, **values):
    """Status and text of the answer to a tested call."""
    response = build(browser, test=test, tester=client.slug, **values)
    assert f'id="{test}-answer"' in text(response)
    answer = response.context["answer"]
    return answer.status_code, answer


@pytest.mark.usefixtures("valkey")
def test_call_by_curl_is_answered_as_the_client_would_be(admin_client, main, hub):
    client, key = make_api_client()

    status, answer = call(admin_client, "curl", client)
    real = Client().get(
        "/weasis?studyUID=1.2.3", headers={"Authorization": f"Bearer {key}"}
    )

    assert (status, real.status_code) == (302, 302)
    same = re.compile(r"%2Fm%2F[\w-]{43}")
    assert same.sub("", answer["Location"]) == same.sub("", real["Location"])
    assert "0" * 43 in answer["Location"]


@pytest.mark.usefixtures("valkey")
def test_call_of_the_api_is_answered_as_the_client_would_be(admin_client, main, hub):
    client, key = make_api_client()

    status, answer = call(admin_client, "rest", client, archives=["main"])
    real = Client().post(
        "/api/v1/launches",
        {"study_instance_uids": ["1.2.3"], "archives": ["main"]},
        content_type="application/json",
        headers={"Authorization": f"Bearer {key}"},
    )

    assert (status, real.status_code) == (201, 201)
    told, got = json.loads(answer.content), real.json()
    assert told.keys() == got.keys()
    assert told["archives"] == got["archives"] == ["main"]
    assert len(told["weasis_uri"]) == len(got["weasis_uri"])


@pytest.mark.parametrize("test", ["curl", "rest"])
@pytest.mark.parametrize(
    ("fields", "values", "curl", "rest"),
    [
        ({"is_enabled": False}, {}, 401, 401),
        ({"scopes": ["search"]}, {}, 401, 403),
        ({}, {"archives": ["other"]}, 400, 400),
        ({}, {"kind": "patientID", "value": "1"}, 403, 403),
    ],
)
def test_refusals_are_those_of_the_real_call(
    admin_client, main, hub, test, fields, values, curl, rest
):
    """The client may not use one archive, and the other takes no patient IDs."""
    make_dimse_archive(name="Other", slug="other")
    main.identifiers = ["studyUID"]
    main.save()
    client, key = make_api_client(**fields)
    client.archives.set([main])
    client.is_restricted = True
    client.save()
    bearer = {"Authorization": f"Bearer {key}", "Accept": "application/json"}

    status, answer = call(admin_client, test, client, **values)
    made = links(build(admin_client, **values))
    if test == "curl":
        real = Client().get(made["plain"].removeprefix(HUB), headers=bearer)
    else:
        body = shlex.split(made["rest"])[-1]
        real = Client().post(
            "/api/v1/launches", body, content_type="application/json", headers=bearer
        )

    assert status == {"curl": curl, "rest": rest}[test]
    assert (status, json.loads(answer.content)) == (real.status_code, real.json())
    assert answer.headers["Content-Type"] == real.headers["Content-Type"]


def test_call_asks_the_archives_where_a_launch_would(admin_client, main, hub):
    LaunchTemplate.objects.create(name="Sure", slug="sure", policy="verify")
    client, _ = make_api_client()

    missing, answer = call(admin_client, "curl", client, template="sure")
    there, _ = call(
        admin_client,
        "curl",
        client,
        kind="patientID",
        value="DEMO-1",
        template="sure",
    )

    assert (missing, there) == (404, 302)
    assert "No archive has what was asked for" in answer.text


@pytest.mark.parametrize("test", ["curl", "rest"])
def test_tests_of_calls_store_nothing(admin_client, main, hub, test):
    client, _ = make_api_client()

    call(admin_client, test, client)

    assert not Build.objects.exists()
    assert not Launch.objects.exists()
    client.refresh_from_db()
    assert client.last_used is None


def test_test_needs_a_client_to_call_as(admin_client, hub):
    response = build(admin_client, test="rest")

    assert list(response.context["form"].errors) == ["tester"]


def test_testing_needs_the_right_to_see_clients(main, hub):
    client, _ = make_api_client()

    response = build(staff("view_launchtemplate"), test="rest", tester=client.slug)

    assert response.context["answer"] is None
    assert 'name="test"' not in text(response)


@pytest.mark.parametrize("test", ["curl", "rest"])
def test_test_tells_nothing_of_archives_its_user_may_not_use(main, hub, test):
    main.is_restricted = True
    main.save()
    client, _ = make_api_client()
    browser = staff("view_launchtemplate", "view_apiclient")

    response = build(browser, test=test, tester=client.slug)

    assert list(response.context["form"].errors) == ["tester"]
    assert response.context["answer"] is None
