from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from archives.clients.base import Progress
from archives.clients.dicomweb.memory import ArchiveMemory, Resource, memory_of
from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
    Study,
    StudyQuery,
    WholeStudies,
)
from archives.errors import ArchiveResponseError
from tests.dicomweb_server import DicomWebServer, status
from tests.dicomweb_studies import instances_in, instances_of, make_study, serving
from tests.loops import run

SMALL = make_study("1.1", series=2, instances=3, accession_number="A1")
LARGE = make_study("1.2", series=3, instances=70, accession_number="A2")
ODD = make_study("1.3", series=70, instances=2, accession_number="A3")
OTHERS = make_study("1.4", patient={"patient_id": "P2"}, accession_number="A4")
ALL = (SMALL, LARGE, ODD, OTHERS)
OF_P1 = Selection(patients=(PatientIdentifier(patient_id="P1"),))


def find(
    selection: Selection,
    *studies: Study,
    prepare: Callable[[DicomWebServer], None] = lambda server: None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> tuple[WholeStudies, DicomWebServer]:
    async def main() -> tuple[WholeStudies, DicomWebServer]:
        async with serving(*studies, **options) as (client, server):
            prepare(server)
            found = await client.find_whole_studies(selection, on_progress=on_progress)
            return found, server

    return run(main())


def assert_whole(found: WholeStudies, *studies: Study) -> None:
    assert instances_of(found) == instances_in(*studies)
    assert not found.is_truncated
    assert found.missing_instances == 0


@pytest.mark.parametrize(
    "behaviour",
    [
        {},
        {"has_metadata": False},
        {"sends_counts": False},
        {"sends_counts": False, "page_cap": 9},
        {"has_metadata": False, "page_cap": 9},
        {"has_metadata": False, "page_cap": 9, "sends_counts": False},
        {"has_metadata": False, "ignores_limit": True, "ignores_offset": True},
        {"has_metadata": False, "ignores_limit": True, "sends_counts": False},
        {"not_in_metadata": frozenset({"1.1.1.1", "1.2.3.70", "1.3.2.2"})},
        {"not_in_search": frozenset({"1.1.1.1", "1.2.3.70", "1.3.2.2"})},
        {
            "not_in_metadata": frozenset({"1.1.1.1", "1.2.3.70"}),
            "not_in_search": frozenset({"1.1.1.2", "1.2.3.69"}),
        },
        {"takes_uid_lists": False},
        {"ignores_keys": True},
        {"compresses": True},
        {"takes_include_fields": False},
        {"none_status": 204, "none_body": b""},
        {"none_status": 404, "none_body": b""},
    ],
)
@pytest.mark.parametrize("connections", [1, 4])
def test_find_whole_studies_finds_every_instance_once(behaviour, connections):
    selection = replace(OF_P1, study_instance_uids=("1.4",))

    found, server = find(
        selection, *ALL, endpoint={"maximum_connections": connections}, **behaviour
    )

    assert_whole(found, *ALL)
    assert server.most_open_requests <= connections
    assert found.dropped_studies == 0


def test_find_whole_studies_reads_series_and_study_attributes():
    for behaviour in ({}, {"has_metadata": False}):
        found, _ = find(Selection(study_instance_uids=("1.1",)), SMALL, **behaviour)

        (study,) = found.studies
        (first, _) = sorted(study.series, key=lambda series: series.series_number)
        assert study.patient == SMALL.patient
        assert study.study_date == "20260131"
        assert (first.modality, first.series_description) == ("CT", "Series 1")
        assert first.instances == SMALL.series[0].instances


def test_find_whole_studies_needs_one_request_for_a_small_study():
    _, server = find(OF_P1, SMALL)

    assert server.paths() == ["studies", "studies", "studies/1.1/metadata"]
    assert server.requests[1].keys["offset"] == "1"


def test_find_whole_studies_asks_a_large_study_by_series():
    _, server = find(Selection(study_instance_uids=("1.2",)), LARGE)

    assert server.paths()[:2] == ["studies", "studies/1.2/series"]
    assert sorted(server.paths()[2:]) == [
        f"studies/1.2/series/1.2.{number}/metadata" for number in (1, 2, 3)
    ]


def test_find_whole_studies_asks_many_tiny_series_at_once():
    _, server = find(Selection(study_instance_uids=("1.3",)), ODD)

    assert server.paths() == ["studies", "studies/1.3/metadata"]


def test_find_whole_studies_drops_what_does_not_belong():
    found, _ = find(OF_P1, SMALL, OTHERS, ignores_keys=True)

    assert_whole(found, SMALL)
    assert found.dropped_studies == 1


def test_find_whole_studies_leaves_out_another_issuer():
    north = make_study(
        "1.5", patient={"patient_id": "P1", "issuer_of_patient_id": "NORTH"}
    )
    south = make_study(
        "1.6", patient={"patient_id": "P1", "issuer_of_patient_id": "SOUTH"}
    )
    wanted = PatientIdentifier(patient_id="P1", issuer_of_patient_id="SOUTH")

    found, _ = find(Selection(patients=(wanted,)), north, south)

    assert_whole(found, south)
    assert found.dropped_studies == 0  # a namesake is no fault of the archive


def test_find_whole_studies_ignores_instances_of_another_study():
    def mix_up(server: DicomWebServer) -> None:
        server._metadata = lambda parents: DicomWebServer._metadata(server, {})  # type: ignore[method-assign]

    found, _ = find(OF_P1, SMALL, OTHERS, prepare=mix_up)

    assert_whole(found, SMALL)


def test_find_whole_studies_takes_the_union_of_a_selection():
    selection = Selection(
        patients=(PatientIdentifier(patient_id="P2"),),
        study_instance_uids=("1.1", "9.9"),
        accession_numbers=("A1", "A3", "A9"),
    )

    found, _ = find(selection, *ALL)

    assert_whole(found, SMALL, ODD, OTHERS)
    assert Counter(study.study_instance_uid for study in found.studies).total() == 3


@pytest.mark.parametrize("takes_uid_lists", [True, False])
def test_find_whole_studies_asks_many_studies_by_list(takes_uid_lists):
    studies = [make_study(f"1.{number}", 1, 1) for number in range(60)]
    uids = tuple(study.study_instance_uid for study in studies)

    found, server = find(
        Selection(study_instance_uids=uids), *studies, takes_uid_lists=takes_uid_lists
    )

    assert_whole(found, *studies)
    searches = server.paths().count("studies")
    assert searches == 3 if takes_uid_lists else searches == 63


DAYS = [
    make_study(f"1.{day}", 1, 1, study_date=f"202601{day:02d}") for day in range(1, 29)
]


@pytest.mark.parametrize("total_cap", [2, 3, 7, 20, 27, 28, 29])
def test_find_whole_studies_gets_past_a_limit_that_nobody_tells(total_cap):
    found, _ = find(OF_P1, *DAYS, total_cap=total_cap)

    assert_whole(found, *DAYS)


def test_find_whole_studies_says_when_it_does_not_get_past_a_limit():
    same_day = [make_study(f"2.{number}", 1, 1) for number in range(9)]

    found, _ = find(OF_P1, *DAYS, *same_day, total_cap=5)

    assert found.is_truncated
    assert len(found.studies) == len(DAYS) + 5


@pytest.mark.parametrize("date", ["", "20260131", "31.01.2026", "99991231"])
def test_find_whole_studies_survives_any_study_date(date):
    studies = [*DAYS[:3], make_study("3.1", 1, 1, study_date=date)]

    found, _ = find(OF_P1, *studies, page_cap=2)

    assert_whole(found, *studies)


def test_find_whole_studies_looks_for_a_limit_once():
    async def main() -> list[int]:
        async with serving(*DAYS) as (client, server):
            counts = []
            for _ in range(2):
                server.requests.clear()
                await client.find_whole_studies(OF_P1)
                counts.append(server.paths().count("studies"))
            return counts

    first, second = run(main())

    assert first > second
    assert second <= 2


def test_find_whole_studies_survives_an_archive_without_date_matching():
    found, _ = find(OF_P1, *DAYS, total_cap=7, matches_dates=False)

    assert len(found.studies) == 7


def test_find_studies_knows_the_limit_that_was_found():
    async def main() -> tuple[bool, bool]:
        async with serving(*DAYS, total_cap=7) as (client, _):
            query = StudyQuery(patient_id="P1", limit=10)
            before = await client.find_studies(query)
            await client.find_whole_studies(OF_P1)
            after = await client.find_studies(query)
            return before.has_more, after.has_more

    assert run(main()) == (False, True)


def test_find_whole_studies_widens_identifiers_that_a_server_compares_escaped():
    study = make_study(patient={"patient_id": "ODD/?#%20+ é"})

    def compare_escaped(server: DicomWebServer) -> None:
        plain = server._is_match
        server._is_match = lambda match, keys: plain(  # type: ignore[method-assign]
            match, {**keys, "PatientID": escaped(server)}
        )

    def escaped(server: DicomWebServer) -> str:
        return server.requests[-1].query.partition("PatientID=")[2].partition("&")[0]

    wanted = PatientIdentifier(patient_id="ODD/?#%20+ é")
    found, _ = find(
        Selection(patients=(wanted,)), study, OTHERS, prepare=compare_escaped
    )

    assert_whole(found, study)
    assert found.dropped_studies == 0


@pytest.mark.parametrize("study_instance_uid", ["1.1", ""])
@pytest.mark.parametrize("series_instance_uid", ["1.1.2", ""])
def test_find_whole_studies_finds_selected_series_and_instances(
    study_instance_uid, series_instance_uid
):
    series = SeriesIdentifier(
        series_instance_uid="1.2.3",
        study_instance_uid="1.2" if study_instance_uid else "",
    )
    instances = (
        InstanceIdentifier(
            sop_instance_uid="1.1.2.3",
            series_instance_uid=series_instance_uid,
            study_instance_uid=study_instance_uid,
        ),
    )

    found, _ = find(Selection(series=(series,), instances=instances), *ALL)

    assert instances_of(found) == {
        "1.1.2": ["1.1.2.3"],
        "1.2.3": instances_in(LARGE)["1.2.3"],
    }
    assert not found.is_truncated


def test_find_whole_studies_finds_many_selected_instances():
    uids = [f"1.2.2.{number}" for number in range(1, 41)]
    selection = Selection(
        instances=tuple(
            InstanceIdentifier(sop_instance_uid=uid, study_instance_uid="1.2")
            for uid in uids
        )
    )

    found, server = find(selection, LARGE)

    assert instances_of(found) == {"1.2.2": sorted(uids)}
    assert len(server.requests) < 10


def test_find_whole_studies_leaves_out_what_is_unknown():
    selection = Selection(
        study_instance_uids=("9",),
        series=(
            SeriesIdentifier(series_instance_uid="9.1"),
            SeriesIdentifier(series_instance_uid="1.1.9", study_instance_uid="1.1"),
        ),
        instances=(InstanceIdentifier(sop_instance_uid="9.1.1"),),
    )

    found, _ = find(selection, *ALL)

    assert found == WholeStudies()


def test_find_whole_studies_says_when_relational_searches_are_refused():
    selection = Selection(series=(SeriesIdentifier(series_instance_uid="1.1.1"),))

    with pytest.raises(ArchiveResponseError, match="North can't find series without"):
        find(selection, SMALL, is_relational=False)


@pytest.mark.parametrize("study", [SMALL, LARGE])
def test_find_whole_studies_says_how_many_are_missing(study):
    found, _ = find(
        Selection(study_instance_uids=(study.study_instance_uid,)),
        study,
        counted_too_many=5,
    )

    assert instances_of(found) == instances_in(study)
    assert found.is_truncated
    assert found.missing_instances == 5


def test_find_whole_studies_stops_at_the_cap():
    found, _ = find(OF_P1, *ALL, endpoint={"maximum_answers": 100})

    assert found.is_truncated
    assert sum(map(len, instances_of(found).values())) < 100


def test_find_whole_studies_survives_metadata_that_fails():
    found, _ = find(
        OF_P1,
        SMALL,
        LARGE,
        prepare=lambda server: server.answer_with("*/metadata", status(500)),
    )

    assert_whole(found, SMALL, LARGE)


def test_find_whole_studies_raises_when_every_way_fails():
    def break_all(server: DicomWebServer) -> None:
        server.answer_with("*/metadata", status(500))
        server.answer_with("*/instances", status(500))

    with pytest.raises(ArchiveResponseError, match="HTTP 500") as failure:
        find(OF_P1, SMALL, prepare=break_all)

    assert failure.value.status == "500"


def test_find_whole_studies_tells_how_far_it_is():
    steps: list[Progress] = []

    find(OF_P1, SMALL, LARGE, on_progress=steps.append)

    assert steps[0].instances == 0
    assert [step.instances for step in steps] == sorted(
        step.instances for step in steps
    )
    assert steps[-1] == Progress(
        studies=2, series=5, instances=216, total_series=5, total_instances=216
    )


def test_find_whole_studies_remembers_an_archive_without_metadata():
    async def main() -> list[str]:
        async with serving(SMALL, has_metadata=False) as (client, server):
            await client.find_whole_studies(OF_P1)
            server.requests.clear()
            assert_whole(await client.find_whole_studies(OF_P1), SMALL)
            return server.paths()

    assert "studies/1.1/metadata" not in run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells round trips")
@pytest.mark.parametrize(("near", "encoding"), [(60.0, "identity"), (0.0, "gzip")])
def test_find_whole_studies_has_answers_compressed_from_afar(
    monkeypatch, near, encoding
):
    monkeypatch.setattr("archives.clients.http._NEAR", near)

    found, server = find(Selection(study_instance_uids=("1.2",)), LARGE)

    assert_whole(found, LARGE)
    first, *others = [each.headers["accept-encoding"] for each in server.requests]
    assert first == "gzip"  # how far it is, is not known yet
    assert others == [encoding] * 4


def test_memory_prefers_what_was_measured_faster():
    memory = ArchiveMemory()
    memory.complete(Resource.METADATA, 300, 3.0)
    assert memory.order(300)[0] is Resource.METADATA

    memory.complete(Resource.INSTANCES, 300, 1.0)
    memory.order(300)

    assert memory.order(300)[0] is Resource.INSTANCES
    assert memory.order(3)[0] is Resource.METADATA


def test_memory_counts_no_wait_for_a_turn():
    study = make_study("1.1", series=12, instances=40)

    async def main() -> tuple[float, float]:
        options = {"maximum_connections": 1}
        async with serving(study, endpoint=options) as (client, server):
            started = time.perf_counter()
            await client.find_whole_studies(OF_P1)
            taken = time.perf_counter() - started
            return taken, sum(memory_of(server.url).seconds.values())

    taken, per_instance = run(main())

    assert per_instance * 12 * 40 < taken * 1.5


def test_memory_tries_the_other_way_now_and_then():
    memory = ArchiveMemory()

    first = Counter(memory.order(50)[0] for _ in range(1000))

    assert 0 < first[Resource.INSTANCES] < 10
    assert all(len(set(memory.order(size))) == 2 for size in (None, 5, 50, 5000))


def test_memory_is_one_for_each_address():
    assert memory_of("http://127.0.0.1/a") is memory_of("http://127.0.0.1/a")
    assert memory_of("http://127.0.0.1/a") is not memory_of("http://127.0.0.1/b")
