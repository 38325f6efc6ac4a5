"""Lines of launch templates: what is refused, and what is filled in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.entities import PatientIdentifier, Selection
from launcher import weasis
from launcher.template_lines import (
    address_problem,
    command_problem,
    fill_commands,
    fill_properties,
    http_tag_problem,
    http_tags_of,
    override_tags_problem,
    property_name_problem,
    property_problem,
    transfer_syntax_problem,
    values_of,
)
from tests.weasis_uri import parse_uri

CLOSE = '$dicom:close -p "{patient_id}"'


def patients(*ids):
    return Selection(patients=tuple(PatientIdentifier(patient_id=each) for each in ids))


@pytest.mark.parametrize(
    ("check", "line", "problem"),
    [
        (command_problem, CLOSE, ""),
        (command_problem, "$dicom:close -y {study_uid}", ""),
        (command_problem, "$dicom:close -p {patient}", "there is no {patient}"),
        (command_problem, "${user}:close", "behind the first word"),
        (command_problem, "close", "begins with $"),
        (property_problem, "weasis.user {user}", ""),
        (property_problem, "{user} x", "behind the first word"),
        (property_problem, "java.home {host}", "java.home"),
        (property_name_problem, "weasis.profile", ""),
        (property_name_problem, "weasis.profile x", "name of a property only"),
        (property_name_problem, "os.name", "os.name"),
        (address_problem, "https://weasis.example.org", ""),
        (address_problem, "https://weasis.example.org/a/", ""),
        (address_problem, "https://", "scheme and host"),
        (address_problem, "https://me@weasis.example.org/", "scheme and host"),
        (address_problem, "https://weasis.example.org/?a", "scheme and host"),
        (http_tag_problem, "X-Site: north: 1", ""),
        (http_tag_problem, "X Site: north", "name, a colon"),
        (http_tag_problem, "X-Site", "name, a colon"),
        (http_tag_problem, "X-Site:", "no value"),
        (http_tag_problem, "host: x", "can't send host"),
        (http_tag_problem, "Content-Length: 1", "can't send Content-Length"),
        (http_tag_problem, "X-Site: a\tb", "control character"),
        (http_tag_problem, f"X-Site: {'a' * 9000}", "too long"),
        (transfer_syntax_problem, "1.2.840.10008.1.2.4.50", ""),
        (transfer_syntax_problem, "*", ""),
        (transfer_syntax_problem, "JPEG", "not a UID"),
        (transfer_syntax_problem, "1." * 32 + "1", "not a UID"),
        (override_tags_problem, "0x00100010, #00100020,1048608", ""),
        (override_tags_problem, "00100010", "0x00100010"),
        (override_tags_problem, "(0010,0010)", "is not a tag"),
        (override_tags_problem, "0xFFFEE000", "larger than"),
        (override_tags_problem, "0x001000100", "is not a tag"),
    ],
)
def test_line_is_judged(check, line, problem):
    found = check(line)

    assert problem in found
    assert bool(found) is bool(problem)


def test_http_tags_keep_what_follows_the_first_colon():
    assert http_tags_of("X-A: b: c \n\nX-D:e") == (("X-A", "b: c"), ("X-D", "e"))


def test_command_is_repeated_for_each_patient():
    filled = fill_commands(["$weasis:ui -v", CLOSE], values_of(patients("1", "A B")))

    assert filled.lines == (
        "$weasis:ui -v",
        '$dicom:close -p "1"',
        '$dicom:close -p "A B"',
    )
    assert filled.left_out == ()


def test_command_without_its_value_is_left_out():
    filled = fill_commands([CLOSE], values_of(Selection(study_instance_uids=("1.2",))))

    assert filled.lines == ()
    assert "names no Patient ID" in filled.left_out[0]


def test_command_is_not_repeated_without_end():
    filled = fill_commands([CLOSE], values_of(patients(*map(str, range(50)))))

    assert filled.lines == ()
    assert "50 values" in filled.left_out[0]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (CLOSE, 'a" -a "b'),
        (CLOSE, "a$dicom:close --all"),
        (CLOSE, "50%"),
        (CLOSE, "--all"),
        (CLOSE, "a`b"),
        ("$dicom:close -p {patient_id}", "a b"),
        ("$dicom:close -p {patient_id}", "a;b"),
        ("$dicom:close -p {patient_id}", "-a"),
    ],
)
def test_value_that_can_not_be_carried_leaves_the_command_out(line, value):
    filled = fill_commands([line], values_of(patients(value)))

    assert filled.lines == ()
    assert "can't be sent" in filled.left_out[0]
    assert value not in filled.left_out[0]


@given(st.text(min_size=1, max_size=64))
def test_patient_id_is_one_argument_or_nothing(patient_id):
    filled = fill_commands([CLOSE], values_of(patients(patient_id)))
    options = weasis.LaunchOptions(commands=filled.lines)
    uri = weasis.open_manifest("https://hub.example.org/m/token", options)

    *closing, _ = parse_uri(uri).commands

    assert len(closing) == len(filled.lines)
    assert bool(closing) is not bool(filled.left_out)
    for command in closing:
        assert command.options == {"patient": [patient_id]}


def test_property_takes_one_value_only():
    lines = ["weasis.user {user}", "a.host {host}", "x.patient {patient_id}", "a b"]

    filled = fill_properties(lines, values_of(patients("1", "2"), user="jane doe"))

    assert filled.lines == ("weasis.user jane doe", "a b")
    assert "names no workstation (host=)" in filled.left_out[0]
    assert "2 values" in filled.left_out[1]


@pytest.mark.parametrize("user", ["HOSPITAL\\jane", 'a"b', "a$b", "a/b", ".."])
def test_user_that_weasis_can_not_have_is_left_out(user):
    filled = fill_properties(["weasis.user {user}"], values_of(Selection(), user=user))

    assert filled.lines == ()
    assert "can't be sent" in filled.left_out[0]
