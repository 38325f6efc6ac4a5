"""Whole studies, from archives that answer relational queries and from those that do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from pynetdicom import evt

from archives.clients import matches as tags
from archives.clients.base import DimseEndpoint, Progress, QueryRetrieveRoot
from archives.clients.dimse import DimseClient
from archives.clients.dimse.knowledge import Knowledge, knowledge_of
from archives.clients.pool import close_connections
from archives.embedded import EmbeddedArchive, Level, Query
from archives.embedded.index import Attributes, Entity, Index
from archives.embedded.server import Results
from archives.entities import (
    InstanceIdentifier,
    PatientIdentifier,
    Selection,
    SeriesIdentifier,
    WholeStudies,
)
from archives.errors import ArchiveResponseError, ArchiveUnavailableError
from tests.dcmtk import Dcmqrscp
from tests.dicom_files import DicomFiles, StoredStudy
from tests.loops import run
from tests.servers import (
    Dying,
    Failing,
    Hierarchical,
    IgnoresKeys,
    Limited,
    WrongPatient,
)

GROUPS = ("demo", "charsets", "issuers", "edges", "compressed")
BY_STUDY = (tags.NUMBER_OF_STUDY_RELATED_INSTANCES,)
BY_SERIES = (tags.NUMBER_OF_SERIES_RELATED_INSTANCES,)


@pytest.fixture(scope="module")
def stored(dicom_files: DicomFiles) -> tuple[StoredStudy, ...]:
    return dicom_files.group(*GROUPS)


@pytest.fixture(scope="module")
def index(dicom_files: DicomFiles, stored: tuple[StoredStudy, ...]) -> Index:
    return Index(dicom_files.paths(stored))


class Recording(EmbeddedArchive):
    """Counts queries by level; ``wide`` are those at IMAGE level without a series."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.queries: Counter[str] = Counter()
        self.associations = 0

    def handlers(self) -> list[Any]:
        return [*super().handlers(), (evt.EVT_ACCEPTED, self.accepted)]

    def accepted(self, event: evt.Event) -> None:
        self.associations += 1

    def find(self, event: evt.Event) -> Results:
        query = Query.from_event(event)
        self.queries[query.level] += 1
        if is_wide(query):
            self.queries["wide"] += 1
        return super().find(event)


def is_wide(query: Query) -> bool:
    """Whether it asks for the instances of whole studies."""
    return query.level == Level.IMAGE and not query.keys.get(tags.SERIES_INSTANCE_UID)


class RecordingHierarchical(Recording, Hierarchical):
    pass


class OneStudyPerQuery(Recording):
    """Takes only the first UID of a list at the lower levels."""

    def matches(self, query: Query) -> Iterator[Attributes]:
        uids = query.keys.get(tags.STUDY_INSTANCE_UID, "").split("\\")
        for match in super().matches(query):
            if query.level == Level.STUDY or match[tags.STUDY_INSTANCE_UID] == uids[0]:
                yield match


class NoLists(Recording):
    """Finds nothing at all for a list of UIDs."""

    def matches(self, query: Query) -> Iterator[Attributes]:
        if "\\" not in query.keys.get(tags.STUDY_INSTANCE_UID, ""):
            yield from super().matches(query)


class Partial(Recording):
    """Answers a part of the instances when asked for whole studies."""

    most = 3

    def matches(self, query: Query) -> Iterator[Attributes]:
        for number, match in enumerate(super().matches(query)):
            if number < self.most or not is_wide(query):
                yield match


class Aborting(Recording):
    """Aborts the association when asked for whole studies."""

    def find(self, event: evt.Event) -> Results:
        if is_wide(Query.from_event(event)):
            event.assoc.abort()
        return super().find(event)


class WithoutCounts(Recording):
    """Answers no Number of ... Related Instances, at the levels in ``silent``."""

    silent: tuple[int, ...] = BY_STUDY + BY_SERIES

    def answer(self, query: Query, entity: Entity) -> Attributes:
        answer = super().answer(query, entity)
        return {tag: text for tag, text in answer.items() if tag not in self.silent}


class WithoutStudyCounts(WithoutCounts):
    silent = BY_STUDY


class Minimal(WithoutCounts):
    """Answers the keys of the level alone, and no UIDs of the levels above."""

    silent = (tags.STUDY_INSTANCE_UID,)

    def answer(self, query: Query, entity: Entity) -> Attributes:
        if query.level == Level.STUDY:
            return EmbeddedArchive.answer(self, query, entity)
        answer = super().answer(query, entity)
        if query.level == Level.IMAGE:
            answer.pop(tags.SERIES_INSTANCE_UID, None)
        return answer


class Stammering(Recording):
    """Answers everything twice."""

    def matches(self, query: Query) -> Iterator[Attributes]:
        for match in super().matches(query):
            yield match
            yield match


class Nested(Recording):
    """Counts more instances than it has."""

    def answer(self, query: Query, entity: Entity) -> Attributes:
        answer = super().answer(query, entity)
        if tags.NUMBER_OF_STUDY_RELATED_INSTANCES in answer:
            answer[tags.NUMBER_OF_STUDY_RELATED_INSTANCES] = "1000"
        return answer


def endpoint_of(archive: EmbeddedArchive, **options: Any) -> DimseEndpoint:
    return DimseEndpoint(
        **{
            "name": "Embedded",
            "host": archive.host,
            "port": archive.port,
            "called_ae_title": archive.ae_title,
            **options,
        }
    )


def find(
    endpoint: DimseEndpoint, *selections: Selection, on_progress: Any = None
) -> list[WholeStudies]:
    async def main() -> list[WholeStudies]:
        try:
            async with DimseClient(endpoint) as client:
                return [
                    await client.find_whole_studies(one, on_progress=on_progress)
                    for one in selections
                ]
        finally:
            await close_connections()

    return run(main())


def whole(*studies: StoredStudy) -> Selection:
    return Selection(
        study_instance_uids=tuple(study.study_instance_uid for study in studies)
    )


def patient(study: StoredStudy, issuer: str = "") -> Selection:
    identifier = PatientIdentifier(
        patient_id=study.patient_id, issuer_of_patient_id=issuer
    )
    return Selection(patients=(identifier,))


def contents(found: WholeStudies) -> dict[str, Any]:
    """What a manifest shows of series and instances, by UID."""
    return {
        study.study_instance_uid: {
            series.series_instance_uid: (
                series.modality,
                series.series_number,
                series.series_description,
                {one.sop_instance_uid: one.instance_number for one in series.instances},
            )
            for series in study.series
        }
        for study in found.studies
    }


def truth(*studies: StoredStudy) -> dict[str, Any]:
    return {
        study.study_instance_uid: {
            series.series_instance_uid: (
                series.modality,
                series.series_number,
                series.series_description,
                {one.sop_instance_uid: one.instance_number for one in series.instances},
            )
            for series in study.series
        }
        for study in studies
    }


ANY = (
    Recording,
    OneStudyPerQuery,
    NoLists,
    Partial,
    Aborting,
    WithoutCounts,
    WithoutStudyCounts,
    Minimal,
    Stammering,
)


@pytest.mark.parametrize(
    ("kind", "root"),
    [
        *((kind, QueryRetrieveRoot.STUDY) for kind in (*ANY, RecordingHierarchical)),
        *((kind, QueryRetrieveRoot.PATIENT) for kind in ANY),
    ],
)
def test_every_study_is_found_whole_from_any_archive(kind, root, index, stored):
    with kind(index) as archive:
        endpoint = endpoint_of(archive, root=root)
        (first, again) = find(endpoint, whole(*stored), whole(*stored))

    for found in (first, again):
        assert contents(found) == truth(*stored)
        assert not found.is_truncated
        assert found.missing_instances == 0
        assert found.dropped_studies == 0


def test_the_patient_root_finds_a_patient_level_by_level(index, dicom_files):
    with RecordingHierarchical(index) as archive:
        endpoint = endpoint_of(archive, root=QueryRetrieveRoot.PATIENT)
        (found,) = find(endpoint, patient(dicom_files.study("ct")))

    keys = ("ct", "ct-prior", "cr")
    assert contents(found) == truth(*map(dicom_files.study, keys))


def test_study_and_patient_attributes_are_kept(index, stored):
    with Recording(index) as archive:
        (found,) = find(endpoint_of(archive), whole(*stored))

    by_uid = {study.study_instance_uid: study for study in found.studies}
    for study in stored:
        one = by_uid[study.study_instance_uid]
        assert one.patient.patient_id == study.patient_id
        assert one.patient.patient_name == study.patient_name
        assert one.patient.issuer_of_patient_id == study.issuer_of_patient_id
        assert one.study_description == study.study_description
        assert one.study_date == study.study_date
        assert one.accession_number == study.accession_number


def test_a_study_costs_three_queries_on_two_associations(index, dicom_files):
    study = dicom_files.study("ct")
    with Recording(index) as archive:
        find(endpoint_of(archive), whole(study), whole(study))
        queries, associations = archive.queries, archive.associations

    assert queries == {"STUDY": 2, "SERIES": 2, "IMAGE": 2, "wide": 2}
    assert associations == 2


def test_a_patient_costs_three_queries(index, dicom_files):
    with Recording(index) as archive:
        (found,) = find(endpoint_of(archive), patient(dicom_files.study("ct")))

    assert len(found.studies) == 3
    assert archive.queries == {"STUDY": 1, "SERIES": 1, "IMAGE": 1, "wide": 1}


def test_one_association_is_enough(index, stored):
    with Recording(index) as archive:
        endpoint = endpoint_of(archive, maximum_associations=1)
        (found,) = find(endpoint, whole(*stored))

    assert contents(found) == truth(*stored)
    assert archive.associations == 1


def test_a_refusal_of_whole_studies_is_remembered(index, dicom_files):
    study = dicom_files.study("ct")
    with RecordingHierarchical(index) as archive:
        find(endpoint_of(archive), whole(study), whole(study), whole(study))

    assert archive.queries["wide"] == 1
    assert archive.queries["IMAGE"] == 1 + 3 * len(study.series)


def test_an_incomplete_answer_is_remembered_by_its_size(index, dicom_files):
    large, small = dicom_files.study("ct"), dicom_files.study("cr")
    with Partial(index) as archive:
        endpoint = endpoint_of(archive)
        found = find(endpoint, whole(large), patient(large), whole(small))
        limit = knowledge_of(endpoint).answers_below

    assert contents(found[0]) == truth(large)
    assert contents(found[2]) == truth(small)
    assert limit <= len(large.sop_instance_uids)
    assert knowledge_of(endpoint).answers_whole_studies(2)


def test_that_lists_are_not_answered_is_remembered(index, dicom_files):
    study = dicom_files.study("ct")
    with OneStudyPerQuery(index) as archive:
        endpoint = endpoint_of(archive)
        find(endpoint, patient(study))
        assert not knowledge_of(endpoint).answers_lists
        assert knowledge_of(endpoint).answers_whole_studies(1000)
        archive.queries.clear()
        find(endpoint, patient(study))

    assert archive.queries["wide"] == archive.queries["IMAGE"] == 3


def test_knowledge_is_forgotten_after_an_hour(monkeypatch):
    endpoint = DimseEndpoint(name="A", host="h", port=1, called_ae_title="A")
    knowledge_of(endpoint).remember_limit(0)
    assert not knowledge_of(endpoint).answers_whole_studies(1)

    monkeypatch.setattr("archives.clients.dimse.knowledge._FORGET_SECONDS", -1.0)

    assert knowledge_of(endpoint).answers_whole_studies(1)


def test_knowledge_keeps_few_sop_classes(monkeypatch):
    monkeypatch.setattr("archives.clients.dimse.knowledge._SERIES", 2)
    knowledge = Knowledge()

    for number in range(4):
        knowledge.remember_sop_class(str(number), "1.2")

    assert list(knowledge.sop_classes) == ["2", "3"]


def test_what_the_archive_cuts_is_counted(index, dicom_files):
    study = dicom_files.study("ct")
    with Limited(index) as archive:
        archive.limit = 15
        (found,) = find(endpoint_of(archive), whole(study))

    assert found.is_truncated
    assert found.missing_instances == 20 - 15
    numbers = Counter(
        len(series.instances) for one in found.studies for series in one.series
    )
    assert numbers[15] == 1


def test_a_count_that_is_too_high_shows(index, dicom_files):
    study = dicom_files.study("cr")
    with Nested(index) as archive:
        (found,) = find(endpoint_of(archive), whole(study))

    assert contents(found) == truth(study)
    assert found.is_truncated
    assert found.missing_instances == 998


def test_the_cap_on_answers_cuts(index, dicom_files):
    with Recording(index) as archive:
        endpoint = endpoint_of(archive, maximum_answers=20)
        (found,) = find(endpoint, whole(dicom_files.study("ct")))

    assert found.is_truncated


# What does not belong


def test_another_patients_studies_are_dropped(index, dicom_files):
    with WrongPatient(index) as archive:
        (found,) = find(endpoint_of(archive), patient(dicom_files.study("ct")))

    assert found.studies == ()
    assert found.dropped_studies == 3


def test_another_issuers_studies_are_left_out(index, dicom_files):
    wanted = dicom_files.study("issuer-b")
    with Recording(index) as archive:
        (found,) = find(endpoint_of(archive), patient(wanted, "HOSPITAL-B"))

    assert contents(found) == truth(wanted)
    assert found.dropped_studies == 0  # the archive was asked for the Patient ID alone


@pytest.mark.parametrize("by", ["study", "patient", "accession number", "series"])
def test_answers_that_were_not_asked_for_are_dropped(by, index, dicom_files, stored):
    study = dicom_files.study("mr")
    series = study.series[0]
    selection = {
        "study": whole(study),
        "patient": patient(study),
        "accession number": Selection(accession_numbers=(study.accession_number,)),
        "series": Selection(
            series=(
                SeriesIdentifier(
                    series_instance_uid=series.series_instance_uid,
                    study_instance_uid=study.study_instance_uid,
                ),
            )
        ),
    }[by]
    with IgnoresKeys(index) as archive:
        (found,) = find(endpoint_of(archive), selection)

    wanted = [study]
    if by == "patient":
        wanted.append(dicom_files.study("us"))
    expected = truth(*wanted)
    if by == "series":
        uid = series.series_instance_uid
        expected = {
            study.study_instance_uid: {uid: truth(study)[study.study_instance_uid][uid]}
        }
    assert contents(found) == expected
    assert found.dropped_studies == len(stored) - len(wanted)


# Selected series and instances


def parts(
    study: StoredStudy, *, with_study: bool, with_series: bool = True
) -> Selection:
    """The first series, and the last instance of the second."""
    first, second = study.series[:2]
    study_uid = study.study_instance_uid if with_study else ""
    return Selection(
        series=(
            SeriesIdentifier(
                series_instance_uid=first.series_instance_uid,
                study_instance_uid=study_uid,
            ),
        ),
        instances=(
            InstanceIdentifier(
                sop_instance_uid=second.instances[-1].sop_instance_uid,
                series_instance_uid=second.series_instance_uid if with_series else "",
                study_instance_uid=study_uid,
            ),
        ),
    )


@pytest.mark.parametrize("kind", [Recording, RecordingHierarchical])
@pytest.mark.parametrize("with_series", [True, False])
def test_series_and_instances_with_parents_need_no_relational_query(
    kind, with_series, index, dicom_files
):
    study = dicom_files.study("ct")
    selection = parts(study, with_study=True, with_series=with_series)
    with kind(index) as archive:
        (found,) = find(endpoint_of(archive), selection)

    assert_parts(found, study)
    assert archive.queries["wide"] == 0


def test_series_and_instances_without_parents_are_found_by_relational_queries(
    index, dicom_files
):
    study = dicom_files.study("ct")
    selection = parts(study, with_study=False, with_series=False)
    with Recording(index) as archive:
        (found,) = find(endpoint_of(archive), selection)

    assert_parts(found, study)


def test_without_relational_queries_the_study_is_needed(index, dicom_files):
    selection = parts(dicom_files.study("ct"), with_study=False)
    with (
        Hierarchical(index) as archive,
        pytest.raises(
            ArchiveResponseError, match="Give the Study Instance UID"
        ) as caught,
    ):
        find(endpoint_of(archive), selection)

    assert caught.value.status == "0xA900"


def test_an_unknown_series_is_found_in_no_study(index):
    selection = Selection(series=(SeriesIdentifier(series_instance_uid="1.2.3.4"),))
    with Recording(index) as archive:
        (found,) = find(endpoint_of(archive), selection)

    assert found == WholeStudies()


def test_a_study_that_is_selected_as_a_whole_and_in_part_is_whole(index, dicom_files):
    study = dicom_files.study("ct")
    part = parts(study, with_study=True)
    selection = Selection(
        patients=patient(study).patients, series=part.series, instances=part.instances
    )
    with Recording(index) as archive:
        (found,) = find(endpoint_of(archive), selection)

    assert (
        contents(found)[study.study_instance_uid]
        == (truth(study)[study.study_instance_uid])
    )
    assert len(found.studies) == 3


def assert_parts(found: WholeStudies, study: StoredStudy) -> None:
    first, second = study.series[:2]
    (one,) = found.studies
    assert {
        series.series_instance_uid: {
            instance.sop_instance_uid for instance in series.instances
        }
        for series in one.series
    } == {
        first.series_instance_uid: {each.sop_instance_uid for each in first.instances},
        second.series_instance_uid: {second.instances[-1].sop_instance_uid},
    }
    assert [series.modality for series in one.series] == ["CT", "CT"]
    assert not found.is_truncated


# Failures


@pytest.mark.parametrize(
    ("kind", "error"),
    [(Failing, ArchiveResponseError), (Dying, ArchiveUnavailableError)],
)
def test_a_failing_archive_says_so(kind, error, index, stored):
    with kind(index) as archive, pytest.raises(error, match="Embedded"):
        find(endpoint_of(archive), whole(*stored))


def test_an_error_of_a_progress_callback_is_not_swallowed(index, stored):
    def break_down(progress: Progress) -> None:
        raise LookupError("broken callback")

    with Recording(index) as archive, pytest.raises(LookupError, match="broken"):
        find(endpoint_of(archive), whole(*stored), on_progress=break_down)


def test_progress_is_reported_now_and_then(index, stored):
    reported: list[Progress] = []
    with Recording(index) as archive:
        find(endpoint_of(archive), whole(*stored), on_progress=reported.append)

    total = sum(len(study.sop_instance_uids) for study in stored)
    assert 2 <= len(reported) <= 2 + total * 3 // 50
    assert reported[-1].instances == reported[-1].total_instances == total
    assert reported[-1].studies == len(stored)
    series = sum(len(study.series) for study in stored)
    assert reported[-1].series == reported[-1].total_series == series


# DCMTK


def test_dcmqrscp_gives_every_study_whole(dcmqrscp: Dcmqrscp):
    endpoint = DimseEndpoint(
        name="DCMTK",
        host=dcmqrscp.host,
        port=dcmqrscp.port,
        called_ae_title=dcmqrscp.ae_title,
    )
    (found, one) = find(endpoint, whole(*dcmqrscp.studies), whole(dcmqrscp.studies[0]))

    assert_uids(found, dcmqrscp.studies)
    assert_uids(one, dcmqrscp.studies[:1])


def assert_uids(found: WholeStudies, studies: tuple[StoredStudy, ...]) -> None:
    assert {
        study: {series: set(content[3]) for series, content in series.items()}
        for study, series in contents(found).items()
    } == {
        study: {series: set(content[3]) for series, content in series.items()}
        for study, series in truth(*studies).items()
    }
