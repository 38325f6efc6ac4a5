"""Archives: who may use them, which settings fit together, where to connect."""

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.exceptions import ValidationError

from archives.authentication import FIELDS_OF
from archives.clients import DicomWebEndpoint, DimseEndpoint
from archives.clients.base import Quirks, TlsSettings
from archives.clients.credentials import (
    AwsKeys,
    BasicCredentials,
    BearerToken,
    ClientCredentials,
    CustomHeaders,
    ServiceAccountKey,
)
from archives.errors import ArchiveRefusedError
from archives.models import Archive
from archives.presets import PRESETS
from archives.validators import validate_host
from tests.archives.clients.test_tls import make_certificate
from tests.factories import make_dimse_archive
from tests.identity_provider import SECRET, IdentityProvider, app_of, configured
from tests.token_server import service_account_key

CERTIFICATE, KEY = make_certificate()
_, OTHER_KEY = make_certificate()


GOOGLE_KEY, _ = service_account_key("https://oauth2.googleapis.com/token")
AUTHENTICATION = {
    "username": "u",
    "password": "p",
    "bearer_token": "t",
    "token_url": "https://login.example.org/token",
    "client_id": "hub",
    "client_secret": "s",
    "token_scope": "a b",
    "token_audience": "pacs",
    "service_account_key": GOOGLE_KEY,
    "aws_region": "us-gov-west-1",
    "aws_access_key_id": "AKID",
    "aws_secret_access_key": "k",
    "aws_session_token": "st",
    "custom_headers": "X-Api-Key: a: b\r\n\r\n  X-Other :c d ",
    "login_provider": "hospital",
}


@pytest.fixture(autouse=True)
def providers():
    """Two that users log in by."""
    first = app_of(IdentityProvider(url="https://login.example.org"))
    with configured(first, {**first, "provider_id": "other"}) as known:
        yield known


def dimse(**values):
    defaults = {
        "slug": "main",
        "host": "pacs.example.org",
        "port": 104,
        "called_ae_title": "PACS",
    }
    return Archive(name="Main PACS", protocol="dimse", **(defaults | values))


def dicomweb(**values):
    defaults = {"url": "https://pacs.example.org/dicom-web"}
    return Archive(
        name="Web PACS", slug="web", protocol="dicomweb", **(defaults | values)
    )


def errors_of(archive):
    try:
        archive.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        return error.message_dict
    return {}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("archive_groups", "who", "is_usable"),
    [
        ([], "anonymous", True),
        ([], "member", True),
        (["readers"], "anonymous", False),
        (["readers"], "member", True),
        (["readers", "guests"], "member", True),
        (["guests"], "member", False),
        (["guests"], "superuser", True),
        (["guests"], "inactive superuser", False),
    ],
)
def test_archive_is_usable_by_its_groups(archive_groups, who, is_usable):
    readers, guests = Group.objects.create(name="readers"), Group(name="guests")
    guests.save()
    archive = make_dimse_archive()
    archive.groups.set(Group.objects.filter(name__in=archive_groups))
    make_dimse_archive(name="Old", slug="old", is_enabled=False)
    user = AnonymousUser()
    if who != "anonymous":
        user = User.objects.create(
            username="u",
            is_superuser="superuser" in who,
            is_active="inactive" not in who,
        )
    if who == "member":
        user.groups.add(readers)

    usable = list(Archive.objects.usable_by(user))

    assert usable == ([archive] if is_usable else [])
    if who == "anonymous":
        assert list(Archive.objects.usable_by(None)) == usable


@pytest.mark.django_db
def test_archive_whose_only_group_is_deleted_is_open_to_nobody():
    readers = Group.objects.create(name="readers")
    user = User.objects.create(username="u")
    admin = User.objects.create(username="a", is_superuser=True)
    archive = make_dimse_archive()
    other = make_dimse_archive(name="Other", slug="other")
    archive.groups.add(readers)
    readers.archive_set.add(other)

    readers.delete()

    assert not Archive.objects.usable_by(user).exists()
    assert not Archive.objects.usable_by(None).exists()
    assert set(Archive.objects.usable_by(admin)) == {archive, other}


@pytest.mark.django_db
def test_archive_is_open_again_when_its_groups_are_taken_away():
    readers = Group.objects.create(name="readers")
    archive = make_dimse_archive()
    archive.groups.add(readers)
    readers.archive_set.clear()
    assert not Archive.objects.usable_by(None).exists()

    archive.groups.add(readers)
    archive.groups.clear()

    assert Archive.objects.usable_by(None).get() == archive


def test_archive_that_is_complete_has_no_errors():
    assert errors_of(dimse()) == {}
    assert errors_of(dicomweb()) == {}


@pytest.mark.parametrize(
    "field", ["host", "port", "called_ae_title", "calling_ae_title"]
)
def test_dimse_archive_needs_its_fields(field):
    assert list(errors_of(dimse(**{field: None if field == "port" else ""}))) == [field]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"url": ""}, "url"),
        ({"url": "pacs.example.org"}, "url"),
        ({"url": "ftp://pacs.example.org/"}, "url"),
        ({"url": "https://pacs.example.org/rs?x=1"}, "url"),
        ({"wado_uri_url": "https://pacs.example.org/wado#x"}, "wado_uri_url"),
        ({"authentication": "basic", "password": "p"}, "username"),
        ({"authentication": "bearer"}, "bearer_token"),
        (
            {"authentication": "bearer", "bearer_token": "t", "images": "direct"},
            "images",
        ),
        ({"page_size": 0}, "page_size"),
        ({"total_timeout": 0}, "total_timeout"),
    ],
)
def test_dicomweb_archive_refuses_what_does_not_fit(values, field):
    assert list(errors_of(dicomweb(**values))) == [field]


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        *(
            (kind, field, "")
            for kind, fields in FIELDS_OF.items()
            for field in fields
            if field not in ("password", "token_scope", "token_audience")
            if field != "aws_session_token"
        ),
        ("oauth2", "token_url", "login.example.org/token"),
        ("oauth2", "token_url", "https://login.example.org/token#x"),
        ("oauth2", "token_scope", "a\nb"),
        ("google", "service_account_key", "{}"),
        ("google", "service_account_key", "[" * 100_000),
        ("google", "service_account_key", '{"type": "service_account"}'),
        ("google", "service_account_key", GOOGLE_KEY.replace("BEGIN", "BEG")),
        ("google", "service_account_key", GOOGLE_KEY.replace("https:", "file:")),
        ("google", "service_account_key", GOOGLE_KEY.replace('"service_', '"')),
        ("aws", "aws_region", "Virginia"),
        ("aws", "aws_access_key_id", "AKID/x"),
        ("aws", "aws_session_token", "a b\nc"),
        ("headers", "custom_headers", "X-Api-Key"),
        ("headers", "custom_headers", "X-Api-Key: k\nHost: evil.example"),
        ("headers", "custom_headers", "X-Api-Key: k\nx-api-key: l"),
        ("headers", "custom_headers", "X Api: k"),
        ("headers", "custom_headers", "X-Api-Key: schlüssel"),
        ("headers", "custom_headers", "X-Api-Key: a\rX-Other: b"),
        ("user", "login_provider", "nobodys"),
    ],
)
def test_each_kind_of_authentication_says_what_it_needs(kind, field, value):
    complete = dicomweb(authentication=kind, **AUTHENTICATION)
    assert errors_of(complete) == {}

    found = errors_of(
        dicomweb(authentication=kind, **(AUTHENTICATION | {field: value}))
    )

    assert list(found) == [field]
    assert not value.strip() or value not in str(found)


def test_user_login_needs_a_provider_that_the_hub_knows():
    blank = dicomweb(authentication="user")
    assert "Choose one of them: hospital, other." in str(errors_of(blank))

    only = app_of(IdentityProvider(url="https://login.example.org"))
    with configured(only):
        assert errors_of(blank) == {}
    with configured():
        assert "VIEWERHUB_OIDC_PROVIDERS" in str(errors_of(blank))


@pytest.mark.parametrize("kind", FIELDS_OF)
def test_archive_keeps_the_fields_of_its_kind_only(kind):
    archive = dicomweb(authentication=kind, **AUTHENTICATION)

    assert errors_of(archive) == {}

    kept = {name for name in AUTHENTICATION if getattr(archive, name)}
    assert kept == set(FIELDS_OF[kind])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", None),
        ("basic", BasicCredentials(username="u", password="p")),
        ("bearer", BearerToken(token="t")),
        (
            "oauth2",
            ClientCredentials(
                token_url="https://login.example.org/token",
                client_id="hub",
                client_secret="s",
                scope="a b",
                audience="pacs",
            ),
        ),
        ("google", ServiceAccountKey(key=GOOGLE_KEY)),
        (
            "aws",
            AwsKeys(
                region="us-gov-west-1",
                access_key_id="AKID",
                secret_access_key="k",
                session_token="st",
            ),
        ),
        (
            "headers",
            CustomHeaders(headers=(("X-Api-Key", "a: b"), ("X-Other", "c d"))),
        ),
    ],
)
def test_endpoint_has_the_credentials_of_its_kind(kind, expected):
    endpoint = dicomweb(authentication=kind, **AUTHENTICATION).endpoint()

    assert isinstance(endpoint, DicomWebEndpoint)
    assert endpoint.credentials == expected


def test_endpoint_for_a_user_is_nobody_elses():
    archive = dicomweb(authentication="user", login_provider="hospital")
    alice, bob = (archive.endpoint(User(pk=pk)) for pk in (1, 2))

    assert alice == archive.endpoint(User(pk=1))
    assert hash(alice) == hash(archive.endpoint(User(pk=1)))
    assert alice != bob
    assert SECRET not in repr(alice)
    assert alice.credentials.provider.configuration_url == (
        "https://login.example.org/.well-known/openid-configuration"
    )


@pytest.mark.parametrize("user", [None, AnonymousUser(), User(pk=1, is_active=False)])
def test_endpoint_for_nobody_says_that_a_login_is_needed(user):
    archive = dicomweb(authentication="user", login_provider="hospital")

    for endpoint_for in (archive.endpoint, archive.image_endpoint):
        with pytest.raises(ArchiveRefusedError, match="from the search page"):
            endpoint_for(user)


def test_endpoint_of_a_provider_that_is_gone_says_so():
    archive = dicomweb(authentication="user", login_provider="gone")

    with pytest.raises(ArchiveRefusedError, match="that the hub has no more"):
        archive.endpoint(User(pk=1))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"host": "pacs.example.org:104"}, "host"),
        ({"host": "pacs/x"}, "host"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"called_ae_title": "SEVENTEEN-LETTERS"}, "called_ae_title"),
        ({"called_ae_title": "BACK\\SLASH"}, "called_ae_title"),
        ({"calling_ae_title": "    "}, "calling_ae_title"),
        ({"maximum_associations": 0}, "maximum_associations"),
        ({"images": "direct"}, "images"),
    ],
)
def test_dimse_archive_refuses_what_does_not_fit(values, field):
    assert list(errors_of(dimse(**values))) == [field]


def test_dimse_archive_with_wado_uri_may_give_images_directly():
    archive = dimse(images="direct", wado_uri_url="https://pacs.example.org/wado")

    assert errors_of(archive) == {}


@pytest.mark.parametrize(
    "host", ["10.0.0.5", "pacs", "a.b-c.example", "::1", "fe80::1"]
)
def test_host_may_be_a_name_or_an_address(host):
    validate_host(host)


@pytest.mark.parametrize(
    "host", ["", "-x", "a b", "[::1]", "10.0.0.5:104", "é.example"]
)
def test_host_is_nothing_else(host):
    with pytest.raises(ValidationError):
        validate_host(host)


def test_archive_forgets_the_other_protocol():
    archive = dimse(url="https://x.example", authentication="basic", password="p")
    archive.username = "u"

    assert errors_of(archive) == {}
    assert (archive.url, archive.authentication, archive.password) == ("", "none", "")

    archive = dicomweb(host="pacs", port=104, dimse_passcode="p", use_tls=True)

    assert errors_of(archive) == {}
    assert (archive.host, archive.port, archive.dimse_passcode) == ("", None, "")
    assert archive.use_tls is False


def test_dimse_archive_keeps_credentials_for_its_wado_uri_address():
    login = {"authentication": "basic", "username": "u", "password": "a secret"}
    archive = dimse(wado_uri_url="https://x.example/wado", **login)
    archive.ca_certificates, archive.check_hostname = CERTIFICATE, False

    assert errors_of(archive) == {}
    endpoint = archive.image_endpoint()
    assert endpoint.credentials == BasicCredentials(username="u", password="a secret")
    assert endpoint.tls == TlsSettings(
        ca_certificates=CERTIFICATE, check_hostname=False
    )

    archive.images = "direct"
    assert list(errors_of(archive)) == ["images"]
    archive.images, archive.wado_uri_url = "gateway", ""
    assert errors_of(archive) == {}
    assert (archive.authentication, archive.password) == ("none", "")


def test_archive_forgets_credentials_of_another_authentication():
    archive = dicomweb(
        authentication="bearer", bearer_token="t", username="u", password="p"
    )

    assert errors_of(archive) == {}
    assert (archive.username, archive.password) == ("", "")
    assert archive.bearer_token == "t"


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"ca_certificates": "not PEM"}, "ca_certificates", "No certificate"),
        ({"ca_certificates": CERTIFICATE + KEY}, "ca_certificates", "private key"),
        ({"client_certificate": CERTIFICATE}, "client_key", "go together"),
        ({"client_key": KEY}, "client_certificate", "go together"),
        (
            {"client_certificate": "x", "client_key": KEY},
            "client_certificate",
            "No certificate",
        ),
        (
            {"client_certificate": CERTIFICATE, "client_key": "x"},
            "client_key",
            "No private key",
        ),
        (
            {"client_certificate": CERTIFICATE, "client_key": OTHER_KEY},
            "client_key",
            "another certificate",
        ),
        (
            {"client_certificate": CERTIFICATE, "client_key": CERTIFICATE},
            "client_key",
            "No private key",
        ),
    ],
)
def test_certificate_that_is_wrong_is_named(values, field, message):
    errors = errors_of(dicomweb(**values))

    assert list(errors) == [field]
    assert message in errors[field][0]


def test_certificates_that_fit_are_taken():
    archive = dicomweb(
        ca_certificates=CERTIFICATE * 2, client_certificate=CERTIFICATE, client_key=KEY
    )

    assert errors_of(archive) == {}


def test_endpoint_of_a_dimse_archive():
    endpoint = dimse(
        dimse_username="hub",
        dimse_passcode="hidden passcode",
        use_tls=True,
        client_key="hidden key",
        answer_timeout=7,
    ).endpoint()

    assert isinstance(endpoint, DimseEndpoint)
    assert (endpoint.host, endpoint.port) == ("pacs.example.org", 104)
    assert endpoint.user_identity
    assert endpoint.user_identity.passcode == "hidden passcode"
    assert endpoint.tls
    assert endpoint.deadlines.first_answer == 7
    assert "hidden" not in repr(endpoint)


def test_endpoint_of_a_dicomweb_archive():
    endpoint = dicomweb(
        url="https://pacs.example.org/dicom-web/",
        authentication="basic",
        username="hub",
        password="hidden password",
        bearer_token="hidden token",
    ).endpoint()

    assert isinstance(endpoint, DicomWebEndpoint)
    assert endpoint.url == "https://pacs.example.org/dicom-web"
    assert endpoint.credentials == BasicCredentials(
        username="hub", password="hidden password"
    )
    assert "hidden" not in repr(endpoint)


def test_address_is_what_administrators_type():
    assert dimse().address == "PACS@pacs.example.org:104"
    assert dimse(host="::1").address == "PACS@[::1]:104"
    assert dicomweb().address == "https://pacs.example.org/dicom-web"


# Products, names and identifiers


def test_archive_without_a_product_is_the_generic_one_of_its_protocol():
    for archive in (dimse(), dicomweb()):
        assert archive.product.slug == archive.protocol
        assert not errors_of(archive)
        assert archive.preset == archive.protocol


def test_quirks_of_the_product_reach_the_client():
    endpoint = dicomweb(preset="azure").endpoint()

    assert endpoint.quirks == PRESETS["azure"].quirks
    assert endpoint.quirks.studies_per_page == 200
    assert dicomweb().endpoint().quirks == Quirks()


def test_product_must_speak_the_protocol():
    assert list(errors_of(dimse(preset="google"))) == ["preset"]
    assert list(errors_of(dicomweb(preset="dimse"))) == ["preset"]
    assert list(errors_of(dicomweb(preset="no product"))) == ["preset"]
    assert not errors_of(dimse(preset="orthanc"))


def test_images_do_not_come_straight_from_a_product_that_has_no_way():
    assert list(errors_of(dicomweb(preset="healthimaging", images="direct"))) == [
        "images"
    ]


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("", ()),
        ("old", ("old",)),
        (" old , PACS_2,old,, 1001 ", ("old", "PACS_2", "1001")),
    ],
)
def test_previous_names_are_a_list_with_commas(written, names):
    archive = dimse(previous_names=written)

    assert not errors_of(archive)
    assert archive.names == ("main", *names)


@pytest.mark.parametrize("written", ["old pacs", "a;b", "é", "x" * 41, "a/b"])
def test_previous_names_are_short_and_plain(written):
    assert list(errors_of(dimse(previous_names=written))) == ["previous_names"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"slug": "old"}, "slug"),
        ({"previous_names": "web"}, "previous_names"),
        ({"previous_names": "else, older"}, "previous_names"),
    ],
)
def test_name_means_one_archive(values, field):
    dicomweb(previous_names="old, older").save()

    with pytest.raises(ValidationError) as caught:
        dimse(**values).full_clean()

    assert list(caught.value.message_dict) == [field]
    assert "archive web" in caught.value.messages[0]


@pytest.mark.django_db
def test_archive_may_keep_its_own_names():
    archive = dimse(previous_names="old, older")
    archive.save()

    archive.full_clean()

    assert archive.previous_names == "old, older"


@pytest.mark.parametrize("chosen", [[], ["patientID", "what"], "patientID", None, [[]]])
def test_launches_need_an_identifier(chosen):
    assert list(errors_of(dimse(identifiers=chosen))) == ["identifiers"]


@pytest.mark.parametrize(
    "written", ["&anonymize=yes", "&a=1&b=", "&x=%2F.1,2:3", "&a.b-c_d=~*+"]
)
def test_wado_parameters_are_parts_of_a_query(written):
    assert not errors_of(dicomweb(wado_parameters=written))


@pytest.mark.parametrize(
    "written", ["anonymize=yes", "&", "&a", "?a=b", "&a=b c", '&a="', "&a=%", "&a=<"]
)
def test_wado_parameters_that_break_an_address_are_refused(written):
    assert list(errors_of(dicomweb(wado_parameters=written))) == ["wado_parameters"]


@pytest.mark.django_db
@pytest.mark.parametrize("protocol", ["dimse", "dicomweb"])
def test_endpoints_carry_the_outgoing_rules_of_the_settings(settings, protocol):
    settings.VIEWERHUB_OUTGOING_NETWORKS = ["10.0.0.0/8"]
    archive = dimse(wado_uri_url="https://x.example/wado")
    if protocol == "dicomweb":
        archive = dicomweb()

    for endpoint in (archive.endpoint(), archive.image_endpoint()):
        assert endpoint.outgoing.permits("x.example", "10.1.1.1")
        assert not endpoint.outgoing.permits("x.example", "192.0.2.1")


def test_images_of_another_login_are_not_those_of_the_cache():
    """An archive may show each login other images."""

    def owner(**values):
        shown = {"pk": 1, "url": "https://pacs.example.org", **AUTHENTICATION}
        return Archive(name="A", protocol="dicomweb", **(shown | values)).endpoint()

    logins = [
        owner(authentication=kind).cache_owner
        for kind in ("none", "basic", "bearer", "oauth2", "google", "aws", "headers")
    ]
    assert len(set(logins)) == len(logins)
    basic = {"authentication": "basic"}
    known = owner(**basic).cache_owner
    assert owner(**basic).cache_owner == known
    for change in (
        {"username": "other"},
        {"password": "other"},
        {"url": "https://other.example.org"},
        {"pk": 2},
        {"client_certificate": CERTIFICATE, "client_key": KEY},
    ):
        assert owner(**(basic | change)).cache_owner != known
    for secret in ("u", "p", "t"):
        assert secret not in known
