"""The administration of archives, page by page as a browser without scripts sees it."""

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from archives.models import Archive
from tests.archives.clients.test_tls import make_certificate
from tests.factories import make_dicomweb_archive, make_dimse_archive

pytestmark = pytest.mark.django_db

LIST = "/admin/archives/archive/"
ADD = f"{LIST}add/"
SECRETS = {
    "dimse_passcode": "secret-passcode",
    "password": "secret-password",
    "bearer_token": "secret-token",
    "client_key": "secret-key",
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
    "specific_character_set": "ISO_IR 192",
    "maximum_associations": "4",
    "images": "gateway",
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


# The form of the chosen protocol


def test_adding_begins_with_the_protocol(admin_client):
    response = admin_client.get(f"{ADD}?_changelist_filters=q%3Dx")

    assert response.status_code == 200
    links = re.findall(r'href="\?([^"]*protocol=\w+)"', text(response))
    assert links == [
        "_changelist_filters=q%3Dx&amp;protocol=dimse",
        "_changelist_filters=q%3Dx&amp;protocol=dicomweb",
    ]


@pytest.mark.parametrize(
    ("protocol", "asked", "not_asked"),
    [
        ("dimse", {"host", "port", "called_ae_title", "use_tls"}, {"url", "password"}),
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
        (DICOMWEB, {"authentication": "basic", "password": "p"}, "username"),
        (DICOMWEB, {"ca_certificates": "x"}, "ca_certificates"),
        (DICOMWEB, {"client_key": "x"}, "client_certificate"),
    ],
)
def test_error_names_its_field(admin_client, base, changes, field):
    response = admin_client.post(ADD, base | changes)

    assert list(errors_of(response)) == [field]
    assert not Archive.objects.exists()


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
    assert ">just now<" in listed


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
