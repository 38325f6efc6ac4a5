"""50,000 values as archives send them: every manifest is well-formed, valid and exact."""

import json
from itertools import cycle

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lxml import etree

from archives.entities import Instance, Patient, Series, Study
from launcher.manifest import (
    DECLARATION,
    GRAMMAR,
    ArcQuery,
    Form,
    check_upload,
    render,
    render_json,
)

MANIFESTS, STUDIES = 600, 6
# Names with ideographic and phonetic groups, control characters, values much longer than
# their VR allows, lone surrogates, and characters that mean something in XML.
EDGES = [
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "홍^길동=洪^吉洞",
    "\x1b$B;3ED\x1b(B",
    "ACCESSION-NUMBER-OF-MORE-THAN-16",
    "a" * 300,
    "<&>\"'",
    "]]>",
    "&#0;",
    "line\r\nline\ttab",
    "\x00\x01\x0b\x7f\x85\u2028",
    "\ud800",
    "\udfff\ud800",
    "\ufffe\uffff",
    "\U0001f600",
    " padded ",
]
# One text for all values of a manifest is drawn much faster than a hundred.
CHARACTERS = st.text(st.characters(exclude_categories=()), min_size=400, max_size=400)
# Numbers, and by them which edge cases. One list of different ones: hypothesis would make
# most manifests by copying a value over another of its kind.
NUMBERS = st.lists(
    st.integers(-(2**31), 2**31 - 1), min_size=25, max_size=25, unique=True
)


def cut(characters, chosen):
    """A hundred values of 0 to 9 characters, and every fifth an edge case instead."""
    edges = [EDGES[number % len(EDGES)] for number in chosen]
    values, start = [], 0
    for number in range(80):
        length = number * 7 % 10
        values.append(characters[start : start + length])
        start += length
        if number % 4 == 3:
            values.append(edges[number // 4])
    return values


SCHEMA = etree.XMLSchema(etree.parse(GRAMMAR))
UIDS = {"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"}
seen = {"values": 0}
drawn = set()


def studies_of(values, numbers):
    """Studies that hold these values, each in an attribute of its own."""
    texts, counts = cycle(values), cycle(numbers)
    for number in range(STUDIES):
        uid = f"1.2.{number}"
        instance = Instance(
            sop_instance_uid=f"{uid}.1.1",
            sop_class_uid=next(texts),
            instance_number=next(counts),
        )
        series = Series(
            series_instance_uid=f"{uid}.1",
            modality=next(texts),
            series_description=next(texts),
            series_number=next(counts),
            series_date=next(texts),
            series_time=next(texts),
            instances=(instance,),
        )
        patient = Patient(
            patient_id=f"{number}{next(texts)}",  # no two are one patient
            issuer_of_patient_id=next(texts),
            patient_name=next(texts),
            patient_birth_date=next(texts),
            patient_sex=next(texts),
        )
        yield Study(
            study_instance_uid=uid,
            patient=patient,
            study_date=next(texts),
            study_time=next(texts),
            referring_physician_name=next(texts),
            study_id=next(texts),
            accession_number=next(texts),
            study_description=next(texts),
            series=(series,),
        )


def as_xml_holds_it(text):
    """Attributes can't hold what XML 1.0 forbids; everything else must come back."""
    return "".join(
        character
        for character in text
        if character in "\t\n\r"
        or " " <= character <= "\ud7ff"
        or "\ue000" <= character <= "\ufffd"
        or character > "\uffff"
    )


def expected(study):
    """Attributes by element; empty ones are not sent."""
    series, patient = study.series[0], study.patient
    instance = series.instances[0]
    return {
        "Patient": {
            "PatientID": patient.patient_id,
            "IssuerOfPatientID": patient.issuer_of_patient_id,
            "PatientName": patient.patient_name,
            "PatientBirthDate": patient.patient_birth_date,
            "PatientSex": patient.patient_sex,
        },
        "Study": {
            "StudyInstanceUID": study.study_instance_uid,
            "StudyDate": study.study_date,
            "StudyTime": study.study_time,
            "ReferringPhysicianName": study.referring_physician_name,
            "StudyID": study.study_id,
            "AccessionNumber": study.accession_number,
            "StudyDescription": study.study_description,
        },
        "Series": {
            "SeriesInstanceUID": series.series_instance_uid,
            "Modality": series.modality,
            "SeriesDescription": series.series_description,
            "SeriesNumber": text_of(series.series_number),
            "SeriesDate": series.series_date,
            "SeriesTime": series.series_time,
            "ReferringPhysicianName": study.referring_physician_name,
        },
        "Instance": {
            "SOPInstanceUID": instance.sop_instance_uid,
            "SOPClassUID": instance.sop_class_uid,
            "InstanceNumber": text_of(instance.instance_number),
        },
    }


def text_of(number):
    return "" if number is None else str(number)


def check(root, studies):
    found = {study.get("StudyInstanceUID"): study for study in root.iter("Study")}
    for study in studies:
        element = found[study.study_instance_uid]
        for name, attributes in expected(study).items():
            holder = {
                "Patient": element.getparent(),
                "Study": element,
                "Series": element.find("Series"),
                "Instance": element.find("Series/Instance"),
            }[name]
            for key, value in attributes.items():
                assert holder.get(key, "") == as_xml_holds_it(value)
                is_again = (name, key) == ("Series", "ReferringPhysicianName")
                seen["values"] += bool(value) and key not in UIDS and not is_again


@given(characters=CHARACTERS, chosen=NUMBERS, form=st.sampled_from(Form))
@settings(
    max_examples=MANIFESTS,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # shrinking a hundred values takes long and shows little
    database=None,
)
def check_manifest(characters, chosen, form):
    values = cut(characters, chosen[:20])
    numbers = [None if number % 4 == 0 else number for number in chosen[20:]]
    drawn.add(tuple(values))
    studies = tuple(studies_of(values, numbers))
    query = ArcQuery(
        arc_id="main",
        base_url="https://a.example/rs",
        form=form,
        studies=studies,
        listed_studies=frozenset(one.study_instance_uid for one in studies),
        listed_series=frozenset(one.series[0].series_instance_uid for one in studies),
    )

    document = DECLARATION + render([query])

    root = etree.fromstring(document)
    for element in root.iter():
        element.tag = etree.QName(element).localname
    SCHEMA.assertValid(root)
    check(root, studies)
    assert json.loads(render_json([query]))["manifest"]["arcQuery"][0]["Patient"]
    assert check_upload(document)


def test_manifest_is_valid_and_exact_for_whatever_archives_send():
    check_manifest()

    assert seen["values"] >= 50_000
    assert len(drawn) > 0.9 * MANIFESTS
