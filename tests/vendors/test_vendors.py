"""Every product, as its preset registers it: verified, searched, launched, downloaded.

A server that had to refuse something was asked for what its documentation does not
offer: then the preset is wrong.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from archives.clients import close_connections, open_client
from archives.clients.base import DicomWebEndpoint
from archives.embedded import EmbeddedArchive
from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
    WholeStudies,
)
from archives.errors import ArchiveError
from archives.models import Archive
from archives.presets import DIMSE, PRESETS
from archives.verification import verify
from launcher.search.asking import ArchiveAnswer, ask_archive
from launcher.search.criteria import SearchCriteria
from launcher.tasks import build_manifest
from tests.asgi import serve_hub
from tests.dicomweb_studies import instances_in, instances_of
from tests.factories import make_dimse_archive, make_launch
from tests.token_server import service_account_key
from tests.vendors.dcm4chee import Dcm4chee
from tests.vendors.files import files_of, many, write
from tests.vendors.products import HEAD, KNEE, OTHER, STUDIES, VENDORS, running
from tests.weasis_client import open_uri

# Of threads that are used again, which may have a connection since an earlier test.
pytestmark = pytest.mark.django_db

DIMSE_PRODUCTS = [slug for slug, each in PRESETS.items() if DIMSE in each.protocols]
PATIENT = Selection(patients=(PatientIdentifier(patient_id="P1"),))
BY_SERIES = Selection(series=(SeriesIdentifier(series_instance_uid="1.2.1.2"),))
BY_IMAGE = Selection(instances=(InstanceIdentifier(sop_instance_uid="1.2.1.2.3"),))

every_vendor = pytest.mark.parametrize("product", VENDORS)


def run(archive: Archive, action: Callable[[Any], Any]) -> Any:
    async def main() -> Any:
        try:
            async with open_client(archive.endpoint()) as client:
                return await action(client)
        finally:
            await close_connections()

    return asyncio.run(main())


def whole(archive: Archive, selection: Selection) -> WholeStudies:
    return run(archive, lambda client: client.find_whole_studies(selection))


def search(archive: Archive, limit: int = 100, **criteria: Any) -> ArchiveAnswer:
    async def main() -> ArchiveAnswer:
        try:
            queries = SearchCriteria(**criteria).queries(limit)
            return await ask_archive(archive, queries)
        finally:
            await close_connections()

    return asyncio.run(main())


def uids(answer: ArchiveAnswer) -> set[str]:
    assert answer.is_answered, answer.message
    return {study.study_instance_uid for study in answer.studies}


SEARCHES = {
    "beginning of the family name": ({"quick": "don"}, {OTHER}),
    "beginnings of both names": ({"patient_name": "doe ja"}, {HEAD, KNEE}),
    "within the name": ({"patient_name": "*onal"}, {OTHER}),
    "patient": ({"patient_id": "P1"}, {HEAD, KNEE}),
    "accession number": ({"accession_number": "ACC-2"}, {KNEE}),
    "accession numbers": ({"accession_number": "ACC-*"}, {HEAD, KNEE, OTHER}),
    "study": ({"quick": "1.2.840.3"}, set()),
    "days": (
        {"study_date_from": date(2026, 1, 1), "study_date_to": date(2026, 1, 31)},
        {HEAD},
    ),
    "since a day": ({"study_date_from": date(2026, 1, 31)}, {HEAD, OTHER}),
    "modality": ({"patient_id": "P1", "modalities": ("MR",)}, {KNEE}),
    "modalities": ({"modalities": ("MR", "CT")}, {HEAD, KNEE, OTHER}),
    "description": ({"study_description": "knee LEFT"}, {KNEE}),
    "referring physician": ({"referring_physician_name": "smith"}, {OTHER}),
    "birth date and sex": (
        {"patient_birth_date": date(1970, 4, 5), "patient_sex": "F"},
        {HEAD, KNEE},
    ),
    "nobody": ({"patient_id": "NOBODY"}, set()),
}


@every_vendor
@pytest.mark.parametrize("searched", SEARCHES)
def test_search_finds_the_same_in_every_product(product, searched):
    criteria, expected = SEARCHES[searched]

    with running(product) as (server, archive):
        answer = search(archive, **criteria)

    assert uids(answer) == {study.study_instance_uid for study in expected}
    assert not server.refused
    modalities = {tuple(study.modalities_in_study) for study in answer.studies}
    assert modalities <= {("CT",), ("MR",)}


@every_vendor
def test_search_reads_as_many_pages_as_it_needs(product):
    with running(product, many(450)) as (server, archive):
        if product == "orthanc":  # it cuts without a word, which is learned by launches
            whole(archive, PATIENT)
        answer = search(archive, limit=430, patient_id="P1")

    assert len(uids(answer)) == (100 if product == "orthanc" else 430)
    assert answer.has_more
    assert not server.refused


@pytest.mark.parametrize("product", ["azure", "google"])
def test_page_size_that_is_entered_too_large_is_not_asked_for(product):
    with running(product, many(250), page_size=50_000) as (server, archive):
        answer = search(archive, limit=6000, patient_id="P1")

    assert len(uids(answer)) == 250
    assert not server.refused


@every_vendor
def test_all_studies_of_a_patient_are_found(product):
    held = many(250)
    with running(product, held) as (server, archive):
        found = whole(archive, PATIENT)

    assert instances_of(found) == instances_in(*held)
    assert not found.is_truncated
    assert not server.refused


@every_vendor
@pytest.mark.parametrize("kind", ["patient", "accession number", "studies"])
def test_selection_is_found_whole(product, kind):
    selection, expected = {
        "patient": (PATIENT, (HEAD, KNEE)),
        "accession number": (Selection(accession_numbers=("ACC-3",)), (OTHER,)),
        "studies": (
            Selection(study_instance_uids=("1.2.1", "1.2.2", "1.2.3", "9.9")),
            STUDIES,
        ),
    }[kind]

    with running(product, maximum_associations=2) as (server, archive):
        found = whole(archive, selection)

    assert instances_of(found) == instances_in(*expected)
    assert (found.is_truncated, found.dropped_studies) == (False, 0)
    assert not server.refused


@every_vendor
@pytest.mark.parametrize("selection", [BY_SERIES, BY_IMAGE], ids=["series", "image"])
def test_series_without_its_study_is_found_or_the_hub_says_what_to_do(
    product, selection
):
    with running(product) as (server, archive):
        if product in ("kheops", "healthimaging"):
            with pytest.raises(ArchiveError, match="name the study too"):
                whole(archive, selection)
        else:
            found = whole(archive, selection)
            assert list(instances_of(found)) == ["1.2.1.2"]

    assert not server.refused


@every_vendor
def test_image_of_a_named_study_is_found_alone(product):
    image = replace(BY_IMAGE.instances[0], study_instance_uid="1.2.1")

    with running(product) as (server, archive):
        for each in (image, replace(image, series_instance_uid="1.2.1.2")):
            found = whole(archive, Selection(instances=(each,)))
            assert instances_of(found) == {"1.2.1.2": ["1.2.1.2.3"]}

    assert not server.refused


@every_vendor
@pytest.mark.django_db(transaction=True)
def test_connection_is_verified(product):
    with running(product) as (server, archive):
        archive.save()
        [(_, verification)] = verify([archive])

    assert verification.failure is None
    has_token = ["Token"] if product in ("google", "azure") else []
    assert [step.name for step in verification.steps] == [
        "Reached",
        *has_token,
        "Query",
        "Clock",
        "Image",
    ]
    assert len(server.tokens.requests) == len(has_token)
    # What form an image is sent in is asked for once.
    assert len(server.refused) <= (2 if product == "healthimaging" else 0)


@pytest.mark.parametrize(
    "product", ["google", "azure", "kheops", "healthimaging", "orthanc"]
)
def test_wrong_login_is_told(product):
    another, _ = service_account_key("http://127.0.0.1/token", "key-2")
    wrong = {
        "bearer_token": "expired",
        "password": "wrong",
        "client_secret": "wrong",
        "aws_secret_access_key": "wrong",
    }
    with running(product, **wrong) as (server, archive):
        if product == "google":
            key = json.loads(another) | {"token_uri": server.tokens.url}
            archive.service_account_key = json.dumps(key)
        answer = search(archive, patient_id="P1")

    assert answer.state == "refused"
    assert "check" in answer.message


@pytest.mark.parametrize("product", ["google", "azure", "kheops", "healthimaging"])
def test_without_its_preset_a_product_refuses_what_it_is_asked(product):
    """What the presets are for; and a proof that these servers refuse anything."""
    with running(product) as (server, archive):
        archive.preset, archive.page_size = "dicomweb", 10_000
        search(archive, patient_id="P1", patient_sex="F")
        with suppress(ArchiveError):
            whole(archive, BY_SERIES)

    assert server.refused


# Habits of one product


def test_azure_repeats_rows_when_studies_arrive_between_two_pages():
    held = many(250)
    with running("azure", held) as (server, archive):
        server.arriving = list(many(251)[-1:])
        found = run(archive, lambda client: client.find_whole_studies(PATIENT))

    found_uids = [study.study_instance_uid for study in found.studies]
    assert {study.study_instance_uid for study in held} <= set(found_uids)
    assert len(found_uids) == len(set(found_uids))


def test_healthimaging_is_never_asked_beyond_its_records():
    with running("healthimaging", many(10_050), page_size=10_000) as (server, archive):
        answer = search(archive, limit=20_000, patient_id="P1")

    assert len(uids(answer)) == 10_000
    assert answer.has_more
    assert not server.refused


def test_dcm4chee_refuses_a_search_that_is_too_broad():
    with running("dcm4chee", many(30)) as (server, archive):
        assert isinstance(server, Dcm4chee)
        server.query_maximum = 20
        answer = search(archive, patient_id="P1")
        narrower = search(archive, patient_id="P2")

    assert answer.state == "failed"
    assert "narrow the search" in answer.message
    assert narrower.is_answered


def test_dcm4chee_cuts_at_its_maximum_and_the_hub_reads_on():
    with running("dcm4chee", many(1100), page_size=5000) as (_, archive):
        answer = search(archive, limit=2000, patient_id="P1")

    assert len(uids(answer)) == 1100


def test_dicomcloud_is_asked_once():
    with running("dicomcloud", many(150)) as (server, archive):
        answer = search(archive, limit=100, patient_id="P1")

    assert len(uids(answer)) == 100
    assert answer.has_more
    assert len(server.requests) == 1


def test_names_are_asked_by_beginnings_where_there_are_no_wildcards():
    for product in ("google", "azure"):
        with running(product) as (server, archive):
            search(archive, patient_name="doe ja")
        keys = server.requests[0].keys
        assert (keys["PatientName"], keys["fuzzymatching"]) == ("doe ja", "true")


def test_google_is_asked_with_one_attribute_in_each_parameter():
    with running("google") as (server, archive):
        search(archive, patient_id="P1")

    fields = server.included(server.requests[0])
    assert len(fields) > 10
    assert not any("," in field for field in fields)


# Launches, to the last image


@pytest.fixture(scope="module")
def hub(valkey: Any) -> Iterator[str]:
    with serve_hub() as address:
        yield address


def downloaded(archive: Archive, hub: str, version: str) -> dict[str, bytes]:
    """All that Weasis gets of patient P1, by a launch of the services."""
    started = make_launch([archive], selection=PATIENT)
    build_manifest(str(started.launch.build_id))
    result = open_uri(started.uri, version)
    assert result.failures == []
    return result.downloaded


@every_vendor
@pytest.mark.parametrize("version", ["4.5.0", "4.7.2"])
@pytest.mark.django_db(transaction=True)
def test_launch_downloads_every_image(product, version, hub, settings):
    settings.VIEWERHUB_PUBLIC_URL = hub
    with running(product) as (server, archive):
        archive.save()
        images = downloaded(archive, hub, version)

    assert images == files_of([HEAD, KNEE])
    assert all(line.startswith("406") for line in server.refused)
    assert product == "healthimaging" or not server.refused


@pytest.mark.parametrize(
    "product", [slug for slug, vendor in VENDORS.items() if vendor.wado_path]
)
@pytest.mark.django_db(transaction=True)
def test_images_come_by_wado_uri_where_it_is_entered(product, hub, settings):
    settings.VIEWERHUB_PUBLIC_URL = hub
    settings.VIEWERHUB_IMAGE_CACHE_MB = 0  # else series come by WADO-RS
    with running(product) as (server, archive):
        archive.wado_uri_url = server.wado_address
        archive.full_clean(validate_unique=False)
        archive.save()
        images = downloaded(archive, hub, "4.7.2")

    assert images == files_of([HEAD, KNEE])
    asked = [r.keys for r in server.requests if r.path == server.wado_path]
    files = [r["objectUID"] for r in asked if r["contentType"] == "application/dicom"]
    assert set(files) == set(images)
    assert not any("/series/" in request.path for request in server.requests)


@pytest.fixture(scope="module")
def dimse_archive(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[EmbeddedArchive]:
    folder: Path = tmp_path_factory.mktemp("dimse")
    with EmbeddedArchive(write(folder, STUDIES)) as archive:
        yield archive


@pytest.mark.parametrize("product", DIMSE_PRODUCTS)
@pytest.mark.django_db(transaction=True)
def test_dimse_product_is_verified_searched_and_launched(
    product, dimse_archive, hub, settings
):
    settings.VIEWERHUB_PUBLIC_URL = hub
    archive = make_dimse_archive(dimse_archive, preset=product)
    archive.full_clean()

    [(_, verification)] = verify([archive])
    assert verification.failure is None
    for criteria, expected in SEARCHES.values():
        found = uids(search(archive, **criteria))
        assert found == {study.study_instance_uid for study in expected}
    assert downloaded(archive, hub, "4.7.2").keys() == files_of([HEAD, KNEE]).keys()


def test_endpoint_has_the_quirks_of_its_product():
    for product in VENDORS:
        with running(product) as (_, archive):
            endpoint = archive.endpoint()
            assert isinstance(endpoint, DicomWebEndpoint)
            assert endpoint.quirks == PRESETS[product].quirks
