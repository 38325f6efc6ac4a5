"""Links of API clients in the admin: names, secrets to sign with, old encryption."""

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from launcher.models import ApiClient
from tests.factories import make_api_client, make_dimse_archive

pytestmark = pytest.mark.django_db
ADD = "/admin/launcher/apiclient/add/"
CLIENT = {
    "name": "RIS",
    "is_enabled": "on",
    "scopes": ["launch"],
    "encryption": "none",
}
XOR = {"encryption": "xor", "encryption_key": "paraphrasefortest"}


def url_of(client, name="change"):
    return reverse(f"admin:launcher_apiclient_{name}", args=[client.pk])


def secret_in(response):
    [secret] = re.findall(r'<code id="key">(.*?)</code>', response.content.decode())
    return secret


def errors_of(response):
    assert response.status_code == 200
    return dict(response.context["adminform"].form.errors)


def test_short_name_is_made_of_the_name(admin_client):
    admin_client.post(ADD, CLIENT | {"name": "RIS West"})
    admin_client.post(ADD, CLIENT | {"name": "EMR", "slug": "clinic"})

    assert set(ApiClient.objects.values_list("slug", flat=True)) == {
        "ris-west",
        "clinic",
    }


def test_short_name_that_is_taken_is_named(admin_client):
    make_api_client(name="RIS", slug="ris-west")

    response = admin_client.post(ADD, CLIENT | {"name": "RIS West"})

    assert list(errors_of(response)) == ["slug"]


def test_signing_secret_is_shown_once(admin_client):
    client, key = make_api_client()

    response = admin_client.post(url_of(client, "new_secret"))

    secret = secret_in(response)
    client.refresh_from_db()
    assert client.signing_secret == secret
    assert len(secret) == 43
    assert b"client=ris" in response.content
    assert "no-store" in response["Cache-Control"]
    page = admin_client.get(url_of(client)).content.decode()
    assert secret not in page
    assert "It has a secret" in page
    assert secret not in str(ApiClient.objects.values().get())
    assert ApiClient.objects.authenticate(key) == client


def test_signing_secret_can_be_replaced_and_removed(admin_client):
    client, _ = make_api_client()
    first = secret_in(admin_client.post(url_of(client, "new_secret")))

    assert secret_in(admin_client.post(url_of(client, "new_secret"))) != first
    assert admin_client.post(url_of(client, "remove_secret")).status_code == 302

    client.refresh_from_db()
    assert client.signing_secret == ""


def test_signing_secret_needs_the_right_to_change():
    client, _ = make_api_client(signing_secret="secret-of-ris")
    user = User.objects.create(username="viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_apiclient"))
    viewer = Client()
    viewer.force_login(user)

    for name in ("new_secret", "remove_secret"):
        assert viewer.post(url_of(client, name)).status_code == 403

    client.refresh_from_db()
    assert client.signing_secret == "secret-of-ris"


def test_encryption_key_is_written_and_never_shown(admin_client):
    client, _ = make_api_client()

    response = admin_client.post(url_of(client), CLIENT | XOR)

    assert response.status_code == 302
    client.refresh_from_db()
    assert (client.encryption, client.encryption_key) == ("xor", "paraphrasefortest")
    page = admin_client.get(url_of(client)).content.decode()
    assert "paraphrasefortest" not in page
    assert "A value is stored" in page


def test_encryption_key_left_blank_stays_until_it_is_switched_off(admin_client):
    client, _ = make_api_client(**XOR)

    admin_client.post(url_of(client), CLIENT | {"encryption": "xor"})
    client.refresh_from_db()
    assert client.encryption_key == "paraphrasefortest"

    admin_client.post(url_of(client), CLIENT)
    client.refresh_from_db()
    assert (client.encryption, client.encryption_key) == ("none", "")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"encryption": "xor"}, "encryption_key"),
        ({"encryption": "xor", "encryption_key": "short"}, "encryption_key"),
        ({"encryption": "spring", "encryption_salt": "5c07"}, "encryption_key"),
        ({"encryption": "spring", "encryption_key": "secret"}, "encryption_salt"),
        (
            {
                "encryption": "spring",
                "encryption_key": "secret",
                "encryption_salt": "salt",
            },
            "encryption_salt",
        ),
    ],
)
def test_encryption_that_could_not_work_is_refused(admin_client, values, field):
    assert list(errors_of(admin_client.post(ADD, CLIENT | values))) == [field]
    assert not ApiClient.objects.exists()


def test_reader_of_a_client_sees_no_secret():
    client, _ = make_api_client(signing_secret="secret-of-ris", **XOR)
    user = User.objects.create(username="viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_apiclient"))
    viewer = Client()
    viewer.force_login(user)

    page = viewer.get(url_of(client)).content.decode()

    assert "secret-of-ris" not in page
    assert "paraphrasefortest" not in page
    assert "gAAAA" not in page  # how stored secrets begin


def test_client_whose_archives_were_deleted_gets_all_by_saving_it(admin_client):
    client, _ = make_api_client()
    archive = make_dimse_archive()
    admin_client.post(url_of(client), CLIENT | {"archives": [archive.pk]})

    archive.delete()
    make_dimse_archive()
    assert not ApiClient.objects.get().allowed_archives().exists()
    page = admin_client.get("/admin/launcher/apiclient/").content.decode()
    assert re.search(r"field-archive_names[^>]*>\s*(<[^>]*>\s*)*none", page)

    admin_client.post(url_of(client), CLIENT)
    assert ApiClient.objects.get().allowed_archives().exists()
