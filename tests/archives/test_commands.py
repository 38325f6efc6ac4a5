"""``manage.py add_archive``, as scripts use it."""

import io
import sys

import pytest
from django.core.management import CommandError, call_command

from archives.models import Archive
from archives.presets import PRESETS
from tests.factories import DEAD_PORT, make_dicomweb_archive
from tests.identity_provider import IdentityProvider, app_of, configured
from tests.token_server import service_account_key

pytestmark = pytest.mark.django_db

DEAD = f"http://127.0.0.1:{DEAD_PORT}/dicom-web"


@pytest.fixture(autouse=True)
def _no_password(monkeypatch):
    monkeypatch.delenv("VIEWERHUB_ARCHIVE_PASSWORD", raising=False)


def add_archive(*arguments):
    output = io.StringIO()
    call_command("add_archive", *arguments, stdout=output)
    return output.getvalue()


def refusal(*arguments):
    with pytest.raises(CommandError) as caught:
        add_archive(*arguments)
    return caught.value


def test_dimse_archive_is_added_and_verified(embedded_archive):
    address = f"{embedded_archive.ae_title}@127.0.0.1:{embedded_archive.port}"

    output = add_archive("demo", "--dimse", address, "--check")

    archive = Archive.objects.get(slug="demo")
    assert (archive.protocol, archive.name) == ("dimse", "demo")
    assert archive.address == address
    assert archive.last_success
    first, *checklist = output.splitlines()
    assert first == f"Added demo (demo), {address}"
    assert len(checklist) >= 3
    assert all(line.startswith("✓") and " ms  " in line for line in checklist)


def test_archive_that_does_not_answer_is_saved_all_the_same():
    output = add_archive("web", "--dicomweb", DEAD, "--name", "Web PACS")

    assert Archive.objects.get(slug="web").name == "Web PACS"
    assert "✗" in output


def test_check_fails_where_the_verification_does():
    error = refusal("web", "--dicomweb", DEAD, "--check")

    assert error.returncode == 3
    assert Archive.objects.filter(slug="web").exists()


def test_archive_is_updated_and_keeps_what_is_not_given():
    make_dicomweb_archive(DEAD, name="Web PACS", page_size=77)

    output = add_archive(
        "web",
        *("--dicomweb", f"{DEAD}/rs"),
        *("--wado-uri", "http://127.0.0.1:9/wado"),
        *("--images", "direct"),
    )

    assert output.startswith("Updated Web PACS (web)")
    archive = Archive.objects.get()
    assert archive.url == f"{DEAD}/rs"
    assert archive.wado_uri_url == "http://127.0.0.1:9/wado"
    assert (archive.images, archive.page_size) == ("direct", 77)


def test_archive_may_change_its_protocol():
    make_dicomweb_archive(DEAD, authentication="basic", username="u", password="p")

    add_archive("web", "--dimse", "PACS@[::1]:9", "--calling-ae-title", "HUB")

    archive = Archive.objects.get()
    assert (archive.protocol, archive.host, archive.port) == ("dimse", "::1", 9)
    assert (archive.calling_ae_title, archive.url, archive.password) == ("HUB", "", "")


def test_product_fills_in_what_is_not_given():
    add_archive("web", "--product", "azure", "--dicomweb", DEAD)

    archive = Archive.objects.get()
    assert (archive.preset, archive.page_size) == ("azure", 200)
    assert archive.authentication == "none"

    add_archive("web", "--product", "orthanc", "--dimse", "PACS@127.0.0.1:9")

    archive = Archive.objects.get()
    assert (archive.preset, archive.port) == ("orthanc", 9)
    assert (archive.called_ae_title, archive.page_size) == ("PACS", 1000)


def test_archive_keeps_its_product():
    make_dicomweb_archive(DEAD, preset="kheops", page_size=77)

    add_archive("web", "--previous-names", "old,older")

    archive = Archive.objects.get()
    assert (archive.preset, archive.page_size) == ("kheops", 77)
    assert archive.names == ("web", "old", "older")


def test_product_fits_the_protocol():
    assert str(refusal("web", "--product", "google", "--dimse", "A@b:1")).startswith(
        "--product: Google Cloud Healthcare does not speak DIMSE"
    )


def test_help_names_every_product(capsys):
    with pytest.raises(SystemExit):
        call_command("add_archive", "--help")

    shown = capsys.readouterr().out
    assert all(f"  {slug} " in shown for slug in PRESETS)


@pytest.mark.parametrize("from_stdin", [False, True])
def test_token_does_not_stand_on_the_command_line(monkeypatch, from_stdin):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a-token\n"))
    if not from_stdin:
        monkeypatch.setenv("VIEWERHUB_ARCHIVE_PASSWORD", "a-token")

    add_archive(
        "web",
        *("--dicomweb", DEAD, "--bearer"),
        *(["--password-stdin"] if from_stdin else []),
    )

    archive = Archive.objects.get()
    assert (archive.authentication, archive.bearer_token) == ("bearer", "a-token")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            [
                "--oauth2",
                "http://127.0.0.1/token",
                "--client-id",
                "hub",
                "--audience",
                "a",
            ],
            ("oauth2", "", "a"),
        ),
        (
            [
                "--product=azure",
                "--oauth2",
                "http://127.0.0.1/token",
                "--client-id",
                "hub",
            ],
            ("oauth2", "https://dicom.healthcareapis.azure.com/.default", ""),
        ),
        (
            [
                *("--product", "azure", "--oauth2", "http://127.0.0.1/token"),
                *("--client-id", "hub", "--scope", "of my own"),
            ],
            ("oauth2", "of my own", ""),
        ),
        (["--aws", "eu-west-2", "--access-key-id", "AKID"], ("aws", "", "")),
    ],
)
def test_secret_of_a_cloud_service_comes_from_the_environment(
    monkeypatch, arguments, expected
):
    monkeypatch.setenv("VIEWERHUB_ARCHIVE_PASSWORD", "the secret")

    output = add_archive("web", "--dicomweb", DEAD, *arguments)

    archive = Archive.objects.get()
    found = (archive.authentication, archive.token_scope, archive.token_audience)
    assert found == expected
    assert "the secret" in (archive.client_secret, archive.aws_secret_access_key)
    assert "the secret" not in output


@pytest.mark.parametrize("option", ["--google-key", "--headers"])
def test_secrets_of_several_lines_come_from_a_file(tmp_path, option):
    file = tmp_path / "secret"
    file.write_text("X-Api-Key: k\n")
    if option == "--google-key":
        file.write_text(service_account_key("http://127.0.0.1:9/token")[0])

    add_archive("web", "--dicomweb", DEAD, option, str(file))

    archive = Archive.objects.get()
    stored = archive.service_account_key or archive.custom_headers
    assert stored == file.read_text().strip()
    missing = str(refusal("web", option, str(tmp_path / "nothing")))
    assert missing.startswith(f"{option}: ")


@pytest.mark.parametrize("arguments", [["--user-login"], ["--user-login", "hospital"]])
def test_archive_may_want_the_users_own_login(arguments):
    assert str(refusal("web", "--dicomweb", DEAD, *arguments)).startswith(
        "--user-login: "
    )

    with configured(app_of(IdentityProvider(url="https://login.example.org"))):
        output = add_archive("web", "--dicomweb", DEAD, *arguments)

    archive = Archive.objects.get()
    assert archive.authentication == "user"
    assert archive.login_provider == "".join(arguments[1:])
    assert "web needs its user's own login" in output


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--oauth2", "http://127.0.0.1/token"], "--client-id:"),
        (["--oauth2", "x", "--client-id", "hub"], "--oauth2:"),
        (["--aws", "us-east-1"], "--access-key-id:"),
        (["--aws", "Virginia", "--access-key-id", "AKID"], "--aws:"),
    ],
)
def test_what_a_login_lacks_is_named_by_its_option(monkeypatch, arguments, option):
    monkeypatch.setenv("VIEWERHUB_ARCHIVE_PASSWORD", "the secret")

    assert str(refusal("web", "--dicomweb", DEAD, *arguments)).startswith(option)
    assert not Archive.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "standard_input"),
    [
        (["--basic", "hub:a:b"], None, ""),
        (["--basic", "hub"], "a:b", ""),
        (["--basic", "hub", "--password-stdin"], None, "a:b\n"),
        (["--basic", "hub", "--password-stdin"], "other", "a:b"),
    ],
)
def test_password_comes_from_the_safest_place_given(
    monkeypatch, arguments, environment, standard_input
):
    if environment:
        monkeypatch.setenv("VIEWERHUB_ARCHIVE_PASSWORD", environment)
    monkeypatch.setattr(sys, "stdin", io.StringIO(standard_input))

    output = add_archive("web", "--dicomweb", DEAD, *arguments)

    archive = Archive.objects.get()
    assert (archive.authentication, archive.username) == ("basic", "hub")
    assert archive.password == "a:b"
    assert "a:b" not in output


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--dimse", "PACS"], "--dimse:"),
        (["--dimse", "PACS@host"], "--dimse:"),
        (["--dimse", "PACS@host:99999"], "--dimse:"),
        (["--dimse", "SEVENTEEN-LETTERS@host:104"], "--dimse:"),
        (["--dimse", "PACS@host:104", "--images", "direct"], "--images:"),
        (["--dimse", "PACS@host:104", "--basic", "u:p"], "--basic:"),
        (
            ["--dimse", "A@b:1", "--calling-ae-title", "BACK\\SLASH"],
            "--calling-ae-title:",
        ),
        (["--dicomweb", "pacs.example.org"], "--dicomweb:"),
        (["--dicomweb", DEAD, "--wado-uri", "x"], "--wado-uri:"),
        (["--dicomweb", DEAD, "--basic", "u"], "--basic:"),
        (["--dicomweb", DEAD, "--basic", "u:"], "--basic:"),
        (["--dicomweb", DEAD, "--bearer"], "--bearer:"),
        (["--dimse", "PACS@host:104", "--previous-names", "a b"], "--previous-names:"),
        (["--dicomweb", DEAD, "--basic", ":p"], "--basic:"),
        (["--dicomweb", DEAD, "--name", "n" * 65], "--name:"),
        (["--name", "Main"], "A new archive needs --dimse or --dicomweb."),
        ([], "A new archive needs --dimse or --dicomweb."),
    ],
)
def test_error_names_the_option_and_saves_nothing(arguments, option):
    error = refusal("web", *arguments)

    assert str(error).startswith(option)
    assert error.returncode == 1
    assert not Archive.objects.exists()


def test_error_in_the_slug_is_named():
    assert str(refusal("no slug", "--dicomweb", DEAD)).startswith("SLUG:")


def test_protocols_exclude_each_other():
    assert "not allowed with" in str(
        refusal("x", "--dimse", "A@b:1", "--dicomweb", DEAD)
    )
