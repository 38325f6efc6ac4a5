"""Filters in both clients: the same tests, and what is asked of the archive for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pynetdicom import evt

from archives.clients import matches as tags
from archives.clients.base import ArchiveClient, DimseEndpoint
from archives.clients.dimse import DimseClient
from archives.clients.pool import close_connections
from archives.embedded import EmbeddedArchive, Query
from archives.embedded.index import Attributes, Entity, Index
from archives.embedded.server import Results
from archives.entities import (
    Instance,
    InstanceIdentifier,
    Patient,
    PatientIdentifier,
    Selection,
    Series,
    SeriesIdentifier,
    Study,
    StudyFilter,
    WholeStudies,
)
from tests.dicom_files import DicomFiles, StoredStudy
from tests.dicomweb_server import DicomWebServer
from tests.dicomweb_studies import serving
from tests.loops import run

DIMSE, DICOMWEB = "DIMSE", "DICOMweb"
UNIVERSAL_ID = "1.2.3.4"


@dataclass(frozen=True)
class Asked:
    """One question: its matching keys by keyword, and whether it was about studies."""

    is_study_level: bool
    keys: dict[str, str]


@dataclass
class Archive:
    """The demo patients, to be asked over one protocol or the other."""

    protocol: str
    index: Index
    stored: tuple[StoredStudy, ...]
    asked: list[Asked] = field(default_factory=list)
    sends_modalities: bool = True
    universal_entity_id: str = ""
    server: EmbeddedArchive | None = None  # for DIMSE

    def study(self, key: str) -> StoredStudy:
        return next(study for study in self.stored if study.key == key)

    def keys_of(self, studies: Any) -> list[str]:
        keys = {study.study_instance_uid: study.key for study in self.stored}
        return sorted(keys[study.study_instance_uid] for study in studies)

    def find(self, selection: Selection) -> WholeStudies:
        return run(self._find(selection, "find_whole_studies"))

    def find_selected(self, selection: Selection) -> tuple[Study, ...]:
        return run(self._find(selection, "find_selected_studies"))

    async def _find(self, selection: Selection, method: str) -> Any:
        self.asked.clear()
        if self.protocol == DICOMWEB:
            return await self._find_by_dicomweb(selection, method)
        assert self.server is not None
        endpoint = DimseEndpoint(
            name="North",
            host=self.server.host,
            port=self.server.port,
            called_ae_title=self.server.ae_title,
        )
        try:
            client: ArchiveClient = DimseClient(endpoint)
            return await getattr(client, method)(selection)
        finally:
            await close_connections()

    async def _find_by_dicomweb(self, selection: Selection, method: str) -> Any:
        studies = [entity_of(each, self.universal_entity_id) for each in self.stored]
        options = {"sends_modalities": self.sends_modalities}
        async with serving(*studies, **options) as (client, server):
            try:
                return await getattr(client, method)(selection)
            finally:
                self.asked = [*map(asked_of, server.requests)]

    def studies_asked_below(self) -> set[str]:
        """UIDs of the studies whose series or instances were asked for."""
        uids = (
            one.keys.get("StudyInstanceUID", "")
            for one in self.asked
            if not one.is_study_level
        )
        return {uid for text in uids for uid in text.split("\\") if uid}


class Recording(EmbeddedArchive):
    """Answers no modalities at STUDY level if it must not, and finds nothing by them."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(archive.index)
        self._archive = archive

    def find(self, event: evt.Event) -> Results:
        query = Query.from_event(event)
        named = {
            "PatientID": tags.PATIENT_ID,
            "StudyDate": tags.STUDY_DATE,
            "ModalitiesInStudy": tags.MODALITIES_IN_STUDY,
            "StudyInstanceUID": tags.STUDY_INSTANCE_UID,
        }
        keys = {name: query.keys.get(tag, "") for name, tag in named.items()}
        self._archive.asked.append(Asked(query.level == "STUDY", keys))
        for status, answer in super().find(event):
            if answer is not None and self._archive.universal_entity_id:
                item = Dataset()
                item.UniversalEntityID = self._archive.universal_entity_id
                item.UniversalEntityIDType = "ISO"
                answer.IssuerOfPatientIDQualifiersSequence = [item]
            yield status, answer

    def matches(self, query: Query) -> Iterator[Attributes]:
        if self._archive.sends_modalities or not query.keys.get(
            tags.MODALITIES_IN_STUDY
        ):
            yield from super().matches(query)

    def answer(self, query: Query, entity: Entity) -> Attributes:
        answer = super().answer(query, entity)
        if not self._archive.sends_modalities:
            answer.pop(tags.MODALITIES_IN_STUDY, None)
        return answer


def asked_of(request: Any) -> Asked:
    resource = request.path.removeprefix("/dicom-web/")
    keys = {"StudyDate": "", "ModalitiesInStudy": "", **request.keys}
    if resource.startswith("studies/"):
        keys["StudyInstanceUID"] = resource.split("/")[1]
    return Asked(resource == "studies", keys)


def entity_of(stored: StoredStudy, universal_entity_id: str) -> Study:
    return Study(
        study_instance_uid=stored.study_instance_uid,
        patient=Patient(
            patient_id=stored.patient_id,
            issuer_of_patient_id=stored.issuer_of_patient_id,
            patient_name=stored.patient_name,
            patient_birth_date=stored.patient_birth_date,
            universal_entity_id=universal_entity_id,
        ),
        study_date=stored.study_date,
        study_time=stored.study_time,
        accession_number=stored.accession_number,
        study_description=stored.study_description,
        series=tuple(
            Series(
                series_instance_uid=series.series_instance_uid,
                modality=series.modality,
                series_number=series.series_number,
                instances=tuple(
                    Instance(sop_instance_uid=one.sop_instance_uid)
                    for one in series.instances
                ),
            )
            for series in stored.series
        ),
    )


@pytest.fixture(scope="module")
def stored(dicom_files: DicomFiles) -> tuple[StoredStudy, ...]:
    return dicom_files.group("demo")


@pytest.fixture(scope="module")
def index(dicom_files: DicomFiles, stored: tuple[StoredStudy, ...]) -> Index:
    return Index(dicom_files.paths(stored))


@pytest.fixture(params=[DIMSE, DICOMWEB])
def archive(
    request: pytest.FixtureRequest, index: Index, stored: tuple[StoredStudy, ...]
) -> Iterator[Archive]:
    archive = Archive(protocol=request.param, index=index, stored=stored)
    if request.param == DICOMWEB:
        yield archive
        return
    with Recording(archive) as archive.server:
        yield archive


def of_patients(*patient_ids: str, **study_filter: Any) -> Selection:
    return Selection(
        patients=tuple(PatientIdentifier(patient_id=one) for one in patient_ids),
        study_filter=StudyFilter(**study_filter),
    )


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


FILTERS = [
    ({"modalities_in_study": ("CT",)}, ["ct", "ct-prior"]),
    ({"modalities_in_study": ("SR",)}, ["ct"]),
    ({"modalities_in_study": ("CR", "MR")}, ["cr", "mr"]),
    ({"modalities_in_study": ("XA",)}, []),
    ({"description_contains": ("THÓRAX",)}, ["ct", "ct-prior"]),
    ({"description_contains": ("pa and", "knee")}, ["cr", "mr"]),
    ({"earliest": moment("2026-03-02T08:15:01")}, ["cr"]),
    ({"latest": moment("2025-11-20T23:00")}, ["ct-prior", "mr"]),
    (
        {"earliest": moment("2025-11-21T16:05"), "latest": moment("2026-03-02T08:15")},
        ["ct", "us"],
    ),
    (
        {"earliest": moment("2025-01-01"), "keeps_undated": True},
        ["cr", "ct", "mr", "us"],
    ),
    ({"most_recent": 1}, ["cr", "us"]),
    (
        {"most_recent": 2, "latest": moment("2026-03-02T23:00")},
        ["ct", "ct-prior", "mr", "us"],
    ),
    ({"most_recent": 1, "modalities_in_study": ("CT", "MR")}, ["ct", "mr"]),
    ({"patient_name": "LINDQVIST^ASTRID"}, ["cr", "ct", "ct-prior"]),
    ({"patient_birth_date": "19800630"}, ["mr", "us"]),
    ({"patient_name": "Nobody^Else"}, []),
]
BOTH = ("DEMO-1", "DEMO-2")


@pytest.mark.parametrize(("study_filter", "keys"), FILTERS)
def test_filters_keep_what_passes(archive, study_filter, keys):
    found = archive.find(of_patients(*BOTH, **study_filter))

    assert archive.keys_of(found.studies) == keys
    for study in found.studies:
        (truth,) = (
            one
            for one in archive.stored
            if one.study_instance_uid == study.study_instance_uid
        )
        sop_instance_uids = {
            one.sop_instance_uid for series in study.series for one in series.instances
        }
        assert sop_instance_uids == truth.sop_instance_uids
    assert not found.is_truncated


@pytest.mark.parametrize(("study_filter", "keys"), FILTERS)
def test_nothing_is_asked_of_what_does_not_pass(archive, study_filter, keys):
    archive.find(of_patients(*BOTH, **study_filter))

    passing = {archive.study(key).study_instance_uid for key in keys}
    assert archive.studies_asked_below() <= passing


@pytest.mark.parametrize(("study_filter", "keys"), FILTERS)
def test_selected_studies_are_found_at_study_level_alone(archive, study_filter, keys):
    found = archive.find_selected(of_patients(*BOTH, **study_filter))

    assert archive.keys_of(found) == keys
    assert not any(study.series for study in found)
    assert all(one.is_study_level for one in archive.asked)
    assert all(study.modalities_in_study for study in found)


def named_by(archive: Archive, kind: str) -> Selection:
    """The studies ``ct`` and ``cr``, by identifiers of one kind."""
    ct, cr = archive.study("ct"), archive.study("cr")
    return {
        "study": Selection(
            study_instance_uids=(ct.study_instance_uid, cr.study_instance_uid)
        ),
        "accession": Selection(
            accession_numbers=(ct.accession_number, cr.accession_number)
        ),
        "series": Selection(
            series=tuple(
                SeriesIdentifier(series_instance_uid=one.series[1].series_instance_uid)
                for one in (ct, cr)
            )
        ),
        "instance": Selection(
            instances=tuple(
                InstanceIdentifier(sop_instance_uid=one.instances[0].sop_instance_uid)
                for one in (ct, cr)
            )
        ),
        "instance with its study": Selection(
            instances=tuple(
                InstanceIdentifier(
                    sop_instance_uid=one.instances[0].sop_instance_uid,
                    study_instance_uid=one.study_instance_uid,
                )
                for one in (ct, cr)
            )
        ),
    }[kind]


KINDS = ["study", "accession", "series", "instance", "instance with its study"]


@pytest.mark.parametrize("kind", KINDS)
def test_filters_hold_whatever_names_the_study(archive, kind):
    everything = named_by(archive, kind)
    filtered = replace(
        everything, study_filter=StudyFilter(modalities_in_study=("CT",))
    )

    assert archive.keys_of(archive.find_selected(everything)) == ["cr", "ct"]
    assert archive.keys_of(archive.find_selected(filtered)) == ["ct"]
    (unfiltered,) = (
        study
        for study in archive.find(everything).studies
        if archive.keys_of([study]) == ["ct"]
    )
    found = archive.find(filtered)
    assert found.studies[0].series == unfiltered.series
    assert archive.keys_of(found.studies) == ["ct"]
    assert archive.studies_asked_below() == {archive.study("ct").study_instance_uid}


@pytest.mark.parametrize("modalities", [("CT",), ("CT", "MR")])
def test_series_decide_where_the_archive_lists_no_modalities(archive, modalities):
    archive.sends_modalities = False
    selection = of_patients(
        *BOTH, modalities_in_study=modalities, earliest=moment("2025-01-01")
    )
    expected = {("CT",): ["ct"], ("CT", "MR"): ["ct", "mr"]}[modalities]

    found = archive.find(selection)

    assert archive.keys_of(found.studies) == expected
    assert archive.study("ct-prior").study_instance_uid not in (
        archive.studies_asked_below()
    )
    assert archive.keys_of(archive.find_selected(selection)) == expected


def patient_query(archive: Archive) -> dict[str, str]:
    (asked, *_) = (one.keys for one in archive.asked if one.keys.get("PatientID"))
    return {name: asked[name] for name in ("StudyDate", "ModalitiesInStudy")}


@pytest.mark.parametrize(
    ("study_filter", "study_date", "modality"),
    [
        ({}, "", ""),
        ({"modalities_in_study": ("CT",)}, "", "CT"),
        ({"modalities_in_study": ("CT", "MR")}, "", ""),
        ({"earliest": moment("2026-03-02T08:15")}, "20260302-", ""),
        ({"latest": moment("2026-03-02T08:15")}, "-20260302", ""),
        (
            {"earliest": moment("2024-01-01"), "latest": moment("2026-03-02")},
            "20240101-20260302",
            "",
        ),
        ({"earliest": moment("2026-03-02"), "keeps_undated": True}, "", ""),
    ],
)
def test_an_archive_is_asked_for_what_it_can_filter(
    archive, study_filter, study_date, modality
):
    archive.find_selected(of_patients("DEMO-1", **study_filter))

    assert patient_query(archive) == {
        "StudyDate": study_date,
        "ModalitiesInStudy": modality,
    }


def test_studies_of_somebody_else_are_reported(archive):
    selection = replace(
        of_patients(*BOTH, patient_name="Moreau^Bastien"),
        study_instance_uids=(archive.study("ct").study_instance_uid,),
    )

    found = archive.find(selection)

    assert archive.keys_of(found.studies) == ["mr", "us"]
    assert found.dropped_studies == 3


def test_a_filter_that_keeps_nothing_is_no_fault_of_the_archive(archive):
    found = archive.find(of_patients(*BOTH, description_contains=("nothing",)))

    assert found == WholeStudies()


@pytest.mark.parametrize(
    ("known", "wanted", "issuer", "is_found"),
    [
        (UNIVERSAL_ID, UNIVERSAL_ID, "ANOTHER-NAME", True),
        (UNIVERSAL_ID, "9.9.9", "HOSPITAL-A", False),
        ("", UNIVERSAL_ID, "HOSPITAL-A", True),
        ("", UNIVERSAL_ID, "ANOTHER-NAME", False),
        (UNIVERSAL_ID, UNIVERSAL_ID, UNIVERSAL_ID, True),
    ],
)
def test_issuer_is_known_by_its_universal_id_first(
    archive, known, wanted, issuer, is_found
):
    archive.universal_entity_id = known
    patient = PatientIdentifier(
        patient_id="DEMO-2", issuer_of_patient_id=issuer, universal_entity_id=wanted
    )

    found = archive.find(Selection(patients=(patient,)))

    assert archive.keys_of(found.studies) == (["mr", "us"] if is_found else [])
    assert found.dropped_studies == 0


def test_a_key_the_server_refuses_is_left_out(stored, index):
    async def main(server_options: dict[str, Any]) -> tuple[Any, DicomWebServer]:
        studies = [entity_of(each, "") for each in stored]
        async with serving(*studies, **server_options) as (client, server):
            selection = of_patients(*BOTH, modalities_in_study=("CT",))
            return await client.find_selected_studies(selection), server

    refused = frozenset({"ModalitiesInStudy"})
    found, server = run(main({"refused_keys": refused}))

    assert Archive(DICOMWEB, index, stored).keys_of(found) == ["ct", "ct-prior"]
    assert any("ModalitiesInStudy" in request.keys for request in server.requests)


def test_a_filtered_answer_beyond_the_limit_of_an_archive_is_complete(dicom_files):
    many = dicom_files.group("many")
    days = sorted(study.study_date for study in many)
    first = datetime.strptime(days[3], "%Y%m%d")

    async def main() -> tuple[Study, ...]:
        studies = [entity_of(each, "") for each in many]
        async with serving(*studies, total_cap=10) as (client, _):
            selection = of_patients(many[0].patient_id, earliest=first)
            return await client.find_selected_studies(selection)

    found = run(main())

    assert sorted(study.study_date for study in found) == days[3:]


BOUNDS = st.none() | st.sampled_from(
    ["2024-06-11T15:45", "2025-11-20T11:20:31", "2026-03-02", "2026-03-03T07:00"]
).map(moment)


@pytest.mark.parametrize("sends_modalities", [True, False])
@given(
    modalities=st.lists(
        st.sampled_from(["CT", "CR", "MR", "US", "SR", "XA"]), max_size=2
    ).map(tuple),
    texts=st.lists(st.sampled_from(["ct", "CHEST", "Knee", "zzz"]), max_size=2).map(
        tuple
    ),
    earliest=BOUNDS,
    latest=BOUNDS,
    most_recent=st.none() | st.integers(1, 2),
)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_both_clients_agree_with_a_simple_reading(
    archive, sends_modalities, modalities, texts, earliest, latest, most_recent
):
    archive.sends_modalities = sends_modalities
    study_filter = StudyFilter(
        modalities_in_study=modalities,
        description_contains=texts,
        earliest=earliest,
        latest=latest,
        most_recent=most_recent,
    )
    selection = replace(of_patients(*BOTH), study_filter=study_filter)

    expected = simply_filtered(archive.stored, study_filter)

    assert archive.keys_of(archive.find_selected(selection)) == expected
    assert archive.keys_of(archive.find(selection).studies) == expected


def simply_filtered(
    stored: tuple[StoredStudy, ...], study_filter: StudyFilter
) -> list[str]:
    def when(study: StoredStudy) -> datetime:
        time = study.study_time.split(".")[0].ljust(6, "0")
        return datetime.strptime(study.study_date + time, "%Y%m%d%H%M%S")

    left = [
        study
        for study in stored
        if not study_filter.modalities_in_study
        or study.modalities & set(study_filter.modalities_in_study)
        if not study_filter.description_contains
        or any(
            text.lower() in study.study_description.lower()
            for text in study_filter.description_contains
        )
        if (study_filter.earliest or datetime.min) <= when(study)
        if when(study) <= (study_filter.latest or datetime.max)
    ]
    by_patient: dict[str, list[StoredStudy]] = {}
    for study in sorted(left, key=when, reverse=True):
        by_patient.setdefault(study.patient_id, []).append(study)
    return sorted(
        study.key
        for studies in by_patient.values()
        for study in studies[: study_filter.most_recent]
    )
