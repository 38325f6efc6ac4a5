"""``weasis://`` URIs against an independent reading of what Weasis does with them."""

from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
    StudyFilter,
)
from launcher import weasis
from launcher.weasis import LaunchOptions, NotCarriableError, RsArchive, TooLongError
from tests.weasis_uri import parse_uri, split_words

MANIFEST = "https://viewerhub.example.org/m/aB3-_x"
# Everything that is syntax somewhere between the link and the shell, and a little more.
NASTY = "$\"'\\%&=+;:#?|()[]{}*<>`~! \t\n\r\x00./-_^,@aZ09é日\u2028"
LINES = st.text(alphabet=st.sampled_from(NASTY), max_size=40)
COMMANDS = st.one_of(
    LINES,
    LINES.map(lambda text: f"$dicom:close {text}"),
    LINES.map(lambda text: f'$dicom:close --patient "{text}"'),
)
PROPERTIES = st.one_of(LINES, LINES.map(lambda text: f"weasis.x {text}"))


@given(command=COMMANDS)
@example(command='$dicom:close --patient "A & B; C"')
@example(command='$dicom:close -p "it\'s"')
@example(command="$dicom:close --all $weasis:ui")
@example(command='$dicom:close -p "a" "b')
@example(command="$dicom:close -p 50%25")
def test_command_that_is_taken_arrives_as_it_was_written(command):
    command = command.strip()
    if weasis.command_problem(command):
        return

    uri = weasis.open_manifest(MANIFEST, LaunchOptions(commands=(command,)))

    assert weasis.decode(uri) == (command, f'$dicom:get -w "{MANIFEST}"')
    # The shell takes it as words and nothing else: it would raise WeasisError.
    name, *_ = split_words(command.removeprefix("$"))
    assert name == command.removeprefix("$").split(" ")[0]


@given(lines=st.lists(PROPERTIES, max_size=4), wcfg=LINES)
@example(lines=["weasis.user A+B & C"], wcfg="https://x.example/c?a=b+c&d=$")
@example(lines=["weasis.profile ..."], wcfg="")
@example(lines=["a b", "a c"], wcfg="")
def test_property_that_is_taken_arrives_as_it_was_written(lines, wcfg):
    stripped = [line.strip() for line in lines]
    lines = [line for line in stripped if not weasis.property_problem(line)]
    wcfg = "" if weasis.config_value_problem(wcfg) else wcfg

    launch = parse_uri(
        weasis.open_manifest(
            MANIFEST, LaunchOptions(properties=tuple(lines), wcfg=wcfg)
        )
    )

    expected = {}
    for line in lines:
        name, value = line.split(None, 1)
        expected.setdefault(name, value)
    assert launch.properties == expected
    assert launch.rejected_properties == []
    assert launch.configuration.get("wcfg", []) == ([wcfg] if wcfg else [])
    [command] = launch.commands
    assert (command.name, command.values("wado")) == ("dicom:get", [MANIFEST])


def test_uri_carries_everything_in_order():
    options = LaunchOptions(
        commands=("$dicom:close --all", "$weasis:ui -v"),
        properties=("weasis.profile  radiology ward",),
        cdb="https://x.example/weasis",
        wcfg="https://x.example/config?a=1&b=2",
    )

    uri = weasis.open_manifest(MANIFEST, options)

    assert weasis.decode(uri) == (
        "$dicom:close --all",
        "$weasis:ui -v",
        f'$dicom:get -w "{MANIFEST}"',
        '$weasis:config cdb="https://x.example/weasis" '
        'wcfg="https://x.example/config?a=1&b=2" '
        'pro="weasis.profile radiology ward"',
    )
    for windows in (False, True):
        launch = parse_uri(uri, windows=windows)
        names = [command.name for command in launch.commands]
        assert names == ["dicom:close", "weasis:ui", "dicom:get"]
        assert launch.configuration["cdb"] == ["https://x.example/weasis"]
        assert launch.configuration["wcfg"] == ["https://x.example/config?a=1&b=2"]
        assert launch.properties == {"weasis.profile": "radiology ward"}


def test_uri_without_options_is_one_command():
    uri = weasis.open_manifest(MANIFEST)

    assert uri == "weasis://?" + quote(f'$dicom:get -w "{MANIFEST}"', safe="")


@pytest.mark.parametrize("character", list("\"'$%\\ "))
def test_manifest_address_that_weasis_would_misread_is_refused(character):
    with pytest.raises(NotCarriableError):
        weasis.open_manifest(f"https://x.example/m/a{character}b")


@pytest.mark.parametrize(
    "command",
    [
        "$dicom:close --all",
        "$dicom:close",
        '$dicom:close --patient "1 & 2"',
        "$weasis:ui -v",
        "$dcmview2d:mouseLeftAction winLevel",
        '$image:get -u "https://x.example/a?b=c"',
    ],
)
def test_command_of_weasis_is_taken(command):
    assert weasis.command_problem(command) == ""


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("dicom:close --all", "begins with $"),
        ("$dicom", "begins with $"),
        ("$dicom:close\n--all", "begins with $"),
        ('$weasis:config pro="a b"', "in the properties"),
        ("$weasis:config", "in the properties"),
        ("$dicom:close --patient=1", "double quotes"),
        ("$dicom:close -p a;b", "double quotes"),
        ("$dicom:close -p 'a'", "double quotes"),
        ('$dicom:close -p "a', "double quotes"),
        ('$dicom:close -p "50%"', "double quotes"),
        ('$dicom:close -p "a\\b"', "double quotes"),
        ("$dicom:close $weasis:ui", "double quotes"),
    ],
)
def test_command_that_can_not_be_carried_says_why(command, reason):
    assert reason in weasis.command_problem(command)


@pytest.mark.parametrize(
    "line",
    ["weasis.profile radiology", "a b", "weasis.user Anna Müller", "a.b-c_d 50"],
)
def test_property_is_taken(line):
    assert weasis.property_problem(line) == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("weasis.profile", "a space and its value"),
        ("weasis.profile=radiology", "a space and its value"),
        ("1a b", "a space and its value"),
        ("java.home x", "doesn't let a link set java.home"),
        ("user.name x", "doesn't let a link set user.name"),
        ("weasis.source.id x", "doesn't let a link set weasis.source.id"),
        ("weasis.user DOMAIN\\anna", "weasis.user may not contain"),
        ("weasis.user ..", "weasis.user may not contain"),
        ("weasis.profile a/b", "weasis.profile may not contain"),
        ('a "b"', "can't be sent"),
        ("a it's", "can't be sent"),
        ("a $b", "can't be sent"),
        ("a.b-c_d 50%", "can't be sent"),
    ],
)
def test_property_that_can_not_be_carried_says_why(line, reason):
    assert reason in weasis.property_problem(line)


SELECTION = Selection(
    patients=(
        PatientIdentifier(patient_id="P 1"),
        PatientIdentifier(patient_id="P2", issuer_of_patient_id="HOSPITAL-A"),
    ),
    study_instance_uids=("1.2.3",),
    accession_numbers=("A-1",),
    series=(SeriesIdentifier(series_instance_uid="1.2.3.4"),),
    instances=(InstanceIdentifier(sop_instance_uid="1.2.3.4.5"),),
)


def test_dicom_rs_asks_every_archive_for_everything_selected():
    archives = ["https://a.example/rs", "https://b.example/dicom-web"]

    launch = parse_uri(weasis.open_dicom_rs(list(map(RsArchive, archives)), SELECTION))

    assert [command.values("url") for command in launch.commands] == [
        [archives[0]],
        [archives[1]],
    ]
    for command in launch.commands:
        assert command.name == "dicom:rs"
        assert command.values("request") == [
            "patientID=P 1",
            "patientID=P2^^^HOSPITAL-A",
            "studyUID=1.2.3",
            "accessionNumber=A-1",
            "seriesUID=1.2.3.4",
            "objectUID=1.2.3.4.5",
        ]


ONE_STUDY = Selection(study_instance_uids=("1.3.6.1.4.1.11129.5.5.1843",))
ONE_PATIENT = Selection(patients=(PatientIdentifier(patient_id="ozp00SjY2xG"),))
BEARER = (("Authorization", "Bearer a.token-1_2"),)
GOOGLE = (
    "https://healthcare.googleapis.com/v1beta1/projects/chc-nih-chest-xray/locations/"
    "us-central1/datasets/nih-chest-xray/dicomStores/nih-chest-xray/dicomWeb"
)


@pytest.mark.parametrize(
    ("archive", "selection", "headers", "command"),
    [
        pytest.param(
            RsArchive(
                "https://h:8443/dcm4chee-arc/aets/A/rs", "&includedefaults=false"
            ),
            ONE_PATIENT,
            BEARER,
            '$dicom:rs --url "https://h:8443/dcm4chee-arc/aets/A/rs" '
            '-r "patientID=ozp00SjY2xG" --query-ext "&includedefaults=false" '
            '-H "Authorization: Bearer a.token-1_2"',
            id="dcm4chee",
        ),
        pytest.param(
            RsArchive("https://demo.orthanc-server.com/dicom-web"),
            ONE_PATIENT,
            (),
            '$dicom:rs --url "https://demo.orthanc-server.com/dicom-web" '
            '-r "patientID=ozp00SjY2xG"',
            id="Orthanc",
        ),
        pytest.param(
            RsArchive(GOOGLE, repeats_parameters=True),
            ONE_STUDY,
            BEARER,
            '$weasis:config pro="dicom.qido.query.multi.params true" '
            f'$dicom:rs --url "{GOOGLE}" -r "studyUID=1.3.6.1.4.1.11129.5.5.1843" '
            '-H "Authorization: Bearer a.token-1_2"',
            id="Google",
        ),
        pytest.param(
            RsArchive("https://dicomcloud.azurewebsites.net/api/"),
            ONE_STUDY,
            (),
            '$dicom:rs --url "https://dicomcloud.azurewebsites.net/api" '
            '-r "studyUID=1.3.6.1.4.1.11129.5.5.1843"',
            id="DICOMcloud",
        ),
        pytest.param(
            RsArchive("https://demo.kheops.online/api"),
            ONE_STUDY,
            BEARER,
            '$dicom:rs --url "https://demo.kheops.online/api" '
            '-r "studyUID=1.3.6.1.4.1.11129.5.5.1843" '
            '-H "Authorization: Bearer a.token-1_2"',
            id="Kheops",
        ),
    ],
)
def test_dicom_rs_is_written_as_its_archive_documents_it(
    archive, selection, headers, command
):
    uri = weasis.open_dicom_rs([replace(archive, headers=headers)], selection)

    assert uri == "weasis://?" + quote(command, safe="")


def test_dicom_rs_repeats_parameters_beside_the_properties_of_the_template():
    """Weasis reads one configuration only."""
    archive = RsArchive("https://a.example/rs", repeats_parameters=True)
    options = LaunchOptions(commands=("$dicom:close --all",), properties=("a b",))

    uri = weasis.open_dicom_rs([archive], ONE_STUDY, options)

    launch = parse_uri(uri)
    assert launch.properties == {"dicom.qido.query.multi.params": "true", "a": "b"}
    assert [one.name for one in launch.commands] == ["dicom:close", "dicom:rs"]


def test_archive_that_holds_the_launch_alone_is_asked_for_everything():
    """Whatever was selected: Weasis could not say it, and nothing of it is told."""
    hub = RsArchive(
        "https://hub.example/gateway/a/dicom-web",
        headers=BEARER,
        holds_launch_only=True,
    )
    newest = replace(SELECTION, study_filter=StudyFilter(most_recent=1))

    launch = parse_uri(weasis.open_dicom_rs([hub], newest, messages_url=MANIFEST))

    [search, messages] = launch.commands
    assert search.values("request") == ["studyUID=*"]
    assert search.values("header") == ["Authorization: Bearer a.token-1_2"]
    assert messages.values("wado") == [MANIFEST]
    with pytest.raises(NotCarriableError, match="filters"):
        weasis.open_dicom_rs([hub, RsArchive("https://b.example/rs")], newest)


def test_manifests_are_a_command_each():
    urls = weasis.primary_first(MANIFEST)

    launch = parse_uri(weasis.open_manifests(urls))

    assert [one.values("wado") for one in launch.commands] == [
        [f"{MANIFEST}/primary"],
        [f"{MANIFEST}/rest"],
    ]


@pytest.mark.parametrize(
    "options",
    [
        LaunchOptions(commands=('$dicom:close -p "a%b"',)),
        LaunchOptions(commands=("$dicom:close; $weasis:ui",)),
        LaunchOptions(properties=('a "b',)),
        LaunchOptions(properties=("java.home x",)),
        LaunchOptions(cdb='https://x.example/"'),
        LaunchOptions(wcfg="https://x.example/$a"),
        LaunchOptions(wcfg="https://x.example/?a=b%26c"),
        LaunchOptions(cdb="https://x.example/a%20b"),
        LaunchOptions(properties=("a 50%",)),
    ],
)
def test_options_that_can_not_be_carried_are_refused(options):
    with pytest.raises(NotCarriableError):
        weasis.open_manifest(MANIFEST, options)


@pytest.mark.parametrize("letter", ["a", "é", "日"])
def test_uri_is_never_longer_than_windows_takes(letter):
    def opened(count):
        return weasis.open_manifest(
            MANIFEST, LaunchOptions(properties=(f"a {letter * count}",))
        )

    room = weasis.MAXIMUM_URI_LENGTH - len(opened(1))
    most = 1 + room // len(quote(letter))

    assert len(opened(most)) <= weasis.MAXIMUM_URI_LENGTH
    with pytest.raises(TooLongError) as error:
        opened(most + 1)
    assert 0 < error.value.over <= len(quote(letter))


@pytest.mark.parametrize(
    ("extension", "headers"),
    [
        ('&a="b"', ()),
        ("&a=%20", ()),
        ("&a=b c", ()),
        ("", (("A b", "c"),)),
        ("", (("A", "b$c"),)),
        ("", (("A", "b\nc"),)),
        ("", (("A", ""),)),
        ("", (("A", "é"),)),
    ],
)
def test_dicom_rs_refuses_extensions_and_headers_it_can_not_carry(extension, headers):
    archive = RsArchive("https://a.example/rs", extension, headers=headers)

    with pytest.raises(NotCarriableError):
        weasis.open_dicom_rs([archive], ONE_STUDY)


def test_dicom_rs_needs_an_archive():
    with pytest.raises(NotCarriableError):
        weasis.open_dicom_rs([], ONE_STUDY)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        replace(ONE_STUDY, study_filter=StudyFilter(modalities_in_study=("CT",))),
        Selection(patients=(PatientIdentifier(patient_id="1^^^2"),)),
        Selection(patients=(PatientIdentifier(patient_id=" 1"),)),
        Selection(
            patients=(PatientIdentifier(patient_id="1", universal_entity_id="1.2.3"),)
        ),
        Selection(
            patients=(PatientIdentifier(patient_id="1", issuer_of_patient_id="A^B"),)
        ),
        Selection(accession_numbers=("A^1",)),
        Selection(accession_numbers=("",)),
        Selection(patients=(PatientIdentifier(patient_id="a&b"),)),
        Selection(patients=(PatientIdentifier(patient_id="日本"),)),
        Selection(
            patients=(PatientIdentifier(patient_id="1", issuer_of_patient_id="A B"),)
        ),
        Selection(accession_numbers=("A 1",)),
        Selection(accession_numbers=('A"1',)),
        Selection(study_instance_uids=tuple(f"1.2.840.{n}" for n in range(100))),
    ],
)
def test_dicom_rs_refuses_what_it_can_not_carry(selection):
    with pytest.raises(NotCarriableError):
        weasis.open_dicom_rs([RsArchive("https://a.example/rs")], selection)


@pytest.mark.parametrize(
    "url", ["https://a.example/r s", "https://a.example/%20", "a$b"]
)
def test_dicom_rs_refuses_addresses_it_can_not_carry(url):
    with pytest.raises(NotCarriableError):
        weasis.open_dicom_rs(
            [RsArchive(url)], Selection(study_instance_uids=("1.2.3",))
        )


@pytest.mark.parametrize(
    ("user_agent", "version"),
    [
        ("Weasis/4.7.2 (Linux; 6.1; amd64) Java/25", (4, 7, 2)),
        ("Weasis/4.0.1 (Windows; 10; amd64; rv:4.7.2) Java/25", (4, 7, 2)),
        ("weasis-launcher/4.6.6", (4, 6, 6)),
        ("Mozilla/5.0 (X11; rv:4.7.2) Gecko", None),
        ("", None),
        ("Weasis/" + "9" * 60 + ".1.1 (Linux)", None),
        ("Weasis/4.7.2 (Linux; rv:4.7." + "9" * 60 + ")", (4, 7, 2)),
    ],
)
def test_version_is_that_of_the_part_which_reads_the_manifest(user_agent, version):
    assert weasis.version_of(user_agent) == version


def test_example_is_as_long_as_a_real_address():
    real = f"https://hub.example.org/m/{'x' * 43}"

    assert len(weasis.example_manifest_url("https://hub.example.org")) == len(real)
