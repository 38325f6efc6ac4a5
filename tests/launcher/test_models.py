"""Launch templates, launches and API clients: their rules, tokens and rights."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.forms import model_to_dict
from django.utils import timezone

from archives.entities import PatientIdentifier, Selection, StudyFilter
from archives.models import Archive
from launcher import weasis
from launcher.criteria import CriteriaError, ForbiddenError, LaunchExtras
from launcher.models import ApiClient, Build, Launch, LaunchTemplate
from launcher.tokens import digest, image_token
from tests.factories import make_api_client, make_dicomweb_archive, make_dimse_archive
from tests.weasis_uri import parse_uri

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
        ({"wcfg": "https://x.example/?a=b%26c"}, "wcfg", "%"),
        ({"wcfg": "x.example"}, "wcfg", "full address"),
        ({"cdb": "https://x.example/a%20b"}, "cdb", "%"),
        ({"properties": "a 50%"}, "properties", "%"),
        ({"commands": "$a:b " + "é" * 500}, "commands", "too long for Windows"),
        ({"commands": "$a:b " + "c" * 600}, "commands", "600 characters"),
    ],
)
def test_template_names_what_a_link_can_not_carry(values, field, message):
    errors = errors_of(LaunchTemplate(name="Ward", slug="ward", **values))

    assert list(errors) == [field]
    assert message in errors[field][0]


def test_code_base_is_what_weasis_adds_paths_to():
    template = LaunchTemplate(name="A", slug="a", cdb="https://x.example/weasis//")
    asked = LaunchTemplate(allowed_addresses="https://x.example/weasis")

    assert errors_of(template) == {}
    assert template.cdb == "https://x.example/weasis"
    for suffix in ("?a=b", "?", "#a"):
        address = f"https://x.example/weasis/a{suffix}"
        assert "cdb" in errors_of(LaunchTemplate(name="B", slug="b", cdb=address))
        with pytest.raises(CriteriaError) as error:
            asked.check_extras(LaunchExtras(cdb=address))
        assert "adds paths" in str(error.value)


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


def test_uri_lets_weasis_ask_the_hub_for_archives_it_may_not_ask_itself(settings):
    settings.VIEWERHUB_PUBLIC_URL = "https://hub.example.org"
    locked = make_dicomweb_archive(
        "https://pacs.example.org/rs", authentication="bearer", bearer_token="secret"
    )
    template = LaunchTemplate(mode="dicom_rs", http_tags="X-Site: north")
    selection = Selection(
        patients=(PatientIdentifier(patient_id="Ä$", issuer_of_patient_id="H&1"),)
    )

    commands = weasis.decode(template.uri(MANIFEST, selection, [locked]))

    assert commands == (
        '$dicom:rs --url "https://hub.example.org/gateway/web/dicom-web" '
        f'-r "studyUID=*" -H "Authorization: Bearer {image_token("token")}"',
        f'$dicom:get -w "{MANIFEST}/messages"',
    )


def test_token_of_the_hub_is_sent_to_the_hub_alone():
    direct = make_dicomweb_archive("https://pacs.example.org/rs", images="direct")
    locked = make_dicomweb_archive(
        "https://b.example.org/rs", name="B", slug="b", images="gateway"
    )
    template = LaunchTemplate(mode="dicom_rs", http_tags="X-Site: north")

    first, second, _ = weasis.decode(
        template.uri(MANIFEST, SELECTION, [direct, locked])
    )

    assert first == (
        '$dicom:rs --url "https://pacs.example.org/rs" -r "studyUID=1.2.3" '
        '-H "X-Site: north"'
    )
    assert "X-Site" not in second
    assert image_token("token") in second


def test_uri_opens_a_manifest_where_it_would_be_too_long():
    archives = [
        make_dicomweb_archive(f"https://{n}.example.org/rs", name=f"{n}", slug=f"a{n}")
        for n in range(12)
    ]

    start = LaunchTemplate(mode="dicom_rs").start(MANIFEST, SELECTION, archives)

    assert start.mode == "manifest"
    assert "too long" in start.why


@pytest.mark.parametrize("hindrance", ["dimse", "selection", "no archive"])
def test_uri_opens_a_manifest_where_weasis_can_not_ask_itself(hindrance):
    archives = [make_dicomweb_archive("https://pacs.example.org/rs", images="direct")]
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


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"commands": "$dicom:close -p {patient}"}, "commands", "no {patient}"),
        ({"http_tags": "X-A: b\nHost: c"}, "http_tags", "Line 2: Weasis can't"),
        ({"allowed_properties": "a b"}, "allowed_properties", "Line 1: write the name"),
        ({"allowed_commands": "close"}, "allowed_commands", "begins with $"),
        ({"allowed_addresses": "example.org"}, "allowed_addresses", "scheme and host"),
        ({"transfer_syntax": "JPEG"}, "transfer_syntax", "not a UID"),
        ({"compression_rate": 80}, "compression_rate", "transfer syntax it is for"),
        ({"override_tags": "PatientID"}, "override_tags", "0x00100010"),
    ],
)
def test_template_names_what_weasis_can_not_read(values, field, message):
    errors = errors_of(LaunchTemplate(name="Ward", slug="ward", **values))

    assert list(errors) == [field]
    assert message in errors[field][0]


def test_tags_to_override_are_kept_as_weasis_reads_them():
    template = LaunchTemplate(
        name="A", slug="a", override_tags="0X00100010 , #00100020"
    )

    assert errors_of(template) == {}
    assert template.override_tags == "0x00100010,#00100020"


def test_uri_closes_the_patient_of_the_launch_and_names_the_user():
    template = LaunchTemplate(
        commands='$dicom:close -p "{patient_id}"\n$dicom:close -y {study_uid}',
        properties="weasis.user {user}",
    )
    patient = Selection(patients=(PatientIdentifier(patient_id="42"),))

    start = template.start(MANIFEST, patient, [], LaunchExtras(user="jane"))

    assert weasis.decode(start.uri) == (
        '$dicom:close -p "42"',
        f'$dicom:get -w "{MANIFEST}"',
        '$weasis:config pro="weasis.user jane"',
    )
    [left_out] = start.left_out
    assert "names no Study Instance UID" in left_out


def test_uri_opens_the_primary_study_first_where_there_may_be_others():
    template = LaunchTemplate(opens_primary_study_first=True)
    several = Selection(study_instance_uids=("1.2.3", "1.2.4"))

    commands = weasis.decode(template.uri(MANIFEST, several, []))

    assert commands == tuple(
        f'$dicom:get -w "{url}"' for url in weasis.primary_first(MANIFEST)
    )
    [command] = weasis.decode(template.uri(MANIFEST, SELECTION, []))
    assert command == f'$dicom:get -w "{MANIFEST}"'


def patients(*patient_ids):
    return Selection(
        patients=tuple(PatientIdentifier(patient_id=i) for i in patient_ids)
    )


@pytest.mark.parametrize(
    ("selection", "user"),
    [
        (SELECTION, "jane" * 250),
        (SELECTION, "日本語" * 60),
        (patients(*(f"{number:0>64}" for number in range(10))), "jane"),
        (patients(*(f"é{number}" * 16 for number in range(10))), "Müller" * 40),
    ],
)
def test_uri_leaves_out_values_it_has_no_room_for(selection, user):
    template = LaunchTemplate(
        commands='$weasis:ui -v\n$dicom:close -p "{patient_id}"',
        properties="weasis.user {user}\nweasis.profile er\nx.y " + "z" * 750,
    )

    start = template.start(MANIFEST, selection, [], LaunchExtras(user=user))

    assert len(start.uri) <= weasis.MAXIMUM_URI_LENGTH
    launch = parse_uri(start.uri)
    assert launch.commands[0].name == "weasis:ui"
    assert launch.commands[-1].values("wado") == [MANIFEST]
    assert launch.properties["weasis.profile"] == "er"
    assert any("too long for Windows" in reason for reason in start.left_out)


def test_uri_leaves_out_the_longest_value_first():
    template = LaunchTemplate(commands='$dicom:close -p "{patient_id}"')
    template.properties = "weasis.user {user}"
    user = LaunchExtras(user="u" * 1500)

    few = template.start(MANIFEST, patients("1"), [], user)
    many = template.start(MANIFEST, patients(*"123456789"), [], user)

    assert few.left_out == ()
    [reason] = many.left_out
    assert reason.startswith("weasis.user {user}: it makes the link too long")
    closes = [f'$dicom:close -p "{one}"' for one in "123456789"]
    assert weasis.decode(many.uri) == (*closes, f'$dicom:get -w "{MANIFEST}"')


def test_link_that_asks_for_too_much_names_what_to_shorten():
    template = LaunchTemplate(**ALLOWED, commands='$dicom:close -p "{patient_id}"')
    asked = replace(ASKED, properties=("a.b " + "é" * 260, "weasis.profile ward"))
    fields = ["pro", "arg", "cdb", "wcfg"]

    for refused in (
        lambda: template.check_extras(asked),
        lambda: template.start(MANIFEST, patients("1"), [], asked),
    ):
        with pytest.raises(CriteriaError) as error:
            refused()
        assert [problem.field for problem in error.value.problems] == fields
        assert "too long for Windows" in str(error.value)


def test_template_that_became_too_long_is_named(settings):
    settings.VIEWERHUB_PUBLIC_URL = f"https://{'long.' * 400}example.org"

    with pytest.raises(CriteriaError) as error:
        LaunchTemplate().check_extras(LaunchExtras())

    assert [problem.field for problem in error.value.problems] == ["template"]


ASKED = LaunchExtras(
    properties=("weasis.profile ward", "a.b c"),
    commands=("weasis:ui -v", "$dicom:close  --all"),
    cdb="https://weasis.example.org/app/",
    wcfg="https://hub.example.org/conf?x=1",
)
ALLOWED = {
    "allowed_properties": "weasis.profile\na.b",
    "allowed_commands": "$weasis:ui -v\n$dicom:close --all",
    "allowed_addresses": "https://weasis.example.org/\nhttps://hub.example.org/conf",
}


def test_links_add_what_the_template_allows():
    template = LaunchTemplate(
        **ALLOWED, commands="$weasis:ui -v", properties="weasis.profile er\nx y"
    )

    commands = weasis.decode(template.uri(MANIFEST, SELECTION, [], ASKED))

    assert commands == (
        "$weasis:ui -v",
        "$dicom:close --all",
        f'$dicom:get -w "{MANIFEST}"',
        '$weasis:config cdb="https://weasis.example.org/app" '
        'wcfg="https://hub.example.org/conf?x=1" '
        'pro="weasis.profile ward" pro="a.b c" pro="x y"',
    )


@pytest.mark.parametrize("missing", ALLOWED)
def test_links_add_nothing_else(missing):
    template = LaunchTemplate(**(ALLOWED | {missing: ""}))

    with pytest.raises(ForbiddenError) as error:
        template.check_extras(ASKED)
    with pytest.raises(ForbiddenError):
        template.uri(MANIFEST, SELECTION, [], ASKED)

    fields = {
        "allowed_properties": ["pro", "pro"],
        "allowed_commands": ["arg", "arg"],
        "allowed_addresses": ["cdb", "wcfg"],
    }
    assert [problem.field for problem in error.value.problems] == fields[missing]
    assert "administrator" in str(error.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://weasis.example.org.evil.example/",
        "https://weasis.example.org@evil.example/",
        "https://weasis.example.org/app/../../x",
        "https://weasis.example.org/app/%2e%2E/x",
        "https://weasis.example.org/apple",
        "https://weasis.example.org/app/..\\x",
        "https://weasis.example.org/app/..%2fx",
        "https://weasis.example.org/app/a%2Fx",
        "https://weasis.example.org/app/..%5Cx",
        "https://weasis.example.org/app/%252e%252e/x",
        "https://weasis.example.org/app/.%2e;/x",
        "https://weasis.example.org/app/..;/x",
    ],
)
def test_address_of_a_link_stays_below_the_one_allowed(address):
    template = LaunchTemplate(allowed_addresses="https://weasis.example.org/app")
    template.check_extras(LaunchExtras(cdb="https://weasis.example.org/app/a"))
    template.check_extras(LaunchExtras(wcfg="https://weasis.example.org/app/a?b=/;"))

    with pytest.raises(ForbiddenError):
        template.check_extras(LaunchExtras(cdb=address))


def test_property_that_is_allowed_must_still_be_carriable():
    template = LaunchTemplate(allowed_properties="a.b")

    for value in ('a.b "', "a.b $x", "a.b", "a.b " + "é" * 900):
        with pytest.raises(CriteriaError) as error:
            template.check_extras(LaunchExtras(properties=(value,)))
        assert not isinstance(error.value, ForbiddenError)


@pytest.mark.parametrize(
    ("archive", "template", "expected"),
    [
        ({}, {}, "manifest"),
        ({"preset": "dcm4chee"}, {"mode": "dicom_rs"}, "dicom_rs"),
        ({"preset": "healthimaging-proxy"}, {"mode": "auto"}, "dicom_rs"),
        ({"preset": "orthanc"}, {"mode": "auto"}, "manifest"),
        ({"images": "gateway"}, {"mode": "dicom_rs"}, "dicom_rs"),
        (
            {"images": "gateway"},
            {"mode": "dicom_rs", "images": "direct"},
            "dicom_rs",
        ),
        ({}, {"mode": "dicom_rs", "images": "gateway"}, "dicom_rs"),
        ({"authentication": "bearer"}, {"mode": "dicom_rs"}, "dicom_rs"),
        ({"authentication": "bearer"}, {"mode": "auto"}, "manifest"),
        ({}, {"mode": "dicom_rs", "http_tags": "X-A: $"}, "manifest"),
    ],
)
def test_mode_follows_template_and_archives(archive, template, expected):
    values = {"images": "direct", "preset": "dicomweb"} | archive
    web = make_dicomweb_archive("https://pacs.example.org/rs", **values)

    start = LaunchTemplate(**template).start(MANIFEST, SELECTION, [web])

    assert start.mode == expected
    assert start.why.endswith(".")


@pytest.mark.parametrize(
    ("images", "expected"), [("direct", "manifest"), ("gateway", "dicom_rs")]
)
def test_filter_needs_the_hub(images, expected):
    web = make_dicomweb_archive("https://pacs.example.org/rs", images=images)
    newest = replace(SELECTION, study_filter=StudyFilter(most_recent=1))

    start = LaunchTemplate(mode="dicom_rs").start(MANIFEST, newest, [web])

    assert start.mode == expected


def test_dicom_rs_has_the_habits_of_the_product_and_the_headers_of_the_template():
    web = make_dicomweb_archive(
        "https://pacs.example.org/rs", images="direct", preset="dcm4chee"
    )
    template = LaunchTemplate(mode="dicom_rs", http_tags="X-Site: north")

    [command] = weasis.decode(template.uri(MANIFEST, SELECTION, [web]))

    assert command == (
        '$dicom:rs --url "https://pacs.example.org/rs" -r "studyUID=1.2.3" '
        '--query-ext "&includedefaults=false" -H "X-Site: north"'
    )


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


def test_client_whose_only_archive_is_deleted_uses_none():
    make_dimse_archive()
    web = make_dicomweb_archive("https://pacs.example.org/rs")
    client, _ = make_api_client()
    client.archives.add(web)

    web.delete()

    client = ApiClient.objects.get()
    assert not client.allowed_archives().exists()


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


def test_archives_of_a_build_are_read_as_django_reads_them():
    names = [("a", 3), ("b", 1), ("d", 2), ("c", 2)]
    archives = [
        make_dimse_archive(name=name, slug=name, position=position)
        for name, position in names
    ]
    archives.append(
        make_dicomweb_archive("https://pacs.example.org", password="secret")
    )
    make_dimse_archive(slug="another")
    build, other = (Build.objects.create(selection={}) for _ in range(2))
    build.archives.set(archives)
    other.archives.set(archives[:1])

    def read(found):
        return [model_to_dict(one) | {"pk": one.pk} for one in found]

    assert read(build.get_archives()) == read(build.archives.all())
    assert len(build.get_archives()) == 5
