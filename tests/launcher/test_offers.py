"""What the portal offers to open studies with, and that it keeps its word."""

import re
from html import unescape

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from archives.embedded import EmbeddedArchive
from archives.entities import Patient, Study
from archives.models import Archive
from launcher.launching.offers import Offers
from launcher.models import Build, Launch, LaunchTemplate, Viewer, ViewerRule
from launcher.search import priors
from tests.factories import make_dimse_archive

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]
HTMX = {"HX-Request": "true"}
STUDIES = "https://web.example/?s={study_uids}"


@pytest.fixture(scope="module")
def served(dicom_files):
    with EmbeddedArchive(dicom_files.paths(dicom_files.group("demo"))) as running:
        yield running


@pytest.fixture
def client(admin_client):
    return admin_client


def make_template(name, url="", *, archives=(), **limits):
    """A template, of a viewer of its own if it has an address."""
    slug = name.lower().replace(" ", "-")
    viewer = None
    if url:
        viewer = Viewer.objects.create(name=name, slug=slug, url_template=url, **limits)
    template = LaunchTemplate.objects.create(name=name, slug=slug, viewer=viewer)
    template.archives.set(archives)
    return template


def fragment(client, text, field="quick"):
    results = client.post(reverse("launcher:search_create"), {field: text})
    return client.get(f"{results['Location']}archives/main/", headers=HTMX)


def forms(response):
    """The launch forms of a page: hidden fields, what can be chosen, and what can't."""
    html = response.content.decode()
    for form in re.findall(r'<form [^>]*action="/launch/".*?</form>', html, re.DOTALL):
        hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)
        offered = re.findall(r'<button[^>]* name="template" value="([^"]*)"', form)
        refused = {
            slug: unescape(re.search(rf'id="{why}">(.*?)</p>', form)[1])
            for why, slug in re.findall(
                r'aria-disabled="true" aria-describedby="(why-\w+-([\w-]+))"', form
            )
        }
        yield hidden, offered, refused


def opened(client, hidden, slug):
    fields = {}
    for name, value in hidden:
        fields.setdefault(name, []).append(value)
    return client.post("/launch/", fields | {"template": slug})


def test_what_is_offered_opens_and_what_is_not_is_refused_for_the_same_reason(
    client, served
):
    make_dimse_archive(served)
    elsewhere = make_dimse_archive(slug="other", name="Other", position=9)
    make_template("Plain")
    make_template("Elsewhere", archives=[elsewhere])
    make_template("Web", STUDIES, needs_dicomweb=True)
    make_template("By address", "https://web.example/?u={archive_url}&s={study_uids}")
    make_template("By host", "app:open?h={host}&s={study_uids}")
    make_template("By patient", "https://web.example/?p={patient_id}")
    make_template("Off", STUDIES, is_enabled=False)
    make_template("By object", "https://web.example/?o={object_uid}&s={study_uid}")

    [(hidden, offered, refused)] = forms(fragment(client, "A1001"))

    default = LaunchTemplate.objects.default().slug
    assert offered == [default, default, "by-host", "by-patient", "plain"]
    assert refused.keys() == {"elsewhere", "web", "by-address", "off", "by-object"}
    assert (
        refused["web"] == "It opens studies by DICOMweb, which Main PACS does not have."
    )
    assert refused["off"] == "This viewer is disabled."
    assert refused["elsewhere"] == "It is for other archives than those that hold this."
    for slug in offered:
        assert opened(client, hidden, slug).status_code == 302
    started = Launch.objects.count()
    for slug, reason in refused.items():
        answer = opened(client, hidden, slug)
        assert answer.status_code == 400
        assert reason in unescape(answer.content.decode())
    assert Launch.objects.count() == started == len(offered)


def test_viewer_for_one_archive_opens_what_two_archives_hold(client, served):
    make_dimse_archive(served)
    make_dimse_archive(served, slug="copy", name="Copy", position=1)
    make_template("Web", STUDIES, needs_one_archive=True)
    fragment(client, "A1001")
    results = client.post(reverse("launcher:search_create"), {"quick": "A1001"})
    page = client.get(f"{results['Location']}?wait")

    hidden, offered, _ = next(f for f in forms(page) if f[1])

    assert [value for name, value in hidden if name == "archive"] == ["main", "copy"]
    assert "web" in offered
    assert opened(client, hidden, "web").status_code == 302
    assert [one.slug for one in Launch.objects.get().build.archives.all()] == ["main"]


def test_template_with_archives_of_its_own_asks_those_alone(client, served):
    make_dimse_archive(served)
    copy = make_dimse_archive(served, slug="copy", name="Copy", position=1)
    make_template("Copies", archives=[copy])
    results = client.post(reverse("launcher:search_create"), {"quick": "A1001"})
    hidden, *_ = next(
        f for f in forms(client.get(f"{results['Location']}?wait")) if f[1]
    )

    opened(client, hidden, "copies")

    assert [one.slug for one in Launch.objects.get().build.archives.all()] == ["copy"]


def test_rule_decides_what_comes_first_by_the_modalities_of_each_study(client, served):
    make_dimse_archive(served)
    web = make_template("Web", STUDIES)
    ViewerRule.objects.create(name="Mammography", modalities="CR", template=web)

    found = list(forms(fragment(client, "lindqvist")))

    default = LaunchTemplate.objects.default().slug
    assert [offered[0] for _, offered, _ in found] == ["web", default, default]
    text = unescape(re.sub(r"<[^>]+>", "", fragment(client, "A1011").content.decode()))
    assert "Open in Weasis" in text


def test_button_says_why_nothing_opens_a_study(client, served):
    make_dimse_archive(served)
    elsewhere = make_dimse_archive(slug="other", name="Other", position=9)
    LaunchTemplate.objects.default().archives.set([elsewhere])

    html = fragment(client, "A1001").content.decode()

    why = re.search(
        r'<button class="open" type="button" aria-disabled="true" '
        r'aria-describedby="([\w-]+)" data-open>',
        html,
    )
    assert re.search(rf'<p class="reason" id="{why[1]}">It is for other archives', html)


def with_priors(client, form, value="all"):
    fields = dict(form[0]) | {"priors": value}
    return client.post("/launch/", fields, headers=HTMX)


def test_study_opens_with_the_other_studies_of_its_patient(client, served, dicom_files):
    make_dimse_archive(served)
    response = fragment(client, "A1001")
    assert "Open with priors" in response.content.decode()
    assert "Open with CT priors" in response.content.decode()
    form = next(forms(response))

    with_priors(client, form)
    with_priors(client, form, "modality")

    opened = [one.get_selection().study_instance_uids for one in Build.objects.all()]
    uids = [
        dicom_files.study(key).study_instance_uid for key in ("ct", "cr", "ct-prior")
    ]
    assert sorted(opened, key=len) == [(uids[0], uids[2]), tuple(uids)]


@pytest.mark.parametrize(
    ("text", "studies"),
    [("SHARED-ID", ["issuer-a"]), ("NO-ISSUER", ["accession-1", "accession-2"])],
)
def test_priors_have_the_same_patient_id_and_issuer(client, dicom_files, text, studies):
    uids = {dicom_files.study(key).study_instance_uid for key in studies}
    with EmbeddedArchive(dicom_files.paths(dicom_files.group("issuers"))) as archive:
        make_dimse_archive(archive)
        response = fragment(client, text, "patient_id")
        form = next(one for one in forms(response) if uids & {v for _, v in one[0]})
        with_priors(client, form)

    assert set(Build.objects.get().get_selection().study_instance_uids) == uids


def test_archive_that_knows_the_patient_by_another_id_gives_no_priors(
    client, dicom_files, tmp_path
):
    """There, the ID is of somebody else."""

    def written(key, archive, **values):
        path = tmp_path / f"{archive}-{key}.dcm"
        dataset = dicom_files.read(dicom_files.study(key).instances[0])
        for keyword, value in (values | {"IssuerOfPatientID": ""}).items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
        return path

    own = [written("ct", "a", PatientID="MRN7")]
    others = [
        written("ct", "b", PatientID="B-99"),
        written("cr", "b", PatientID="MRN7", PatientName="Else^Somebody"),
    ]
    with EmbeddedArchive(own) as first, EmbeddedArchive(others) as second:
        make_dimse_archive(first)
        make_dimse_archive(second, slug="other", name="Other", position=1)
        results = client.post(reverse("launcher:search_create"), {"quick": "A1001"})
        uid = dicom_files.study("ct").study_instance_uid
        page = client.get(f"{results['Location']}?wait")
        form = next(one for one in forms(page) if uid in {v for _, v in one[0]})
        with_priors(client, form)

    assert Build.objects.get().get_selection().study_instance_uids == (uid,)


def test_patient_with_the_same_id_born_on_another_day_is_somebody_else():
    def study(uid, birth_date):
        patient = Patient(patient_id="1", patient_birth_date=birth_date)
        return Study(study_instance_uid=uid, patient=patient)

    found = [study("1.1", "19600101"), study("1.2", "19610101"), study("1.3", "")]

    others = priors.others_of(found[0], found, None)

    assert [one.study_instance_uid for one in others] == ["1.3"]
    # Without a birth date, it may be of either.
    assert not list(priors.others_of(found[2], found, None))


@pytest.mark.parametrize("patient_id", ["*", "A*", "?1", "A?", "[A]1", "A1\\B1"])
def test_wildcards_in_a_patient_id_match_nobody_else(patient_id):
    def study(uid, patient_id):
        return Study(study_instance_uid=uid, patient=Patient(patient_id=patient_id))

    found = [study("1.1", patient_id), study("1.2", "A1"), study("1.3", "B1")]

    assert not list(priors.others_of(found[0], found, None))


def test_archive_that_tells_no_priors_is_part_of_the_launch(client, dicom_files):
    """So that its silence is told, as that of any archive."""
    studies = dicom_files.group("issuers")
    with EmbeddedArchive(dicom_files.paths(studies)) as archive:
        make_dimse_archive(archive)
        response = fragment(client, "SHARED-ID", "patient_id")
        make_dimse_archive(slug="down", name="Down", position=9)
        with_priors(client, next(forms(response)))

    slugs = [one.slug for one in Build.objects.get().archives.all()]
    assert slugs == ["main", "down"]


def test_priors_of_archives_without_right_stay_closed(client, served, dicom_files):
    make_dimse_archive(served)
    alice = User.objects.create_user("alice")
    hers = Client()
    hers.force_login(alice)
    form = next(forms(fragment(hers, "A1001")))
    Archive.objects.get().groups.add(Group.objects.create(name="Others"))

    answer = with_priors(hers, form)

    assert answer.status_code == 422
    assert not Build.objects.exists()


def test_too_many_priors_are_left_to_choose(client, served, monkeypatch):
    make_dimse_archive(served)
    form = next(forms(fragment(client, "A1001")))
    monkeypatch.setattr(priors, "MAXIMUM", 1)

    answer = with_priors(client, form)

    assert "other studies. Search for them" in answer.content.decode()
    assert not Build.objects.exists()


def test_rows_cost_no_query_each():
    archive = make_dimse_archive()
    web = make_template("Web", STUDIES, archives=[archive])
    ViewerRule.objects.create(name="Web", modalities="MG", template=web)
    LaunchTemplate.objects.filter(is_default=True).delete()
    offers = Offers(User.objects.create_user("alice"), "127.0.0.1")
    offers.of_study(Study(study_instance_uid="1.1"), [archive])

    with CaptureQueriesContext(connection) as queries:
        choices = offers.of_study(Study(study_instance_uid="1.2"), [archive])

    assert len(choices.offers) == 2
    assert [one["sql"] for one in queries] == []


def test_launch_again_asks_for_what_its_viewer_needs(client, served, dicom_files):
    make_dimse_archive(served)
    template = make_template("By patient", "https://web.example/?p={patient_id}")
    [(hidden, *_)] = forms(fragment(client, "A1001"))
    first = opened(client, hidden, template.slug)

    again = client.post(f"/launch/{Launch.objects.get().pk}/retry/")

    assert again["Location"] == first["Location"] == "https://web.example/?p=DEMO-1"


def test_launch_again_needs_a_viewer_that_is_enabled(client, served):
    make_dimse_archive(served)
    make_template("Web", STUDIES)
    [(hidden, *_)] = forms(fragment(client, "A1001"))
    opened(client, hidden, "web")
    Viewer.objects.update(is_enabled=False)

    again = client.post(f"/launch/{Launch.objects.get().pk}/retry/")

    assert again.status_code == 400
    assert "This viewer is disabled." in again.content.decode()
    assert Launch.objects.count() == 1
