"""Addresses of viewers other than Weasis: what they hold, and what they refuse."""

from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.entities import (
    InstanceIdentifier,
    Patient,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
    Study,
    StudyFilter,
)
from launcher.viewer_presets import PRESETS
from launcher.viewer_values import values_of
from launcher.viewers import (
    PLACEHOLDERS,
    Limits,
    limit_exceeded,
    limit_problem,
    missing_values,
    template_problem,
    viewer_url,
)
from launcher.weasis import NotCarriableError

PRESET = {preset.slug: preset.url_template for preset in PRESETS}
ARCHIVE = {
    "archive": "main",
    "archive_url": "https://pacs.example.org/dicom-web",
    "host": "pacs.example.org",
    "port": "11112",
    "ae_title": "MAIN PACS",
}


@pytest.mark.parametrize(
    ("preset", "selection", "expected"),
    [
        (
            "ohif",
            Selection(study_instance_uids=("1.2", "1.3")),
            "https://ohif.example.org/viewer/main?StudyInstanceUIDs=1.2,1.3",
        ),
        (
            "ohif",
            Selection(series=(SeriesIdentifier(series_instance_uid="1.2.3"),)),
            "https://ohif.example.org/viewer/main?StudyInstanceUIDs=1.2"
            "&SeriesInstanceUIDs=1.2.3&initialSeriesInstanceUID=1.2.3",
        ),
        (
            "ohif",
            Selection(instances=(InstanceIdentifier(sop_instance_uid="1.2.3.4"),)),
            "https://ohif.example.org/viewer/main?StudyInstanceUIDs=1.2"
            "&initialSopInstanceUID=1.2.3.4",
        ),
        (
            "slicer",
            Selection(study_instance_uids=("1.2",)),
            "slicer://viewer?studyUID=1.2"
            "&dicomweb_endpoint=https%3A%2F%2Fpacs.example.org%2Fdicom-web",
        ),
        (
            "microdicom",
            Selection(study_instance_uids=("1.2",)),
            "microdicom://?param=pacsServer&value=MAIN%20PACS:pacs.example.org:11112"
            "&param=pacsTagValue&value=0020000D&value=1.2",
        ),
        (
            "microdicom",
            Selection(accession_numbers=("A&1",)),
            "microdicom://?param=pacsServer&value=MAIN%20PACS:pacs.example.org:11112"
            "&param=pacsTagValue&value=00080050&value=A%261",
        ),
        (
            "microdicom",
            Selection(patients=(PatientIdentifier(patient_id="42"),)),
            "microdicom://?param=pacsServer&value=MAIN%20PACS:pacs.example.org:11112"
            "&param=pacsTagValue&value=00100020&value=42",
        ),
        (
            "radiant",
            Selection(study_instance_uids=("1.2",)),
            "radiant://?n=paet&v=MAIN%20PACS&n=pstv&v=0020000D&v=1.2",
        ),
    ],
)
def test_preset_opens_what_was_asked_for(preset, selection, expected):
    found = (
        [Study(study_instance_uid="1.2")]
        if selection.series or selection.instances
        else None
    )

    url = viewer_url(PRESET[preset], ARCHIVE | values_of(selection, found))

    assert url == expected


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.slug)
def test_preset_has_no_problem(preset):
    assert template_problem(preset.url_template) == ""


def test_preset_without_a_port_leaves_it_out():
    values = ARCHIVE | {"port": "", "study_uid": "1.2"}

    assert "MAIN%20PACS:pacs.example.org&" in viewer_url(PRESET["microdicom"], values)


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("https://v.example/?s={study_uid}", {}),
        ("https://v.example/{patient_id}/x", {"patient_id": ".."}),
        ("https://v.example/?[s={study_uid}|a={accession_number}]", {"user": "x"}),
        ("https://v.example/?s={study_uid}", {"study_uid": "\ud800"}),
        ("https://{user}.example/?s={study_uid}", {"user": "evil", "study_uid": "1"}),
        ("v://?s={study_uids}", {"study_uids": ["1.2.3"] * 400}),
        ("https://v.example/?s={study_uids}", {"study_uids": ["1.2.3"] * 1500}),
    ],
)
def test_address_is_refused_where_a_value_is_missing_or_can_not_stand(template, values):
    with pytest.raises(NotCarriableError):
        viewer_url(template, values)


def test_host_of_an_archive_may_be_an_ipv6_address():
    values = {"host": "fd00::1", "port": "8042", "study_uid": "1.2"}

    url = viewer_url("http://{host}[:{port}]/app?study={study_uid}", values)

    assert url == "http://[fd00::1]:8042/app?study=1.2"


@given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=64))
def test_value_stays_where_it_is_put(patient, user):
    template = "https://v.example/a/{patient_id}/b?u={user}&end=1#{patient_id}"
    try:
        url = viewer_url(template, {"patient_id": patient, "user": user})
    except NotCarriableError:
        assert patient in {".", ".."}
        return

    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("https", "v.example")
    assert [unquote(part) for part in parts.path.split("/")] == ["", "a", patient, "b"]
    assert parse_qsl(parts.query) == [("u", user), ("end", "1")]
    assert unquote(parts.fragment) == patient


@given(st.text(alphabet="ab[]|{}:/?", max_size=30))
def test_any_address_is_judged(text):
    problem = template_problem(f"https://v.example/{{study_uid}}{text}")

    if not problem:
        assert viewer_url(f"https://v.example/{{study_uid}}{text}", {"study_uid": "1"})


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("v.example/{study_uid}", "scheme"),
        ("javascript:alert({study_uid})", "javascript:"),
        ("DATA:text/html,{study_uid}", "data:"),
        ("file:///{study_uid}", "file:"),
        ("vbscript:x{study_uid}", "vbscript:"),
        ("weasis://?{study_uid}", "weasis:"),
        ("feed:https://v.example/{study_uid}", "feed:"),
        ("mhtml:https://v.example/{study_uid}", "mhtml:"),
        ("Shell:{study_uid}", "shell:"),
        ("ms-officecmd:{study_uid}", "ms-officecmd:"),
        ("search-ms:query={study_uid}", "search-ms:"),
        ("ms-msdt:/id{study_uid}", "ms-msdt:"),
        ("https://v.example/{study}", "there is no {study}"),
        ("https://v.example/{study_uid", "brace"),
        ("https://v.example/[{study_uid}", "no ] after"),
        ("https://v.example/{study_uid}]", "no [ before"),
        ("https://v.example/[[{study_uid}]]", "inside brackets"),
        ("https://v.example/?s={study_uid} ", "percent-encoded"),
        ("https://v.example/", "nothing to open"),
        ("https://v.example/?archive={archive}", "nothing to open"),
        ("https://{user}/{study_uid}", "host"),
        ("https://v.example[{patient_id}]/{study_uid}", "host"),
        ("https:{study_uid}", "host"),
        ("https:///{study_uid}", "host"),
        ("https://me@v.example/{study_uid}", "host"),
    ],
)
def test_template_problem_says_what_to_change(template, problem):
    assert problem in template_problem(template)


# What is known without asking an archive


@pytest.mark.parametrize(
    ("preset", "selection", "is_known"),
    [
        ("ohif", Selection(study_instance_uids=("1", "2")), True),
        ("slicer", Selection(study_instance_uids=("1", "2")), False),
        ("ohif", Selection(accession_numbers=("A",)), False),
        ("microdicom", Selection(accession_numbers=("A",)), True),
        (
            "microdicom",
            Selection(accession_numbers=("A",), study_instance_uids=("1",)),
            False,
        ),
        (
            "ohif",
            Selection(
                study_instance_uids=("1",), study_filter=StudyFilter(most_recent=1)
            ),
            False,
        ),
        ("ohif", Selection(series=(SeriesIdentifier(series_instance_uid="1"),)), False),
        (
            "ohif",
            Selection(
                series=(
                    SeriesIdentifier(series_instance_uid="1.1", study_instance_uid="1"),
                )
            ),
            True,
        ),
    ],
)
def test_archive_is_asked_only_for_what_the_request_lacks(preset, selection, is_known):
    missing = missing_values(PRESET[preset], ARCHIVE | values_of(selection))

    assert (missing == frozenset()) is is_known
    assert missing <= PLACEHOLDERS.keys()


def test_studies_that_were_found_give_the_values():
    patient = Patient(patient_id="42", issuer_of_patient_id="HOSP")
    studies = [
        Study(study_instance_uid="1.2", patient=patient, accession_number="A1"),
        Study(study_instance_uid="1.3", patient=patient, accession_number="A1"),
    ]

    values = values_of(Selection(accession_numbers=("A1",)), studies)

    assert values == {
        "study_uids": ("1.2", "1.3"),
        "accession_number": "A1",
        "patient_id": "42",
        "issuer": "HOSP",
    }


def test_patients_of_two_hospitals_are_not_one():
    studies = [
        Study(
            study_instance_uid=uid,
            patient=Patient(patient_id="42", issuer_of_patient_id=issuer),
        )
        for uid, issuer in (("1.2", "A"), ("1.3", "B"))
    ]

    assert "patient_id" not in values_of(Selection(accession_numbers=("X",)), studies)


def test_series_of_a_launch_with_whole_studies_do_not_narrow_it():
    selection = Selection(
        study_instance_uids=("1.2",),
        series=(SeriesIdentifier(series_instance_uid="1.3.1"),),
    )
    studies = [Study(study_instance_uid="1.2"), Study(study_instance_uid="1.3")]

    values = values_of(selection, studies)

    assert values == {"study_uids": ("1.2", "1.3")}


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (Limits(maximum_studies=1), "at most one study"),
        (Limits(maximum_studies=2), "at most 2 studies"),
        (Limits(maximum_studies=3), ""),
        (Limits(needs_one_archive=True), "one archive only"),
        (Limits(needs_dicomweb=True), "DICOMweb archives"),
    ],
)
def test_limit_is_explained(limits, problem):
    limit = limit_exceeded(limits, studies=3, archives=2, dicomweb_archives=1)
    message = limit_problem(limit, limits, 3)

    assert problem in message
    assert bool(message) is bool(problem)
    assert not limit_exceeded(limits, studies=None, archives=1, dicomweb_archives=1)
