import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from archives.entities import Instance, Patient, Series, Study
from launcher import store
from launcher.manifest import (
    DECLARATION,
    NAMESPACE,
    ArcQuery,
    Form,
    Message,
    Severity,
    fold_duplicates,
    render,
    render_json,
)
from launcher.store import Answer


def make_study(uid="1.2", *, series=None, **attributes):
    if series is None:
        series = [make_series(f"{uid}.1")]
    return Study(study_instance_uid=uid, series=tuple(series), **attributes)


def make_series(uid, count=1, **attributes):
    instances = tuple(
        Instance(sop_instance_uid=f"{uid}.{number}", instance_number=number)
        for number in range(1, count + 1)
    )
    return Series(series_instance_uid=uid, instances=instances, **attributes)


def parse(*arc_queries):
    """The manifest without its namespace, which Weasis ignores too."""
    document = DECLARATION + b" \n \n" + render(arc_queries)
    root = etree.fromstring(document)
    assert root.tag == f"{{{NAMESPACE}}}manifest"
    for element in root.iter():
        element.tag = etree.QName(element).localname
    return root


def arc_query(*studies, **attributes):
    defaults = {
        "arc_id": "main",
        "base_url": "https://hub.example.org/gateway/main/wado",
    }
    return ArcQuery(**(defaults | attributes), studies=tuple(studies))


def test_render_writes_what_weasis_reads():
    series = make_series(
        "1.2.1", modality="CT", series_number=3, series_description="Lung"
    )
    study = make_study(
        series=[series],
        patient=Patient(
            patient_id="42",
            issuer_of_patient_id="HOSP",
            patient_name="Doe^Jane",
            patient_birth_date="19700101",
            patient_sex="F",
        ),
        study_date="20260102",
        accession_number="A1",
        referring_physician_name="Ref^Erring",
    )

    root = parse(arc_query(study, http_tags=(("Authorization", "Bearer t"),)))

    query = root.find("arcQuery")
    assert query.get("additionalParameters") == query.get("additionnalParameters") == ""
    assert "webLogin" not in query.attrib
    assert [child.tag for child in query] == ["httpTag", "Patient"]
    assert dict(query.find("Patient").attrib) == {
        "PatientID": "42",
        "PatientName": "Doe^Jane",
        "IssuerOfPatientID": "HOSP",
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
    }
    assert query.find("Patient/Study").get("AccessionNumber") == "A1"
    assert dict(query.find("Patient/Study/Series").attrib) == {
        "SeriesInstanceUID": "1.2.1",
        "Modality": "CT",
        "SeriesNumber": "3",
        "SeriesDescription": "Lung",
        "ReferringPhysicianName": "Ref^Erring",
    }
    assert dict(query.find("Patient/Study/Series/Instance").attrib) == {
        "SOPInstanceUID": "1.2.1.1",
        "InstanceNumber": "1",
    }


def test_render_puts_a_message_before_the_patients():
    message = Message(title="Main", description="Incomplete", severity=Severity.ERROR)

    query = parse(arc_query(make_study(), message=message)).find("arcQuery")

    assert [child.tag for child in query] == ["Message", "Patient"]
    assert query.find("Message").get("severity") == "ERROR"


def test_render_gives_every_instance_its_path_for_wado_rs():
    query = parse(arc_query(make_study(), form=Form.WADO_RS)).find("arcQuery")

    assert query.get("queryMode") == "DICOM_WEB"
    path = "/studies/1.2/series/1.2.1/instances/1.2.1.1"
    assert query.find(".//Instance").get("DirectDownloadFile") == path


def test_render_names_whole_series_and_lists_those_partly_selected():
    study = make_study(series=[make_series("1.2.1", 2), make_series("1.2.2", 2)])

    query = parse(
        arc_query(study, form=Form.WADO_RS_SERIES, listed_series=frozenset({"1.2.2"}))
    ).find("arcQuery")

    assert (query.get("queryMode"), query.get("seriesRetrieve")) == (
        "DICOM_WEB",
        "true",
    )
    whole, listed = query.iter("Series")
    assert (len(whole), len(listed)) == (0, 2)
    path = "/studies/1.2/series/1.2.2/instances/1.2.2.1"
    assert listed[0].get("DirectDownloadFile") == path


def test_render_gives_files_and_thumbnails_an_address():
    query = parse(arc_query(make_study("1/2"), form=Form.FILES)).find("arcQuery")

    assert "queryMode" not in query.attrib
    series = query.find(".//Series")
    assert series.get("DirectDownloadThumbnail") == "/1%2F2/1%2F2.1/thumbnail.jpg"
    file = series.find("Instance").get("DirectDownloadFile")
    assert file == "/1%2F2/1%2F2.1/1%2F2.1.1.dcm"


SETTINGS = {
    "additional_parameters": "&a=b",
    "needs_only_object": True,
    "transfer_syntax": "1.2.840.10008.1.2.4.50",
    "compression_rate": 75,
    "override_tags": "0x00100010,0x00100020",
}


def test_render_sends_settings_of_wado_uri():
    query = parse(arc_query(make_study(), **SETTINGS)).find("arcQuery")

    assert query.get("additionalParameters") == "&a=b"
    assert query.get("additionnalParameters") == "&a=b"
    assert query.get("requireOnlySOPInstanceUID") == "true"
    assert query.get("overrideDicomTagsList") == "0x00100010,0x00100020"
    series = query.find(".//Series")
    assert series.get("WadoTransferSyntaxUID") == "1.2.840.10008.1.2.4.50"
    assert series.get("WadoCompressionRate") == "75"


@pytest.mark.parametrize("form", [Form.WADO_RS, Form.WADO_RS_SERIES, Form.FILES])
def test_render_sends_settings_of_wado_uri_in_no_other_form(form):
    root = parse(arc_query(make_study(), form=form, **SETTINGS))

    query = root.find("arcQuery")
    assert query.get("additionalParameters") == ""
    assert query.get("requireOnlySOPInstanceUID") == "false"
    assert ("overrideDicomTagsList" in query.attrib) == (form == Form.FILES)
    assert "WadoTransferSyntaxUID" not in query.find(".//Series").attrib


def test_render_json_says_the_same_as_xml():
    query = arc_query(
        make_study(patient=Patient(patient_id="1", patient_name="Müller^Änne")),
        http_tags=(("A", "b"),),
        message=Message(title="a", description="b"),
    )

    document = json.loads(render_json([query]))

    [read] = document["manifest"]["arcQuery"]
    assert read["arcId"] == "main"
    assert read["httpTag"] == [{"key": "A", "value": "b"}]
    assert read["Message"] == [{"title": "a", "description": "b", "severity": "WARN"}]
    [patient] = read["Patient"]
    assert patient["PatientName"] == "Müller^Änne"
    [instance] = patient["Study"][0]["Series"][0]["Instance"]
    assert instance == {"SOPInstanceUID": "1.2.1.1", "InstanceNumber": "1"}


def test_render_is_the_same_whatever_order_an_archive_answers_in():
    studies = [
        make_study(uid, study_date=date, series=[make_series(f"{uid}.2", 3)])
        for uid, date in (("1.2", "20260101"), ("1.1", "20260101"), ("1.3", ""))
    ]
    mixed = [
        replace(
            study,
            series=tuple(
                replace(one, instances=one.instances[::-1]) for one in study.series
            ),
        )
        for study in studies[::-1]
    ]

    assert render([arc_query(*studies)]) == render([arc_query(*mixed)])
    uids = [
        one.get("StudyInstanceUID") for one in parse(arc_query(*mixed)).iter("Study")
    ]
    assert uids == ["1.1", "1.2", "1.3"]


def test_render_orders_studies_series_and_instances():
    studies = [
        make_study("1.1", study_date="20200101"),
        make_study(
            "1.2",
            study_date="20260101",
            series=[
                make_series("1.2.9"),
                make_series("1.2.8", series_number=10),
                make_series("1.2.7", series_number=2),
            ],
        ),
    ]

    root = parse(arc_query(*studies))

    assert [s.get("StudyInstanceUID") for s in root.iter("Study")] == ["1.2", "1.1"]
    first = root.find(".//Study")
    numbers = [series.get("SeriesNumber") for series in first.iter("Series")]
    assert numbers == ["2", "10", None]


@pytest.mark.parametrize(
    ("other", "count"),
    [
        (Patient(patient_id="42", issuer_of_patient_id="A", patient_name="B^A"), 1),
        (Patient(patient_id="42", issuer_of_patient_id="B", patient_name="A^B"), 2),
        (Patient(patient_id="43", issuer_of_patient_id="A", patient_name="A^B"), 2),
    ],
)
def test_render_merges_patients_only_when_id_and_issuer_agree(other, count):
    patient = Patient(patient_id="42", issuer_of_patient_id="A", patient_name="A^B")
    studies = [make_study("1.1", patient=patient), make_study("1.2", patient=other)]

    assert len(parse(arc_query(*studies)).findall("arcQuery/Patient")) == count


def test_render_keeps_patients_without_an_id_apart():
    studies = [
        make_study("1.1", patient=Patient(patient_name="A")),
        make_study("1.2", patient=Patient(patient_name="B")),
    ]

    assert len(parse(arc_query(*studies)).findall("arcQuery/Patient")) == 2


values = st.text(st.characters(), max_size=80)
patients = st.builds(
    Patient,
    patient_id=values,
    issuer_of_patient_id=values,
    patient_name=values,
    patient_birth_date=values,
    patient_sex=values,
)
instances = st.builds(
    Instance,
    sop_instance_uid=values,
    sop_class_uid=values,
    instance_number=st.none() | st.integers(-(2**31), 2**31 - 1),
)
series_lists = st.lists(
    st.builds(
        Series,
        series_instance_uid=values,
        modality=values,
        series_description=values,
        series_number=st.none() | st.integers(-(2**31), 2**31 - 1),
        instances=st.lists(instances, max_size=3).map(tuple),
    ),
    max_size=3,
)
studies = st.builds(
    Study,
    study_instance_uid=values,
    patient=patients,
    study_date=values,
    study_time=values,
    accession_number=values,
    study_description=values,
    series=series_lists.map(tuple),
)


def as_xml_holds_it(text):
    """The value after a round trip: attributes can't hold what XML 1.0 forbids."""
    return "".join(
        c
        for c in text
        if c in "\t\n\r"
        or " " <= c <= "\ud7ff"
        or "\ue000" <= c <= "\ufffd"
        or c > "\uffff"
    )


@given(studies)
def test_render_is_well_formed_and_exact_for_any_value(study):
    root = parse(arc_query(study))

    patient = root.find("arcQuery/Patient")
    assert patient.get("PatientName") == as_xml_holds_it(study.patient.patient_name)
    assert patient.get("PatientID") == as_xml_holds_it(study.patient.patient_id)
    element = patient.find("Study")
    description = as_xml_holds_it(study.study_description)
    assert element.get("StudyDescription", "") == description
    assert len(element.findall("Series")) == len(study.series)
    expected = sum(len(series.instances) for series in study.series)
    assert len(element.findall(".//Instance")) == expected


@given(st.lists(studies, max_size=3), values)
def test_store_gives_back_what_an_archive_answered(found, message):
    answer = Answer(archive_id=7, state="ok", message=message, studies=tuple(found))

    assert store.decode_answer(store.encode_answer(answer)) == answer


def series_of(folded):
    return [
        series.series_instance_uid
        for study in folded.studies
        for series in study.series
    ]


def test_fold_duplicates_keeps_the_fuller_copy_of_a_series():
    partial = make_study(series=[make_series("1.2.1", 2), make_series("1.2.2", 5)])
    complete = make_study(series=[make_series("1.2.1", 9), make_series("1.2.3", 1)])

    first, second = fold_duplicates([(partial,), (complete,)])

    assert series_of(first) == ["1.2.2"]
    assert series_of(second) == ["1.2.1", "1.2.3"]
    assert (first.left_out, second.left_out) == (0, 0)


def test_fold_duplicates_prefers_the_earlier_archive_and_drops_empty_studies():
    study = make_study(series=[make_series("1.2.1", 2)])

    first, second = fold_duplicates([(study,), (replace(study),)])

    assert (first.studies, second.studies) == ((study,), ())


def test_fold_duplicates_counts_what_no_archive_can_show():
    """Each archive holds a part of the series that the other has not."""
    whole = make_series("1.2.1", 16)
    first_ten = replace(whole, instances=whole.instances[:10])
    last_twelve = replace(whole, instances=whole.instances[4:])

    first, second, third = fold_duplicates(
        [
            (make_study(series=[first_ten, make_series("1.2.2", 3)]),),
            (make_study(series=[last_twelve, make_series("1.2.2", 1)]),),
            (make_study(series=[last_twelve]),),
        ]
    )

    assert series_of(second) == ["1.2.1"]
    assert (first.left_out, first.elsewhere) == (4, (1,))
    assert (second.left_out, second.elsewhere) == (0, ())
    assert (third.left_out, third.elsewhere) == (0, ())
