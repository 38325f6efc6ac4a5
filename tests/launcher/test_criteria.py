from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
    StudyFilter,
)
from launcher.criteria import (
    IDENTIFIERS,
    MAXIMUM_IDENTIFIERS,
    CriteriaError,
    ForbiddenError,
    LaunchExtras,
    parse,
)
from launcher.selections import selection_from_json, selection_to_json


def fields_of(error: pytest.ExceptionInfo[CriteriaError]) -> list[str]:
    return [problem.field for problem in error.value.problems]


def test_parse_reads_every_kind_of_identifier():
    criteria = parse(
        [
            ("patientID", "42^^^HOSP"),
            ("studyUID", "1.2.3"),
            ("accessionNumber", "A 1"),
            ("seriesUID", "1.2.4"),
            ("objectUID", "1.2.5"),
            ("archive", "main"),
            ("template", "radiology"),
        ]
    )

    assert criteria.selection == Selection(
        patients=(PatientIdentifier(patient_id="42", issuer_of_patient_id="HOSP"),),
        study_instance_uids=("1.2.3",),
        accession_numbers=("A 1",),
        series=(SeriesIdentifier(series_instance_uid="1.2.4"),),
        instances=(InstanceIdentifier(sop_instance_uid="1.2.5"),),
    )
    assert criteria.archives == ("main",)
    assert criteria.template == "radiology"


def test_parse_keeps_order_and_folds_repetition():
    criteria = parse(
        [("studyUID", "1.9,1.2"), ("studyUID", "1.2"), ("studyUID", "1.5")]
    )

    assert criteria.selection.study_instance_uids == ("1.9", "1.2", "1.5")


def test_parse_ignores_parameters_it_does_not_know():
    assert parse([("studyUID", "1.2"), ("sessionHint", "*?\\")]).selection


def test_parse_names_every_problem_at_once():
    with pytest.raises(CriteriaError) as error:
        parse(
            [
                ("patientID", "DOE*"),
                ("studyUID", "1.2,1..3"),
                ("accessionNumber", "A\\B"),
                ("seriesUID", "1." + "2" * 63),
                ("objectUID", "one"),
            ]
        )

    assert fields_of(error) == list(IDENTIFIERS)
    assert "Value 2" in error.value.problems[1].message


@pytest.mark.parametrize("parameters", [[], [("archive", "x")], [("patientID", " , ")]])
def test_parse_needs_an_identifier(parameters):
    with pytest.raises(CriteriaError, match="at least one of patientID"):
        parse(parameters)


def test_parse_refuses_ten_thousand_identifiers():
    uids = ",".join(f"1.2.{number}" for number in range(10_000))

    with pytest.raises(CriteriaError, match="10000 identifiers") as error:
        parse([("studyUID", uids)])

    assert fields_of(error) == ["studyUID"]
    assert str(MAXIMUM_IDENTIFIERS) in str(error.value)


def test_parse_refuses_two_templates():
    with pytest.raises(CriteriaError, match="one value only"):
        parse([("studyUID", "1.2"), ("template", "a"), ("template", "b")])


@pytest.mark.parametrize(
    ("text", "issuer", "universal_entity_id"),
    [
        ("42", "", ""),
        ("42^^^", "", ""),
        ("42^^^HOSP", "HOSP", ""),
        ("42 ^^^ HOSP", "HOSP", ""),
        ("42%5E%5E%5EHOSP", "HOSP", ""),
        ("42%5e%5e%5eHOSP%261.2.3%26ISO%5EMR", "HOSP", "1.2.3"),
        ("42^^^HOSP&1.2.3&ISO", "HOSP", "1.2.3"),
        ("42^^^HOSP&hosp.example.org&DNS", "HOSP", "hosp.example.org"),
        ("42^^^&1.2.3&ISO", "1.2.3", "1.2.3"),
        ("42^^^HOSP&1.2.3&ISO^MR^WARD", "HOSP", "1.2.3"),
        ("42^^^HOSP&&", "HOSP", ""),
    ],
)
def test_patient_id_is_read_in_every_form_of_cx(text, issuer, universal_entity_id):
    (patient,) = parse([("patientID", text)]).selection.patients

    assert patient == PatientIdentifier(
        patient_id="42",
        issuer_of_patient_id=issuer,
        universal_entity_id=universal_entity_id,
    )


@pytest.mark.parametrize(
    "text",
    ["^^^HOSP", "42^^^HO*P", "42^^^HOSP&1..2&ISO", "42^^^HOSP&x&ISO", "42^^^A\\B"],
)
def test_patient_id_is_refused_with_any_part_that_is_wrong(text):
    with pytest.raises(CriteriaError) as error:
        parse([("patientID", text)])

    assert fields_of(error) == ["patientID"]


def filter_of(*parameters, **options):
    return parse([("studyUID", "1.2"), *parameters], **options).selection.study_filter


def test_parse_without_filters_keeps_every_study():
    assert not filter_of()


def test_parse_reads_every_filter():
    assert filter_of(
        ("modalitiesInStudy", "ct,MR"),
        ("modalitiesInStudy", "CT"),
        ("containsInDescription", "knee, Thorax,"),
        ("lowerDateTime", "2024-07-19"),
        ("upperDateTime", "2024-07-20"),
        ("mostRecentResults", "2"),
        ("patientName", "Doe, Jane^A"),
        ("patientBirthDate", "1970-01-31"),
    ) == StudyFilter(
        modalities_in_study=("CT", "MR"),
        description_contains=("knee", "Thorax"),
        earliest=datetime(2024, 7, 19),
        latest=datetime(2024, 7, 20, 23, 59, 59, 999_999),
        most_recent=2,
        patient_name="Doe, Jane^A",
        patient_birth_date="19700131",
    )


def test_parse_gives_dates_their_legacy_meaning_where_it_is_wanted():
    assert filter_of(
        ("lowerDateTime", "2024-07-20T12:00:00Z"),
        ("upperDateTime", "2024-07-19"),
        date_meaning="legacy",
        zone=ZoneInfo("Europe/Zurich"),
    ) == StudyFilter(
        earliest=datetime(2024, 7, 19),
        latest=datetime(2024, 7, 20, 14, 0, 0, 999_999),
        keeps_undated=True,
    )


def test_parse_keeps_no_undated_studies_where_no_dates_are_given():
    assert not filter_of(date_meaning="legacy")


@pytest.mark.parametrize(
    ("meaning", "field"), [("ihe", "lowerDateTime"), ("legacy", "upperDateTime")]
)
def test_parse_refuses_a_period_that_ends_before_it_begins(meaning, field):
    dates = {"lowerDateTime": "2024-07-20", "upperDateTime": "2024-07-19"}
    if meaning == "legacy":
        dates = {"lowerDateTime": "2024-07-19", "upperDateTime": "2024-07-20"}

    with pytest.raises(CriteriaError, match="no study can match") as error:
        filter_of(*dates.items(), date_meaning=meaning)

    assert fields_of(error) == [field]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modalitiesInStudy", "CT*"),
        ("modalitiesInStudy", "CT\\MR"),
        ("modalitiesInStudy", "A" * 17),
        ("containsInDescription", "kn\x00ee"),
        ("lowerDateTime", "yesterday"),
        ("upperDateTime", "2024-02-30"),
        *(
            ("mostRecentResults", text)
            for text in ("0", "-1", "1.5", "all", "1e3", "٣")
        ),
        ("mostRecentResults", "9" * 5000),
        ("patientName", "DOE*"),
        ("patientBirthDate", "1970"),
        ("archive", "a*"),
        ("template", "a\nb"),
        ("viewer", "x" * 65),
        *((name, "a\x1bb") for name in ("user", "host", "pro", "arg", "cdb", "wcfg")),
        ("arg", "x" * 1025),
    ],
)
def test_parse_refuses_values_that_mean_nothing(name, value):
    with pytest.raises(CriteriaError) as error:
        filter_of((name, value))

    assert fields_of(error) == [name]


@pytest.mark.parametrize(
    "name", ["lowerDateTime", "mostRecentResults", "user", "viewer"]
)
def test_parse_refuses_two_values_where_one_is_meant(name):
    with pytest.raises(CriteriaError, match="one value only") as error:
        filter_of((name, "1"), (name, "2"))

    assert fields_of(error) == [name]


@pytest.mark.parametrize("name", ["containsInDescription", "pro", "archive"])
def test_parse_refuses_a_hundred_and_one_values(name):
    with pytest.raises(CriteriaError, match="101 values") as error:
        filter_of(*((name, f"x{number}") for number in range(101)))

    assert fields_of(error) == [name]


def test_parse_names_the_problems_of_filters_and_of_identifiers_at_once():
    with pytest.raises(CriteriaError) as error:
        parse([("mostRecentResults", "0"), ("pro", "a\0"), ("template", "?")])

    assert fields_of(error) == ["identifiers", "mostRecentResults", "template", "pro"]


def test_parse_keeps_extras_as_they_were_sent():
    criteria = parse(
        [
            ("studyUID", "1.2"),
            ("viewer", "WEASIS"),
            ("user", "Doe, Jane"),
            ("host", "ward-12"),
            ("pro", "weasis.title a,b"),
            ("pro", "other 1"),
            ("arg", "$dicom:close --all"),
            ("arg", ""),
            ("cdb", "https://example.org/weasis,4"),
            ("wcfg", "https://example.org/cfg?a=1"),
        ]
    )

    assert criteria.viewer == "WEASIS"
    assert criteria.extras == LaunchExtras(
        user="Doe, Jane",
        host="ward-12",
        properties=("weasis.title a,b", "other 1"),
        commands=("$dicom:close --all",),
        cdb="https://example.org/weasis,4",
        wcfg="https://example.org/cfg?a=1",
    )


def test_forbidden_is_a_criteria_error_too():
    assert issubclass(ForbiddenError, CriteriaError)


NAMES = [
    *IDENTIFIERS,
    *("modalitiesInStudy", "containsInDescription", "lowerDateTime", "upperDateTime"),
    *("mostRecentResults", "patientName", "patientBirthDate", "archive", "template"),
    *("viewer", "user", "host", "pro", "arg", "cdb", "wcfg", "unknown"),
]
HOSTILE = st.text(alphabet="0123456789.,^&*?\\%\"'$ -:TZ\x00\x1b\u2028\ud800CTé")


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.text() | HOSTILE)),
    st.sampled_from(["ihe", "legacy"]),
)
def test_parse_gives_a_clean_selection_or_names_the_problems(parameters, meaning):
    try:
        criteria = parse(parameters, date_meaning=meaning)
    except CriteriaError as error:
        problems = error.problems
        criteria = None
    if criteria is None:
        fields = {problem.field for problem in problems}
        assert fields
        assert fields <= {*NAMES, "identifiers"}
        return

    selection = criteria.selection
    values = [patient.patient_id for patient in selection.patients]
    values += [patient.issuer_of_patient_id for patient in selection.patients]
    values += [patient.universal_entity_id for patient in selection.patients]
    values += selection.accession_numbers
    assert selection
    assert not any(set(value) & set("*?\\\n\r\0") for value in values)
    for uid in selection.study_instance_uids:
        assert set(uid) <= set("0123456789.")
        assert len(uid) <= 64
    assert selection_from_json(selection_to_json(selection)) == selection
    extras = [*criteria.extras.properties, *criteria.extras.commands]
    assert not any(set(value) & set("\x00\x1b\u2028\ud800") for value in extras)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["studyUID", "modalitiesInStudy", "containsInDescription"]),
            st.lists(st.from_regex(r" ?[1-9]{0,3} ?", fullmatch=True), max_size=4),
        ),
        max_size=6,
    )
)
def test_parse_reads_lists_as_a_simple_reading_does(parameters):
    expected = {}
    for name, parts in parameters:
        for part in parts:
            if part.strip() and part.strip() not in expected.setdefault(name, []):
                expected[name].append(part.strip())
    sent = [(name, ",".join(parts)) for name, parts in parameters]

    selection = parse([("patientID", "42"), *sent]).selection

    found = {
        "studyUID": selection.study_instance_uids,
        "modalitiesInStudy": selection.study_filter.modalities_in_study,
        "containsInDescription": selection.study_filter.description_contains,
    }
    assert found == {name: tuple(expected.get(name, ())) for name in found}
