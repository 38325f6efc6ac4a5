"""Searching studies by the REST API."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from django.db import connection

from archives.models import Archive
from tests.api_calls import problems_of
from tests.dicomweb_server import Behaviour, DicomWebServer
from tests.dicomweb_studies import make_study
from tests.factories import make_dicomweb_archive, make_dimse_archive
from tests.loops import run
from tests.servers import IgnoresKeys

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"  # of CT_small.dcm


def search_web_archives(client, held, **filters):
    """Search new DICOMweb archives, by slug with the studies they hold."""

    async def search():
        async with AsyncExitStack() as stack:
            for slug, studies in held.items():
                server = DicomWebServer(studies, Behaviour())
                await stack.enter_async_context(server.running())
                await asyncio.to_thread(register, slug, server.url)
            return await asyncio.to_thread(client.post, "/studies/search", json=filters)

    return run(search()).json()


def register(slug, url):
    """In a thread, whose database connection is its own to close."""
    Archive.objects.filter(slug=slug).delete()
    make_dicomweb_archive(url, slug=slug, name=slug)
    connection.close()


@pytest.mark.parametrize("by", ["body", "address"])
def test_search_finds_studies_by_body_and_by_address(ris, embedded_archive, by):
    make_dimse_archive(embedded_archive)
    filters = {"patient_id": "1CT1", "modalities": ["CT", "MR"], "limit": 5}

    if by == "body":
        response = ris.post("/studies/search", json=filters)
    else:
        response = ris.get("/studies", params=filters)

    assert response.status_code == 200
    result = response.json()
    (study,) = result["studies"]
    assert study["study_instance_uid"] == STUDY
    assert study["patient"]["patient_name"] == "CompressedSamples^CT1"
    assert study["archives"] == ["main"]
    assert not result["has_more"]
    (outcome,) = result["archives"]
    assert (outcome["archive"], outcome["state"]) == ("main", "answered")
    assert outcome["studies"] == 1


def test_search_merges_archives_and_names_the_one_that_is_down(ris, embedded_archive):
    make_dimse_archive(embedded_archive)
    make_dimse_archive(embedded_archive, name="Copy", slug="copy")
    make_dimse_archive(name="Dead", slug="dead")

    result = ris.post("/studies/search", json={"quick": STUDY}).json()

    (study,) = result["studies"]
    assert sorted(study["archives"]) == ["copy", "main"]
    states = {one["archive"]: one["state"] for one in result["archives"]}
    assert states == {"main": "answered", "copy": "answered", "dead": "unavailable"}
    messages = {one["archive"]: one["message"] for one in result["archives"]}
    assert messages["main"] == ""
    assert "Dead" in messages["dead"]


def test_search_leaves_out_what_was_not_asked_for(ris):
    with IgnoresKeys() as server:
        make_dimse_archive(server)

        result = ris.post("/studies/search", json={"patient_id": "1CT1"}).json()

    assert [one["study_instance_uid"] for one in result["studies"]] == [STUDY]
    assert result["archives"][0]["left_out"] > 0


def test_search_with_a_secret_that_cannot_be_read_names_that_archive(
    ris, embedded_archive, settings
):
    make_dicomweb_archive(
        "https://web.example", authentication="bearer", bearer_token="s3cret"
    )
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key, after the first was lost"]
    make_dimse_archive(embedded_archive)

    result = ris.post("/studies/search", json={"patient_id": "1CT1"}).json()

    assert len(result["studies"]) == 1
    states = {one["archive"]: one["state"] for one in result["archives"]}
    assert states == {"main": "answered", "web": "refused"}


def test_search_gives_no_more_than_its_limit_and_says_so(ris):
    held = {
        slug: [make_study(f"1.{n}", patient={"patient_id": "WEB-1"}) for n in numbers]
        for slug, numbers in {"north": (1, 2), "south": (3, 4)}.items()
    }

    merged = search_web_archives(ris, held, patient_id="WEB-1", limit=2)
    everything = search_web_archives(ris, held, patient_id="WEB-1", limit=4)

    assert len(merged["studies"]) == 2
    assert merged["has_more"]
    assert [one["studies"] for one in merged["archives"]] == [2, 2]
    assert len(everything["studies"]) == 4
    assert not everything["has_more"]


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({}, ""),
        ({"quick": "*"}, ""),
        ({"patient_name": "A*"}, ""),
        ({"modalities": ["CT"]}, ""),
        ({"study_date_from": "2020-01-01", "study_date_to": "2026-01-01"}, ""),
        ({"quick": "1CT1", "limit": 0}, "limit"),
        ({"quick": "1CT1", "limit": 1_000_000}, "limit"),
        ({"quick": "1CT1", "modalities": ["X-RAY"]}, "modalities"),
        ({"quick": "1CT1", "patient_sex": "Z"}, "patient_sex"),
        ({"quick": "1CT1", "study_date_from": "20260131"}, "study_date_from"),
        ({"quick": "1CT1", "study_date_from": "2026-02-30"}, "study_date_from"),
        ({"quick": "1CT1\\2"}, "quick"),
        ({"patient_name": "x" * 65}, "patient_name"),
        ({"quick": "1CT1", "archives": ["nowhere"]}, "archives"),
        ({"quick": "1CT1", "archives": ["a\x00b"]}, "archives"),
        ({"quick": "1CT1", "patientID": "1"}, "patientID"),
        ({"quick": "1CT1", "patient_id": "12345"}, "patient_id"),
    ],
)
def test_search_that_is_broad_or_wrong_is_refused_with_advice(ris, filters, field):
    make_dimse_archive()

    by_body = ris.post("/studies/search", json=filters)
    by_address = ris.get("/studies", params=filters)

    for response in (by_body, by_address):
        assert response.status_code == 400
        (problem,) = problems_of(response).items()
        assert problem[0] == field
        assert problem[1]
    if not field:
        assert "too broad" in problem[1]


def test_search_by_address_refuses_a_filter_given_twice(ris):
    make_dimse_archive()

    response = ris.get("/studies?quick=1CT1&quick=4MR1")

    assert response.status_code == 400
    assert list(problems_of(response)) == ["quick"]


def test_search_goes_to_dicomweb_archives_as_well(ris):
    study = make_study("1.77", patient={"patient_id": "WEB-1"})

    result = search_web_archives(ris, {"web": [study]}, patient_id="WEB-1")

    assert [one["study_instance_uid"] for one in result["studies"]] == ["1.77"]
    assert result["archives"][0]["state"] == "answered"
