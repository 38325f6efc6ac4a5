"""The administration of archives, page by page as a browser without scripts sees it."""

import html
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qsl

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.messages import get_messages
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from archives.authentication import AUTHENTICATION_FIELDS, FIELDS_OF
from archives.health import ArchiveState
from archives.models import Archive, Identifier
from archives.presets import PRESETS
from archives.watching import Finding, note
from tests.archives.clients.test_tls import make_certificate
from tests.dicomweb_server import Behaviour, DicomWebServer, content
from tests.dicomweb_studies import make_study
from tests.factories import make_dicomweb_archive, make_dimse_archive
from tests.vendors.server import serving

pytestmark = pytest.mark.django_db

LIST = "/admin/archives/archive/"
ADD = f"{LIST}add/"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SECRETS = {
    "dimse_passcode": "secret-passcode",
    "password": "secret-password",
    "bearer_token": "secret-token",
    "client_key": "secret-key",
    "client_secret": "secret-client",
    "service_account_key": "secret-account",
    "aws_secret_access_key": "secret-access",
    "aws_session_token": "secret-session",
    "custom_headers": "X-Api-Key: secret-header",
}
TIMEOUTS = {
    "connect_timeout": "5",
    "association_timeout": "5",
    "answer_timeout": "10",
    "total_timeout": "100",
}
DIMSE = {
    "protocol": "dimse",
    "name": "Main PACS",
    "slug": "main",
    "is_enabled": "on",
    "position": "0",
    "host": "127.0.0.1",
    "port": "9",
    "called_ae_title": "PACS",
    "calling_ae_title": "VIEWERHUB",
    "root": "study",
    "retrieval": "c-get",
    "specific_character_set": "ISO_IR 192",
    "maximum_associations": "4",
    "images": "gateway",
    "identifiers": ["patientID", "studyUID"],
    "check_hostname": "on",
    **TIMEOUTS,
}
DICOMWEB = {
    "protocol": "dicomweb",
    "name": "Web PACS",
    "slug": "web",
    "is_enabled": "on",
    "position": "0",
    "url": "http://127.0.0.1:9/dicom-web",
    "authentication": "none",
    "page_size": "1000",
    "maximum_associations": "4",
    "images": "gateway",
    "identifiers": ["patientID", "studyUID"],
    "check_hostname": "on",
    **TIMEOUTS,
}


def page_of(archive):
    return reverse("admin:archives_archive_change", args=[archive.pk])


def verify_url(archive):
    return reverse("admin:archives_archive_verify", args=[archive.pk])


def fields_of(response):
    """The names of everything a form asks for."""
    return set(
        re.findall(r'<(?:input|select|textarea)[^>]* name="([^"]+)"', text(response))
    )


def text(response):
    return response.content.decode()


def errors_of(response):
    assert response.status_code == 200
    return dict(response.context["adminform"].form.errors)


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def staff(*permissions):
    user = User.objects.create(username="-".join(permissions), is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


# The product, and what it fills in


def links_of(response):
    found = re.findall(r'href="\?([^"]*protocol=\w+)"', text(response))
    return [link.replace("&amp;", "&") for link in found]


def test_adding_begins_with_the_product(admin_client):
    response = admin_client.get(f"{ADD}?_changelist_filters=q%3Dx")

    assert response.status_code == 200
    assert links_of(response) == [
        f"_changelist_filters=q%3Dx&preset={preset.slug}&protocol={protocol}"
        for preset in PRESETS.values()
        for protocol in preset.protocols
    ]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.slug)
def test_form_is_filled_in_as_far_as_the_product_tells(admin_client, preset):
    for link in links_of(admin_client.get(ADD)):
        parameters = dict(parse_qsl(link))
        if parameters["preset"] != preset.slug:
            continue
        response = admin_client.get(f"{ADD}?{link}")
        form = response.context["adminform"].form
        for name, value in preset.initial(parameters["protocol"]).items():
            assert form[name].value() == value
        for name, example in preset.placeholders(parameters["protocol"]).items():
            assert form.fields[name].widget.attrs["placeholder"] == example
        assert form["preset"].value() == preset.slug
        shown = html.unescape(text(response))
        assert preset.instruction(parameters["protocol"]) in shown
        assert all(note in shown for note in preset.notes)


def test_form_offers_the_products_of_its_protocol(admin_client):
    response = admin_client.get(f"{ADD}?preset=google&protocol=dimse")

    form = response.context["adminform"].form
    offered = [slug for slug, _ in form.fields["preset"].choices]
    assert offered == ["dcm4chee", "orthanc", "dimse"]
    assert form["preset"].value() == "dimse"


def test_product_is_kept_and_shown_again(admin_client):
    admin_client.post(ADD, DICOMWEB | {"preset": "azure", "page_size": "200"})
    archive = Archive.objects.get()

    response = admin_client.get(page_of(archive))

    assert archive.product.slug == "azure"
    assert PRESETS["azure"].enter in html.unescape(text(response))
    assert PRESETS["azure"].url in text(response)
    assert PRESETS["azure"].name in text(admin_client.get(LIST))


def test_product_of_another_protocol_is_refused(admin_client):
    response = admin_client.post(ADD, DIMSE | {"preset": "google"})

    assert list(errors_of(response)) == ["preset"]


def test_protocol_may_change_for_a_product_that_speaks_one_alone(admin_client):
    archive = make_dicomweb_archive(DICOMWEB["url"], preset="google")

    response = admin_client.get(f"{page_of(archive)}?protocol=dimse")
    assert response.context["product"].slug == "dimse"
    admin_client.post(page_of(archive), DIMSE | {"slug": "web", "preset": "dimse"})

    assert Archive.objects.get().product.slug == "dimse"


# What launches may ask for, and names


def test_identifiers_are_boxes_of_which_one_is_needed(admin_client):
    form = admin_client.get(f"{ADD}?protocol=dimse")
    assert text(form).count('name="identifiers"') == len(Identifier)
    assert len(re.findall(r'name="identifiers"[^>]*checked', text(form))) == 5

    assert list(errors_of(admin_client.post(ADD, DIMSE | {"identifiers": []}))) == [
        "identifiers"
    ]
    admin_client.post(ADD, DIMSE | {"identifiers": ["accessionNumber"]})

    assert Archive.objects.get().identifiers == ["accessionNumber"]


@pytest.mark.parametrize("protocol", ["dimse", "dicomweb"])
def test_names_and_wado_settings_are_in_the_form(admin_client, protocol):
    base = {"dimse": DIMSE, "dicomweb": DICOMWEB}[protocol]
    asked = {
        "previous_names": "old, older",
        "wado_parameters": "&anonymize=yes",
        "wado_needs_only_object": "on",
    }
    assert set(asked) <= fields_of(admin_client.get(f"{ADD}?protocol={protocol}"))

    admin_client.post(ADD, base | asked)

    archive = Archive.objects.get()
    assert archive.names[1:] == ("old", "older")
    assert archive.wado_parameters == "&anonymize=yes"
    assert archive.wado_needs_only_object


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"previous_names": "one two"}, "previous_names"),
        ({"previous_names": "taken"}, "previous_names"),
        ({"previous_names": "other"}, "previous_names"),
        ({"slug": "taken"}, "slug"),
        ({"wado_parameters": "anonymize"}, "wado_parameters"),
        ({"identifiers": ["studyUID", "what"]}, "identifiers"),
    ],
)
def test_names_and_wado_settings_are_checked(admin_client, changes, field):
    make_dimse_archive(name="Other", slug="other", previous_names="taken")

    response = admin_client.post(ADD, DICOMWEB | changes)

    assert list(errors_of(response)) == [field]


# The form of the chosen protocol


@pytest.mark.parametrize(
    ("protocol", "asked", "not_asked"),
    [
        ("dimse", {"host", "port", "called_ae_title", "use_tls"}, {"url", "page_size"}),
        ("dicomweb", {"url", "password", "page_size"}, {"host", "root", "use_tls"}),
    ],
)
def test_form_asks_only_for_its_protocol(admin_client, protocol, asked, not_asked):
    fields = fields_of(admin_client.get(f"{ADD}?protocol={protocol}"))

    assert asked <= fields
    assert not fields & not_asked
    assert not any(name.startswith("clear_") for name in fields)


def test_slug_follows_the_name(admin_client):
    response = admin_client.get(f"{ADD}?protocol=dimse")

    script = text(response).partition(
        'id="django-admin-prepopulated-fields-constants"'
    )[2]
    assert "id_slug" in script.partition("</script>")[0]


def test_adding_a_dimse_archive(admin_client):
    response = admin_client.post(ADD, DIMSE | {"dimse_passcode": "p"})

    assert response.status_code == 302
    archive = Archive.objects.get()
    assert (archive.protocol, archive.port, archive.dimse_passcode) == ("dimse", 9, "p")


def test_adding_neither_validates_nor_keeps_fields_of_the_other_protocol(admin_client):
    other = {"host": "not a host", "port": "-1", "dimse_passcode": "p", "root": "x"}

    response = admin_client.post(ADD, DICOMWEB | other)

    assert response.status_code == 302
    archive = Archive.objects.get()
    assert (archive.host, archive.port, archive.dimse_passcode) == ("", None, "")
    assert archive.root == "study"


@pytest.mark.parametrize(
    ("base", "changes", "field"),
    [
        (DIMSE, {"host": ""}, "host"),
        (DIMSE, {"port": "99999"}, "port"),
        (DIMSE, {"called_ae_title": ""}, "called_ae_title"),
        (DIMSE, {"images": "direct"}, "images"),
        (DICOMWEB, {"url": ""}, "url"),
        (DICOMWEB, {"url": "pacs"}, "url"),
        (DICOMWEB, {"authentication": "basic", "password": "p"}, "username"),
        (DICOMWEB, {"ca_certificates": "x"}, "ca_certificates"),
        (DICOMWEB, {"client_key": "x"}, "client_certificate"),
    ],
)
def test_error_names_its_field(admin_client, base, changes, field):
    response = admin_client.post(ADD, base | changes)

    assert list(errors_of(response)) == [field]
    assert len(errors_of(response)[field]) == 1
    assert not Archive.objects.exists()


def test_form_says_where_groups_are_added_while_there_are_none(admin_client):
    address = f"{ADD}?protocol=dicomweb"
    link = 'add one under <a href="/admin/auth/group/"'
    assert link in text(admin_client.get(address))

    Group.objects.create(name="Readers")

    assert link not in text(admin_client.get(address))


def test_archive_whose_groups_were_deleted_is_opened_by_saving_it(admin_client):
    archive = make_dimse_archive()
    readers = Group.objects.create(name="Readers")
    admin_client.post(page_of(archive), DIMSE | {"groups": [readers.pk]})
    assert "Readers" in text(admin_client.get(LIST))

    readers.delete()
    admin_client.get(page_of(archive))
    assert "Nobody" in text(admin_client.get(LIST))

    response = admin_client.post(page_of(archive), DIMSE)
    assert "open to everybody now" in messages_of(response)[0]
    assert "Everybody" in text(admin_client.get(LIST))
    assert Archive.objects.usable_by(None).get() == archive


def test_protocol_of_an_archive_can_be_changed(admin_client):
    archive = make_dimse_archive(dimse_passcode="p")
    form = admin_client.get(f"{page_of(archive)}?protocol=dicomweb")
    assert "url" in fields_of(form)
    assert "Saving replaces" in text(form)

    admin_client.post(page_of(archive), DICOMWEB | {"slug": "main"})

    archive = Archive.objects.get()
    assert (archive.protocol, archive.host, archive.dimse_passcode) == (
        "dicomweb",
        "",
        "",
    )


def test_fields_of_another_kind_of_authentication_are_neither_checked_nor_kept(
    admin_client,
):
    hidden = {"token_url": "no address", "aws_region": "x", "client_secret": "s"}

    response = admin_client.post(
        ADD, DICOMWEB | {"authentication": "bearer", "bearer_token": "t"} | hidden
    )

    assert response.status_code == 302
    archive = Archive.objects.get()
    assert (archive.bearer_token, archive.token_url, archive.client_secret) == (
        "t",
        "",
        "",
    )


def test_each_kind_of_authentication_has_a_section_of_its_own(admin_client):
    page = text(admin_client.get(f"{ADD}?protocol=dicomweb"))

    for kind, fields in FIELDS_OF.items():
        (section,) = re.findall(
            rf"<fieldset[^>]*vh-kind-{kind}\b.*?</fieldset>", page, re.S
        ) or [""]
        found = set(re.findall(r'<(?:input|textarea)[^>]* name="([^"]+)"', section))
        assert found == set(fields)


def test_dimse_archive_is_asked_for_authentication_with_a_wado_uri_address(
    admin_client,
):
    """The style sheet hides it as long as there is none."""
    page = text(admin_client.get(f"{ADD}?protocol=dimse"))
    login = {"authentication": "basic", "username": "u", "password": "secret"}

    sections = re.findall(r"<fieldset[^>]*vh-wado-uri\b.*?</fieldset>", page, re.S)
    asked = set(
        re.findall(r'<(?:input|textarea|select)[^>]* name="([^"]+)"', "".join(sections))
    )
    assert asked == {"authentication", *AUTHENTICATION_FIELDS}

    admin_client.post(ADD, DIMSE | login | {"token_url": "no address"})
    archive = Archive.objects.get()
    assert (archive.authentication, archive.username, archive.password) == (
        "none",
        "",
        "",
    )
    address = {"wado_uri_url": "https://x.example/wado"}
    admin_client.post(page_of(archive), DIMSE | login | address)
    archive = Archive.objects.get()
    assert (archive.authentication, archive.username, archive.password) == (
        "basic",
        "u",
        "secret",
    )
    viewer = staff("view_archive")
    assert "basic" in text(viewer.get(page_of(archive))).lower()
    Archive.objects.update(wado_uri_url="", authentication="none")
    assert "uthentication" not in text(viewer.get(page_of(archive)))


def test_viewer_sees_the_chosen_kind_of_authentication_only():
    archive = make_dicomweb_archive(
        DICOMWEB["url"], authentication="aws", aws_region="eu-west-2"
    )

    page = text(staff("view_archive").get(page_of(archive)))

    assert "eu-west-2" in page
    assert "token address" not in page.lower()
    assert "vh-kind" not in page


# Secrets


@pytest.fixture
def secretive():
    """Archives with a secret in every field, each of the protocol that has it."""
    return [
        make_dimse_archive(
            **{name: SECRETS[name] for name in ("dimse_passcode", "client_key")}
        ),
        make_dicomweb_archive(
            "http://127.0.0.1:9/dicom-web",
            authentication="basic",
            username="hub",
            **{
                name: SECRETS[name]
                for name in ("password", "bearer_token", "client_key")
            },
        ),
        *(
            make_dicomweb_archive(
                "http://127.0.0.1:9/dicom-web",
                slug=kind,
                name=kind,
                authentication=kind,
                token_url="http://127.0.0.1:9/token",
                client_id="hub",
                aws_region="us-east-1",
                aws_access_key_id="AKID",
                **{
                    name: secret
                    for name, secret in SECRETS.items()
                    if "dimse" not in name
                },
            )
            for kind in FIELDS_OF
        ),
    ]


def assert_no_secret(response):
    for secret in SECRETS.values():
        assert secret not in text(response)


def test_secrets_are_never_shown(admin_client, secretive):
    viewer = staff("view_archive")

    assert_no_secret(admin_client.get(LIST))
    for archive in secretive:
        for client in (admin_client, viewer):
            response = client.get(page_of(archive))
            assert archive.name in text(response)
            assert_no_secret(response)
        assert_no_secret(admin_client.get(f"{page_of(archive)[:-8]}/history/"))
        assert_no_secret(admin_client.get(f"{page_of(archive)[:-8]}/delete/"))
        assert_no_secret(admin_client.post(verify_url(archive), follow=True))


def test_secrets_are_not_shown_again_after_an_error(admin_client):
    response = admin_client.post(
        ADD, DICOMWEB | {"url": "", "authentication": "basic"} | SECRETS
    )

    assert "url" in errors_of(response)
    assert_no_secret(response)


def test_secret_left_blank_is_kept(admin_client):
    archive = make_dimse_archive(dimse_passcode="kept")

    response = admin_client.post(page_of(archive), DIMSE | {"port": "104"})

    assert response.status_code == 302
    archive = Archive.objects.get()
    assert (archive.port, archive.dimse_passcode) == (104, "kept")


def test_secret_is_replaced(admin_client):
    archive = make_dimse_archive(dimse_passcode="old")

    admin_client.post(page_of(archive), DIMSE | {"dimse_passcode": "new"})

    assert Archive.objects.get().dimse_passcode == "new"


def test_secret_is_removed_by_its_box(admin_client):
    archive = make_dimse_archive(dimse_passcode="old")
    assert "clear_dimse_passcode" in fields_of(admin_client.get(page_of(archive)))

    admin_client.post(page_of(archive), DIMSE | {"clear_dimse_passcode": "on"})

    assert Archive.objects.get().dimse_passcode == ""
    assert "clear_dimse_passcode" not in fields_of(admin_client.get(page_of(archive)))


def test_secret_is_not_both_entered_and_removed(admin_client):
    archive = make_dimse_archive(dimse_passcode="old")

    response = admin_client.post(
        page_of(archive),
        DIMSE | {"dimse_passcode": "new", "clear_dimse_passcode": "on"},
    )

    assert list(errors_of(response)) == ["dimse_passcode"]
    assert Archive.objects.get().dimse_passcode == "old"


def test_secret_that_is_needed_is_not_removed(admin_client):
    archive = make_dicomweb_archive(
        DICOMWEB["url"], authentication="bearer", bearer_token="t"
    )

    response = admin_client.post(
        page_of(archive),
        DICOMWEB | {"authentication": "bearer", "clear_bearer_token": "on"},
    )

    assert list(errors_of(response)) == ["bearer_token"]
    assert Archive.objects.get().bearer_token == "t"


def test_secret_that_is_lost_has_to_be_entered_again(admin_client, settings):
    archive = make_dimse_archive(dimse_passcode="lost")
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key"]
    assert admin_client.get(LIST).status_code == 200
    assert "be read any more" in text(admin_client.get(page_of(archive)))

    response = admin_client.post(page_of(archive), DIMSE)
    assert list(errors_of(response)) == ["dimse_passcode"]
    admin_client.post(page_of(archive), DIMSE | {"dimse_passcode": "found"})

    assert Archive.objects.get().dimse_passcode == "found"


def test_client_key_is_checked_against_the_stored_certificate(admin_client):
    certificate, key = make_certificate()
    _, other_key = make_certificate()
    archive = make_dicomweb_archive(
        DICOMWEB["url"], client_certificate=certificate, client_key=key
    )
    pair = DICOMWEB | {"client_certificate": certificate}

    assert admin_client.post(page_of(archive), pair).status_code == 302
    response = admin_client.post(page_of(archive), pair | {"client_key": other_key})

    assert list(errors_of(response)) == ["client_key"]
    assert Archive.objects.get().client_key.strip() == key.strip()


# Verify connection


def test_verifying_shows_a_checklist(admin_client, embedded_archive):
    archive = make_dimse_archive(embedded_archive)

    response = admin_client.post(verify_url(archive), follow=True)

    assert "Main PACS: everything works" in messages_of(response)[0]
    archive.refresh_from_db()
    steps = archive.last_verification["steps"]
    assert len(steps) >= 3
    assert all(step["is_ok"] for step in steps)
    for step in steps:
        assert step["name"] in text(response)
    assert text(response).count("✓</span>") == len(steps)
    assert archive.last_success
    assert archive.last_error is None
    assert archive.last_milliseconds is not None


def test_step_that_had_nothing_to_look_at_is_neither_good_nor_bad(admin_client):
    with serving(DicomWebServer([make_study()], Behaviour())) as server:
        server.answer_with("*/studies", content(b"[]", Date=""))
        archive = make_dicomweb_archive(server.url)
        response = admin_client.post(verify_url(archive), follow=True)

    page = text(response)
    assert page.count('aria-label="Not known">–<') == 1
    assert (
        page.count("✓</span>")
        == len(Archive.objects.get().last_verification["steps"]) - 1
    )


def test_warning_is_shown_as_one(admin_client):
    with serving(DicomWebServer([make_study()], Behaviour())) as server:
        server.answer_with("*/studies", content(b"[]", Date=format_datetime(LONG_AGO)))
        archive = make_dicomweb_archive(server.url)
        response = admin_client.post(verify_url(archive), follow=True)

    (message,) = messages_of(response)
    assert message.startswith("Web PACS works (")
    assert "Clock: The archive's clock is" in message
    assert "⚠</span>" in text(response)
    assert "Working" in text(admin_client.get(LIST))


def test_verifying_says_what_fails(admin_client):
    archive = make_dimse_archive()

    response = admin_client.post(verify_url(archive), follow=True)

    archive.refresh_from_db()
    assert archive.last_error
    assert archive.last_success is None
    assert archive.last_message
    assert archive.last_message in messages_of(response)[0]
    assert "✗</span>" in text(response)
    listed = text(admin_client.get(LIST))
    assert "Failing" in listed
    assert ">Just now<" in listed


def test_verifying_several_archives_from_the_list(admin_client, embedded_archive):
    archives = [
        make_dimse_archive(embedded_archive),
        make_dimse_archive(name="Old PACS", slug="old"),
    ]
    action = {
        "action": "verify_connection",
        "_selected_action": [archive.pk for archive in archives],
    }

    response = admin_client.post(LIST, action, follow=True)

    good, bad = messages_of(response)
    assert "Main PACS: everything works" in good
    assert bad.startswith("Old PACS (")
    assert "Working" in text(response)


def test_saving_can_verify_at_once(admin_client):
    response = admin_client.post(ADD, DIMSE | {"_verify": "1"}, follow=True)

    archive = Archive.objects.get()
    assert response.redirect_chain[0][0] == f"{page_of(archive)}#connection"
    assert archive.last_verification
    archive.last_verification = {}
    archive.save()

    admin_client.post(page_of(archive), DIMSE | {"_verify": "1"})

    archive.refresh_from_db()
    assert archive.last_verification


def test_verifying_an_archive_whose_secret_is_lost(admin_client, settings):
    archive = make_dimse_archive(dimse_passcode="lost", dimse_username="hub")
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key"]

    response = admin_client.post(verify_url(archive), follow=True)

    assert "enter it again" in messages_of(response)[0]


def test_verifying_needs_the_right_and_a_form():
    archive = make_dimse_archive()
    assert staff("view_archive").post(verify_url(archive)).status_code == 403
    changer = staff("change_archive", "view_archive")
    assert changer.get(verify_url(archive)).status_code == 405
    assert changer.post(f"{LIST}999/verify/").status_code == 404
    forged = Client(enforce_csrf_checks=True)
    forged.force_login(User.objects.get(username="change_archive-view_archive"))
    assert forged.post(verify_url(archive)).status_code == 403
    archive.refresh_from_db()
    assert archive.last_verification == {}

    assert changer.post(verify_url(archive)).status_code == 302

    archive.refresh_from_db()
    assert archive.last_verification


def test_viewer_sees_neither_buttons_nor_other_protocols():
    archive = make_dimse_archive()

    response = staff("view_archive").get(page_of(archive))

    assert "Verify connection" not in text(response)
    assert "?protocol=" not in text(response)


# How archives are doing


@pytest.fixture
def known(db, valkey):
    cache.clear()
    now = timezone.now()
    make_dimse_archive(
        last_success=now - timedelta(minutes=5),
        last_milliseconds=1234,
        last_error=now - timedelta(days=3),
        last_message="It was switched off.",
    )
    make_dimse_archive(
        name="Old archive",
        slug="old",
        last_error=now - timedelta(hours=2),
        last_error_state="refused",
        last_message="Old archive does not know <VIEWERHUB>.",
    )
    make_dimse_archive(name="New archive", slug="new")
    make_dimse_archive(name="Gone archive", slug="gone", is_enabled=False)


def row_of(response, name):
    rows = re.findall(r"<tr.*?</tr>", text(response), re.S)
    [row] = [row for row in rows if f">{name}</a>" in row]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", row)).split())


def test_list_shows_how_archives_are_doing(admin_client, known):
    page = admin_client.get(LIST)

    main, old = row_of(page, "Main PACS"), row_of(page, "Old archive")
    for words in ("✓ Working", "1,234 ms", "5 minutes ago", "3 days ago"):
        assert words in main.replace("\xa0", " ")
    assert "It was switched off." in main
    for words in ("⊘ Refused", "Never", "2 hours ago", "not know <VIEWERHUB>."):
        assert words in old.replace("\xa0", " ")
    assert "– Not asked yet" in row_of(page, "New archive")
    assert "– Disabled" in row_of(page, "Gone archive")


def test_list_is_filtered_by_state(admin_client, known):
    page = admin_client.get(f"{LIST}?state=refused")

    assert [one.slug for one in page.context["cl"].result_list] == ["old"]
    everything = admin_client.get(f"{LIST}?state=nonsense")
    assert len(everything.context["cl"].result_list) == 4


def test_list_shows_what_was_noted_a_moment_ago(admin_client, known):
    archive = Archive.objects.get(slug="new")
    note(Finding(archive_id=archive.pk, state=ArchiveState.WORKING, milliseconds=7))

    row = row_of(admin_client.get(LIST), "New archive")

    assert "✓ Working 7 ms Just now Never" in row


def test_list_names_the_product_where_it_says_more_than_the_protocol(admin_client):
    make_dimse_archive(name="One", slug="one", preset="dimse")
    make_dicomweb_archive("http://pacs", name="Two", slug="two", preset="dicomweb")
    make_dimse_archive(name="Three", slug="three", preset="orthanc")

    page = admin_client.get(LIST)

    assert "Other archive" not in row_of(page, "One") + row_of(page, "Two")
    assert "DIMSE" in row_of(page, "One")
    assert "DICOMweb" in row_of(page, "Two")
    assert "DIMSE · Orthanc" in row_of(page, "Three")


def test_list_filters_by_products_in_the_users_language(admin_client):
    make_dimse_archive()

    page = admin_client.get(
        "/admin/archives/archive/", headers={"Accept-Language": "fr"}
    ).content.decode()

    assert "Autre archive avec DICOMweb" in page
    assert "Other archive with DICOMweb" not in page


@pytest.mark.parametrize(
    ("protocol", "is_told"), [("dimse", False), ("dicomweb", True)]
)
def test_product_says_what_concerns_the_protocol(admin_client, protocol, is_told):
    add = "/admin/archives/archive/add/"
    page = text(admin_client.get(f"{add}?preset=orthanc&protocol={protocol}"))

    assert "LimitFindResults" in page
    assert ("old plug-ins" in page) is is_told
