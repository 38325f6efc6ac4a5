import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
)
from launcher.criteria import (
    IDENTIFIERS,
    MAXIMUM_IDENTIFIERS,
    CriteriaError,
    parse,
    patient_identifier,
    selection_digest,
    selection_from_json,
    selection_to_json,
)


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
    ("text", "issuer"),
    [
        ("42", ""),
        ("42^^^HOSP", "HOSP"),
        ("42^^^HOSP&1.2.3&ISO", "HOSP"),
        ("42^^^&1.2.3&ISO", "1.2.3"),
        ("42^^^HOSP^MR", "HOSP"),
    ],
)
def test_patient_identifier_reads_every_form_of_cx(text, issuer):
    assert patient_identifier(text) == PatientIdentifier(
        patient_id="42", issuer_of_patient_id=issuer
    )


@given(
    st.lists(
        st.tuples(st.sampled_from([*IDENTIFIERS, "archive", "template"]), st.text())
    )
)
def test_parse_gives_a_clean_selection_or_names_the_problems(parameters):
    try:
        selection = parse(parameters).selection
    except CriteriaError:
        return

    values = [patient.patient_id for patient in selection.patients]
    values += [patient.issuer_of_patient_id for patient in selection.patients]
    values += selection.accession_numbers
    assert not any(set(value) & set("*?\\\n\r\0") for value in values)
    for uid in selection.study_instance_uids:
        assert set(uid) <= set("0123456789.")
        assert len(uid) <= 64
    assert selection_from_json(selection_to_json(selection)) == selection


def test_selection_digest_depends_on_content_and_scope_only():
    one = Selection(study_instance_uids=("1.2", "1.3"))
    same = Selection(study_instance_uids=("1.3", "1.2"))
    other = Selection(accession_numbers=("1.2", "1.3"))

    assert selection_digest(one, "user:1", "2") == selection_digest(same, "user:1", "2")
    assert selection_digest(one, "user:1") != selection_digest(one, "user:2")
    assert selection_digest(one, "user:1") != selection_digest(other, "user:1")
