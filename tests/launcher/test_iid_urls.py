"""IHE Invoke Image Display as other systems call it: one test for each row of the table in
docs/integration.md."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from django.test import Client

from archives.embedded import EmbeddedArchive
from launcher.models import Build, Launch, LaunchTemplate, Viewer
from tests.factories import DEAD_PORT, make_dicomweb_archive, make_dimse_archive

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]
CT_SMALL = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
PATHS = ["/IHEInvokeImageDisplay", "/display/IHEInvokeImageDisplay"]


@pytest.fixture
def client(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["127.0.0.0/8"]
    return Client()


@pytest.fixture
def archive(embedded_archive):
    return make_dimse_archive(embedded_archive)


def invoke(client, path=PATHS[0], method="get", **parameters):
    return getattr(client, method)(
        f"{path}?{urlencode(parameters)}", headers={"accept": "application/json"}
    )


def fields_of(response):
    return [error["field"] for error in response.json()["errors"]]


@pytest.mark.usefixtures("archive")
@pytest.mark.parametrize("path", [*PATHS, "/display", "/weasis"])
def test_patient_request_opens_weasis(client, path):
    response = invoke(client, path, requestType="PATIENT", patientID="1CT1")

    assert response.status_code == 302
    assert response["Location"].startswith("weasis://")
    launch = Launch.objects.get()
    assert launch.origin == Launch.Origin.IID
    assert launch.build.get_selection().patients[0].patient_id == "1CT1"


@pytest.mark.usefixtures("archive")
def test_patient_identifier_may_have_an_assigning_authority(client):
    LaunchTemplate.objects.update_or_create(
        is_default=True, defaults={"name": "F", "slug": "f", "policy": "fast"}
    )

    response = invoke(client, requestType="PATIENT", patientID="1CT1^^^HOSP&1.2.3&ISO")

    assert response.status_code == 302
    [patient] = Build.objects.get().get_selection().patients
    assert patient.issuer_of_patient_id == "HOSP"
    assert patient.universal_entity_id == "1.2.3"


@pytest.mark.usefixtures("archive")
def test_study_request_opens_studies_by_uid(client):
    response = invoke(client, requestType="STUDY", studyUID=f"{CT_SMALL},1.2.3")

    assert response.status_code == 302
    uids = Build.objects.get().get_selection().study_instance_uids
    assert uids == (CT_SMALL, "1.2.3")


def test_study_request_opens_studies_by_accession_number(client):
    make_dimse_archive()

    response = invoke(client, requestType="STUDY", accessionNumber="A1,A2")

    assert response.status_code == 302  # the archive is down: Weasis will say so
    assert Build.objects.get().get_selection().accession_numbers == ("A1", "A2")


@pytest.mark.usefixtures("archive")
def test_filters_of_the_profile_are_kept(client):
    response = invoke(
        client,
        requestType="PATIENT",
        patientID="1CT1",
        lowerDateTime="2004-01-01T00:00:00Z",
        upperDateTime="2004-12-31T23:59:59+01:00",
        mostRecentResults="1",
        modalitiesInStudy="CT,MR",
        patientName="CompressedSamples^CT1",
    )

    assert response.status_code == 302
    kept = Build.objects.get().get_selection().study_filter
    assert kept.modalities_in_study == ("CT", "MR")
    assert kept.most_recent == 1
    assert kept.earliest.year == kept.latest.year == 2004


@pytest.mark.usefixtures("archive")
def test_studies_of_another_person_are_left_out(client):
    response = invoke(
        client, requestType="PATIENT", patientID="1CT1", patientName="OTHER^NAME"
    )

    assert response.status_code == 404


@pytest.mark.usefixtures("archive")
def test_dates_mean_the_reverse_where_the_template_says_so(client):
    LaunchTemplate.objects.create(name="L", slug="l", date_meaning="legacy")
    dates = {"lowerDateTime": "2010-01-01", "upperDateTime": "2000-01-01"}
    request = {"requestType": "PATIENT", "patientID": "1CT1", **dates}

    assert invoke(client, **request).status_code == 400
    assert invoke(client, **request, template="l").status_code == 302
    kept = Build.objects.get().get_selection().study_filter
    assert (kept.earliest.year, kept.latest.year) == (2000, 2010)


@pytest.mark.usefixtures("archive")
def test_identifiers_that_the_request_type_does_not_use_are_left_out(client):
    response = invoke(
        client,
        requestType="PATIENT",
        patientID="1CT1",
        studyUID="1.2",
        accessionNumber="A",
        seriesUID="1.2.3",
    )

    assert response.status_code == 302
    selection = Build.objects.get().get_selection()
    assert [one.patient_id for one in selection.patients] == ["1CT1"]
    assert selection.study_instance_uids == selection.accession_numbers == ()
    assert selection.series == ()


@pytest.mark.usefixtures("archive")
def test_unknown_parameters_are_ignored(client):
    response = invoke(
        client, requestType="STUDY", studyUID=CT_SMALL, idCDA="1.2.250.1", x=""
    )

    assert response.status_code == 302


@pytest.mark.usefixtures("archive")
@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"patientID": "1CT1"}, "requestType"),
        ({"requestType": "SERIES", "studyUID": "1.2"}, "requestType"),
        ({"requestType": "PATIENT"}, "patientID"),
        ({"requestType": "PATIENT", "patientID": "1,2"}, "patientID"),
        ({"requestType": "STUDY"}, "studyUID"),
        (
            {"requestType": "STUDY", "studyUID": "1.2", "accessionNumber": "A"},
            "studyUID",
        ),
        ({"requestType": "STUDY", "studyUID": "x.y"}, "studyUID"),
        (
            {"requestType": "PATIENT", "patientID": "1", "lowerDateTime": "soon"},
            "lowerDateTime",
        ),
        (
            {"requestType": "PATIENT", "patientID": "1", "mostRecentResults": "0"},
            "mostRecentResults",
        ),
        (
            {"requestType": "STUDY", "studyUID": "1.2", "keyImagesOnly": "maybe"},
            "keyImagesOnly",
        ),
        (
            {"requestType": "STUDY", "studyUID": "1.2", "diagnosticQuality": "1"},
            "diagnosticQuality",
        ),
    ],
)
def test_request_that_breaks_the_rules_is_400(client, parameters, field):
    response = invoke(client, **parameters)

    assert response.status_code == 400
    assert field in fields_of(response)
    assert not Launch.objects.exists()


@pytest.mark.usefixtures("archive")
@pytest.mark.parametrize(
    "parameters",
    [
        {"requestType": "PATIENT", "patientID": "nobody"},
        {"requestType": "STUDY", "studyUID": "1.2.3.4.5"},
    ],
)
def test_unknown_patient_or_study_is_404(client, parameters):
    response = invoke(client, **parameters)

    assert response.status_code == 404
    assert not Launch.objects.exists()


def test_silent_archive_does_not_keep_weasis_from_starting(client, embedded_archive):
    make_dimse_archive(embedded_archive)
    make_dimse_archive(name="Down", slug="down")

    response = invoke(client, requestType="PATIENT", patientID="nobody")

    assert response.status_code == 302


def test_request_from_elsewhere_is_401(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = []
    make_dimse_archive()

    response = invoke(Client(), requestType="PATIENT", patientID="1CT1")

    assert response.status_code == 401


def test_kind_of_identifier_no_archive_allows_is_403(client, embedded_archive):
    make_dimse_archive(embedded_archive, identifiers=["studyUID"])

    response = invoke(client, requestType="PATIENT", patientID="1CT1")

    assert response.status_code == 403
    assert fields_of(response) == ["patientID"]


@pytest.mark.usefixtures("archive")
def test_basic_review_is_the_viewer_of_the_hub(client):
    response = invoke(
        client, requestType="STUDY", studyUID=CT_SMALL, viewerType="IHE_BIR"
    )

    assert response.status_code == 302
    assert response["Location"].startswith("weasis://")


@pytest.mark.usefixtures("archive")
def test_viewer_type_names_a_viewer(client):
    Viewer.objects.create(
        name="OHIF",
        slug="ohif",
        url_template="https://ohif.example.org/viewer?StudyInstanceUIDs={study_uids}",
    )

    response = invoke(client, requestType="STUDY", studyUID=CT_SMALL, viewerType="ohif")

    assert response["Location"] == (
        f"https://ohif.example.org/viewer?StudyInstanceUIDs={CT_SMALL}"
    )


@pytest.mark.usefixtures("archive")
@pytest.mark.parametrize("viewer", ["nothing-we-have", "other"])
def test_viewer_type_is_not_overruled_by_a_template(client, viewer):
    Viewer.objects.create(name="Other", slug="other", url_template="a:{study_uid}")
    LaunchTemplate.objects.create(name="Plain", slug="plain")

    response = invoke(
        client,
        requestType="STUDY",
        studyUID=CT_SMALL,
        viewerType=viewer,
        template="plain",
    )

    assert response.status_code == 406
    assert fields_of(response) == ["viewerType"]


@pytest.mark.usefixtures("archive")
def test_viewer_type_is_judged_beside_other_mistakes(client):
    response = invoke(
        client, requestType="SERIES", viewerType="nothing", template="nothing"
    )

    assert response.status_code == 400
    assert {"requestType", "viewerType", "template"} <= set(fields_of(response))


@pytest.mark.usefixtures("archive")
@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"viewerType": "nothing-we-have"}, "viewerType"),
        ({"keyImagesOnly": "true"}, "keyImagesOnly"),
    ],
)
def test_wish_that_can_not_be_met_is_406(client, parameters, field):
    response = invoke(client, requestType="STUDY", studyUID=CT_SMALL, **parameters)

    assert response.status_code == 406
    assert fields_of(response) == [field]
    assert not Launch.objects.exists()


@pytest.mark.usefixtures("archive")
def test_diagnostic_quality_is_what_the_archive_has(client):
    response = invoke(
        client, requestType="STUDY", studyUID=CT_SMALL, diagnosticQuality="true"
    )

    assert response.status_code == 302


def small(**values):
    """A template with lossy images, and the wish to open a study by it."""
    LaunchTemplate.objects.create(
        name="Small", slug="small", transfer_syntax="1.2.840.10008.1.2.4.50", **values
    )
    return {"requestType": "STUDY", "studyUID": CT_SMALL, "template": "small"}


@pytest.mark.parametrize("images", ["direct", "gateway"])
def test_diagnostic_quality_of_a_template_with_loss_is_406(client, images):
    make_dicomweb_archive(f"http://127.0.0.1:{DEAD_PORT}/rs", images=images)
    wish = small()

    refused = invoke(client, **wish, diagnosticQuality="true")
    opened = invoke(client, **wish, diagnosticQuality="false")

    assert refused.status_code == 406
    assert fields_of(refused) == ["diagnosticQuality"]
    assert opened.status_code == 302


@pytest.mark.parametrize("has_dicomweb", [False, True])
def test_diagnostic_quality_is_kept_where_images_come_as_they_are_stored(
    client, archive, has_dicomweb
):
    """Files of the hub, and what comes by DIMSE, are never transcoded."""
    if has_dicomweb:
        make_dicomweb_archive(f"http://127.0.0.1:{DEAD_PORT}/rs", images="direct")
    wish = small(retrieval="files" if has_dicomweb else "auto")

    response = invoke(client, **wish, diagnosticQuality="true")

    assert response.status_code == 302


@pytest.mark.usefixtures("archive")
def test_wishes_and_mistakes_together_are_400(client):
    response = invoke(
        client, requestType="STUDY", studyUID="x", keyImagesOnly="true", archive="none"
    )

    assert response.status_code == 400
    assert set(fields_of(response)) == {"studyUID", "keyImagesOnly", "archive"}


def test_no_queue_is_503(client, valkey):
    make_dimse_archive()
    valkey.stop()
    try:
        response = invoke(client, requestType="PATIENT", patientID="1CT1")
    finally:
        valkey.start()

    assert response.status_code == 503
    assert not Launch.objects.exists()


@pytest.mark.usefixtures("archive")
def test_other_methods_are_405(client):
    response = client.put(PATHS[0])

    assert response.status_code == 405
    assert set(response["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_head_judges_and_stores_nothing(client):
    make_dimse_archive()  # nothing listens there, and nobody asks

    good = invoke(client, method="head", requestType="STUDY", studyUID="1.2")
    bad = invoke(client, method="head", requestType="STUDY", studyUID="x")

    assert (good.status_code, good.content) == (200, b"")
    assert bad.status_code == 400
    assert not Launch.objects.exists()


def test_template_may_do_without_verifying(client, embedded_archive: EmbeddedArchive):
    make_dimse_archive(embedded_archive)
    LaunchTemplate.objects.create(name="Fast", slug="fast", policy="fast")

    response = invoke(
        client, requestType="STUDY", studyUID="1.2.3.4.5", template="fast"
    )

    assert response.status_code == 302
