"""The rules of IHE Invoke Image Display, apart from the web."""

from __future__ import annotations

import pytest

from launcher import iid
from launcher.criteria import CriteriaError
from launcher.iid import UnsatisfiableError


def read(**parameters):
    return iid.read([(name, value) for name, value in parameters.items()])


def fields_of(caught):
    return [problem.field for problem in caught.value.problems]


def test_patient_request_opens_by_patient_alone():
    found = read(
        requestType="PATIENT", patientID="1^^^H", studyUID="1.2", mostRecentResults="2"
    )

    assert dict(found.parameters) == {
        "requestType": "PATIENT",
        "patientID": "1^^^H",
        "mostRecentResults": "2",
    }


def test_study_request_leaves_out_what_it_does_not_use():
    found = read(
        requestType="STUDY", studyUID="1.2,1.3", patientID="1", seriesUID="1.2.3"
    )

    assert [name for name, _ in found.parameters] == ["requestType", "studyUID"]


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ({}, ["requestType"]),
        ({"requestType": ""}, ["requestType"]),
        ({"requestType": "SERIES", "seriesUID": "1.2"}, ["requestType"]),
        ({"requestType": "study", "studyUID": "1.2"}, ["requestType"]),
        ({"requestType": "PATIENT"}, ["patientID"]),
        ({"requestType": "PATIENT", "studyUID": "1.2"}, ["patientID"]),
        ({"requestType": "PATIENT", "patientID": "1,2"}, ["patientID"]),
        ({"requestType": "STUDY"}, ["studyUID"]),
        ({"requestType": "STUDY", "patientID": "1"}, ["studyUID"]),
        (
            {"requestType": "STUDY", "studyUID": "1", "accessionNumber": "2"},
            ["studyUID"],
        ),
        (
            {"requestType": "X", "keyImagesOnly": "yes", "diagnosticQuality": "1"},
            ["requestType", "diagnosticQuality", "keyImagesOnly"],
        ),
    ],
)
def test_request_against_the_rules_names_every_problem(parameters, fields):
    with pytest.raises(CriteriaError) as caught:
        read(**parameters)

    assert fields_of(caught) == fields
    assert not isinstance(caught.value, UnsatisfiableError)


def test_request_type_given_twice_is_refused():
    with pytest.raises(CriteriaError):
        iid.read([("requestType", "STUDY")] * 2 + [("studyUID", "1.2")])


def test_key_images_only_can_not_be_satisfied():
    with pytest.raises(UnsatisfiableError) as caught:
        read(requestType="STUDY", studyUID="1.2", keyImagesOnly="true")

    assert fields_of(caught) == ["keyImagesOnly"]
    assert read(requestType="STUDY", studyUID="1.2", keyImagesOnly="false")


def test_viewer_type_names_a_viewer():
    named = read(requestType="STUDY", studyUID="1.2", viewerType="ohif", viewer="x")
    basic = read(requestType="STUDY", studyUID="1.2", viewerType="IHE_BIR")

    assert named.viewer_type == "ohif"
    assert [value for name, value in named.parameters if name == "viewer"] == ["ohif"]
    assert basic.viewer_type == ""
    assert "viewer" not in dict(basic.parameters)


@pytest.mark.parametrize(
    ("transfer_syntax", "compression_rate"),
    [("1.2.840.10008.1.2.4.50", None), ("1.2.840.10008.1.2.4.91", 80), ("", 80)],
)
def test_diagnostic_quality_needs_images_without_loss(
    transfer_syntax, compression_rate
):
    with pytest.raises(UnsatisfiableError):
        iid.check_quality(
            transfer_syntax=transfer_syntax, compression_rate=compression_rate
        )


def test_images_as_stored_have_diagnostic_quality():
    for syntax in ("", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70"):
        iid.check_quality(transfer_syntax=syntax, compression_rate=None)
