"""Launch templates, launches and API clients: their rules, tokens and rights."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from archives.entities import Selection
from archives.models import Archive
from launcher import weasis
from launcher.models import ApiClient, Build, Launch, LaunchTemplate
from launcher.tokens import digest, image_token
from tests.factories import make_api_client, make_dicomweb_archive, make_dimse_archive

pytestmark = pytest.mark.django_db

MANIFEST = "https://hub.example.org/m/token"
SELECTION = Selection(study_instance_uids=("1.2.3",))


def make_template(**values):
    return LaunchTemplate.objects.create(
        **({"name": "Ward", "slug": "ward", "mode": "manifest"} | values)
    )


def make_launch(**values):
    """A stored launch that no worker knows of, and its token."""
    launch = Launch(build=Build.objects.create(selection={}), origin="url", **values)
    token = launch.issue_token()
    launch.save()
    return launch, token


def errors_of(template):
    try:
        template.full_clean()
    except ValidationError as error:
        return error.message_dict
    return {}


# Templates


def test_default_template_exists_after_migration():
    template = LaunchTemplate.objects.default()

    assert template.mode == LaunchTemplate.Mode.AUTO
    assert errors_of(template) == {}


def test_only_one_template_is_the_default():
    assert LaunchTemplate.objects.default()

    with pytest.raises(IntegrityError), transaction.atomic():
        make_template(is_default=True)


def test_template_takes_the_default_from_the_one_that_was():
    former, ward = LaunchTemplate.objects.default(), make_template()

    LaunchTemplate.objects.make_default(ward)

    assert ward.is_default
    assert LaunchTemplate.objects.default() == ward
    former.refresh_from_db()
    assert not former.is_default
    LaunchTemplate.objects.make_default(ward)
    assert LaunchTemplate.objects.default() == ward


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"commands": "$dicom:close --all\n\nclose"}, "commands", "Line 3: a command"),
        ({"commands": "$dicom:close -p 'x'"}, "commands", "Line 1: put values"),
        ({"properties": "a b\nweasis.profile"}, "properties", "Line 2: write"),
        ({"properties": "java.home x"}, "properties", "java.home"),
        ({"cdb": "https://x.example/it's"}, "cdb", "quotes"),
        ({"wcfg": "https://x.example/$a"}, "wcfg", "quotes"),
        ({"wcfg": "x.example"}, "wcfg", "full address"),
        ({"commands": "$a:b " + "é" * 500}, "commands", "too long for Windows"),
        ({"commands": "$a:b " + "c" * 600}, "commands", "600 characters"),
    ],
)
def test_template_names_what_a_link_can_not_carry(values, field, message):
    errors = errors_of(LaunchTemplate(name="Ward", slug="ward", **values))

    assert list(errors) == [field]
    assert message in errors[field][0]


def test_template_knows_the_length_of_the_hubs_address(settings):
    template = LaunchTemplate(name="Ward", slug="ward", commands="$a:b " + "é" * 250)
    assert errors_of(template) == {}

    settings.VIEWERHUB_PUBLIC_URL = f"https://{'long.' * 40}example.org"

    assert "commands" in errors_of(template)


def test_options_leave_out_empty_lines():
    template = LaunchTemplate(commands=" $weasis:ui -v \n\n", properties="\r\na b\r\n")

    options = template.options()

    assert options.commands == ("$weasis:ui -v",)
    assert options.properties == ("a b",)


def test_uri_opens_the_manifest():
    uri = LaunchTemplate(commands="$dicom:close --all").uri(MANIFEST, SELECTION, [])

    assert weasis.decode(uri) == ("$dicom:close --all", f'$dicom:get -w "{MANIFEST}"')


def test_uri_lets_weasis_ask_archives_that_give_images_directly():
    direct = make_dicomweb_archive("https://pacs.example.org/rs/", images="direct")
    template = LaunchTemplate(mode=LaunchTemplate.Mode.DICOM_RS)

    [command] = weasis.decode(template.uri(MANIFEST, SELECTION, [direct]))

    assert (
        command == '$dicom:rs --url "https://pacs.example.org/rs" -r "studyUID=1.2.3"'
    )


@pytest.mark.parametrize("hindrance", ["gateway", "dimse", "selection", "no archive"])
def test_uri_opens_a_manifest_where_weasis_can_not_ask_itself(hindrance):
    images = "gateway" if hindrance == "gateway" else "direct"
    archives = [make_dicomweb_archive("https://pacs.example.org/rs", images=images)]
    selection = SELECTION
    if hindrance == "dimse":
        archives.append(make_dimse_archive())
    if hindrance == "selection":
        selection = Selection(accession_numbers=("A 1",))
    if hindrance == "no archive":
        archives = []
    template = LaunchTemplate(mode=LaunchTemplate.Mode.DICOM_RS)

    [command] = weasis.decode(template.uri(MANIFEST, selection, archives))

    assert command == f'$dicom:get -w "{MANIFEST}"'


# API clients


def test_key_is_kept_as_a_hash_and_found_again():
    client, key = make_api_client()

    assert ApiClient.objects.authenticate(key) == client
    assert client.key_sha256 == digest(key)
    assert key not in str(ApiClient.objects.values().get())
    assert ApiClient.objects.authenticate(client.key_prefix) is None
    assert ApiClient.objects.authenticate("") is None


def test_new_key_ends_the_old_one():
    client, key = make_api_client()

    new = client.issue_key()
    client.save()

    assert ApiClient.objects.authenticate(key) is None
    assert ApiClient.objects.authenticate(new) == client


def test_key_of_a_client_that_is_disabled_or_expired_opens_nothing():
    now = timezone.now()
    _, disabled = make_api_client(name="A", is_enabled=False)
    _, expired = make_api_client(name="B", expires=now - timedelta(seconds=1))
    valid, key = make_api_client(name="C", expires=now + timedelta(hours=1))

    assert ApiClient.objects.authenticate(disabled) is None
    assert ApiClient.objects.authenticate(expired) is None
    assert ApiClient.objects.authenticate(key) == valid
    assert valid not in ApiClient.objects.active(at=now + timedelta(hours=2))


def test_client_uses_its_archives_or_all_that_are_enabled():
    main = make_dimse_archive()
    web = make_dicomweb_archive("https://pacs.example.org/rs")
    old = make_dimse_archive(name="Old", slug="old", is_enabled=False)
    client, _ = make_api_client()
    assert set(client.usable_archives()) == {main, web}

    client.archives.set([web, old])

    assert set(client.usable_archives()) == {web}
    client.archives.set(Archive.objects.none())
    assert set(client.usable_archives()) == {main, web}


# Launches


def test_token_is_kept_as_a_hash():
    launch, token = make_launch()

    assert len(token) == 43  # 256 bits
    assert launch.manifest_token_sha256 == digest(token)
    assert launch.image_token_sha256 == digest(image_token(token))
    row = str(Launch.objects.values().get())
    assert token not in row
    assert image_token(token) not in row


def test_launch_is_open_until_it_expires_or_is_revoked():
    launch, _ = make_launch()
    later = launch.expires + timedelta(seconds=1)

    assert launch.is_open()
    assert not launch.is_open(at=later)
    assert list(Launch.objects.open()) == [launch]
    assert list(Launch.objects.open(at=later)) == []
    launch.revoke()

    assert not launch.is_open()
    assert list(Launch.objects.open()) == []


def test_launches_are_seen_by_their_owner_and_by_staff_with_the_right():
    alice, bob, staff = (User.objects.create(username=name) for name in "abs")
    staff.user_permissions.add(Permission.objects.get(codename="view_launch"))
    hers, _ = make_launch(user=alice)
    other, _ = make_launch()

    assert list(Launch.objects.visible_to(alice)) == [hers]
    assert list(Launch.objects.visible_to(bob)) == []
    assert list(Launch.objects.visible_to(AnonymousUser())) == []
    assert set(Launch.objects.visible_to(staff)) == {hers, other}


def test_label_of_a_launch_is_encrypted_and_may_be_lost(settings):
    build = Build.objects.create(selection={}, label="MARTIN, Alice")
    assert "MARTIN" not in str(Build.objects.values().get())
    assert Build.objects.get().label == "MARTIN, Alice"

    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key"]

    assert Build.objects.get(pk=build.pk).label == ""
