"""What is known of a server beforehand: requests that would fail are not sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import pytest

from archives.clients.base import Quirks
from archives.clients.dicomweb import DicomWebClient
from archives.clients.dicomweb.keys import understood
from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
    Study,
    StudyQuery,
)
from archives.errors import ArchiveResponseError
from tests.dicomweb_server import DicomWebServer
from tests.dicomweb_studies import instances_in, instances_of, make_study, serving
from tests.loops import run

STUDIES = tuple(
    make_study(f"1.{number}", series=1, instances=1) for number in range(1, 26)
)
ONE = make_study("1.1", series=3, instances=4)
PATIENT = Selection(patients=(PatientIdentifier(patient_id="P1"),))


def ask(
    quirks: Quirks,
    action: Callable[[DicomWebClient], Awaitable[Any]],
    *studies: Study,
    **behaviour: Any,
) -> tuple[Any, DicomWebServer]:
    async def main() -> tuple[Any, DicomWebServer]:
        options = {"endpoint": {"quirks": quirks}, **behaviour}
        async with serving(*studies, **options) as (client, server):
            return await action(client), server

    return run(main())


def limits(server: DicomWebServer, path: str) -> list[str | None]:
    return [
        request.keys.get("limit")
        for request in server.requests
        if request.path.endswith(path)
    ]


def test_pages_are_as_large_as_each_level_permits():
    quirks = Quirks(studies_per_page=10, series_per_page=2, instances_per_page=3)

    studies, server = ask(
        quirks, lambda client: client.find_studies(StudyQuery(limit=100)), *STUDIES
    )
    assert len(studies.studies) == 25
    assert limits(server, "/studies") == ["10", "10", "10"]

    series, server = ask(quirks, lambda client: client.find_series("1.1"), ONE)
    assert len(series) == 3
    assert set(limits(server, "/series")) == {"2"}

    instances, server = ask(
        quirks, lambda client: client.find_instances("1.1", "1.1.2"), ONE
    )
    assert len(instances) == 4
    assert set(limits(server, "/instances")) == {"3"}


def test_server_without_paging_is_asked_once_and_without_a_limit():
    matches, server = ask(
        Quirks(has_paging=False),
        lambda client: client.find_studies(StudyQuery(limit=10)),
        *STUDIES,
        ignores_limit=True,
        ignores_offset=True,
    )

    assert len(matches.studies) == 10
    assert matches.has_more
    assert limits(server, "/studies") == [None]


@pytest.mark.parametrize(("reachable", "is_cut"), [(12, True), (25, True), (26, False)])
def test_nothing_is_asked_beyond_what_is_reachable(reachable, is_cut):
    """As many matches as can be reached may be all: nobody can tell."""

    async def find(client: DicomWebClient) -> Any:
        return await client.find_studies(StudyQuery(limit=1000))

    matches, server = ask(
        Quirks(reachable_matches=reachable, studies_per_page=10), find, *STUDIES
    )

    assert len(matches.studies) == min(reachable, 25)
    assert matches.has_more is is_cut
    for request in server.requests:
        keys = request.keys
        assert int(keys["limit"]) + int(keys.get("offset", 0)) <= reachable


@pytest.mark.parametrize(
    "selection",
    [
        Selection(series=(SeriesIdentifier(series_instance_uid="1.1.1"),)),
        Selection(instances=(InstanceIdentifier(sop_instance_uid="1.1.1.1"),)),
    ],
)
def test_series_without_their_study_are_not_asked_for_where_it_is_in_vain(selection):
    async def find(client: DicomWebClient) -> str:
        with pytest.raises(ArchiveResponseError) as caught:
            await client.find_whole_studies(selection)
        return str(caught.value)

    message, server = ask(Quirks(is_relational=False), find, ONE)

    assert "name the study too" in message
    assert not server.requests


def test_instances_are_read_by_series_where_a_study_can_not_be_read_at_once():
    found, server = ask(
        Quirks(reads_whole_studies=False),
        lambda client: client.find_whole_studies(PATIENT),
        ONE,
    )

    assert instances_of(found) == instances_in(ONE)
    assert not {"studies/1.1/metadata", "studies/1.1/instances"} & set(server.paths())


def test_instance_of_an_unnamed_series_is_found_by_reading_the_study_series_by_series():
    selection = Selection(
        instances=(
            InstanceIdentifier(sop_instance_uid="1.1.2.3", study_instance_uid="1.1"),
        )
    )

    found, server = ask(
        Quirks(is_relational=False),
        lambda client: client.find_whole_studies(selection),
        ONE,
    )

    assert instances_of(found) == {"1.1.2": ["1.1.2.3"]}
    assert "studies/1.1/instances" not in server.paths()


def test_studies_are_asked_for_one_by_one_where_lists_are_refused():
    uids = tuple(study.study_instance_uid for study in STUDIES[:6])
    quirks = Quirks(takes_uid_lists=False)

    async def find(client: DicomWebClient) -> Any:
        whole = await client.find_whole_studies(Selection(study_instance_uids=uids))
        return whole, await client.find_studies(StudyQuery(study_instance_uids=uids))

    (whole, matches), server = ask(quirks, find, *STUDIES, takes_uid_lists=False)

    assert len(whole.studies) == len(matches.studies) == 6
    assert not any("," in request.query for request in server.requests)


def test_identifier_is_not_widened_where_wildcards_mean_nothing():
    unknown = Selection(patients=(PatientIdentifier(patient_id="NO BODY"),))

    for takes_wildcards in (True, False):
        found, server = ask(
            Quirks(takes_wildcards=takes_wildcards),
            lambda client: client.find_whole_studies(unknown),
            *STUDIES,
        )
        assert not found.studies
        assert any("*" in r.query for r in server.requests) is takes_wildcards


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("martin*^ali*", "martin ali"),
        ("martin*", "martin"),
        ("*martin*^ali*", "ali"),
        ("van*der*berg*^jan*", "van jan"),
        ("DOE^JANE", "DOE JANE"),
        ("*", None),
    ],
)
def test_names_become_beginnings_of_words_for_fuzzy_matching(name, sent):
    keys = understood(
        [("PatientName", name)], Quirks(fuzzy_keys=frozenset({"PatientName"}))
    )

    expected = [("PatientName", sent), ("fuzzymatching", "true")] if sent else []
    assert keys == expected


def test_keys_a_server_can_not_match_are_left_out():
    keys = [
        ("PatientID", "P1"),
        ("AccessionNumber", "A*"),
        ("PatientSex", "F"),
        ("StudyDate", "20260101-"),
    ]
    quirks = Quirks(
        takes_wildcards=False,
        study_keys=frozenset({"PatientID", "AccessionNumber", "StudyDate"}),
    )

    assert understood(keys, quirks) == [keys[0], keys[3]]
    assert understood(keys, Quirks()) == keys


def test_key_left_out_of_a_search_does_not_narrow_it():
    query = StudyQuery(patient_sex="F", study_date_from=date(2026, 1, 1), limit=100)

    matches, server = ask(
        Quirks(study_keys=frozenset({"StudyDate"})),
        lambda client: client.find_studies(query),
        *STUDIES,
    )

    assert len(matches.studies) == 25
    assert "PatientSex" not in server.requests[0].query
