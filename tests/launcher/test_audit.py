"""Who opened which study: finding launches by identifiers, and exporting the list."""

import csv
import re
from io import StringIO

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.test import AsyncClient, Client

from archives.entities import Patient, PatientIdentifier, Selection, Study
from launcher import tasks
from launcher.answers import Answer
from launcher.models import Launch, OpenedStudy
from launcher.tasks import build_manifest
from tests.factories import make_api_client, make_dimse_archive, make_launch
from tests.loops import run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]
LAUNCHES = "/admin/launcher/launch/"
FIND, EXPORT = f"{LAUNCHES}find/", f"{LAUNCHES}export/"
CT_UID = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"


@pytest.fixture(autouse=True)
def _nothing_kept(valkey):
    cache.clear()


@pytest.fixture
def auditor():
    return staff("view_launch", "audit_launch")


def staff(*permissions):
    user = User.objects.create(username="-".join(permissions), is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    client.user = user
    return client


def found(client, identifier):
    """The launches that are listed after looking for an identifier."""
    response = client.post(FIND, {"identifier": identifier})
    assert response.status_code == 302
    assert identifier not in response["Location"]
    page = client.get(response["Location"])
    assert identifier not in page.request["QUERY_STRING"]
    return set(page.context["cl"].queryset)


def exported(client, query=""):
    """The rows of the file."""

    async def read():
        browser = AsyncClient()
        await browser.aforce_login(client.user)
        response = await browser.get(f"{EXPORT}{query}")
        assert response.status_code == 200
        assert "attachment" in response["Content-Disposition"]
        return b"".join([piece async for piece in response.streaming_content])

    text = run(read()).decode("utf-8-sig")
    return list(csv.DictReader(StringIO(text)))


def launched(archive, selection, **values):
    launch = make_launch([archive], selection=selection, **values).launch
    build_manifest(str(launch.build_id))
    launch.refresh_from_db()
    return launch


def test_launch_is_found_by_what_it_was_asked_for_and_by_what_it_found(
    auditor, embedded_archive
):
    archive = make_dimse_archive(embedded_archive)
    launch = launched(
        archive, Selection(patients=(PatientIdentifier(patient_id="1CT1"),))
    )
    other = make_launch(
        [archive],
        selection=Selection(
            accession_numbers=("Müller-7",), study_instance_uids=("1.2",)
        ),
    ).launch

    assert found(auditor, "1CT1") == {launch}
    assert found(auditor, CT_UID) == {launch}
    assert found(auditor, "Müller-7") == {other}
    assert found(auditor, "1.2") == {other}
    assert found(auditor, "1.") == set()
    assert found(auditor, "1CT") == set()


def test_studies_are_kept_by_identifiers_alone(embedded_archive):
    launch = launched(
        make_dimse_archive(embedded_archive),
        Selection(patients=(PatientIdentifier(patient_id="1CT1"),)),
    )

    [study] = OpenedStudy.objects.filter(build=launch.build_id)
    assert (study.patient_id, study.study_instance_uid) == ("1CT1", CT_UID)
    assert "CompressedSamples" not in str(vars(study))


def test_studies_are_kept_whatever_the_archive_calls_them(auditor):
    """PostgreSQL takes no NUL, and no more characters than there is room for."""
    launch = make_launch([make_dimse_archive()]).launch
    hostile = "A\0" + "B" * 80
    study = Study(
        study_instance_uid="1.2.3\0",
        accession_number=hostile,
        patient=Patient(patient_id=hostile, issuer_of_patient_id=hostile),
    )
    archive = launch.build.archives.get()
    answer = Answer(archive_id=archive.pk, state="ok", studies=(study,))

    tasks._record(launch.build, [archive], (answer,))

    [kept] = OpenedStudy.objects.all()
    assert kept.study_instance_uid == "1.2.3"
    assert kept.patient_id == kept.accession_number == "A" + "B" * 63
    assert found(auditor, "A\0" + "B" * 63) == {launch}


def test_identifier_is_looked_for_by_its_user_alone(auditor):
    make_launch([make_dimse_archive()])
    location = auditor.post(FIND, {"identifier": "1.2.3"})["Location"]
    assert auditor.get(location).context["cl"].result_count == 1

    other = staff("view_launch", "audit_launch", "view_archive")

    assert other.get(location).context["cl"].result_count == 0


def test_auditing_needs_its_right(embedded_archive):
    launch = launched(
        make_dimse_archive(embedded_archive),
        Selection(patients=(PatientIdentifier(patient_id="1CT1"),)),
    )
    page = f"{LAUNCHES}{launch.pk}/change/"
    reader, auditor = staff("view_launch"), staff("view_launch", "audit_launch")

    for client, may in ((reader, False), (auditor, True)):
        assert ("1CT1" in client.get(page).content.decode()) == may
        assert ('name="identifier"' in client.get(LAUNCHES).content.decode()) == may
        assert client.post(FIND, {"identifier": "x"}).status_code == (
            302 if may else 403
        )
        [row] = exported(client)
        assert row.get("patients") == ("1CT1" if may else None)
    assert auditor.get(FIND).status_code == 405
    assert staff("view_archive").get(EXPORT).status_code == 403
    assert Client().get(EXPORT).status_code == 302


def test_export_tells_who_opened_what_from_where(auditor, embedded_archive):
    alice = User.objects.create(username="alice")
    launched(
        make_dimse_archive(embedded_archive),
        Selection(patients=(PatientIdentifier(patient_id="1CT1"),)),
        user=alice,
        address="10.1.2.3",
    )

    [row] = exported(auditor)

    assert row["user"] == "alice"
    assert row["address"] == "10.1.2.3"
    assert row["origin"] == "url"
    assert row["result"] == "not-opened"
    assert row["archives"] == "main: ok"
    assert (row["studies"], row["images"]) == (CT_UID, "1")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]+\+00:00", row["created"])


def test_export_has_the_filters_of_the_list(auditor):
    archive = make_dimse_archive()
    client, _ = make_api_client(name="RIS")
    for origin in (Launch.Origin.PORTAL, Launch.Origin.API, Launch.Origin.API):
        make_launch(
            [archive],
            origin=origin,
            api_client=client if origin == Launch.Origin.API else None,
            selection=Selection(study_instance_uids=(f"1.2.{len(origin)}",)),
        )

    assert len(exported(auditor)) == 3
    assert [row["origin"] for row in exported(auditor, "?origin__exact=portal")] == [
        "portal"
    ]
    assert len(exported(auditor, f"?api_client__id__exact={client.pk}")) == 2
    assert len(exported(auditor, "?archive=main")) == 3
    assert exported(auditor, "?archive=none") == []
    assert exported(auditor, "?result=failed") == []
    location = auditor.post(FIND, {"identifier": "1.2.6"})["Location"]
    assert len(exported(auditor, f"?{location.partition('?')[2]}")) == 1


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_export_holds_no_formulas(auditor, sign):
    formula = f"{sign}HYPERLINK(1)"
    make_launch(
        [make_dimse_archive()], selection=Selection(accession_numbers=(formula,))
    )

    [row] = exported(auditor)

    assert row["accession_numbers"] == f"'{formula}"


@pytest.mark.parametrize("before", ["", " ", "1;", "1; ", "\t", "\n", "1\r"])
def test_no_cell_of_an_export_is_a_formula_wherever_cells_end(auditor, before):
    """Where the comma is for decimals, programs take semicolons for the ends of cells."""
    selection = Selection(accession_numbers=(f"{before}=cmd|' /C calc'!A0;", "2"))
    make_launch([make_dimse_archive()], selection=selection)

    [row] = exported(auditor)

    cells = re.split(r"[;\t\r\n]", row["accession_numbers"])
    assert not [cell for cell in cells if cell.strip().startswith("=")]


def test_export_is_logged_itself(auditor):
    make_launch([make_dimse_archive()])

    exported(auditor)

    [entry] = LogEntry.objects.all()
    assert entry.user == auditor.user
    assert entry.object_repr == "Export of 1 launches, with identifiers"


def test_address_of_the_caller_is_kept(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["10.0.0.0/8"]
    make_dimse_archive()
    _, key = make_api_client()

    Client().get("/weasis?studyUID=1.2.3", REMOTE_ADDR="10.1.2.3")
    Client().post(
        "/api/v1/launches",
        {"study_instance_uids": ["1.2.3"]},
        content_type="application/json",
        headers={"Authorization": f"Bearer {key}"},
        REMOTE_ADDR="192.0.2.7",
    )

    kept = dict(Launch.objects.values_list("origin", "address"))
    assert kept == {"url": "10.1.2.3", "api": "192.0.2.7"}
