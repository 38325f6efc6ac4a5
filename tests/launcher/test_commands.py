"""``manage.py create_api_client``, as scripts use it."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from launcher.models import ApiClient
from tests.factories import make_api_client, make_dimse_archive

pytestmark = pytest.mark.django_db


def create_api_client(*arguments):
    """What the command writes to standard output and to standard error."""
    output, errors = io.StringIO(), io.StringIO()
    call_command("create_api_client", *arguments, stdout=output, stderr=errors)
    return output.getvalue(), errors.getvalue()


def refusal(*arguments):
    with pytest.raises(CommandError) as caught:
        create_api_client(*arguments)
    return str(caught.value)


def test_key_is_all_that_standard_output_gets():
    output, errors = create_api_client("RIS", "--scopes", "launch,search")

    client = ApiClient.objects.authenticate(output.removesuffix("\n"))
    assert client
    assert (client.name, client.scopes) == ("RIS", ["launch", "search"])
    assert client.expires is None
    assert output.strip() not in errors
    assert "RIS" in errors


def test_key_is_kept_as_a_hash():
    output, _ = create_api_client("RIS", "--scopes", "launch")

    row = str(ApiClient.objects.values().get())

    assert output.strip() not in row
    assert output.strip()[12:] not in row


def test_client_may_be_limited_to_archives_and_days():
    archives = [
        make_dimse_archive(),
        make_dimse_archive(name="Old", slug="old"),
        make_dimse_archive(name="No", slug="no"),
    ]
    limits = ["--archive", "main", "--archive", "old", "--expires-days", "30"]

    create_api_client("RIS", "--scopes", "archives", *limits)

    client = ApiClient.objects.get()
    assert set(client.archives.all()) == set(archives[:2])
    assert timedelta(days=29) < client.expires - timezone.now() <= timedelta(days=30)


def test_client_that_exists_is_refused():
    _, key = make_api_client()

    assert "--rotate" in refusal("RIS", "--scopes", "launch")
    assert ApiClient.objects.authenticate(key)


def test_rotating_ends_the_old_key_and_keeps_the_rest():
    client, key = make_api_client(scopes=["search"])
    client.archives.add(make_dimse_archive())

    output, _ = create_api_client("RIS", "--rotate")

    assert ApiClient.objects.authenticate(key) is None
    rotated = ApiClient.objects.authenticate(output.strip())
    assert rotated == client
    assert rotated.scopes == ["search"]
    assert rotated.archives.count() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scopes", "launch,everything"], "unknown everything"),
        (["--scopes", ""], "give at least one"),
        ([], "give at least one"),
        (["--scopes", "launch", "--archive", "nowhere"], "there is no nowhere"),
        (["--scopes", "launch", "--expires-days", "0"], "--expires-days"),
        (["--scopes", "launch", "--rotate"], "no API client RIS"),
    ],
)
def test_mistake_is_named_and_stores_nothing(arguments, message):
    assert message in refusal("RIS", *arguments)
    assert not ApiClient.objects.exists()


def test_name_that_is_too_long_is_refused():
    assert "64 characters" in refusal("n" * 65, "--scopes", "launch")


def test_signing_secret_is_the_second_line():
    output, errors = create_api_client("RIS", "--scopes", "launch", "--signing")

    key, secret = output.splitlines()
    client = ApiClient.objects.authenticate(key)
    assert client.signing_secret == secret
    assert client.slug == "ris"
    assert "client=ris" in errors
    assert secret not in errors


def test_short_name_can_be_given():
    create_api_client("RIS of the clinic", "--scopes", "launch", "--slug", "clinic")

    assert ApiClient.objects.get().slug == "clinic"
    assert "slug" in refusal("Other", "--scopes", "launch", "--slug", "not a slug")


def test_name_without_latin_letters_gets_a_short_name():
    create_api_client("病院", "--scopes", "launch")

    assert ApiClient.objects.get().slug
